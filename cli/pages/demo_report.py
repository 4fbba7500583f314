"""What `eie demo` shows of its outcome: tables on the terminal, figures for scripts, and the HTML report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from rich.console import Console

from eie.cli.output import print_table
from eie.cli.pages.report import Picture, fill, shell_command, typeset
from eie.cli.pages.sizes import SIZE_HEADINGS, SIZE_NOTE, size_rows
from eie.cli.pages.summary import summary
from eie.compress.format.sizes import SizeReport
from eie.layer import CompressedLayer
from eie.result import Count, Result
from eie.sim.cosim.lockstep import LockstepReport
from eie.sim.evaluation.section import Table
from eie.sim.sweep.columns import Row


@dataclass(frozen=True)
class Lockstep:
    """The network in lockstep in one simulator: the report's results are the digits', with a run for each layer."""

    simulator: str
    report: LockstepReport

    @cached_property
    def by_layer(self) -> list[list[Result]]:
        """Cycles and counters of [layer][digit]; `y` is the network's."""
        digits = [[_of_run(result, run) for run in result.runs] for result in self.report.results]
        return [list(layer) for layer in zip(*digits, strict=True)]


def _of_run(result: Result, run: Count) -> Result:
    """One run of a result as a result of its own."""
    return replace(result, cycles=run.cycles, counters=run.counters, runs=(run,))


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything that the demo measured."""

    layers: list[CompressedLayer]
    sizes: SizeReport
    accuracy: dict[str, int]
    tested: int
    locksteps: list[Lockstep]
    lockstep_digits: int
    calibration_digits: int
    sweep_digits: int
    rows: list[Row]
    pictures: dict[str, bytes]
    tools: dict[str, str]
    seconds: float
    folder: str
    digits: str  # the file, as a command takes it


_NETWORK = "lenet_300_100.eie"


def _first(outcome: Outcome) -> list[list[Result]]:
    """Results of the first simulator (lockstep proved the others' and golden's equal): [layer][digit]."""
    return outcome.locksteps[0].by_layer


def _layer_figures(layer: CompressedLayer, size: Any, results: Sequence[Result]) -> dict[str, Any]:
    counters = ("broadcast_stalls", "starved", "bypasses", "fillers", "saturations", "writeback_saturations")
    return {
        "layer": layer.name,
        "density": layer.density,
        "bits_per_weight": 8 * size.nbytes / max(1, layer.nnz),
        "bytes_before": size.dense_bytes,
        "bytes_after": size.nbytes,
        "cycles": float(np.mean([result.cycles for result in results])),
        "microseconds": float(np.mean([result.microseconds for result in results])),
        "balance": float(np.mean([result.balance for result in results])),
        "utilization": float(np.mean([result.utilization for result in results])),
        "macs": float(np.mean([result.total("macs") for result in results])),
        **{name: float(np.mean([result.total(name) for result in results])) for name in counters},
    }


def figures(outcome: Outcome) -> dict[str, Any]:
    """Everything that the summary shows, for scripts."""
    triples = zip(outcome.layers, outcome.sizes.layers, _first(outcome), strict=True)
    return {
        "layers": [_layer_figures(*triple) for triple in triples],
        "bytes_before": outcome.sizes.dense_bytes,
        "bytes_after": outcome.sizes.total_bytes,
        "accuracy": {name: right / outcome.tested for name, right in outcome.accuracy.items()},
        "digits_tested": outcome.tested,
        "lockstep": [
            {
                "simulator": one.simulator,
                "digits": outcome.lockstep_digits,
                "cycles": one.report.cycles,
                "signals": one.report.signals,
                "comparisons": one.report.comparisons,
                "mismatches": one.report.mismatches,
                "seconds": one.report.seconds,
            }
            for one in outcome.locksteps
        ],
        "tools": outcome.tools,
        "seconds": outcome.seconds,
        "machine": asdict(_first(outcome)[0][0].cfg),
    }


def _column(values: Sequence[float]) -> list[str]:
    """Whole numbers if all are whole, else one decimal each."""
    decimals = 0 if all(float(value).is_integer() for value in values) else 1
    return [f"{value:,.{decimals}f}" for value in values]


def _run_table(figures_: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: a column for each layer and one for the network, so that it fits narrow screens."""
    layers = figures_["layers"]

    def counts(*names: str) -> list[str]:
        values = [sum(one[name] for name in names) for one in layers]
        return _column([*values, sum(values)])

    microseconds = [one["microseconds"] for one in layers]
    slots = figures_["machine"]["n_pe"] * sum(one["cycles"] for one in layers)
    whole = 1 - sum(one["starved"] for one in layers) / slots if slots else 1.0
    useful = sum(one["macs"] for one in layers) / slots if slots else 1.0
    rows = {
        "density": [*(f"{100 * one['density']:.1f} %" for one in layers), ""],
        "bits per weight": [*(f"{one['bits_per_weight']:.2f}" for one in layers), ""],
        "bytes before": [f"{one['bytes_before']:,}" for one in (*layers, figures_)],
        "bytes after": [f"{one['bytes_after']:,}" for one in (*layers, figures_)],
        "cycles": counts("cycles"),
        "µs": [f"{value:.3f}" for value in (*microseconds, sum(microseconds))],
        "balance": [f"{100 * balance:.1f} %" for balance in (*(one["balance"] for one in layers), whole)],
        "utilization": [
            f"{100 * share:.1f} %" for share in (*(one["utilization"] for one in layers), useful)
        ],
        "broadcast stalls": counts("broadcast_stalls"),
        "starved": counts("starved"),
        "bypasses": counts("bypasses"),
        "padding entries": counts("fillers"),
        "saturations": counts("saturations", "writeback_saturations"),
    }
    headings = ["layer", *(one["layer"] for one in layers), "network"]
    return headings, [[name, *values] for name, values in rows.items()]


