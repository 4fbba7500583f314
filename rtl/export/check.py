"""Checks of exported Verilog against what it was made of: hierarchy, ports, drivers, and two simulators' lint."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from eie import schema
from eie.axi import chip_fields, host_if_fields
from eie.config import ArchConfig
from eie.memory import srams
from eie.rtl.array import SRAM, image_name
from eie.rtl.block import has_clock, module_name, probe_layout
from eie.rtl.export.netlist import Module, Placed, Port, analyse
from eie.schema import Field, Kind

TOP, CHIP = module_name("array"), module_name("chip")

# Waivers for Verilator, one by one and with reasons: a file of templates/ and of the export.
WAIVERS = "eie_lint.vlt"
_VERILATOR = ("--lint-only", "-Wall", WAIVERS, "--top-module")
_ICARUS = ("-g2005", "-Wall", "-t", "null")


@dataclass(frozen=True)
class CheckReport:
    """What was checked, how much of it, and what is wrong (`problems`: nothing, if all is well).

    sta : OpenSTA read the constraints.
    """

    modules: int
    instances: int
    ports: int
    nets: int
    simulators: tuple[str, ...]
    sta: bool
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report for people."""
        linted = (*self.simulators, *(["sta"] if self.sta else []))
        lint = (
            f"without a warning in: {', '.join(linted)}"
            if linted
            else "not linted: neither iverilog nor verilator nor sta found"
        )
        return (
            [
                f"{self.modules} modules, {self.instances} instances in the hierarchy",
                f"{self.ports} ports: direction and width as declared",
                f"{self.nets} nets: none undriven, none driven twice",
                lint,
            ]
            if not self.problems
            else [f"{len(self.problems)} problems:", *self.problems]
        )


def check_verilog(
    files: Mapping[str, str],
    cfg: ArchConfig,
    *,
    probe: bool = False,
    images: bool = True,
    chip: bool = False,
    constraints: Mapping[str, str] | None = None,
    iverilog: Path | None = None,
    verilator: Path | None = None,
    sta: Path | None = None,
) -> CheckReport:
    """Check the Verilog that `array_verilog` or `chip_verilog` of `eie.rtl.verilog` made of `cfg`.

    Parameters
    ----------
    files : Verilog texts by file name.
    cfg, probe, images : what they were made of.
    chip : they are the chip's.
    constraints : SDC of the tops, by block ("array", "chip").
    iverilog, verilator : executables of the simulators to lint with, as far as they are there.
    sta : OpenSTA's, to read the constraints.
    """
    modules = analyse("\n".join(files.values()))
    problems = [problem for module in modules.values() for problem in module.problems]
    top = CHIP if chip else TOP
    for name, ports in _expected_ports(cfg, probe, chip).items():
        problems += _compare(name, "port", modules[name].ports if name in modules else {}, ports)
    for name, instances in _expected_instances(cfg, images, chip).items():
        problems += _compare(name, "instance", modules[name].instances if name in modules else {}, instances)
    tools = {"iverilog": iverilog, "verilator": verilator}
    problems += lint(files, top, iverilog=iverilog, verilator=verilator)
    if sta is not None:
        for block, text in (constraints or {}).items():
            problems += check_constraints(text, block, cfg, sta)
    return CheckReport(
        modules=len(modules),
        instances=sum(_count(modules, top).values()),
        ports=sum(len(module.ports) for module in modules.values()),
        nets=sum(len(module.nets) for module in modules.values()),
        simulators=tuple(tool for tool, path in tools.items() if path is not None),
        sta=sta is not None,
        problems=tuple(problems),
    )


def lint(files: Mapping[str, str], top: str, *, iverilog: Path | None, verilator: Path | None) -> list[str]:
    """What the simulators that are given have to say of Verilog files with the top module `top`."""
    waivers = resources.files("eie.rtl.export") / "templates" / WAIVERS
    files = {**files, WAIVERS: waivers.read_text()}
    tools = {"iverilog": (iverilog, _ICARUS), "verilator": (verilator, (*_VERILATOR, top))}
    return [line for tool, (path, flags) in tools.items() if path for line in _lint(tool, path, flags, files)]


def check_constraints(text: str, block: str, cfg: ArchConfig, sta: Path) -> list[str]:
    """What OpenSTA has to say of constraints (SDC) for a module with the ports of `block` ("array" or "chip")."""
    top = module_name(block)
    ports = declared_ports(block, cfg)
    body = "".join(f"  {port.direction} [{port.width - 1}:0] {name};\n" for name, port in ports.items())
    files = {
        f"{top}.v": f"module {top}({', '.join(ports)});\n{body}endmodule\n",
        f"{top}.sdc": text,
        "check.tcl": f"read_verilog {top}.v\nlink_design {top}\nread_sdc {top}.sdc\n"
        "check_setup -verbose -no_clock -no_input_delay -no_output_delay\n",
    }
    return _said("sta", [sta, "-no_init", "-no_splash", "-exit", "check.tcl"], files)


