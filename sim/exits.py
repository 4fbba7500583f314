"""Early exits: networks of which an input runs only as many layers as it needs (docs/learn.md).

A layer that is an exit stands behind what it takes its inputs from: of [fc1, exit1, fc2], exit1 and fc2 take the
outputs of fc1. The host reads an exit's outputs; where their largest softmax is above a threshold, they are the answer,
and the layers behind the exit do not run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eie.balance import Placed, place
from eie.capacity import check_fits, sized_for
from eie.certainty import certainty
from eie.compress.float_layers import gate_text
from eie.compress.forward import check_network, fixed_forward
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan
from eie.plan_program import plan_program
from eie.program import Program
from eie.result import Result
from eie.sim.chain import run_network
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.fpga.fit import fitted
from eie.sim.networks.network import energy_uj
from eie.sim.plans import run_program
from eie.sim.simulate import TIMELESS

Values = npt.NDArray[np.float64]
# Standard errors above an estimate below which the truth is with 95 % confidence.
_CONFIDENT = 1.645


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers that run one after the other, and the exit behind them; the last stage has none: its end is the answer."""

    layers: tuple[CompressedLayer, ...]
    exit: CompressedLayer | None = None

    @property
    def answers(self) -> CompressedLayer:
        """The layer whose outputs are the answer here."""
        return self.exit or self.layers[-1]


def trunk(layers: Sequence[CompressedLayer]) -> list[CompressedLayer]:
    """The network without its exits."""
    return [layer for layer in layers if not layer.exit]


def stages(layers: Sequence[CompressedLayer]) -> list[Stage]:
    """The stages of a network with exits.

    Raises
    ------
    LayerError : there is no exit, or one that stands first, last, or behind another one, or is a gate; layers that are
        no chain; exits with other numbers of outputs than the network.
    """
    found: list[Stage] = []
    pending: list[CompressedLayer] = []
    for layer in layers:
        if not layer.exit:
            pending.append(layer)
            continue
        if gate := gate_text(layer):
            raise LayerError(gate)
        if not pending:
            raise LayerError(f"layer {layer.name!r} is an early exit with no layer of the network before it")
        found.append(Stage(tuple(pending), layer))
        pending = []
    if not found:
        raise LayerError("the network has no early exit: every input runs all of its layers")
    if not pending:
        raise LayerError(f"layer {layers[-1].name!r} is an early exit behind which there is no layer")
    found.append(Stage(tuple(pending)))
    body = trunk(layers)
    check_network(body)
    done = 0
    for stage in found[:-1]:
        done += len(stage.layers)
        check_network([body[done - 1], _as_layer(stage.answers)])
        if stage.answers.outputs != body[-1].outputs:
            raise LayerError(
                f"layer {stage.answers.name!r} is an early exit with {stage.answers.outputs} outputs, but the network "
                f"has {body[-1].outputs}"
            )
    return found


def _as_layer(layer: CompressedLayer) -> CompressedLayer:
    """An exit as an ordinary layer, which every engine runs."""
    return replace(layer, exit=False) if layer.exit else layer


@dataclass(frozen=True, eq=False)
class ExitRun:
    """What became of a batch. answers : the class of each input; left : the number of its stage.

    cycles, energy_uj : of all inputs, where an engine counted them. load_cycles, store_cycles : likewise, in which the
    host writes and reads (`eie.result.Result`). resident : activations stayed on the chip between the stages.
    """

    answers: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    cycles: int | None = None
    energy_uj: float | None = None
    load_cycles: int | None = None
    store_cycles: int | None = None
    resident: bool = False


