"""Plans on every engine: the same results, cycles and counters for each run of a plan.

plan = make_plan(layers, cfg)
(result,) = run_plan(plan, [x], "fast")
result.y, result.total.cycles, Phases.of(result)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.errors import ConfigError
from eie.fixed import IntArray
from eie.plan import Plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.result import ProgramResult
from eie.sim.engines.fast_plan import FastPlan, checked_inputs

ENGINES = ("reference", "golden", "fast", "icarus", "verilator")


def run_plan(plan: Plan, inputs: npt.ArrayLike, engine: str = "fast") -> list[ProgramResult]:
    """Run a plan on input vectors, int[batch, cols of the first layer].

    The reference has no clock, and knows no plan: it computes the layers whole, and gives results alone.

    Raises
    ------
    LayerError : inputs that do not fit. ConfigError : no such engine.
    SimulatorMissing, SimulationError, MismatchError : from the RTL.
    """
    if engine not in ENGINES:
        raise ConfigError(f"no engine named {engine!r}: use one of {', '.join(ENGINES)}")
    vectors = checked_inputs(plan, inputs)
    if engine == "reference":
        return [_reference(plan, x) for x in vectors]
    if engine == "fast":
        fast = FastPlan(plan)
        return [fast.run(x) for x in vectors]
    from eie.sim.cosim.programs import run_program

    return run_program(plan_program(plan), vectors, engine)


def _reference(plan: Plan, x: IntArray) -> ProgramResult:
    from eie.sim.engines.reference import run

    for layer in plan.layers:
        x = run(Job.create(layer, x, sized_for(plan.cfg, layer))).y.astype(np.int64)
    return ProgramResult(x.astype(np.int16), "reference", ())