def declared_ports(block: str, cfg: ArchConfig, *, probe: bool = False) -> dict[str, Port]:
    """Every port of a block's Verilog module ("array" and "chip" are the tops), as schema or `eie.axi` declares it."""
    ports = {"clk": Port("input", 1), "rst": Port("input", 1)} if has_clock(block, cfg) else {}
    for field in _fields(block, cfg):
        if field.kind.is_port:
            ports[field.name] = Port("input" if field.kind is Kind.IN else "output", field.width)
    if probe and block == "array":
        width = schema.probe_width(schema.pe_probe(cfg))
        ports |= {f"probe_pe{k}": Port("output", width) for k in range(cfg.n_pe)}
        ports["probe_ccu"] = Port("output", schema.probe_width(schema.ccu_probe(cfg)))
    elif probe:
        ports["probe"] = Port("output", schema.probe_width(probe_layout(block, cfg)))
    return ports


def _fields(block: str, cfg: ArchConfig) -> tuple[Field, ...]:
    """What the chip adds is declared in `eie.axi`, all else in the schema."""
    if block == "chip":
        return chip_fields(cfg)
    return host_if_fields(cfg) if block == "host_if" else schema.fields(block, cfg)


def _expected_ports(cfg: ArchConfig, probe: bool, chip: bool) -> dict[str, dict[str, Port]]:
    ports = {block: declared_ports(block, cfg, probe=probe) for block in schema.block_names(cfg)}
    if chip:
        ports |= {block: declared_ports(block, cfg) for block in ("host_if", "chip")}
    return {module_name(block): found for block, found in ports.items()}


def _expected_instances(cfg: ArchConfig, images: bool, chip: bool) -> dict[str, dict[str, Placed]]:
    array = {"ccu": Placed(module_name("ccu"), {})}
    for level, nodes in enumerate(schema.lnzd_nodes(cfg)):
        array |= {f"lnzd_{level}_{i}": Placed(module_name("lnzd"), {}) for i in range(nodes)}
    pairs = cfg.leaves if cfg.group == 2 else 0
    array |= {f"leaf_pair_{i}": Placed(module_name("leaf_pair"), {}) for i in range(pairs)}
    array |= {name: Placed(module_name("block_table"), {}) for name in schema.block_tables(cfg)}
    for k in range(cfg.n_pe):
        array[f"pe{k:03d}"] = Placed(module_name("pe"), {})
        for sram, (width, depth, addr_bits) in srams(cfg).items():
            init = image_name(k, sram) if images else ""
            sizes: dict[str, int | str] = {
                "WIDTH": width,
                "DEPTH": depth,
                "ADDR_BITS": addr_bits,
                "INIT": init,
            }
            array[f"pe{k:03d}_{sram}"] = Placed(SRAM, sizes)
    blocks = {block: Placed(module_name(block), {}) for block in schema.PE_BLOCKS}
    whole = {TOP: array, module_name("pe"): blocks}
    if chip:
        parts = ("host_if", "array")
        whole[CHIP] = {part: Placed(module_name(part), {}) for part in parts}
    return whole


def _compare(
    module: str, what: str, found: Mapping[str, Port | Placed], wanted: Mapping[str, Port | Placed]
) -> list[str]:
    return [
        f"{module}: {what} {name} is {found.get(name, 'missing')}, not {wanted.get(name, 'declared')}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]


def _count(modules: Mapping[str, Module], top: str) -> Counter[str]:
    """Instances of each module below `top`."""
    total: Counter[str] = Counter()
    if top in modules:
        for name, times in Counter(placed.module for placed in modules[top].instances.values()).items():
            total[name] += times
            for below, count in _count(modules, name).items():
                total[below] += times * count
    return total


def _lint(tool: str, path: Path, flags: tuple[str, ...], files: Mapping[str, str]) -> list[str]:
    return _said(tool, [path, *flags, *(name for name in files if name != WAIVERS)], files)


def _said(tool: str, command: Sequence[str | Path], files: Mapping[str, str]) -> list[str]:
    """What a command says in a folder with these files: nothing, if all is well."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("- V")]
    if done.returncode and not said:
        said = [f"exit status {done.returncode}"]
    return [f"{tool}: {line}" for line in said]