def check_threshold(threshold: float) -> None:
    """Raise `ConfigError` unless it is a share: at 1 nothing leaves, below 0 everything does at the first exit."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"an exit's threshold must be from 0 to 1, not {threshold:g}")


def logits_at_exits(
    layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int = 16, act_bits: int = 16
) -> tuple[list[Values], int]:
    """What every stage answers to every input, [batch, classes] each, in the accelerator's arithmetic; and what was
    clipped.
    """
    found: list[Values] = []
    clipped = 0
    for stage in stages(layers):
        run = fixed_forward(stage.layers, x, acc_bits, act_bits)
        clipped += sum(run.saturations) + sum(run.writeback_saturations)
        x = run.y.astype(np.int64)
        y = run.y
        if stage.exit is not None:
            out = fixed_forward([_as_layer(stage.exit)], x, acc_bits, act_bits)
            clipped += sum(out.saturations) + sum(out.writeback_saturations)
            y = out.y
        found.append(np.ldexp(y.astype(np.float64), -stage.answers.y_frac))
    return found, clipped


def leave(logits: Sequence[Values], threshold: float) -> ExitRun:
    """The answers when each input leaves at the first exit whose certainty is above `threshold`."""
    check_threshold(threshold)
    left = np.full(len(logits[-1]), len(logits) - 1)
    for number in range(len(logits) - 2, -1, -1):
        left[certainty(logits[number]) > threshold] = number
    answers = np.stack([each.argmax(axis=1) for each in logits])
    return ExitRun(answers[left, np.arange(len(left))], left)


def choose_threshold(logits: Sequence[Values], labels: npt.ArrayLike, budget: float) -> float:
    """The least threshold, in hundredths, from which on up the error is at most `budget` points above that of the
    whole, with 95 % confidence.

    The least of a hundred thresholds within a budget is one at which these inputs happen to be easy. So the upper bound
    of the difference has to be within it, that of matched pairs (Agresti and Min, Statistics in Medicine, 2005).
    Thresholds are tried from above, and the first that fails ends it: then the last one that passed has the confidence
    of a single one.

    logits : of held-out inputs, [inputs, classes] for each stage. labels : [inputs]. 1, at which nothing leaves, always
        keeps within a budget of 0.

    Raises
    ------
    ConfigError : a budget that is negative or no number.
    """
    if not budget >= 0:
        raise ConfigError(f"a budget must be a number of points from 0, not {budget:g}")
    right = np.asarray(labels)
    whole = logits[-1].argmax(axis=1) != right
    for hundredth in range(99, -1, -1):
        wrong = leave(logits, hundredth / 100).answers != right
        lost, won = (int(np.count_nonzero(each)) for each in (wrong & ~whole, whole & ~wrong))
        if 100 * _most_beyond(lost, won, len(right)) > budget:
            return (hundredth + 1) / 100
    return 0.0


def _most_beyond(lost: int, won: int, inputs: int) -> float:
    """The upper bound of a difference between two shares of wrong answers to the same inputs, with half an input more
    in each cell of their table, so that no disagreement among few inputs proves little.

    lost, won : inputs that only the first gets wrong, and only the second.

    >>> [round(100 * _most_beyond(*cell), 2) for cell in ((0, 0, 20), (0, 0, 10_000), (30, 25, 10_000))]
    [7.48, 0.02, 0.17]
    """
    n = inputs + 2
    beyond = (lost - won) / n
    return beyond + _CONFIDENT * math.sqrt(((lost + won + 1) / n - beyond**2) / n)


def sized_for_exits(cfg: ArchConfig, layers: Sequence[CompressedLayer]) -> ArchConfig:
    """The machine with the PEs, queue and widths of `cfg` that holds a network with exits as a whole.

    Raises
    ------
    LayerError : no network with exits, or one with convolutions. CapacityError : no machine holds it.
    """
    _check_matrices(layers)
    return fitted(_placed_layers(layers, sized_for(cfg, *layers)), cfg, exits=True)


def _placed_layers(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> list[CompressedLayer]:
    return [one.layer for one in place(layers, cfg, balance=None)]


def _check_matrices(layers: Sequence[CompressedLayer]) -> None:
    stages(layers)
    for layer in layers:
        if layer.conv is not None:
            raise LayerError(
                f"layer {layer.name!r} is a convolution, whose windows the host cuts: a network with exits stays on "
                "the chip only if its layers are fully connected"
            )


@dataclass(frozen=True, eq=False)
class Resident:
    """A network with exits that stays on a chip. placed : its layers, with balanced rows where the machine has them."""

    placed: tuple[Placed, ...]
    plan: Plan

    @classmethod
    def of(cls, layers: Sequence[CompressedLayer], cfg: ArchConfig) -> Resident:
        """Place a network on a machine.

        Raises
        ------
        LayerError : no network with exits, or one with convolutions. CapacityError : it does not stay on the machine.
        """
        _check_matrices(layers)
        placed = place(layers, cfg, balance=None)
        for one in placed:
            check_fits(cfg, one.layer)
        plan = make_plan([one.layer for one in placed], cfg, exits=True)
        stays = plan.resident and plan.keeps_table and plan.keeps_biases
        if not stays or len(plan.runs) > len(stages(layers)):
            raise CapacityError(_missing(layers, cfg))
        return cls(tuple(placed), plan)

    def program(self, threshold: float) -> Program:
        """What golden and RTL execute: a run for each stage, of which the first that is certain enough is the last."""
        return plan_program(self.plan, "network with exits", threshold=threshold)

    def run(self, x: IntArray, threshold: float, engine: str) -> list[Result]:
        """A result for each input, int64[batch, inputs]; it has a run for each stage that started.

        `y` is the answer in the order of the network's outputs.
        """
        program = self.program(threshold)
        given = self.placed[0].inputs(x)
        if engine == "fast":
            fast = FastPlan(self.plan, program)
            results = [fast.run(one) for one in given]
        else:
            results = run_program(program, list(given), engine)
        return [self.restored(result) for result in results]

    def restored(self, result: Result) -> Result:
        """A result of the program with its answer in the order of the network's outputs."""
        placed = self.answers[len(result.runs) - 1]
        return replace(result, y=placed.restored(result.y), y_frac=placed.layer.y_frac)

    @property
    def answers(self) -> list[Placed]:
        """The layer of each stage whose outputs are the answer."""
        return [*(one for one in self.placed if one.layer.exit), self.placed[-1]]


