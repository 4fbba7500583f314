"""Clusters with the least squared error: against the exact optimum, textbook k-means and scikit-learn."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from eie.compress import share as share_module
from eie.compress.float_layers import FloatLayer
from eie.compress.share import SharedLayer, SharingError, best_centroids, k_means, share, squared_error
from eie.errors import ModelError

numbers = st.floats(-100, 100, width=32)


def least_error(values, k):
    """The optimum by trying every way to cut the sorted values into at most k pieces."""
    data = np.sort(np.asarray(values, np.float64))
    cuts = range(1, len(data))
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(data, chosen))
        for pieces in range(min(k, len(data)))
        for chosen in itertools.combinations(cuts, pieces)
    )


def distribution(name, size=4_000):
    rng = np.random.default_rng(7)
    values = {
        "normal": lambda: rng.normal(0, 0.01, size),
        "laplace": lambda: rng.laplace(0, 0.02, size),
        "uniform": lambda: rng.uniform(-1, 2, size),
        "heavy tails": lambda: rng.standard_t(2, size),
        "far from zero": lambda: 1e4 + rng.normal(0, 1, size),
        "one side": lambda: rng.exponential(1, size),
        "two heaps": lambda: np.concatenate([rng.normal(-3, 0.1, size // 2), rng.normal(3, 1, size // 2)]),
        "few values": lambda: rng.integers(-20, 20, size) / 8,
    }[name.removeprefix("pruned ")]()
    if name.startswith("pruned "):
        values = values[np.abs(values) > np.quantile(np.abs(values), 0.91)]
    return values.astype(np.float32)


DISTRIBUTIONS = (
    "normal",
    "pruned normal",
    "laplace",
    "pruned laplace",
    "uniform",
    "heavy tails",
    "pruned heavy tails",
    "far from zero",
    "one side",
    "two heaps",
    "few values",
)


@given(st.lists(numbers, min_size=1, max_size=11), st.integers(1, 5))
def test_the_optimum_of_few_values(values, k):
    centroids = best_centroids(values, k)
    assert len(centroids) <= k
    assert squared_error(values, centroids) == pytest.approx(least_error(values, k), rel=1e-9, abs=1e-9)


def test_the_optimum_that_lloyds_iteration_misses():
    # Evenly spaced centroids settle with two for the heap on the left, where one belongs.
    values = [0.0, 1.0, 2.0, 10.0, 14.0, 18.0, 19.0]
    best = squared_error(values, best_centroids(values, 3))
    assert best == pytest.approx(least_error(values, 3))
    assert squared_error(values, k_means(values, 3, [0, 1, 2])) > best


@pytest.fixture(scope="module")
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("k", [3, 15, 31])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_error_is_never_above_scikit_learns(name, k):
    values = distribution(name)
    starts = {"linear": np.linspace(values.min(), values.max(), k)}
    starts["density"] = np.quantile(values, (np.arange(k) + 0.5) / k)
    starts["random"] = np.random.default_rng(k).choice(values, k, replace=False)
    ours = squared_error(values, best_centroids(values, k))
    for start in starts.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct values than clusters
            theirs = KMeans(k, init=start.astype(np.float64)[:, None], n_init=1, tol=0, max_iter=1000).fit(
                values.astype(np.float64)[:, None]
            )
        assert ours <= squared_error(values, np.sort(theirs.cluster_centers_.ravel())) * (1 + 1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_four_times_the_groups_gain_next_to_nothing(name, monkeypatch):
    """Where the groups are no single values, Lloyd's iteration makes up for it: finer groups gain next to nothing."""
    values = distribution(name)
    error = squared_error(values, best_centroids(values, 15))
    monkeypatch.setattr(share_module, "_GROUPS", 2048)
    assert error <= squared_error(values, best_centroids(values, 15)) * 1.001


def test_sums_in_blocks_are_sums():
    # Three chunks, and boundaries at both ends of blocks and chunks.
    values = np.sort(np.random.default_rng(3).normal(5, 1, 2 * share_module._CHUNK + 1000))
    data = share_module._Sorted(values)
    chunk, block = share_module._CHUNK, share_module._BLOCK
    bounds = np.array([0, 1, block - 1, block, block + 1, chunk - 1, chunk, chunk + 1, 2 * chunk, data.size])
    expected = [part.mean() for part in np.split(values, bounds[1:-1])]
    assert data.means(bounds) == pytest.approx(expected, rel=1e-12)
    centroids = np.arange(9.0)
    squares = [
        ((part - c) ** 2).sum() for part, c in zip(np.split(values, bounds[1:-1]), centroids, strict=True)
    ]
    rounding = 1e-15 * float(np.square(values - 5).sum())
    assert data.squares(centroids, bounds) == pytest.approx(squares, rel=1e-12, abs=rounding)


