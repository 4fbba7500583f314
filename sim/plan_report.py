"""A plan in figures: its passes, its runs, where an input's cycles go, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eie.cuts import ACCUMULATORS, MATRIX, POINTERS, SOURCE
from eie.errors import MismatchError
from eie.plan import BIASES, CODEBOOKS, TABLE, Plan, Source, Step, Target
from eie.plan_program import loaded_words, plan_program, stored_words, words_of
from eie.result import Count, Result, differences

_FROM = {Source.CHAIN: "pass before", Source.FILE: "host", Source.SRAM: "SRAM"}
_TO = {Target.CHAIN: "next pass", Target.ACC: "host", Target.SRAM: "SRAM"}


def limits_of(plan: Plan) -> dict[str, str]:
    """Each memory that shapes the plan, with its size in each PE."""
    cfg = plan.cfg
    sizes = {
        ACCUMULATORS: f"{cfg.acc_depth} rows",
        SOURCE: f"{cfg.src_depth} activations",
        POINTERS: f"{cfg.pointer_room} {'entries of the block table' if cfg.index_free else 'pointers'}",
        MATRIX: f"{cfg.spmat_words} words of {cfg.entries_per_word} entries",
        "pointer width": f"{cfg.pointer_bits} bits",
        BIASES: f"{cfg.act_words} words",
        TABLE: f"{cfg.passes} passes",
        CODEBOOKS: f"{cfg.codebooks}",
    }
    met = {step.cut.bound for step in plan.steps} | {run.bound for run in plan.runs}
    met |= {ACCUMULATORS} if any(step.cut.row for step in plan.steps) else set()
    # Where the host holds activations, it is because the SRAM does not.
    met |= {BIASES} if any(place.hosted for place in plan.places) else set()
    return {memory: size for memory, size in sizes.items() if memory in met}


def bounds_of(plan: Plan, phases: Phases) -> list[str]:
    """What bounds a plan, as lines: the memories that cut it, whether weights stay, the phase that takes longest."""
    limits = limits_of(plan)
    lines = []
    if limits:
        lines.append("cut by " + ", ".join(f"{memory} ({size})" for memory, size in limits.items()))
    else:
        lines.append("every layer fits as it is")
    if plan.resident:
        lines.append("weights stay on the chip: loaded once")
    else:
        full = sorted({run.bound for run in plan.runs} & {MATRIX, POINTERS})
        lines.append(f"weights are loaded for each input, in {plan.groups} groups: {' and '.join(full)} full")
    if not plan.keeps_biases:
        lines.append(f"biases are loaded for each input, in {plan.bias_groups} groups: {BIASES} full")
    hosted = [plan.layers[i].name for i, place in enumerate(plan.places) if place.hosted]
    if hosted:
        lines.append(
            f"activations of {', '.join(hosted)} wait at the host: the activation SRAM does not hold them"
        )
    share = phases.by_name[phases.longest] / max(1, phases.total)
    lines.append(f"longest phase: {phases.longest}, {share:.0%} of the cycles of an input")
    return lines


def pass_rows(plan: Plan, result: Result) -> list[dict[str, Any]]:
    """A row for each pass; result : of the fast engine."""
    runs = [number for number, run in enumerate(plan.runs) for _ in run.steps]
    return [
        _pass_row(plan, run, step, count)
        for run, step, count in zip(runs, plan.steps, result.passes, strict=True)
    ]


def _pass_row(plan: Plan, run: int, step: Step, count: Count) -> dict[str, Any]:
    cut, place = step.cut, step.place
    return {
        "run": run,
        "entry": step.number,
        "layer": plan.layers[cut.layer].name,
        "rows": [cut.row, cut.row + cut.part.rows],
        "columns": [cut.col, cut.col + cut.part.cols],
        "entries": cut.entries,
        "words": cut.words,
        "bound": cut.bound,
        "from": _FROM[place.source],
        "to": _TO[place.target] if cut.last else "",
        **_modes(count),
    }


def _modes(count: Count) -> dict[str, int]:
    """Cycles of each mode."""
    return {"refill": count.refill_cycles, "compute": count.cycles, "write_back": count.writeback_cycles}


def run_rows(plan: Plan, result: Result) -> list[dict[str, Any]]:
    """A row for each run: why it begins, what the host loads before it and stores after it, its cycles."""
    program = plan_program(plan)
    rows = []
    for planned, run, count in zip(plan.runs, program.runs, result.runs, strict=True):
        loaded = loaded_words(run, plan.cfg)
        rows.append(
            {
                "passes": len(planned.steps),
                "group": planned.group,
                "bound": planned.bound,
                "loaded": loaded,
                "load": sum(loaded.values()),
                **_modes(count),
                "control": _control(count, 1),
                "store": 2 * stored_words(run),
            }
        )
    return rows


def _control(count: Count, runs: int) -> int:
    return count.busy_cycles - sum(_modes(count).values()) + runs


def microseconds(cycles: int, plan: Plan) -> float:
    """Time at the plan's clock."""
    return cycles / plan.cfg.clock_hz * 1e6


def as_json(plan: Plan, result: Result, untiled: Sequence[int]) -> dict[str, Any]:
    """A plan and an input's cycles for scripts. untiled : compute cycles of each layer on a chip that holds it."""
    phases = Phases.of(result)
    return {
        "layers": [{"name": layer.name, "rows": layer.rows, "columns": layer.cols} for layer in plan.layers],
        "resident": plan.resident,
        "groups": plan.groups,
        "keeps_table": plan.keeps_table,
        "limits": limits_of(plan),
        "bounds": bounds_of(plan, phases),
        "passes": pass_rows(plan, result),
        "runs": run_rows(plan, result),
        "setup": words_of(plan_program(plan).setup),
        "phases": phases.by_name,
        "cycles": phases.total,
        "microseconds": microseconds(phases.total, plan),
        "compute_microseconds": microseconds(phases.compute, plan),
        "untiled_compute": list(untiled),
        "y": result.y.tolist(),
    }


@dataclass(frozen=True)
class Phases:
    """Cycles of a plan for one input, by phase. control : starts, and the end of each pass."""

    load: int
    refill: int
    compute: int
    write_back: int
    control: int
    store: int

    @classmethod
    def of(cls, result: Result) -> Phases:
        """Where a result's cycles went."""
        return cls(
            load=result.load_cycles or 0,
            **_modes(result.count),
            control=_control(result.count, len(result.runs)),
            store=result.store_cycles or 0,
        )

    @property
    def by_name(self) -> dict[str, int]:
        """In the order in which they come."""
        return {name.replace("_", "-"): cycles for name, cycles in vars(self).items()}

    @property
    def total(self) -> int:
        """All cycles."""
        return sum(self.by_name.values())

    @property
    def longest(self) -> str:
        """The phase that takes most."""
        return max(self.by_name, key=lambda name: self.by_name[name])


def require_equal(expected: Result, found: Result) -> int:
    """Compare two engines' results of one input (`eie.result.differences`): the numbers compared.

    Raises
    ------
    MismatchError : names the first difference.
    """
    compared, lines = differences(expected, found)
    if lines:
        raise MismatchError(lines[0])
    return compared