def _missing(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> str:
    """Why a network does not stay: what it needs of each PE, and of the tables, beside what is there."""
    need = sized_for_exits(cfg, layers)
    needed = {
        "entries": tuple(one.spmat_words * one.entries_per_word for one in (need, cfg)),
        "pointers": (need.pointer_room, cfg.pointer_room),
        "words of the activation SRAM": (need.act_words, cfg.act_words),
        "passes": (len(layers), cfg.passes),
        "codebooks": (len({layer.codebook.tobytes() for layer in layers}), cfg.codebooks),
    }
    short = [
        f"{wanted} {what} needed, {room} available"
        for what, (wanted, room) in needed.items()
        if wanted > room
    ]
    return (
        f"the network with its exits does not stay on {cfg.n_pe} PEs; per PE: {'; '.join(short)} "
        "(eie.sim.exits.sized_for_exits makes a machine, resident=False runs a layer at a time)"
    )


def _may_stay(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> bool:
    """Whether it is worth planning: what takes no time to see does not speak against it."""
    codebooks = {layer.codebook.tobytes() for layer in layers}
    plain = all(layer.conv is None and layer.row_scale is None for layer in layers)
    # Hardware without counters knows the compute cycles of single passes alone.
    small = len(layers) <= cfg.passes and len(codebooks) <= cfg.codebooks
    return plain and small and cfg.segments == 1 and bool(cfg.counters)


def run_with_exits(
    layers: Sequence[CompressedLayer],
    x: IntArray,
    cfg: ArchConfig,
    threshold: float,
    engine: str = "fast",
    *,
    resident: bool | None = None,
) -> ExitRun:
    """Run inputs, int64[batch, inputs], on an engine, stage by stage; those that leave run no further.

    Parameters
    ----------
    resident : activations stay on the chip between the stages, each of which is a run of consecutive passes
        (docs/learn.md). None: where the machine holds the network (`sized_for_exits`) and the engine has a clock;
        False: the host carries them from layer to layer.

    Raises
    ------
    CapacityError, LayerError, ConfigError : as `run_network` and `stages`; a threshold that is no share; with
        `resident` a network that does not stay on the machine, or an engine without a clock.
    """
    check_threshold(threshold)
    parts = stages(layers)
    if resident and engine in TIMELESS:
        raise ConfigError(
            f"engine {engine} gives values alone, and has no chip to stay on: leave resident out"
        )
    network: Resident | None = None
    if resident:
        network = Resident.of(layers, cfg)
    elif resident is None and engine not in TIMELESS and _may_stay(layers, cfg):
        with suppress(CapacityError):
            network = Resident.of(layers, cfg)
    if network is not None:
        return _run_resident(network, np.asarray(x), threshold, engine)
    return _run_by_layer(parts, np.asarray(x), cfg, threshold, engine)


def _run_resident(network: Resident, x: IntArray, threshold: float, engine: str) -> ExitRun:
    results = network.run(x, threshold, engine)
    answers = np.array([result.y.argmax() for result in results], np.int64)
    left = np.array([len(result.runs) - 1 for result in results], np.int64)
    return ExitRun(answers, left, *totals(results), *_host_cycles(results), resident=True)


def _run_by_layer(
    parts: Sequence[Stage], given: IntArray, cfg: ArchConfig, threshold: float, engine: str
) -> ExitRun:
    answers, left = np.zeros(len(given), np.int64), np.zeros(len(given), np.int64)
    here = np.arange(len(given))
    results: list[Result] = []
    for number, stage in enumerate(parts):
        if not len(here):
            break
        results += run_network(stage.layers, given, cfg, engine)
        given = results[-1].y.astype(np.int64)
        if stage.exit is not None:
            results += run_network([_as_layer(stage.exit)], given, cfg, engine)
        y = np.ldexp(results[-1].y.astype(np.float64), -stage.answers.y_frac)
        out = certainty(y) > threshold if stage.exit is not None else np.ones(len(here), bool)
        answers[here[out]], left[here[out]] = y.argmax(axis=1)[out], number
        here, given = here[~out], given[~out]
    return ExitRun(answers, left, *totals(results), *_host_cycles(results))


def _host_cycles(results: Sequence[Result]) -> tuple[int | None, int | None]:
    """Load and store cycles of results, None for an engine that does not count them."""
    loads, stores = [one.load_cycles for one in results], [one.store_cycles for one in results]
    return (
        None if None in loads else sum(c for c in loads if c is not None),
        None if None in stores else sum(c for c in stores if c is not None),
    )


def totals(results: Sequence[Result]) -> tuple[int | None, float | None]:
    """Cycles and energy in µJ of results, None for an engine without a clock."""
    cycles = [result.cycles for result in results]
    energies = [energy_uj(result) for result in results]
    return (
        None if None in cycles else sum(c for c in cycles if c is not None),
        None if None in energies else sum(e for e in energies if e is not None),
    )
