"""Checkers as Verilog: their modules, and their instances inside the blocks, for those who define FORMAL."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from amaranth import Shape, unsigned

from eie.config import ArchConfig
from eie.rtl.block import has_clock, module_name
from eie.rtl.formal.blocks import BlockTableChecker
from eie.rtl.formal.bypass import ArithmUnitChecker
from eie.rtl.formal.checker import Checker
from eie.rtl.formal.control import CCUChecker
from eie.rtl.formal.files import ActRWChecker
from eie.rtl.formal.host import HostIfChecker
from eie.rtl.formal.queues import QueueChecker
from eie.rtl.formal.runs import RunReadChecker, RunRowsChecker
from eie.rtl.formal.tree import LeafPairChecker, LNZDChecker
from eie.rtl.formal.walk import PtrReadChecker, SpmatReadChecker
from eie.rtl.formal.window import WindowChecker
from eie.rtl.verilog import convert


class MissingNet(LookupError):
    """A checker watches a signal that the block's Verilog of this configuration does not have."""


def checkers_of(cfg: ArchConfig) -> dict[str, type[Checker]]:
    """The checkers of a configuration, by the block that each watches."""
    if cfg.walks:
        checkers: list[type[Checker]] = [PtrReadChecker, SpmatReadChecker]
    else:
        checkers = [RunRowsChecker if cfg.index_free else RunReadChecker, WindowChecker]
    checkers += [QueueChecker, ArithmUnitChecker, ActRWChecker, LNZDChecker, CCUChecker, HostIfChecker]
    checkers += [LeafPairChecker] if cfg.group == 2 else []
    checkers += [BlockTableChecker] if cfg.index_free else []
    return {checker.block: checker for checker in checkers}


def with_checkers(files: Mapping[str, str], cfg: ArchConfig) -> dict[str, str]:
    """The Verilog files of a design with its checkers: an instance in each block, and its module behind the block's.

    All of it stands between `ifdef FORMAL` and `endif`: who does not define FORMAL has the same design as before.
    """
    modules = _modules(cfg)
    return {name: _with_checkers(text, modules, cfg) for name, text in files.items()}


@functools.lru_cache(maxsize=16)
def _modules(cfg: ArchConfig) -> dict[str, str]:
    """Verilog of each checker, by its block."""
    found = convert({f"{block}_checker": checker(cfg) for block, checker in checkers_of(cfg).items()})
    return {
        block: _trimmed(found[f"{block}_checker"], checker, cfg)
        for block, checker in checkers_of(cfg).items()
    }


def _trimmed(text: str, checker: type[Checker], cfg: ArchConfig) -> str:
    """The module without the inputs that no statement names: the block may not have those nets at all."""
    head, _, body = text.partition(");\n")
    start, _, names = head.partition("(")
    ports = re.split(r"\s*,\s*", names.strip())
    for name in checker.inputs(cfg):
        without = re.sub(rf"^  (?:input|wire) (?:\[\d+:0\] )?{name};\n", "", body, flags=re.MULTILINE)
        if not re.search(rf"\b{name}\b", without):
            body = without
            ports.remove(name)
    return f"{start}({', '.join(ports)});\n{body}"


def _with_checkers(text: str, modules: Mapping[str, str], cfg: ArchConfig) -> str:
    for block, checker in checkers_of(cfg).items():
        head, begin, rest = text.partition(f"module {module_name(block)}(")
        if begin:
            body, end, tail = rest.partition("endmodule\n")
            instance = _guarded(_instance(checker, modules[block], body, cfg))
            text = f"{head}{begin}{body}{instance}{end}{_guarded(modules[block])}{tail}"
    return text


def _guarded(text: str) -> str:
    return f"`ifdef FORMAL\n{text}`endif\n"


def _instance(checker: type[Checker], module: str, body: str, cfg: ArchConfig) -> str:
    """The instance inside the block, with what only it reads."""
    ports = set(module.partition("(")[2].partition(");")[0].split(", "))
    kinds = {
        "": checker.chosen(cfg),
        "(* anyseq *) ": checker.free(cfg),
        "(* anyconst *) ": checker.constant(cfg),
    }
    # A block without registers has no clock. Solvers take a step for an edge; who simulates has to connect one.
    clock = (
        {}
        if checker.block == "host_if" or has_clock(checker.block, cfg)
        else dict.fromkeys(("clk", "rst"), unsigned(1))
    )
    kinds["(* anyseq *) "] = {**clock, **checker.free(cfg)}
    nets = [(attribute, shape, name) for attribute, found in kinds.items() for name, shape in found.items()]
    own = {name: f"formal_{name}" for _, _, name in nets}
    watched = {name: found.expression.format(**own) for name, found in checker.watched(cfg).items()}
    nets_of = {name: name for name in ("clk", "rst", *checker.inputs(cfg))} | watched | own
    # Of signals that are the same Yosys keeps one name.
    nets_of |= checker.renamed(cfg)
    used = {port: net for port, net in nets_of.items() if port in ports}
    for port, net in used.items():
        if port not in own and net.isidentifier() and not _declares(body, net):
            raise MissingNet(f"the checker of {checker.block} watches {net}, which its Verilog does not have")
    lines = [f"  {attribute}wire {_range(shape)}{own[name]};" for attribute, shape, name in nets]
    connections = ",\n".join(f"    .{name}({net})" for name, net in used.items())
    lines.append(f"  {module_name(checker.block)}_checker formal(\n{connections}\n  );\n")
    return "\n".join(lines)


def _declares(body: str, net: str) -> bool:
    return (
        re.search(rf"^  (?:wire|reg) (?:signed )?(?:\[\d+:0\] )?{net}(?: = [^;]*)?;$", body, re.MULTILINE)
        is not None
    )


def _range(shape: Shape) -> str:
    return f"[{shape.width - 1}:0] " if shape.width > 1 else ""
