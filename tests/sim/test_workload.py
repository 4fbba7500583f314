"""Random layers: the densities and the unevenness asked for, repeatable, refusals."""

import numpy as np
import pytest

from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.sim.workloads.random import Unevenness, _scale, random_layer

ROWS, COLS = 800, 1000


def kept(layer: CompressedLayer) -> np.ndarray:
    found = np.zeros(layer.shape, bool)
    found[layer.indices, np.repeat(np.arange(layer.cols), np.diff(layer.indptr))] = True
    return found


@pytest.mark.parametrize("uneven", [Unevenness(0.4, 0.0), Unevenness(0.0, 1.1), Unevenness(0.42, 0.8)])
@pytest.mark.parametrize("density", [0.04, 0.1])
def test_density_and_unevenness_are_those_asked_for(uneven: Unevenness, density: float) -> None:
    layer = random_layer(ROWS, COLS, density, seed=3, uneven=uneven)
    assert layer.nnz / (ROWS * COLS) == pytest.approx(density, rel=0.02)
    # The standard deviation of 800 gamma distributed numbers is itself uncertain by some per cent.
    found = Unevenness.of(kept(layer))
    assert found.rows == pytest.approx(uneven.rows, rel=0.15, abs=0.06)
    assert found.cols == pytest.approx(uneven.cols, rel=0.15, abs=0.06)


def test_density_is_kept_where_probabilities_reach_1() -> None:
    layer = random_layer(ROWS, COLS, 0.4, seed=3, uneven=Unevenness(1.0, 1.0))
    assert layer.nnz / (ROWS * COLS) == pytest.approx(0.4, rel=0.01)


def test_chance_is_not_unevenness() -> None:
    found = Unevenness.of(kept(random_layer(ROWS, COLS, 0.1, seed=3)))
    # Without the correction it would be sqrt(0.9 / 0.1 / 800) = 0.11 by column.
    assert max(found.rows, found.cols) < 0.05


def test_measured_by_hand() -> None:
    # Two full and two empty rows: mean 1/2, variance 1/4, of which chance would make 1/16 over 4 draws.
    half = np.repeat([[True], [False]], 2, axis=0) * np.ones((4, 4), bool)
    found = Unevenness.of(half)
    assert found.rows == pytest.approx(np.sqrt(1 / 4 - 1 / 16) / 0.5)
    assert found.cols == 0
    assert Unevenness.of(np.zeros((3, 3), bool)) == Unevenness(0, 0)


@pytest.mark.parametrize("density", [0.001, 0.3, 0.97])
def test_scale_keeps_the_expected_density(density: float) -> None:
    rng = np.random.default_rng(5)
    by_row, by_col = rng.gamma(1.0, 1.0, 60), rng.gamma(0.5, 2.0, 90)
    s = _scale(by_row, by_col, density)
    assert np.minimum(1, s * np.outer(by_row, by_col)).mean() == pytest.approx(density, rel=1e-6)


def test_uneven_layers_repeat_and_differ_by_seed() -> None:
    uneven = Unevenness(0.3, 0.3)
    first = random_layer(50, 60, 0.2, seed=7, uneven=uneven)
    assert first.equals(random_layer(50, 60, 0.2, seed=7, uneven=uneven))
    assert not first.equals(random_layer(50, 60, 0.2, seed=8, uneven=uneven))
    assert not first.equals(random_layer(50, 60, 0.2, seed=7))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    uneven = Unevenness(0.3, 0.3)
    whole = random_layer(50, 60, 0.2, seed=7, uneven=uneven)
    monkeypatch.setattr("eie.sim.workloads.random._CHUNK", 130)
    assert whole.equals(random_layer(50, 60, 0.2, seed=7, uneven=uneven))


def test_empty_and_full_layers() -> None:
    assert random_layer(5, 6, 0.0, seed=1, uneven=Unevenness(0.5)).nnz == 0
    with pytest.raises(ConfigError, match="without zeros cannot be uneven"):
        random_layer(5, 6, 1.0, seed=1, uneven=Unevenness(0.5))


def test_negative_unevenness_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must not be negative, not -0.1 \(rows\), 0 \(cols\)"):
        Unevenness(rows=-0.1)
