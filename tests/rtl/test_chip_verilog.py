"""The chip's Verilog by itself: ports as declared, nets driven once, no warning in either simulator, odd sizes too."""

import subprocess

import pytest

from eie.config import ArchConfig
from eie.registers import c_header, markdown
from eie.rtl.export.check import check_verilog, declared_ports
from eie.rtl.export.export import export
from eie.rtl.export.netlist import analyse
from eie.rtl.verilog import array_verilog, chip_verilog, host_if_verilog
from eie.sim.cosim import toolchain

SMALL = ArchConfig(n_pe=4, entries=64, pointers=16, src_depth=8, acc_depth=8, act_words=8)
SIZES = {
    "published": ArchConfig(),
    "one PE": ArchConfig(n_pe=1, src_depth=1, acc_depth=1, act_words=2, pointers=2, entries=1, passes=1),
    "largest": ArchConfig(
        n_pe=256,
        word_bits=512,
        passes=256,
        codebooks=256,
        src_depth=1 << 20,
        entries=1 << 31,
        pointer_bits=32,
    ),
    "odd": SMALL.replace(n_pe=2, passes=3, counters=0, word_bits=16, acc_bits=31, codebooks=3),
}
VERILATOR = ("--lint-only", "-Wall", "-Wno-PROCASSINIT", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME")


def lint(tmp_path, files, top):
    """What the simulators have to say."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    said = []
    for name, flags in (
        ("icarus", ("-g2005", "-Wall", "-t", "null")),
        ("verilator", (*VERILATOR, "--top-module", top)),
    ):
        tool = toolchain.require(name)
        done = subprocess.run(
            [tool.path, *flags, *files], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        said += [
            line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("- V")
        ]
        assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("name", SIZES)
def test_host_interface(name, tmp_path):
    cfg = SIZES[name]
    files = host_if_verilog(cfg)
    (module,) = analyse("\n".join(files.values())).values()
    assert module.ports == declared_ports("host_if", cfg)
    assert module.problems == []
    assert lint(tmp_path, files, "eie_host_if") == []


def test_the_whole_chip(tmp_path):
    files = chip_verilog(SMALL)
    assert list(files)[-2:] == ["eie_host_if.v", "eie_chip.v"]
    modules = analyse("\n".join(files.values()))
    chip = modules["eie_chip"]
    assert chip.ports == declared_ports("chip", SMALL)
    assert {name: placed.module for name, placed in chip.instances.items()} == {
        "host_if": "eie_host_if",
        "array": "eie_array",
    }
    assert [problem for module in modules.values() for problem in module.problems] == []
    assert lint(tmp_path, files, "eie_chip") == []
    assert chip_verilog(SMALL) == files


def test_export_with_the_chip(tmp_path):
    export(SMALL, tmp_path / "array", check=False)
    export(SMALL, tmp_path / "chip", chip=True, iverilog=toolchain.require("icarus").path)
    found = {path.name: path.read_text() for path in (tmp_path / "chip").iterdir()}
    added = found.keys() - {path.name for path in (tmp_path / "array").iterdir()}
    assert added == {
        "eie_chip.v", "eie_host_if.v", "eie_regs.h", "registers.md", "eie_chip.core", "eie_chip.sdc",
        "test_eie_chip.py", "eie_chip_tb.v",
    }  # fmt: skip
    assert {
        name: text for name, text in found.items() if name.endswith(".v") and name != "eie_chip_tb.v"
    } == chip_verilog(SMALL)
    assert found["eie_regs.h"] == c_header(SMALL)
    assert markdown() in found["registers.md"]
    assert "eie_host_if.v, eie_chip.v]" in found["eie_chip.core"]
    export(SMALL, tmp_path / "chip", chip=True, check=False)  # over itself


def test_faults_in_the_chips_verilog_are_found():
    files = chip_verilog(SMALL)
    report = check_verilog(files, SMALL, images=False, chip=True)
    assert report.problems == ()
    assert report.modules == check_verilog(array_verilog(SMALL), SMALL).modules + 2
    chip = files["eie_chip.v"]
    wider = chip.replace("output irq;", "output [1:0] irq;").replace("wire irq;", "wire [1:0] irq;")
    other = chip.replace("eie_host_if host_if (", "eie_host_if interface (")
    for text in (wider, chip.replace(".irq(irq),", "", 1), other):
        assert text != chip
        problems = check_verilog({**files, "eie_chip.v": text}, SMALL, images=False, chip=True).problems
        assert any("eie_chip" in problem for problem in problems)
