"""The export folder: what is in it, that what its README says works, and what it refuses."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from click.testing import CliRunner

from eie.blocks import BlockStructure
from eie.cli.main import main
from eie.compress.format.file import save
from eie.config import ArchConfig
from eie.errors import MismatchError, OutputError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.rtl.export import export as export_module
from eie.rtl.export.check import declared_ports
from eie.rtl.export.export import Expected, export
from eie.rtl.export.meanings import meaning
from eie.rtl.verilog import _array_verilog
from eie.sim.cosim import toolchain
from eie.sim.workloads.random import random_layer
from eie.timing import schedule

CFG = ArchConfig(n_pe=2, entries=40, pointers=9, src_depth=4, acc_depth=4)


def small_job() -> Job:
    codes = np.array([[1, 0, 0, 2], [0, 0, 3, 0], [0, 1, 0, 0]], np.uint8)
    return Job.create(CompressedLayer.from_codes(codes, [0, 2, 3, -5]), [10, 0, 1, 100], CFG.replace())


# By hand: 10 * 2 + 100 * 3, max(-5, 0), 0.
OUTPUTS = (320, 0, 0)
CYCLES = schedule(small_job().interleaved.lengths[small_job().active], CFG).cycles


def run_as_the_readme_says(folder: Path) -> tuple[int, list[str]]:
    """Exit status and output lines of the last of the README's two commands."""
    readme = (folder / "README.md").read_text().splitlines()
    commands = [line for line in readme if line.startswith("    ") and "eie.vvp" in line]
    assert len(commands) == 2
    for command in commands:
        ran = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
        assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


def test_readme_runs_the_layer(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "verilog"
    options = {"expected": Expected(OUTPUTS, CYCLES), "iverilog": toolchain.require("icarus").path}
    report = export(CFG, folder, small_job(), **options)
    assert report.check is not None
    assert report.check.simulators == ("iverilog",)
    assert sorted(report.files) == sorted(path.name for path in folder.iterdir())
    status, lines = run_as_the_readme_says(folder)
    assert status == 0
    assert [line for line in lines if line.startswith("y")] == ["y 0 320", "y 1 0", "y 2 0"]
    assert f"cycles {CYCLES}" in lines
    assert lines[-1] == "PASS"
    # What the commands left does not stop the next export.
    export(CFG, folder, small_job(), check=False)
    assert not (folder / "eie.vvp").exists()


def make_test(folder: Path, target: str = "test") -> subprocess.CompletedProcess[str]:
    """`make` in a folder, as somebody would run it who has cocotb but not this project on the path."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COCOTB", "PYTEST", "MAKE"))
    }
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return subprocess.run(["make", target], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_readme_runs_a_layer_in_segments(tmp_path: Path) -> None:
    """Outputs that lie in the order of their segments: row 2 of three is the second segment's first one."""
    codes = np.array([[1, 2, 0], [3, 1, 0], [0, 0, 2]], np.uint8)
    layer = CompressedLayer.from_codes(codes, [0, 2, 3, -5]).with_blocks(BlockStructure(3, 3, 2))
    cfg = ArchConfig(
        n_pe=2, segments=2, blocks=1, filter_empty=1, entries=40, src_depth=4, acc_depth=4, act_words=4
    )
    # By hand: 10 * 2 + 1 * 3, max(10 * -5 + 2, 0), 100 * 3. Segment 0: broadcast in 1 and 2, fetched in 4 and 6, the
    # last of two entries each taken in 6 and 8.
    expected = Expected((23, 0, 300), 8 + 4)
    folder = tmp_path / "verilog"
    export(
        cfg,
        folder,
        Job.create(layer, [10, 1, 100], cfg),
        expected=expected,
        iverilog=toolchain.require("icarus").path,
    )
    status, lines = run_as_the_readme_says(folder)
    assert (status, lines[-1]) == (0, "PASS")


def test_make_test_runs_testbench_and_smoke_test(tmp_path: Path) -> None:
    folder = tmp_path / "verilog"
    export(CFG, folder, small_job(), expected=Expected(OUTPUTS, CYCLES), check=False)
    # Nothing in the folder knows the project.
    assert not any(
        re.search(r"^(from|import) eie\b", text.read_text(), re.MULTILINE) for text in folder.iterdir()
    )
    done = make_test(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nPASS\n" in done.stdout
    assert "TESTS=2 PASS=2 FAIL=0 SKIP=0" in done.stdout
    # What that left does not stop the next export.
    assert (folder / "sim_build" / "eie_array.xml").is_file()
    export(CFG, folder, check=False)
    assert not (folder / "sim_build").exists()
    done = make_test(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TESTS=2 PASS=1 FAIL=0 SKIP=1" in done.stdout


@pytest.mark.parametrize("counters", [1, 0])
def test_make_test_runs_the_chip(counters: int, tmp_path: Path) -> None:
    # By AXI: identification, packets and an error; with a layer its WRITE, RUN and READ packets as well.
    cfg = CFG.replace(counters=counters)
    job = small_job() if counters else None
    expected = Expected(OUTPUTS, CYCLES) if counters else None
    folder = tmp_path / "verilog"
    export(cfg, folder, job, expected=expected, chip=True, check=False)
    done = make_test(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"TESTS=.*SKIP=\d", done.stdout) == (
        ["TESTS=2 PASS=2 FAIL=0 SKIP=0", "TESTS=3 PASS=3 FAIL=0 SKIP=0"]
        if counters
        else ["TESTS=2 PASS=1 FAIL=0 SKIP=1", "TESTS=3 PASS=2 FAIL=0 SKIP=1"]
    )
    assert done.stdout.count("\nPASS\n") == 1 + bool(job)  # the plain testbenches
    manifest = json.loads((folder / "ports.json").read_text())
    assert manifest["tops"] == ["eie_array", "eie_chip"]
    assert manifest["modules"]["eie_chip"]["irq"] == {"direction": "output", "width": 1}
    assert "with the host interface `eie_chip`" in (folder / "README.md").read_text()
    export(cfg, folder, chip=True, check=False)  # what that left does not stop the next export


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "complaint"),
    [
        ("eie_regs.h", r"(?<=EIE_N_PE_VALUE )0x00000002u", "0x00000003u", "N_PE is 0x2, not 0x3"),
        ("expected.hex", r"\A[0-9a-f]+", "0001", "y[0] is 0x140, not 0x1"),
        ("eie_regs.h", r"(?<=EIE_ERROR_COUNT )4u", "5u", "packets_and_errors"),
    ],
)
def test_the_chips_smoke_test_fails_when_something_is_wrong(
    file: str, pattern: str, replacement: str, complaint: str, tmp_path: Path
) -> None:
    folder = tmp_path / "verilog"
    export(CFG, folder, small_job(), expected=Expected(OUTPUTS, CYCLES), chip=True, check=False)
    text, count = re.subn(pattern, replacement, (folder / file).read_text())
    assert count == 1
    (folder / file).write_text(text)
    done = make_test(folder, "smoke-eie_chip")
    assert done.returncode != 0
    assert complaint in done.stdout
    assert "FAIL=1" in done.stdout


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "complaint"),
    [
        ("expected.hex", r"\A[0-9a-f]+", "0001", "FAIL: 1 differences"),
        ("eie_sram.v", r"mem\[addr\] <= wdata", "mem[addr] <= wdata ^ 1'b1", "SPMAT of PE 0 at 0: "),
    ],
)
def test_make_test_fails_when_something_is_wrong(
    file: str, pattern: str, replacement: str, complaint: str, tmp_path: Path
) -> None:
    export(CFG, tmp_path / "verilog", small_job(), expected=Expected(OUTPUTS, CYCLES), check=False)
    path = tmp_path / "verilog" / file
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count == 1
    path.write_text(text)
    done = make_test(tmp_path / "verilog")
    assert done.returncode != 0
    assert complaint in done.stdout


