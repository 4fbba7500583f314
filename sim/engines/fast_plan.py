"""Plans on the fast engine: values, cycles and counters of each pass."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eie.errors import LayerError
from eie.fixed import IntArray, limits
from eie.layer import as_activations
from eie.plan import Plan, Step
from eie.plan_program import loaded_words, plan_program, stored_words
from eie.program import Program
from eie.result import Count, Result, total
from eie.timing import busy_cycles, refill_cycles

if TYPE_CHECKING:
    from eie.sim.engines.laws import Law


def checked_inputs(plan: Plan, inputs: npt.ArrayLike) -> list[IntArray]:
    """Each row of a matrix of inputs, refused unless it fits the plan's first layer."""
    first = plan.layers[0]
    try:
        given = np.asarray(inputs)
    except ValueError:  # rows of different lengths
        given = np.zeros(0)
    if given.ndim != 2:
        raise LayerError(f"inputs of a plan must be a matrix [batch, {first.cols}]")
    return [as_activations(x, first, plan.cfg.act_bits, first.cols) for x in given]


class FastPlan:
    """A plan on the fast engine: values and cycles of each pass.

    program : what the host does for the plan, if that is not all of its runs for every input (`Run.exit`).

    Raises
    ------
    CapacityError : a pass may take more cycles than the engine counts.
    """

    def __init__(self, plan: Plan, program: Program | None = None) -> None:
        self.plan = plan
        self.program = program or plan_program(plan)

    @cached_property
    def _laws(self) -> list[Law]:
        from eie.sim.engines.laws import law_of

        cuts = [step.cut for step in self.plan.steps]
        return [law_of(cut.interleaved, cut.part.rows, self.plan.cfg) for cut in cuts]

    def run(self, x: npt.ArrayLike) -> Result:
        """One input vector, int[cols of the first layer]; the result has a `Count` for each pass, too.

        Raises
        ------
        LayerError : an input that does not fit.
        """
        plan = self.plan
        vectors, of_runs, of_passes = self.follow(as_activations(x, plan.layers[0], plan.cfg.act_bits))
        count, ran = total(of_runs), self.program.runs[: len(of_runs)]
        end = ran[-1].exit
        left = end is not None and end.done(vectors[end.vector])
        answer = end.vector if end is not None and left else len(vectors) - 1
        return Result(
            vectors[answer].astype(np.int16),
            count.cycles,
            count.counters,
            "fast",
            plan.cfg,
            load_cycles=sum(sum(loaded_words(run, plan.cfg).values()) for run in ran),
            writeback_cycles=count.writeback_cycles,
            store_cycles=2 * sum(stored_words(run) for run in ran),
            runs=tuple(of_runs),
            passes=tuple(of_passes),
        )

    def follow(self, x: IntArray) -> tuple[list[IntArray], list[Count], list[Count]]:
        """The input and what each layer gave; a `Count` for each run that started, and for each pass."""
        vectors = [x, *(np.zeros(layer.rows, np.int64) for layer in self.plan.layers)]
        laws = iter(self._laws)
        acc = np.zeros(0, np.int32)
        of_passes: list[Count] = []
        of_runs: list[Count] = []
        for run, of_program in zip(self.plan.runs, self.program.runs, strict=True):
            passes = []
            for number, step in enumerate(run.steps):
                if step.cut.first:
                    acc = step.cut.part.bias.astype(np.int32)
                passes.append(self._pass(step, next(laws), vectors, acc, first=number == 0))
            of_passes += passes
            of_runs.append(total(passes))
            leaves = of_program.exit
            if leaves is not None and leaves.done(vectors[leaves.vector]):
                break
        return vectors, of_runs, of_passes

    def _pass(
        self,
        step: Step,
        law: Law,
        vectors: list[IntArray],
        acc: npt.NDArray[np.int32],
        *,
        first: bool,
    ) -> Count:
        """One pass: adds to `acc`, and after the last batch of a tile writes activations into the layer's results."""
        from eie import values
        from eie.sim.engines import kernels

        cfg, cut, part = self.plan.cfg, step.cut, step.cut.part
        x = vectors[self.plan.takes[cut.layer]][cut.col : cut.col + part.cols]
        active = np.flatnonzero(x)
        counted = np.zeros((kernels.COUNTED, cfg.n_pe), np.int64)
        totals = np.zeros((1, 2), np.int64)
        law.count(x[None], cfg, counted[None], totals)
        cycles, stalls = totals[0].tolist()
        values.accumulate(
            part.indptr,
            part.indices.view(np.uint32),
            part.codes,
            part.codebook.astype(np.int64),
            active,
            x,
            part.product_shift,
            part.adder,
            *limits(cfg.acc_bits),
            acc,
            counted[kernels.SATURATED],
        )
        if cut.last:
            y = np.empty(part.rows, np.int16)
            clipped = counted[kernels.WRITEBACK_SATURATED]
            unscaled = np.ones(part.rows, np.int64)
            values.write_back(
                acc, 0, unscaled, part.relu, part.output_shift, *limits(cfg.act_bits), y, clipped
            )
            vectors[cut.layer + 1][cut.row : cut.row + part.rows] = y
        entry = step.entry
        refill = refill_cycles(entry.acc_rows, entry.src_rows, first=first)
        write_back = entry.wb_rows + 1
        busy = busy_cycles([cycles], refill, write_back, cfg)
        return Count(cycles, stalls, refill, write_back, busy, counted)
