"""What the energy of the published machine hangs on: other values of each assumed constant, and counted activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.compress.forward import quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result
from eie.sim.chain import layer_inputs
from eie.sim.energy.activity import Changes, count_changes
from eie.sim.energy.constants import constants, names_of, tagged
from eie.sim.energy.model import CLOCK, Estimate, estimate
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Table
from eie.sim.published import published
from eie.sim.workloads.example import CALIBRATION_DIGITS, DENSITIES, read_digits, read_trained
from eie.sim.workloads.random import random_input, random_layer

NAMES = {
    "act_queue": "ActQueue",
    "ptr_read": "PtrRead",
    "spmat_read": "SpmatRead",
    "arithm_unit": "ArithmUnit",
    "act_rw": "ActRW",
}
ARITHM, RANDOM, TRAINED = "arithm_unit", "random layer", "trained network"
# PEs on which changes are counted; the golden model steps through every cycle.
_PES = 4
_DIGITS = 3

# By what ran, then by block.
Counted = Mapping[str, Mapping[str, Changes]]


def off(ours: float, theirs: float) -> str:
    """Ours over the published figure, less 1, in per cent.

    >>> off(3.0, 2.0)
    '+50.0 %'
    """
    return f"{100 * (ours / theirs - 1):+.1f} %"


def varied(run: Result, **changes: float) -> Estimate:
    """The run's estimate with other constants."""
    return estimate(run.cfg, run.counters, run.cycles, constants=replace(constants(), **changes))


def counted(name: str, seed: int, example: Path) -> Counted:
    """Register changes of random data like a benchmark layer's, and of digits in the example network.

    Both on a few PEs: the random layer has as many rows fewer, so that a PE has as many entries a column as on the
    published machine; the example's first layer then has about as many.

    Raises
    ------
    ModelError : the example's files are missing or are something else.
    """
    facts, n_pe = published().layer(name), published().machine.n_pe
    layer = random_layer(facts.rows * _PES // n_pe, facts.cols, facts.weight_density, seed)
    job = _job(layer, random_input(facts.cols, facts.activation_density, seed))
    return {RANDOM: count_changes([job]), TRAINED: count_changes(_trained(example))}


def _trained(example: Path) -> list[Job]:
    digits = read_digits(example).pixels
    calibration, shown = digits[:CALIBRATION_DIGITS], digits[CALIBRATION_DIGITS:][:_DIGITS]
    layers = compress_network(read_trained(example), Settings(density=DENSITIES), calibration)[0]
    cfg = ArchConfig(n_pe=_PES)
    inputs = layer_inputs(layers, quantize_inputs(layers[0], shown, cfg.act_bits), cfg.acc_bits)
    return [_job(layer, x) for layer, given in zip(layers, inputs, strict=True) for x in given]


def _job(layer: CompressedLayer, x: npt.NDArray[np.int64]) -> Job:
    return Job.create(layer, x, sized_for(ArchConfig(n_pe=_PES), layer))


def share(changes: Mapping[str, Changes]) -> float:
    """Share of ArithmUnit's loaded register bits that changed; the model's half corresponds to a ratio of 1."""
    return changes[ARITHM].ratio / 2


def moving(run: Result) -> list[str]:
    """The assumed constants that move the power of the PE."""
    before, c = estimate(run.cfg, run.counters, run.cycles).pe_power_mw, constants()
    return [
        name
        for name in names_of("assumed")
        if varied(run, **{name: 1.5 * getattr(c, name)}).pe_power_mw != before
    ]


def text(run: Result, found: Counted) -> list[str]:
    """Paragraphs: how many constants are chosen, the supply, the activity."""
    theirs, supply = published().pe.power_mw, tagged()["operating_v"]
    return prose(
        "energy_assumptions",
        fitted=names_of("fitted"),
        assumed=names_of("assumed"),
        moving=moving(run),
        at_supplies=[
            f"{off(varied(run, operating_v=volts).pe_power_mw, theirs)} at {volts:g} V"
            for volts in (supply.value, *supply.other)
        ],
        random=share(found[RANDOM]),
        trained=share(found[TRAINED]),
        needed=_activity_needed(run),
    )


def _activity_needed(run: Result) -> float:
    """The activity at which ArithmUnit would take its published power, if all but clock and leakage followed it."""
    ours = estimate(run.cfg, run.counters, run.cycles)
    parts = [part for part in ours.parts if part.block == ARITHM]
    clock_pj = sum(part.dynamic_pj for part in parts if part.component == CLOCK)
    resting = clock_pj * 1e-9 / ours.seconds + sum(part.leakage_mw for part in parts)
    moving_mw = published().pe.block(ARITHM).power_mw - resting
    return constants().activity * moving_mw / (_arithm_mw(ours) - resting)


def _arithm_mw(figures: Estimate) -> float:
    return next(block.power_mw for block in figures.blocks if block.name == ARITHM)


def assumed_table(run: Result, found: Counted) -> Table:
    """Power of one PE and of ArithmUnit at each value of each assumed constant, the others as they are."""
    rows = []
    for name in names_of("assumed"):
        constant = tagged()[name]
        if not constant.other:
            rows.append([name, f"{constant.value:g} {constant.unit} (used)", *["-"] * 4])
            continue
        values = {f"{value:g} {constant.unit}": value for value in sorted((constant.value, *constant.other))}
        if name == "activity":
            values |= {f"{share(c):.2f}, counted: {what}": share(c) for what, c in found.items()}
        for shown, value in values.items():
            used = " (used)" if value == constant.value else ""
            rows.append([name, shown + used, *_powers(varied(run, **{name: value}))])
    return Table(
        "What is assumed, and what hangs on it",
        ["assumed", "value", "one PE, mW", "", "ArithmUnit, mW", ""],
        rows,
        text_of("energy_assumptions", "assumed_note"),
    )


def _powers(figures: Estimate) -> list[str]:
    facts = published().pe
    pe, arithm = figures.pe_power_mw, _arithm_mw(figures)
    return [
        f"{pe:.3f}",
        off(pe, facts.power_mw),
        f"{arithm:.3f}",
        off(arithm, facts.block(ARITHM).power_mw),
    ]


def changes_table(found: Counted) -> Table:
    """Counted changes over those of the model, by block."""
    blocks = list(next(iter(found.values())))
    rows = []
    for what, changes in found.items():
        entries = next(iter(changes.values())).entries
        ratios = [f"{changes[block].ratio:.2f}" for block in blocks]
        total = sum(c.counted for c in changes.values()) / sum(c.modelled for c in changes.values())
        rows.append([what, f"{entries:,}", *ratios, f"{total:.2f}"])
    return Table(
        "Register bits that change: counted over modelled",
        ["", "entries", *(NAMES[block] for block in blocks), "all"],
        rows,
        text_of("energy_assumptions", "changes_note", pes=_PES, digits=_DIGITS),
    )
