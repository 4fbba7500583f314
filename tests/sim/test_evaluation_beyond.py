"""Part beyond of the evaluation, on its two smallest layers: the bars of the better machine, and what the page says."""

import pytest

from eie.config import ArchConfig
from eie.sim.evaluation import beyond
from eie.sim.evaluation.beyond import ALONE, EIE2, LADDER, ONE, PUBLISHED, Runs
from eie.sim.evaluation.layers import benchmark, machine, published_machine, simulated
from eie.sim.workloads.random import Unevenness

SMALL = ("NT-We", "NT-LSTM")
SEED = 1


@pytest.fixture(scope="module")
def runs() -> dict[str, Runs]:
    kinds = {beyond.EVEN: None, beyond.UNEVEN: Unevenness(0.42, 1.1)}
    works = {kind: {name: benchmark(name, SEED, uneven) for name in SMALL} for kind, uneven in kinds.items()}
    return {kind: beyond.ladder((*LADDER, ONE, *ALONE), work, None, "") for kind, work in works.items()}


def test_our_own_machine_is_the_evaluations(runs: dict[str, Runs]) -> None:
    for name, ran in zip(SMALL, runs["even"][PUBLISHED.name], strict=True):
        assert ran.cycles == simulated(name, SEED).cycles
        layer, _ = benchmark(name, SEED)
        mine, theirs = beyond.machine_for(layer, {}), machine(layer)
        assert (mine.spmat_words, mine.pointers, mine.acc_depth) == (
            theirs.spmat_words,
            theirs.pointers,
            theirs.acc_depth,
        )


def test_every_rung_is_faster_and_eie2_meets_its_bars(runs: dict[str, Runs]) -> None:
    for kind, of in runs.items():
        means = [sum(ran.cycles for ran in of[rung.name]) for rung in LADDER]
        assert means == sorted(means, reverse=True), kind
        for two, one in zip(of[EIE2.name], of[ONE.name], strict=True):
            assert two.over_bound(2) <= 1.08
            assert one.over <= 1.05
        assert min(beyond.speedup(of, EIE2)) > 2.3
        for rung in ALONE[:5]:
            assert min(beyond.speedup(of, rung)) > 0.97, rung.name


def test_machines_have_the_published_memories() -> None:
    for name in ("NT-We", "NT-Wd"):
        layer, _ = benchmark(name, SEED)
        for rung in (*LADDER, ONE, *ALONE):
            cfg = beyond.machine_for(layer, rung.changes)
            assert cfg.spmat_words == published_machine().spmat_words == ArchConfig().spmat_words
            assert cfg.n_pe == 64


def test_a_layer_of_more_rows_than_absolute_ones_reach_runs_in_tiles() -> None:
    layer, x = benchmark("NT-Wd", SEED)
    own, better = (beyond.measure((layer, x), rung, 16) for rung in (PUBLISHED, EIE2))
    assert layer.rows > 16 * 256
    assert 2 < own.cycles / better.cycles < 3
    assert own.work == better.work
