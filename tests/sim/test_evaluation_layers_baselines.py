"""Speed-ups, energy efficiency, and the products timed on this machine."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from eie.sim.energy.model import estimate
from eie.sim.evaluation import baselines, speedups, stopwatch
from eie.sim.evaluation.layers import BENCHMARKS, simulated
from eie.sim.evaluation.section import Section
from eie.sim.plots.style import save
from eie.sim.published import published
from eie.sim.workloads.random import random_input, random_layer

SEED = 1


# Measured here


def test_products_are_the_layers() -> None:
    layer, x = random_layer(30, 40, 0.3, SEED), random_input(40, 0.5, SEED)
    expected = layer.decode().astype(np.float64) / 2**15 @ x
    for kind, matrix in baselines.matrices(layer).items():
        assert matrix.dtype == np.float32, kind
        assert np.allclose(matrix @ x.astype(np.float32), expected, rtol=1e-3, atol=1), kind


def test_every_product_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense products twice, with one thread the faster; the others once."""
    seen = []

    def fake(product, seconds):  # type: ignore[no-untyped-def]
        threads = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
        seen.append((seconds, product().shape, threads == {1}))
        return 640e-6 / len(seen)

    monkeypatch.setattr(stopwatch, "best_of", fake)
    with threadpool_limits(limits=2, user_api="blas"):
        us = baselines.measure(random_layer(30, 40, 0.3, SEED), random_input(40, 0.5, SEED), seconds=0.5)
    one, many = (0.5, (30,)), (0.5, (30, 64))
    assert seen == [
        *((*what, single) for what in (one, many) for single in (False, True)),
        *((*what, False) for what in (one, many) * 2),
    ]
    calls = dict(zip([(k, b) for k in baselines.KINDS for b in (1, 64)], (2, 4, 5, 6, 7, 8), strict=True))
    assert us == pytest.approx({key: 640 / call / key[1] for key, call in calls.items()})


def test_measured_section(monkeypatch: pytest.MonkeyPatch) -> None:
    us = {(kind, batch): 1000.0 / batch for kind in baselines.KINDS for batch in (1, 64)}
    monkeypatch.setattr(baselines, "measure", lambda layer, x: us)
    done: list[str] = []
    found = baselines.section(SEED, done.append)
    assert found.measured_here
    assert len(done) == len(BENCHMARKS)
    assert baselines.processor() in found.text[0]
    for table, batch in zip(found.tables, (1, 64), strict=True):
        for name, row in zip(BENCHMARKS, table.rows, strict=False):
            ours = simulated(name, SEED).microseconds
            assert ours is not None
            assert float(row[5]) == pytest.approx(1000 / batch / ours, abs=0.06)


# Against the published times


@pytest.fixture(scope="module")
def section() -> Section:
    return speedups.section(SEED, None)


def cell(text: str) -> tuple[float, float]:
    """Ours and published."""
    ours, _, other = text.replace(",", "").rstrip(")").partition(" (")
    return float(ours), float(other)


def test_speedups_are_published_times_over_ours(section: Section) -> None:
    batch_1, batch_64 = section.tables[:2]
    assert list(batch_1.headings[1:]) == [
        "over CPU dense",
        "over CPU sparse",
        "over GPU dense",
        "over GPU sparse",
        "over mobile GPU dense",
        "over mobile GPU sparse",
    ]
    for table, batch in ((batch_1, 1), (batch_64, 64)):
        for name, row in zip(BENCHMARKS, table.rows, strict=False):
            facts, ours = published().layer(name), simulated(name, SEED).microseconds
            assert ours is not None
            for text, (platform, matrix) in zip(row[1:], speedups.COLUMNS, strict=True):
                us = facts.baseline(platform, matrix, batch)
                assert cell(text) == (
                    pytest.approx(us / ours, rel=0.01, abs=0.005),
                    pytest.approx(us / facts.actual_us, rel=0.01, abs=0.005),
                )


def test_the_published_speedups_come_out(section: Section) -> None:
    by_name = {row[0]: row for row in section.tables[0].rows}
    assert cell(by_name["Alex-6"][1])[1] == 248
    assert cell(by_name["VGG-6"][1])[1] == 1018


def test_the_edge_is_lost_at_batch_64(section: Section) -> None:
    over_gpu = [cell(row[3])[0] for row in section.tables[1].rows[:-1]]
    assert f"in {sum(ratio < 1 for ratio in over_gpu)} of 9 layers" in section.text[1]
    assert sum(ratio < 1 for ratio in over_gpu) > 4


def test_energy_is_time_times_power(section: Section) -> None:
    for name, row in zip(BENCHMARKS, section.tables[2].rows, strict=False):
        facts = published().layer(name)
        published_ratio = facts.baseline("gpu", "sparse", 1) * 159 / (facts.actual_us * 0.59)
        ours_ratio = facts.baseline("gpu", "sparse", 1) * 159 / section.data["energy_uj"][name]
        assert cell(row[4]) == (
            pytest.approx(ours_ratio, rel=0.01),
            pytest.approx(published_ratio, rel=0.01),
        )


def test_energy_is_that_of_the_simulated_run(section: Section) -> None:
    run = simulated("Alex-7", SEED)
    assert run.cycles is not None
    watts = estimate(run.cfg, run.counters, run.cycles).power_mw / 1000
    assert section.data["energy_uj"]["Alex-7"] / section.data["us"]["Alex-7"] == pytest.approx(watts)
    # The published 0.59 W is this layer's.
    assert watts == pytest.approx(published().chip.power_w, rel=0.1)


def test_means(section: Section) -> None:
    cpu = section.tables[3].rows[0]
    assert (cpu[1], cpu[2], cpu[4], cpu[5]) == ("189", "194", "24,000", "23,997")


def test_pictures(section: Section) -> None:
    for picture, ours in zip(section.pictures, ("us", "energy_uj"), strict=True):
        assert save(picture.figure).startswith(b"\x89PNG")
        (axes,) = picture.figure.axes
        assert axes.get_yscale() == "log"
        tops = [bar.get_y() + bar.get_height() for bar in axes.patches][-10:-1]
        reference = speedups.times(1)[:, 0] * (73 if ours == "energy_uj" else 1)
        assert np.allclose(tops, reference / list(section.data[ours].values()))