@pytest.mark.parametrize(
    ("with_job", "target", "chip"), [(True, "sim", False), (False, "lint", False), (True, "sim", True)]
)
def test_fusesoc_accepts_the_core(with_job: bool, target: str, chip: bool, tmp_path: Path) -> None:
    folder = tmp_path / "verilog"
    job = {"job": small_job(), "expected": Expected(OUTPUTS, CYCLES)} if with_job else {}
    export(CFG, folder, chip=chip, check=False, **job)
    command = re.findall(r"^    fusesoc (.*)$", (folder / "README.md").read_text(), re.MULTILINE)[-1]
    assert chip == ("eie_chip" in command)
    assert f"--target={target}" in command
    verilator = toolchain.require("verilator").path.parent
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{verilator}:{os.environ['PATH']}"}
    done = subprocess.run(
        [Path(sys.executable).with_name("fusesoc"), *command.split()],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%Warning" not in done.stdout + done.stderr
    if with_job:
        assert "PASS" in done.stdout.splitlines()


def test_constraints_follow_the_clock(tmp_path: Path) -> None:
    export(CFG.replace(clock_hz=500_000_000), tmp_path / "verilog", check=False)
    text = (tmp_path / "verilog" / "eie_array.sdc").read_text()
    assert "create_clock -name clk -period 2.000 [get_ports clk]" in text
    assert "set_input_delay 0.600 -clock clk" in text
    assert "@" not in text


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        (Expected((320, 0, 1), CYCLES), "expected: y 2 1"),
        (Expected((-320, 0, 0), CYCLES), "expected: y 0 -320"),
        (Expected(OUTPUTS, CYCLES + 1), f"expected: cycles {CYCLES + 1}"),
    ],
)
def test_testbench_fails_on_another_outcome(expected: Expected, complaint: str, tmp_path: Path) -> None:
    export(CFG, tmp_path / "verilog", small_job(), expected=expected, check=False)
    status, lines = run_as_the_readme_says(tmp_path / "verilog")
    assert status == 1
    assert complaint in lines
    assert lines[-1] == "FAIL: 1 differences"


