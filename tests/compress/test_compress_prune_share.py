"""Pruning and weight sharing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eie.compress.float_layers import FloatLayer
from eie.compress.prune import keep_above, keep_density
from eie.compress.share import k_means, share
from eie.errors import ModelError

matrices = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-4, 4, width=16),
)


@given(matrices, st.floats(0.01, 1))
def test_density_keeps_exactly_the_largest(weight, density):
    keep = keep_density(weight, density)
    count = round(density * weight.size)
    assert keep.sum() == min(count, np.count_nonzero(weight))
    assert not keep[weight == 0].any()
    if keep.any() and not keep.all():
        assert np.abs(weight[keep]).min() >= np.abs(weight[~keep]).max()


def test_ties_go_to_the_first():
    weight = np.float32([[1, -1, 1], [1, 2, -1]])
    assert keep_density(weight, 0.5).tolist() == [[True, True, False], [False, True, False]]


def test_threshold_is_in_standard_deviations():
    weight = np.random.default_rng(1).normal(0, 0.3, (100, 100)).astype(np.float32)
    # 31.73 % of a normal distribution lie beyond one standard deviation.
    assert keep_above(weight, 1.0).mean() == pytest.approx(0.3173, abs=0.01)
    assert keep_above(np.float32([[0, 1]]), 0.0).tolist() == [[False, True]]


@pytest.mark.parametrize("density", [0, -0.1, 1.1, float("nan")])
def test_bad_density(density):
    with pytest.raises(ModelError, match=r"^density must be more than 0 and at most 1, not"):
        keep_density(np.ones((2, 2), np.float32), density)


def test_bad_threshold():
    with pytest.raises(ModelError, match=r"^threshold must be at least 0 and finite, not -1$"):
        keep_above(np.ones((2, 2), np.float32), -1)


def slow_lloyd(values: np.ndarray, k: int) -> np.ndarray:
    """Textbook k-means with linear initialisation, where no cluster becomes empty."""
    centroids = np.linspace(values.min(), values.max(), k)
    for _ in range(1000):
        label = np.abs(values[:, None] - centroids).argmin(axis=1)
        moved = np.array([values[label == i].mean() for i in range(k)])
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


@pytest.mark.parametrize("seed", range(5))
def test_k_means_is_lloyds(seed):
    values = np.random.default_rng(seed).uniform(-1, 2, 500)
    assert k_means(values, 7) == pytest.approx(slow_lloyd(values, 7), abs=1e-12)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80), st.integers(1, 15))
def test_k_means_settles_where_every_centroid_is_its_values_mean(values, k):
    data = np.array(values)
    centroids = k_means(data, k)
    # Values too close for float64 to tell their midpoint apart may share a centroid.
    assert len(centroids) <= min(k, len(np.unique(data)))
    assert (np.diff(centroids) > 0).all()
    label = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, data, side="right")
    for i, centroid in enumerate(centroids):
        assert centroid == pytest.approx(data[label == i].mean(), abs=1e-9)


def test_centroids_in_the_gap_that_pruning_leaves_are_put_to_use():
    # Linear initialisation puts 9 of 15 centroids between -0.6 and 0.6, where no weight is left.
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.uniform(-1, -0.6, 200), rng.uniform(0.6, 1, 200)])
    centroids = k_means(values, 15)
    assert len(centroids) == 15
    assert (np.abs(centroids) > 0.6).all()


def test_few_distinct_values_are_kept_exactly():
    layer = FloatLayer("fc", np.float32([[0.5, -2, 0], [0.5, 7, 7]]))
    shared = share(layer, layer.weight != 0)
    assert shared.codes.tolist() == [[2, 1, 0], [2, 3, 3]]
    assert shared.centroids.tolist() == [0, -2, 0.5, 7] + [0] * 12
    assert np.array_equal(shared.to_float().weight, layer.weight)


def test_nothing_left_to_share():
    layer = FloatLayer("fc", np.zeros((2, 3), np.float32))
    shared = share(layer, layer.weight != 0, weight_bits=2)
    assert not shared.codes.any()
    assert shared.centroids.tolist() == [0] * 4


@given(matrices, st.integers(1, 6))
def test_shared_weights_are_the_nearest_centroid(weight, weight_bits):
    layer = FloatLayer("fc", weight)
    shared = share(layer, weight != 0, weight_bits)
    assert ((shared.codes > 0) == (weight != 0)).all()
    if shared.codes.any():
        used = shared.centroids[1 : int(shared.codes.max()) + 1]
        best = np.abs(weight[..., None].astype(np.float64) - used).min(axis=-1)
        error = np.abs(weight - shared.centroids[shared.codes])
        assert error[weight != 0] == pytest.approx(best[weight != 0], abs=1e-12)


def test_bad_share_arguments():
    layer = FloatLayer("fc", np.ones((2, 3), np.float32))
    with pytest.raises(ModelError, match=r"^weight_bits must be from 1 to 8, not 9$"):
        share(layer, layer.weight != 0, 9)
    with pytest.raises(ModelError, match=r"^layer 'fc': the mask's shape is \[3, 2\], not \[2, 3\]$"):
        share(layer, layer.weight.T != 0)