def test_float32_values_meet_boundaries_between_float32_numbers():
    # The middle of two float32 neighbours is none: the upper one belongs above it, the lower one below.
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    data = share_module._Sorted(np.array([low, high], np.float32))
    assert data.bounds(np.array([float(low), float(high)])).tolist() == [0, 1, 2]
    assert data.bounds(np.array([float(low), 3 - float(low)])).tolist() == [0, 2, 2]


# ---- layers ------------------------------------------------------------------------------------------------


def random_layer(shape=(60, 80), seed=5):
    rng = np.random.default_rng(seed)
    return FloatLayer("fc", rng.normal(0, 0.1, shape).astype(np.float32))


def test_the_bits_are_the_fewest_that_keep_the_error():
    layer = random_layer()
    keep = np.abs(layer.weight) > 0.1
    norm = float((layer.weight[keep].astype(np.float64) ** 2).sum())
    chosen = {}
    for most_error in (0.5, 0.2, 0.05, 0.01, 1e-6):
        shared = share(layer, keep, None, most_error)
        bits = chosen[most_error] = len(shared.centroids).bit_length() - 1
        errors = [
            squared_error(layer.weight[keep], share(layer, keep, b).centroids[1:]) for b in range(1, bits + 1)
        ]
        assert all(error > most_error**2 * norm for error in errors[:-1])
        assert errors[-1] <= most_error**2 * norm or bits == 8
    assert list(chosen.values()) == sorted(chosen.values())
    assert chosen[1e-6] == 8
    assert chosen[0.5] < 4


@pytest.mark.parametrize("count", [1, 2, 3, 14, 15, 100, 255])
def test_a_layer_shared_already_keeps_its_weights(count):
    table = np.random.default_rng(count).permutation(np.arange(1, count + 1, dtype=np.float32))
    weight = np.resize(np.append(table, 0), (16, 32)).astype(np.float32)
    shared = share(FloatLayer("fc", weight), weight != 0, None)
    assert np.array_equal(shared.to_float().weight, weight)
    assert len(shared.centroids) == 1 << count.bit_length()


def test_a_small_layer_is_not_shared_already():
    layer = random_layer((5, 20))
    bits = len(share(layer, layer.weight != 0, None).centroids).bit_length() - 1
    assert 3 <= bits <= 5


def test_nothing_to_share_takes_one_bit():
    layer = FloatLayer("fc", np.zeros((2, 3), np.float32))
    assert share(layer, layer.weight != 0, None).centroids.tolist() == [0, 0]


def test_the_error_follows_from_sums():
    layer = random_layer()
    keep = np.abs(layer.weight) > 0.08
    shared = share(layer, keep)
    error = SharingError.of(layer.weight, shared)
    wide = layer.weight.astype(np.float64)
    assert error.of_pruning == pytest.approx(np.linalg.norm(wide[~keep]) / np.linalg.norm(wide), rel=1e-12)
    table = np.round(shared.centroids * 64) / 64
    expected = np.linalg.norm(wide - table[shared.codes]) / np.linalg.norm(wide)
    assert error.with_codes(shared.centroids, table) == pytest.approx(expected, rel=1e-12)
    same = SharingError.none(shared)
    expected = np.linalg.norm((shared.centroids - table)[shared.codes]) / np.linalg.norm(
        shared.centroids[shared.codes]
    )
    assert same.with_codes(shared.centroids, table) == pytest.approx(expected, rel=1e-12)
    assert same.with_codes(shared.centroids, shared.centroids) == same.of_pruning == 0


@pytest.mark.parametrize(
    ("codes", "centroids", "bias", "text"),
    [
        (
            np.ones((2, 3)),
            np.zeros(3),
            np.zeros(2),
            "layer 'fc': centroids must be 2, 4, 8, ... 256 numbers, ",
        ),
        (
            np.ones((2, 3)),
            np.ones(4),
            np.zeros(2),
            "layer 'fc': centroids must be 2, 4, 8, ... 256 numbers, ",
        ),
        (np.ones((2, 3)), [0, np.nan], np.zeros(2), "layer 'fc': centroids[1] is nan, not a finite number"),
        (
            np.ones((2, 3)),
            np.zeros(4),
            np.zeros(3),
            "layer 'fc': codes must be a matrix and bias have one number ",
        ),
        (np.full((2, 3), 4), np.zeros(4), np.zeros(2), "layer 'fc': code 4 is outside the 4 centroids"),
    ],
)
def test_bad_shared_layers(codes, centroids, bias, text):
    with pytest.raises(ModelError) as caught:
        SharedLayer("fc", codes.astype(np.uint8), np.asarray(centroids, np.float64), bias, True)
    assert str(caught.value).startswith(text)
