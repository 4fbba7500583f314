"""Plans and programs on every engine: the same results, cycles and counters for each run.

plan = make_plan(layers, cfg)
(result,) = run_plan(plan, [x], "fast")
result.y, result.cycles, eie.sim.plan_report.Phases.of(result)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.fixed import IntArray
from eie.plan import Plan
from eie.plan_program import plan_program
from eie.program import Job, Program
from eie.result import Result
from eie.sim.engines.fast_plan import FastPlan, checked_inputs
from eie.sim.simulate import STEPPING, engine_module, simulate_many


def run_plan(plan: Plan, inputs: npt.ArrayLike, engine: str = "fast") -> list[Result]:
    """Run a plan on input vectors, int[batch, cols of the first layer].

    The reference has no clock, and knows no plan: it computes the layers whole, and gives results alone.

    Raises
    ------
    LayerError : inputs that do not fit. ConfigError : no such engine.
    SimulatorMissing, SimulationError, MismatchError : from the RTL.
    """
    engine_module(engine)
    vectors = checked_inputs(plan, inputs)
    if engine == "reference":
        results = [_reference(plan, x) for x in vectors]
    elif engine == "fast":
        fast = FastPlan(plan)
        results = [fast.run(x) for x in vectors]
    else:
        results = run_program(plan_program(plan), vectors, engine)
    return [replace(result, y_frac=plan.layers[-1].y_frac) for result in results]


def run_program(
    program: Program,
    inputs: Sequence[npt.ArrayLike],
    engine: str,
    *,
    port: bool = False,
    waveform: Path | None = None,
) -> list[Result]:
    """Run a program on input vectors (integers, [inputs]), on golden or on the RTL in one simulator process.

    Parameters
    ----------
    port : load the SRAMs through the I/O port as well, instead of from images.
    waveform : write the run's waveform there: VCD from golden, FST from the simulators.

    Raises
    ------
    LayerError : an input that does not fit. ConfigError : another engine.
    MismatchError : what the RTL gave cannot be. SimulatorMissing, SimulationError, OutputError
    """
    module = engine_module(engine, STEPPING)
    simulator = () if engine == "golden" else (engine,)
    results: list[Result] = module.run_program(program, inputs, *simulator, port=port, waveform=waveform)
    return results


def _reference(plan: Plan, x: IntArray) -> Result:
    for layer in plan.layers:
        (result,) = simulate_many([Job.create(layer, x, sized_for(plan.cfg, layer))], "reference")
        x = result.y.astype(np.int64)
    return Result.uncounted(result.y, "reference", plan.cfg)
