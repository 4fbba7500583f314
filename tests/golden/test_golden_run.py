"""Running layers on the golden model: the I/O port, loading at once, several layers, waveforms."""

from pathlib import Path

import numpy as np
import pytest
from vcd.reader import TokenKind, tokenize

from eie.config import ArchConfig
from eie.errors import OutputError
from eie.golden.array import Array
from eie.golden.run import Host, feed, run
from eie.golden.waveform import scopes
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import COUNTERS, Result
from eie.schema import Wire, fields
from tests.support.cases import Case, seeded_case


def same(a: Result, b: Result) -> None:
    """Every value that two runs of a job must agree in."""
    np.testing.assert_array_equal(a.y, b.y)
    assert (a.cycles, a.load_cycles, a.writeback_cycles) == (b.cycles, b.load_cycles, b.writeback_cycles)
    for name in COUNTERS:
        np.testing.assert_array_equal(a.counters[name], b.counters[name], err_msg=name)


def traced(case: Case, *, weights: bool, port: bool) -> tuple[Result, list[list[int]], list[list[int]]]:
    """A run with every probe word of every cycle after the start, and the memories at its end."""
    array = Array(case.cfg)
    if not weights:
        array.load_images(case.job.images)
    trace: list[list[int]] = []

    def record(array: Array) -> None:
        if array.ccu.clear.value:
            trace.clear()
        trace.append([*(array.probe_pe(k) for k in range(case.cfg.n_pe)), array.probe_ccu()])

    host = Host(array, [record])
    (result,) = feed(host, case.job.program, [case.job.x], images=not weights, port=port)
    memories = [
        list(memory)
        for pe in array.pes
        for memory in (pe.act_rw.src, pe.act_rw.acc, pe.arithm_unit.codes, pe.spmat_sram.memory)
    ]
    busy = (result.cycles or case.cfg.tree_levels) + 1 + result.writeback_cycles
    return result, trace[1 : 1 + busy], memories


@pytest.mark.parametrize("seed", range(12))
def test_loading_at_once_is_the_port(seed: int) -> None:
    """From the cycle after the start on, nothing tells how the layer came in, bit for bit."""
    case = seeded_case(seed)
    at_once = traced(case, weights=False, port=False)
    by_port = traced(case, weights=False, port=True)
    same(at_once[0], by_port[0])
    assert at_once[1] == by_port[1]
    assert at_once[2] == by_port[2]


@pytest.mark.parametrize("seed", range(12))
def test_weights_through_the_port(seed: int) -> None:
    """The same result, and the count of weight writes that docs/timing.md gives."""
    job = seeded_case(seed).job
    loaded = run(job, load_weights=True)
    same(run(job), loaded)
    words = sum(len(image.spmat) for image in job.images)
    assert loaded.weight_load_cycles == words + job.cfg.n_pe * (job.layer.cols + 1)
    assert run(job).weight_load_cycles is None


def test_layers_one_after_the_other() -> None:
    """An array that ran other layers gives what a fresh one gives: nothing stays behind."""
    cfg = ArchConfig(n_pe=4, entries=2048, acc_depth=30, src_depth=20, queue_depth=2)
    host = Host(Array(cfg))
    for seed in range(8):
        job = seeded_case(seed, [cfg]).job
        (result,) = feed(host, job.program, [job.x], port=seed % 2 == 0)
        same(result, run(job))


def test_progress() -> None:
    """Called every 256 cycles of compute mode."""
    layer = CompressedLayer.from_codes(np.ones((20, 40), np.uint8), range(16))
    job = Job.create(layer, np.ones(40, int), ArchConfig(n_pe=1))
    calls: list[int] = []
    cycles = run(job, progress=calls.append).cycles
    assert cycles is not None
    assert calls == list(range(0, cycles + 1, 256))
    assert len(calls) > 1


def test_waveform(tmp_path: Path) -> None:
    """Every signal of every block under the schema's name and width, with the value of every cycle."""
    case = seeded_case(4, kind="bypass")
    path = tmp_path / "run.vcd"
    signals: list[Wire] = []
    rows: list[list[int]] = []

    def record(array: Array) -> None:
        if not signals:
            signals.extend(signal for _, block in scopes(array) for signal in block.signals().values())
        rows.append([int(signal.value) for signal in signals])

    same(run(case.job, waveform=path, observe=record), run(case.job))
    widths, samples = read_vcd(path, round(1e12 / case.cfg.clock_hz))
    expected = {
        f"{scope}.{field.name}": field.width
        for scope, block in scopes(Array(case.cfg))
        for field in fields(block.NAME, case.cfg)
    }
    assert widths == {"array.clk": 1} | expected
    wanted = [
        {"array.clk": 1}
        | {name: value & ((1 << expected[name]) - 1) for name, value in zip(expected, row, strict=True)}
        for row in rows
    ]
    assert samples == wanted
    assert list(tmp_path.iterdir()) == [path]


def read_vcd(path: Path, period: int) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Widths of the variables, and the values just after the start of each cycle."""
    scope: list[str] = []
    widths: dict[str, int] = {}
    names: dict[str, str] = {}
    samples: list[dict[str, int]] = []
    now: dict[str, int] = {}
    time = -1
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scope.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scope.pop()
            elif token.kind is TokenKind.VAR:
                name = ".".join([*scope, token.var.reference])
                names[token.var.id_code], widths[name] = name, token.var.size
            elif token.kind is TokenKind.CHANGE_TIME:
                if time >= 0 and time % period == 0:
                    samples.append(dict(now))
                time = token.time_change
            elif token.kind is TokenKind.CHANGE_SCALAR:
                now[names[token.scalar_change.id_code]] = int(token.scalar_change.value)
            elif token.kind is TokenKind.CHANGE_VECTOR:
                now[names[token.vector_change.id_code]] = token.vector_change.value
    return widths, samples


def test_waveform_that_cannot_be_written(tmp_path: Path) -> None:
    """One line, and what is wrong."""
    with pytest.raises(OutputError, match=r"cannot write the waveform .*: No such file or directory"):
        run(seeded_case(4).job, waveform=tmp_path / "missing" / "run.vcd")


def test_waveform_of_a_run_that_fails(tmp_path: Path) -> None:
    """Nothing is left behind."""

    def fail(array: Array) -> None:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        run(seeded_case(4).job, waveform=tmp_path / "run.vcd", observe=fail)
    assert list(tmp_path.iterdir()) == []
