"""What `eie accuracy` says of networks that an input need not run to the end: early exits and gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.capacity import sized_for
from eie.cli.inputs import check_labels
from eie.cli.options import PATH, RealRange, option, refuse_useless
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, LayerError, ModelError
from eie.layer import CompressedLayer
from eie.sim.chain import run_network
from eie.sim.exits import (
    choose_threshold,
    leave,
    logits_at_exits,
    run_with_exits,
    sized_for_exits,
    stages,
    totals,
    trunk,
)
from eie.sim.skips import Residual, run_skips
from eie.sim.workloads.inputs import in_fixed_point, read_inputs, read_vectors

# Inputs that run side by side.
PART = 250


@dataclass(frozen=True)
class Leaving:
    """At which certainty inputs leave a network with early exits, or at which width all run."""

    threshold: float | None = option(
        "--exit",
        type=RealRange(0, 1),
        metavar="T",
        help="Leave at the first early exit whose largest softmax is above T (docs/learn.md).",
    )
    held_out: Path | None = option(
        "--held-out",
        type=PATH,
        metavar="H.npz",
        help="Or choose T on these labelled inputs: the least, in hundredths, surely within the budget.",
    )
    budget: float = option(
        "--budget",
        type=RealRange(0),
        default=0.1,
        metavar="POINTS",
        help="With --held-out: percentage points that the exits may add to the whole network's error, with 95 % "
        "confidence.",
    )
    width: float | None = option(
        "--width",
        type=float,
        metavar="W",
        help="Or run a network with several widths at this one, such as 0.5.",
    )
    counted: int = option(
        "--counted",
        type=click.IntRange(1),
        default=100,
        metavar="N",
        help="Of a network with exits or gates: count cycles and energy of the first N inputs.",
    )


def leaves_early(context: click.Context, leaving: Leaving, gates: bool = False) -> bool:
    """Whether inputs may leave at an exit; options that contradict each other are refused.

    gates : whether the network has gates, whose cycles are counted as well.
    """
    if leaving.threshold is not None and leaving.held_out is not None:
        raise ConfigError("give --exit, or --held-out to choose it, not both")
    early = leaving.threshold is not None or leaving.held_out is not None
    if leaving.held_out is None:
        refuse_useless(context, ("--budget",), "without --held-out")
    if not (early or gates):
        refuse_useless(context, ("--counted",), "without --exit or --held-out")
    if leaving.width is not None:
        refuse_useless(context, ("--exit", "--held-out"), "with --width")
    return early


@dataclass(frozen=True)
class Exits:
    """What early exits make of a network: wrong of all inputs; left : inputs by the layer whose answer they took.

    cycles, energy_nj : of an input, the mean of the first `counted`; whole_cycles, whole_energy_nj : without exits.
    load_cycles, store_cycles : likewise, in which the host writes and reads, a layer at a time; resident_... : on a
    machine that holds the network (None: no machine does).
    """

    threshold: float
    wrong: int
    left: dict[str, int]
    counted: int
    cycles: float
    energy_nj: float
    whole_cycles: float
    whole_energy_nj: float
    load_cycles: float
    store_cycles: float
    resident_load_cycles: float | None
    resident_store_cycles: float | None


def _labelled(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, limit: int | None
) -> tuple[Any, Any]:
    """The first inputs of a file in fixed point, and their labels."""
    held, _ = read_vectors(path, layers[0].inputs)
    _, labels = read_inputs(path, layers[0].inputs)
    if labels is None:
        raise ModelError(f"{path} holds no labels (integers, one for each input)")
    check_labels(labels, layers[-1].outputs, path)
    return in_fixed_point(held[:limit], layers[0], cfg.act_bits)[0], labels[:limit]


def _answers(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, limit: int | None
) -> tuple[Any, Any, Any]:
    """What each stage answers to the inputs of a file, their labels, and the inputs in fixed point."""
    x, labels = _labelled(layers, path, cfg, limit)
    parts = [
        logits_at_exits(layers, part, cfg.acc_bits, cfg.act_bits)[0]
        for part in np.array_split(x, -(-len(x) // PART))
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)], labels, x


def measure_exits(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, leaving: Leaving, limit: int | None = None
) -> Exits:
    """What early exits make of the first `limit` inputs of a file.

    Raises
    ------
    ModelError : a file without such inputs or labels; LayerError : a network without exits.
    """
    logits, labels, x = _answers(layers, path, cfg, limit)
    threshold = leaving.threshold
    if leaving.held_out is not None:
        of_held, right, _ = _answers(layers, leaving.held_out, cfg, None)
        threshold = choose_threshold(of_held, right, leaving.budget)
    assert threshold is not None
    run = leave(logits, threshold)
    names = [stage.answers.name for stage in stages(layers)]
    some = x[: leaving.counted]
    machine = sized_for(cfg, *trunk(layers), *[stage.answers for stage in stages(layers)])
    early = run_with_exits(layers, some, machine, threshold, resident=False)
    whole = totals(run_network(trunk(layers), some, machine, "fast"))
    # The fast engine counts both.
    cycles, energy, early_cycles, early_energy = (
        float(value or 0) for value in (*whole, early.cycles, early.energy_uj)
    )
    resident_load, resident_store = _resident_host(layers, some, cfg, threshold)
    return Exits(
        threshold,
        int(np.count_nonzero(run.answers != labels)),
        {name: int(np.count_nonzero(run.left == number)) for number, name in enumerate(names)},
        len(some),
        early_cycles / len(some),
        1000 * early_energy / len(some),
        cycles / len(some),
        1000 * energy / len(some),
        (early.load_cycles or 0) / len(some),
        (early.store_cycles or 0) / len(some),
        resident_load,
        resident_store,
    )


def _resident_host(
    layers: list[CompressedLayer], x: Any, cfg: ArchConfig, threshold: float
) -> tuple[float | None, float | None]:
    """Load and store cycles of an input on a machine that holds the network; None where none does."""
    try:
        machine = sized_for_exits(cfg, layers)
    except (CapacityError, ConfigError, LayerError):  # convolutions, segments, adder layers, too large
        return None, None
    run = run_with_exits(layers, x, machine, threshold, resident=True)
    return (run.load_cycles or 0) / len(x), (run.store_cycles or 0) / len(x)


@dataclass(frozen=True)
class Skips:
    """What the gates of a network that skips make of it: wrong_all : inputs answered wrongly when all blocks run; ran :
    inputs that ran a block, by its name.

    cycles, energy_nj : of an input, the mean of the first `counted`; whole_cycles, whole_energy_nj : of all blocks.
    """

    wrong_all: int
    ran: dict[str, int]
    counted: int
    cycles: float
    energy_nj: float
    whole_cycles: float
    whole_energy_nj: float


def measure_skips(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, counted: int, limit: int | None = None
) -> Skips:
    """What gates make of the first `limit` inputs of a file. Errors as those of `measure`."""
    x, labels = _labelled(layers, path, cfg, limit)
    ran, y = [], []
    for part in np.array_split(x, -(-len(x) // PART)):
        ran.append(run_skips(layers, part, acc_bits=cfg.acc_bits, act_bits=cfg.act_bits).ran)
        whole_run = run_skips(layers, part, always=True, acc_bits=cfg.acc_bits, act_bits=cfg.act_bits)
        y.append(whole_run.y.argmax(axis=1))
    net, some = Residual.of(layers), x[:counted]
    machine = sized_for(cfg, *net.matrices)
    costs = [run_skips(layers, some, machine, always=always) for always in (False, True)]
    # The fast engine counts both.
    cycles, whole = (float(run.cycles or 0) / len(some) for run in costs)
    energy, whole_energy = (1000 * float(run.energy_uj or 0) / len(some) for run in costs)
    wrong = int(np.count_nonzero(np.concatenate(y) != labels))
    counts = np.concatenate(ran).sum(axis=0).tolist()
    of_blocks = dict(zip([block.name for _, block in net.blocks], counts, strict=True))
    return Skips(wrong, of_blocks, len(some), cycles, energy, whole, whole_energy)


def print_partial(found: Exits | Skips, inputs: int, cfg: ArchConfig) -> None:
    """Print what exits or gates make of a network."""
    if isinstance(found, Exits):
        share = f"{100 * found.wrong / inputs:.2f} %"
        click.echo(f"early exits   {found.wrong:,} wrong ({share}), above {found.threshold:g}")
        counts, verb, otherwise = found.left, "with the answer of", "without exits"
    else:
        share = f"{100 * found.wrong_all / inputs:.2f} %"
        click.echo(f"all blocks    {found.wrong_all:,} wrong ({share}), whatever the gates say")
        counts, verb, otherwise = found.ran, "ran", "when all blocks run"
    for name, count in counts.items():
        click.echo(f"  {100 * count / inputs:5.1f} % {verb} {name}")
    ratios = ""
    if found.whole_cycles and found.whole_energy_nj:  # inputs that are all 0 may take no cycle
        ratios = f" ({found.cycles / found.whole_cycles:.2f}, {found.energy_nj / found.whole_energy_nj:.2f})"
    click.echo(
        f"  {found.cycles:,.0f} cycles and {found.energy_nj:,.1f} nJ an input, of {found.whole_cycles:,.0f} and "
        f"{found.whole_energy_nj:,.1f} {otherwise}{ratios}; mean of {found.counted}, {cfg.n_pe} PEs"
    )
    if isinstance(found, Exits):
        _print_host(found)


def _print_host(found: Exits) -> None:
    """Print what the host carries."""
    text = f"{found.load_cycles:,.0f} load and {found.store_cycles:,.0f} store cycles an input, a layer at a time"
    if found.resident_load_cycles is not None:
        resident = f"{found.resident_load_cycles:,.0f} and {found.resident_store_cycles:,.0f}"
        text += f"; {resident} where the chip holds the network"
    click.echo(f"  host: {text}")