def zeros(outcome: Outcome) -> list[str]:
    """A sentence for each counter that is zero in some layer, with its reason."""
    cfg = _first(outcome)[0][0].cfg

    def padding(layers: Sequence[CompressedLayer]) -> str:
        tall = max(-(-layer.rows // cfg.n_pe) for layer in layers)
        if tall > cfg.max_run + 1:
            return f"no PE has a run of more than {cfg.max_run} zeros there"
        return f"a PE holds at most {tall} rows of a column there, and an entry bridges {cfg.max_run} zeros by itself"

    waiting = f"no PE ever had {cfg.queue_depth} columns waiting when the next one was due"
    hit = "no accumulator was hit again within the next two entries"
    fits = (
        "the fixed-point scales were chosen from calibration inputs so that sums fit, with one bit to spare"
    )
    reasons: dict[str, tuple[str, Callable[[Sequence[CompressedLayer]], str]]] = {
        "fillers": ("padding", padding),
        "broadcast_stalls": ("broadcast stalls", lambda _: waiting),
        "bypasses": ("bypasses", lambda _: hit),
        "saturations": ("clipped sums", lambda _: fits),
    }
    sentences = []
    for counter, (what, reason) in reasons.items():
        pairs = zip(outcome.layers, _first(outcome), strict=True)
        layers = [layer for layer, results in pairs if not any(result.total(counter) for result in results)]
        if layers:
            sentences.append(f"No {what} in {', '.join(layer.name for layer in layers)}: {reason(layers)}.")
    return sentences


def _note(name: str, outcome: Outcome) -> str:
    """A note under a table, for the terminal and for the page."""
    cfg = _first(outcome)[0][0].cfg
    return " ".join(fill("demo_notes.txt", note=name, cfg=cfg, digits=outcome.lockstep_digits).split())


def _lockstep_rows(outcome: Outcome) -> list[list[str]]:
    return [
        [
            f"{one.simulator} {outcome.tools[one.simulator]}",
            str(outcome.lockstep_digits),
            f"{one.report.cycles:,}",
            f"{one.report.signals:,}",
            f"{one.report.comparisons:,}",
            str(one.report.mismatches),
            f"{one.report.cycles / one.report.seconds:,.0f}",
        ]
        for one in outcome.locksteps
    ]


_LOCKSTEP_HEADINGS = ("simulator", "digits", "cycles", "signals", "comparisons", "mismatches", "cycles/s")


def _accuracy_rows(outcome: Outcome) -> list[list[str]]:
    return [
        [name, f"{right:,} of {outcome.tested:,}", f"{100 * right / outcome.tested:.1f} %"]
        for name, right in outcome.accuracy.items()
    ]


_ACCURACY_HEADINGS = ("network, arithmetic", "digits read right", "accuracy")


def print_summary(outcome: Outcome, out: Console) -> None:
    """The short tables at the end of the demo."""
    out.print()
    print_table(*_run_table(figures(outcome)), out=out)
    out.print(_note("run", outcome), style="dim")
    for sentence in zeros(outcome):
        out.print(sentence, style="dim")
    out.print()
    print_table(_LOCKSTEP_HEADINGS, _lockstep_rows(outcome), out=out)
    out.print(_note("lockstep", outcome), style="dim")
    out.print()
    print_table(_ACCURACY_HEADINGS, _accuracy_rows(outcome), out=out)


# ---- the page ----------------------------------------------------------------------------------------------


def html(outcome: Outcome) -> str:
    """The report as a page; its prose is in templates/demo.html."""
    numbers = figures(outcome)
    return fill(
        "demo.html",
        title="LeNet-300-100 on EIE",
        outcome=outcome,
        numbers=numbers,
        tables=_tables(outcome, numbers),
        run_note=_note("run", outcome),
        zeros=zeros(outcome),
        pictures=[Picture(name, png) for name, png in outcome.pictures.items()],
        commands=_commands(outcome, numbers["machine"]["n_pe"]),
        tools=", ".join(f"{name} {version}" for name, version in outcome.tools.items()),
    )


def _tables(outcome: Outcome, numbers: dict[str, Any]) -> dict[str, Table]:
    sizes = [[typeset(cell) for cell in row] for row in size_rows(outcome.sizes)]
    return {
        "run": Table("", *_run_table(numbers)),
        "lockstep": Table("", _LOCKSTEP_HEADINGS, _lockstep_rows(outcome), _note("lockstep", outcome)),
        "accuracy": Table("", _ACCURACY_HEADINGS, _accuracy_rows(outcome)),
        "sizes": Table("", [typeset(cell) for cell in SIZE_HEADINGS], sizes, typeset(SIZE_NOTE), total=True),
        "sweep": Table("", *summary(outcome.rows)),
    }


def _commands(outcome: Outcome, n_pe: int) -> dict[str, str]:
    """What shows each part again."""
    network, digits = f"{outcome.folder}/{_NETWORK}", outcome.lockstep_digits

    def numbers(column: str) -> str:
        return ",".join(map(str, sorted({row[column] for row in outcome.rows})))

    def run(index: str) -> str:
        return shell_command(
            f"eie run {network}", f"--input {outcome.digits}", f"--index {index}", f"--pe {n_pe}"
        )

    def cosim(simulator: str) -> str:
        return shell_command(
            f"eie cosim {network} --sim {simulator}",
            f"--input {outcome.digits}",
            "--index 0",
            f"--pe {n_pe}",
            "--published",
        )

    sweep = shell_command(
        f"eie sweep {network}",
        f"--input {outcome.digits}",
        f"--inputs {outcome.sweep_digits}",
        f"--pe {numbers('n_pe')}",
        f"--depth {numbers('queue_depth')}",
        "-o sweep.sqlite",
    )
    loop = f"for i in $(seq 0 {digits - 1}); do\n{run('$i')}\ndone"
    return {
        "run": loop if digits > 2 else "\n".join(run(str(index)) for index in range(digits)),
        "cosim": "\n".join(cosim(one.simulator) for one in outcome.locksteps),
        "info": f"eie info {network}",
        "sweep": f"{sweep}\neie plot sweep.sqlite -o pictures",
    }
