"""What the host does for a plan: the plan as a `Program`, and the words that it loads and stores, by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eie.certainty import Above
from eie.config import ArchConfig
from eie.memory import Block, codebook_block, vector_block, weight_blocks
from eie.plan import Plan, Source, Step, Target, per_pe
from eie.plan import Run as PlannedRun
from eie.program import Exit, Pass, Program, Run, Transfer
from eie.schema import ControlReg, IoSpace

# What the host loads, by the space that it goes to.
WEIGHTS, BIASES, TABLE, ACTIVATIONS = "weights", "biases", "table", "activations"
_KINDS = {
    IoSpace.SPMAT: WEIGHTS,
    IoSpace.PTR: WEIGHTS,
    IoSpace.ACC: BIASES,
    IoSpace.ACT_SRAM: BIASES,
    IoSpace.CONFIG: TABLE,
    IoSpace.CONTROL: TABLE,
    IoSpace.CODEBOOK: TABLE,
}


def plan_program(plan: Plan, name: str = "plan", *, threshold: float | None = None) -> Program:
    """The plan as what golden and RTL execute. Vector 0 is the input, and i + 1 what layer i gives.

    threshold : an input is done at the first exit whose certainty is above it; without one all runs start.
    """
    setup: list[Block] = []
    if plan.keeps_table:
        setup += _table(plan, plan.steps)
    if plan.resident:
        setup += _weights(plan, 0)
    if plan.keeps_biases:
        setup += _biases(plan, 0)
    if len(plan.runs) == 1 and plan.keeps_table:
        setup.append(_control(plan.runs[0]))
    lengths = (plan.layers[0].cols, *(layer.rows for layer in plan.layers))
    runs = [_run(plan, number, threshold) for number in range(len(plan.runs))]
    return Program(plan.cfg, tuple(setup), tuple(runs), lengths, name)


def _run(plan: Plan, number: int, threshold: float | None) -> Run:
    run = plan.runs[number]
    first, last, cut = run.steps[0], run.steps[-1], run.steps[0].cut
    loads: list[Block] = []
    before = plan.runs[number - 1] if number else None
    if not plan.resident and (before is None or before.group != run.group):
        loads += _weights(plan, run.group)
    if not plan.keeps_biases and (before is None or before.bias_group != run.bias_group):
        loads += _biases(plan, run.bias_group)
    if not plan.keeps_table:
        loads += _table(plan, run.steps)
    if len(plan.runs) > 1 or not plan.keeps_table:
        loads.append(_control(run))
    if first.writes_biases:
        loads.append(vector_block(IoSpace.ACC, 0, cut.part.bias, plan.cfg))
    sources, results = [], []
    taken = plan.takes[cut.layer]
    if first.place.source is Source.FILE:
        sources.append(Transfer(taken, cut.col, cut.part.cols, IoSpace.ACT))
    elif first.place.source is Source.SRAM and cut.row == cut.col == 0 and _host_has(plan, taken):
        inputs = plan.layers[cut.layer].cols
        sources.append(Transfer(taken, 0, inputs, IoSpace.ACT_SRAM, first.place.in_base))
    if last.is_read:
        results.append(Transfer(last.cut.layer + 1, last.cut.row, last.cut.part.rows, IoSpace.ACC))
    layer, given, leaves = plan.layers[last.cut.layer], last.cut.layer + 1, None
    if plan.gives_answer(last):
        if last.place.target is Target.SRAM:
            results.append(Transfer(given, 0, layer.rows, IoSpace.ACT_SRAM, last.place.out_base))
        if layer.exit and threshold is not None:
            leaves = Exit(given, Above(threshold, layer.y_frac))
    passes = tuple(Pass(step.entry, step.cut.interleaved) for step in run.steps)
    return Run(first.number, passes, tuple(loads), tuple(sources), tuple(results), leaves)


def _host_has(plan: Plan, vector: int) -> bool:
    """Whether the host has a vector, and not the chip."""
    return vector == 0 or plan.places[vector - 1].target is Target.ACC


def _control(run: PlannedRun) -> Block:
    return Block(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, [run.steps[0].number, run.steps[-1].number])


def _table(plan: Plan, steps: Sequence[Step]) -> list[Block]:
    """Entries of the pass table, and codebooks."""
    layers = {step.entry.codebook: plan.layers[step.cut.layer] for step in steps}
    return [
        *(step.entry.block(step.number, plan.cfg) for step in steps),
        *(codebook_block(layer, number, plan.cfg) for number, layer in layers.items()),
    ]


def _weights(plan: Plan, group: int) -> list[Block]:
    """Weights and pointers of a load group."""
    return [
        block
        for step in plan.steps
        if step.group == group
        for block in weight_blocks(
            step.cut.interleaved, plan.cfg, word=step.entry.spmat_base, column=step.entry.ptr_base
        )
    ]


def _biases(plan: Plan, group: int) -> list[Block]:
    """Biases of a load group, for the activation SRAM."""
    return [
        vector_block(IoSpace.ACT_SRAM, step.entry.acc_base, step.cut.part.bias, plan.cfg)
        for step in plan.steps
        if step.bias_group == group and step.entry.acc_rows
    ]


def words_of(blocks: Iterable[Block]) -> dict[str, int]:
    """Words of blocks by what they are: WEIGHTS, BIASES, TABLE."""
    words: dict[str, int] = {}
    for block in blocks:
        kind = _KINDS[block.space]
        words[kind] = words.get(kind, 0) + len(block)
    return words


def loaded_words(run: Run, cfg: ArchConfig) -> dict[str, int]:
    """Words that the host writes before a run, by what they are; ACTIVATIONS with the zeros that fill up rows."""
    words = words_of(run.loads)
    words[ACTIVATIONS] = sum(
        per_pe(transfer.count * transfer.step, cfg) * cfg.n_pe for transfer in run.sources
    )
    return words


def stored_words(run: Run) -> int:
    """Words that the host reads after a run."""
    return sum(transfer.count for transfer in run.results)