def test_testbench_compares_nothing_unless_told(tmp_path: Path) -> None:
    export(CFG, tmp_path / "verilog", small_job(), check=False)
    status, lines = run_as_the_readme_says(tmp_path / "verilog")
    assert status == 0
    assert "y 0 320" in lines
    assert not {"PASS", "FAIL"} & set(lines)


def test_command_expects_what_reference_and_law_say(tmp_path: Path) -> None:
    save(tmp_path / "net.eie", [random_layer(30, 20, 0.4, seed=1, name="fc1")])
    folder = tmp_path / "verilog"
    options = ["--pe", "4", "--sized", "-o", str(folder)]
    done = CliRunner().invoke(main, ["export", str(tmp_path / "net.eie"), "--seed", "3", *options])
    assert done.exit_code == 0, done.output
    assert "testbench: fc1 on random activations, seed 3; expects " in done.stdout
    status, lines = run_as_the_readme_says(folder)
    assert (status, lines[-1]) == (0, "PASS")
    assert any(line.startswith("y ") and not line.endswith(" 0") for line in lines)
    assert (
        f"expects {int(next(ln for ln in lines if ln.startswith('cycles')).split()[1]):,} cycles"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--layer", "fc1"), "--layer has no effect without a .eie file"),
        (("--input", "x.npy", "--index", "1"), "--input and --index have no effect without a .eie file"),
        (("net.eie", "--index", "1"), "--index has no effect without --input"),
        (
            ("net.eie", "--input", "x.npy", "--seed", "2"),
            "--seed has no effect with --input: nothing is random",
        ),
    ],
)
def test_command_refuses_options_that_cannot_apply(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(main, ["export", *arguments, "-o", str(tmp_path / "verilog")])
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_says_when_nothing_linted(tmp_path: Path) -> None:
    report = export(CFG, tmp_path / "verilog")
    assert report.check is not None
    assert report.check.lines()[-1] == "not linted: neither iverilog nor verilator nor sta found"


def test_port_tables(tmp_path: Path) -> None:
    export(CFG, tmp_path / "verilog", probe=True)
    manifest = json.loads((tmp_path / "verilog" / "ports.json").read_text())
    assert ArchConfig(**manifest["config"]) == CFG
    assert manifest["modules"]["eie_array"]["probe_pe1"]["direction"] == "output"
    table = (tmp_path / "verilog" / "ports.md").read_text()
    for block in ("array", "pe"):
        for name, port in declared_ports(block, CFG, probe=True).items():
            assert f"| {name} | {port.direction} | {port.width} | {meaning(block, name)}" in table
    assert "|  |" not in table


def test_an_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "verilog"
    export(CFG, folder, small_job(), check=False)
    export(CFG, folder, check=False)
    assert not (folder / "load.hex").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError) as caught:
        export(CFG, folder, check=False)
    assert str(caught.value) == (
        f"cannot export into {folder}: it holds notes.txt, which does not belong to an export: name another folder"
    )
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["verilog"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot export into .*file: it is not a folder"):
        export(CFG, tmp_path / "file", check=False)
    with pytest.raises(OutputError, match=r"cannot write .*verilog: "):
        export(CFG, tmp_path / "file" / "verilog", check=False)


def test_a_failed_check_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*args: object, **options: object) -> dict[str, str]:
        files = original(*args, **options)
        files["eie_lnzd.v"] = files["eie_lnzd.v"].replace("endmodule", "  assign valid = 1'h0;\nendmodule")
        return files

    original = export_module.array_verilog
    monkeypatch.setattr(export_module, "array_verilog", faulty)
    with pytest.raises(MismatchError, match=r"failed 1 checks, first: eie_lnzd: valid\[0\] is driven by"):
        export(CFG, tmp_path / "verilog")
    assert list(tmp_path.iterdir()) == []


def _elaborated(n_pe: int, folder: Path) -> Counter[str]:
    """How often an export elaborates each class."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "elaborate":
            found[type(frame.f_locals["self"]).__name__] += 1

    _array_verilog.cache_clear()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        export(ArchConfig(n_pe=n_pe), folder, check=False)
    finally:
        sys.setprofile(before)
    return found


def test_64_pes_are_no_more_work_than_four(tmp_path: Path) -> None:
    """Every block is elaborated once, and instantiated: elaboration is what an export takes its time for."""
    few, many = _elaborated(4, tmp_path / "few"), _elaborated(64, tmp_path / "many")
    assert many["PE"] == many["LNZD"] == many["EIEArray"] == 1
    assert many == few
