"""Small random networks of fully connected layers with early exits, with inputs of which some leave at each."""

import dataclasses

import numpy as np
import numpy.typing as npt

from eie.layer import CompressedLayer
from eie.plan import Plan
from eie.program import Program
from eie.schema import ControlReg, IoSpace, WbTarget
from eie.sim.exits import certainty, logits_at_exits

# Layers in the file's order, from 9 inputs on: outputs, and whether it is an exit.
SHAPE = ((13, False), (11, False), (3, True), (8, False), (3, True), (3, False))


def exit_network(seed: int, shape: tuple[tuple[int, bool], ...] = SHAPE) -> list[CompressedLayer]:
    """A network of a seed, with a codebook for each layer."""
    rng = np.random.default_rng([seed, 7])
    layers, cols = [], 9
    for number, (rows, leaves) in enumerate(shape):
        codes = rng.integers(0, 4, (rows, cols)) * (rng.random((rows, cols)) < 0.6)
        layer = CompressedLayer.from_codes(
            codes,
            [0, *rng.integers(-5, 6, 3)],
            bias=rng.integers(-30, 31, rows),
            relu=not leaves and number + 1 < len(shape),
            product_shift=2,
            name=f"{'exit' if leaves else 'layer'}{number}",
            x_frac=4,
            w_frac=2,
        )
        layers.append(dataclasses.replace(layer, exit=leaves))
        cols = cols if leaves else rows
    return layers


def some_leave(layers: list[CompressedLayer], count: int = 6) -> tuple[npt.NDArray[np.int64], float]:
    """Inputs, and a threshold at which half of them leave at the first exit."""
    x = np.random.default_rng(1).integers(-40, 40, (count, 9))
    return x, float(np.median(certainty(logits_at_exits(layers, x)[0][0])))


def heads_write_over_their_inputs(plan: Plan) -> Plan:
    """A fault: each exit puts its outputs where its inputs are, which the next stage needs."""

    def step_of(step):
        if not plan.layers[step.cut.layer].exit:
            return step
        wrong = {"wb_target": WbTarget.ACT_SRAM, "wb_base": step.place.in_base}
        return dataclasses.replace(step, entry=dataclasses.replace(step.entry, **wrong))

    runs = [dataclasses.replace(run, steps=tuple(map(step_of, run.steps))) for run in plan.runs]
    return dataclasses.replace(plan, runs=tuple(runs))


def second_stage_begins_late(program: Program) -> Program:
    """A fault: the host writes a FIRST_PASS behind that of the second stage."""
    first, second, *rest = program.runs
    (control,) = [block for block in second.loads if block.space == IoSpace.CONTROL]
    assert (control.addr, list(control.words)) == (ControlReg.FIRST_PASS, [second.first, second.last])
    wrong = dataclasses.replace(control, words=[second.first + 1, second.last])
    return dataclasses.replace(program, runs=(first, dataclasses.replace(second, loads=(wrong,)), *rest))
