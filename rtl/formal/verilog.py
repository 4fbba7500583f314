"""Checkers as Verilog: their modules, and their instances inside the blocks, for those who define FORMAL."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth import Shape

from eie.config import ArchConfig
from eie.rtl.block import module_name
from eie.rtl.formal.checker import Checker
from eie.rtl.formal.bypass import ArithmUnitChecker
from eie.rtl.formal.control import CCUChecker
from eie.rtl.formal.files import ActRWChecker
from eie.rtl.formal.queues import QueueChecker
from eie.rtl.formal.tree import LNZDChecker
from eie.rtl.formal.walk import PtrReadChecker, SpmatReadChecker
from eie.rtl.verilog import convert

CHECKERS_FILE = "eie_checkers.v"


def checkers_of(cfg: ArchConfig) -> list[type[Checker]]:
    """The checkers of a configuration: one for each block that has one."""
    walk = [PtrReadChecker, SpmatReadChecker] if cfg.walks else []
    return [QueueChecker, *walk, ArithmUnitChecker, ActRWChecker, LNZDChecker, CCUChecker]


def with_checkers(files: Mapping[str, str], cfg: ArchConfig) -> dict[str, str]:
    """The Verilog files of a design with the checkers: one file more, and an instance in each block.

    All of it stands between `ifdef FORMAL` and `endif`: who does not define FORMAL has the same design as before.
    """
    checkers = [checker for checker in checkers_of(cfg) if any(_begin(checker) in text for text in files.values())]
    modules = convert({f"{checker.block}_checker": checker(cfg) for checker in checkers})
    text = "\n".join(modules.values())
    return {
        **{name: _with_instances(text, checkers, cfg) for name, text in files.items()},
        CHECKERS_FILE: f"`ifdef FORMAL\n{text}`endif\n",
    }


def _begin(checker: type[Checker]) -> str:
    return f"module {module_name(checker.block)}("


def _with_instances(text: str, checkers: list[type[Checker]], cfg: ArchConfig) -> str:
    for checker in checkers:
        head, begin, rest = text.partition(_begin(checker))
        if begin:
            body, end, tail = rest.partition("endmodule\n")
            text = f"{head}{begin}{body}{_instance(checker, cfg)}{end}{tail}"
    return text


def _instance(checker: type[Checker], cfg: ArchConfig) -> str:
    """The instance inside the block, with what only it reads."""
    kinds = {"": checker.chosen(cfg), "(* anyseq *) ": checker.free(cfg), "(* anyconst *) ": checker.constant(cfg)}
    nets = [(attribute, shape, name) for attribute, found in kinds.items() for name, shape in found.items()]
    own = {name: f"formal_{name}" for _, _, name in nets}
    watched = {name: found.expression.format(**own) for name, found in checker.watched(cfg).items()}
    ports = {name: name for name in ("clk", "rst", *checker.inputs(cfg))} | watched | own
    lines = [f"  {attribute}wire {_range(shape)}{own[name]};" for attribute, shape, name in nets]
    connections = ",\n".join(f"    .{name}({net})" for name, net in ports.items())
    lines.append(f"  {module_name(checker.block)}_checker formal(\n{connections}\n  );")
    return "`ifdef FORMAL\n" + "\n".join(lines) + "\n`endif\n"


def _range(shape: Shape) -> str:
    return f"[{shape.width - 1}:0] " if shape.width > 1 else ""
