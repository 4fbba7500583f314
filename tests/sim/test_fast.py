"""The fast engine has golden's figures, whatever the machine, the batch and the number of threads."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eie
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import CapacityError, ConfigError, LayerError
from eie.golden.run import run as run_golden
from eie.layer import CompressedLayer
from eie.sim.engines import fast
from eie.sim.simulate import simulate_many
from eie.sim.workloads.random import random_input, random_layer
from eie.timing import schedule
from tests.support.cases import KINDS, Case, cases, extreme_case, seeded_case
from tests.support.results import require_equal

CASES = 300


@settings(max_examples=CASES)
@given(cases())
def test_every_figure_is_goldens(case: Case) -> None:
    require_equal(simulate_many([case.job], "fast")[0], run_golden(case.job), case)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_case(kind: str) -> None:
    for seed in range(8):
        case = seeded_case(seed, kind=kind)
        require_equal(simulate_many([case.job], "fast")[0], run_golden(case.job), case)


@pytest.mark.parametrize("seed", range(60))
def test_machines_at_the_ends_of_their_range(seed: int) -> None:
    case = extreme_case(seed)
    require_equal(simulate_many([case.job], "fast")[0], run_golden(case.job), case)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 4, 16, 64, 256]),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_timing_is_the_law(seed: int, n_pe: int, depth: int, bus: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, rng.choice([2, 5, 40]), (rng.integers(0, 60), n_pe))
    cfg = ArchConfig(n_pe=n_pe, queue_depth=depth, bus_registers=bus)
    law = schedule(lengths, cfg)
    assert fast.timing(lengths, cfg) == (law.cycles, law.broadcast_stalls)
    # No queue holds more than all columns, so one of that depth never fills.
    law = schedule(lengths, cfg.replace(queue_depth=max(1, len(lengths))))
    assert fast.timing(lengths, cfg, unbounded=True) == (law.cycles, law.broadcast_stalls)


def test_batches_and_threads_change_nothing() -> None:
    layer = random_layer(300, 200, 0.1, 3)
    prepared = fast.prepare(layer, sized_for(ArchConfig(n_pe=8), layer))
    inputs = np.stack([random_input(200, density, 5) for density in np.linspace(0, 1, 23)])
    alone = [prepared.run(x) for x in inputs]
    assert len({result.cycles for result in alone}) > 15
    for threads in (1, 2, 5, None):
        for one, other in zip(prepared.run_batch(inputs, threads=threads), alone, strict=True):
            require_equal(one, other, threads)
    assert prepared.run_batch(inputs[:0]) == []


def test_jobs_of_several_layers_and_configurations() -> None:
    jobs = [seeded_case(seed).job for seed in (1, 1, 2, 3)]
    again = eie.program.Job.create(jobs[2].layer, jobs[2].x, jobs[2].cfg.replace(queue_depth=1))
    jobs = [jobs[0], jobs[2], jobs[2], again, jobs[3], jobs[1]]
    for job, result in zip(jobs, simulate_many(jobs, "fast"), strict=True):
        require_equal(result, run_golden(job), job.cfg)


def test_configurations_share_an_encoding_only_when_it_is_the_same() -> None:
    layer = random_layer(200, 60, 0.05, 7)
    x = random_input(60, 0.8, 7)
    base = ArchConfig(n_pe=4)
    for changes in (
        {},
        {"queue_depth": 2},
        {"n_pe": 2},
        {"index_bits": 2},
        {"word_bits": 32},
        {"acc_bits": 32},
    ):
        cfg = sized_for(base.replace(**changes), layer)
        job = eie.program.Job.create(layer, x, cfg)
        require_equal(eie.simulate(layer, x, cfg, engine="fast"), run_golden(job), changes)


def test_layers_do_not_change_under_their_encoding() -> None:
    codes = np.array([[1, 0], [0, 2]], np.uint8)
    layer = CompressedLayer.from_codes(codes, np.arange(16, dtype=np.int16))
    for frozen in (layer, pickle.loads(pickle.dumps(layer))):
        for name in ("indptr", "indices", "codes", "codebook", "bias"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(frozen, name)[0] = 1
    # Arrays that somebody else may write to are copied: what is theirs stays theirs, and the layer's the layer's.
    own = {
        "indptr": np.array([0, 1, 2], np.int64),
        "indices": np.array([0, 1], np.int32),
        "codes": np.array([1, 2], np.uint8),
        "codebook": np.arange(16, dtype=np.int16),
        "bias": np.zeros(2, np.int32),
    }
    made = CompressedLayer(shape=(2, 2), **own)
    before = eie.simulate(made, [1, 1], engine="fast")
    for name, array in own.items():
        array[0] = 1
        assert getattr(made, name)[0] != 1 or name == "codes"
        views = CompressedLayer(shape=(2, 2), **{n: getattr(made, n)[:] for n in own})
        assert np.shares_memory(getattr(views, name), getattr(made, name))  # nobody can write: no copy
    own["indices"][:] = 10**9
    require_equal(eie.simulate(made, [1, 1], engine="fast"), before, "the owner changed his arrays")
    require_equal(before, run_golden(eie.program.Job.create(made, [1, 1], ArchConfig())), "golden")
    inter = interleave(layer, 2)
    assert interleave(layer, 2) is inter
    assert interleave(layer, 1).n_pe == 1
    assert interleave(layer, 1, 2).z.max(initial=0) <= 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.ones(3, np.int64), "vector of 4"),
        (np.ones(4), "must hold integers"),
        (np.array([0, 1, 40000, 2]), "40000 at index 2 does not fit 16 bits"),
    ],
)
def test_bad_inputs(given: np.ndarray, text: str) -> None:
    layer = CompressedLayer.from_codes(np.ones((2, 4), np.uint8), np.arange(16))
    prepared = fast.prepare(layer, ArchConfig(n_pe=2))
    with pytest.raises(LayerError, match=text):
        prepared.run(given)
    with pytest.raises(LayerError, match=text):
        prepared.run_batch(given[None])
    with pytest.raises(LayerError, match=r"\[batch, 4\]"):
        prepared.run_batch(given)


def test_what_does_not_fit_is_refused() -> None:
    layer = random_layer(64, 64, 0.5, 1)
    with pytest.raises(CapacityError, match="accumulators needed"):
        fast.prepare(layer, ArchConfig(n_pe=1, acc_depth=10))
    with pytest.raises(CapacityError, match="engine fast counts to 2147483647"):
        fast.timing(np.full((3, 2), 2**30), ArchConfig(n_pe=2))
    prepared = fast.prepare(layer, ArchConfig(n_pe=2))
    with pytest.raises(ConfigError, match="threads must be at least 1, not 0"):
        prepared.run_batch(np.ones((2, 64), int), threads=0)
    with pytest.raises(LayerError, match=r"must be a matrix \[batch, 64\]"):
        prepared.run_batch([[1, 2], [3]])
    for lengths, text in (
        (np.ones((3, 5), int), r"integers \[active columns, 2\], not int64\[3, 5\]"),
        (np.ones((3, 2)), "not float64"),
        (np.ones(3, int), r"not int64\[3\]"),
        (np.array([[1, -1]]), "must not be negative: -1"),
    ):
        with pytest.raises(LayerError, match=text):
            fast.timing(lengths, ArchConfig(n_pe=2))
    with pytest.raises(ConfigError, match="engine fast writes no waveform"):
        eie.simulate(layer, np.ones(64, int), engine="fast", waveform="x.vcd")


def test_other_engines_load_no_numba() -> None:
    text = (
        "import sys, numpy as np, eie;"
        "layer = eie.CompressedLayer.from_codes(np.ones((2, 2), np.uint8), np.arange(16));"
        "eie.simulate(layer, [1, 2], engine='golden'); assert 'numba' not in sys.modules;"
        "eie.simulate(layer, [1, 2], engine='fast'); assert 'numba' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
