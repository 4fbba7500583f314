"""Layers from matrices made by hand."""

import numpy as np
import pytest
import scipy.sparse

import eie
from eie.errors import ModelError
from eie.fixed import quantize

rng = np.random.default_rng(5)
WEIGHT = rng.normal(size=(40, 30))
X = rng.random(30)


def answer(layer, x=X):
    result = eie.simulate(
        layer,
        quantize(x, layer.x_frac, 16),
        eie.ArchConfig(n_pe=4, weight_bits=layer.weight_bits),
        engine="reference",
    )
    return result.y / 2.0**layer.y_frac


def test_the_product_is_numpys():
    bias = rng.normal(size=40)
    layer = eie.CompressedLayer.from_dense(WEIGHT, weight_bits=8, bias=bias, relu=False)
    assert layer.weight_bits == 8
    right = WEIGHT @ X + bias
    assert np.abs(answer(layer) - right).max() < 0.05 * np.abs(right).max()
    positive = eie.CompressedLayer.from_dense(WEIGHT, weight_bits=8, bias=bias)
    assert np.abs(answer(positive) - np.maximum(right, 0)).max() < 0.05 * np.abs(right).max()


def test_density_keeps_the_largest():
    layer = eie.CompressedLayer.from_dense(WEIGHT, weight_bits=4, density=0.1, name="mine")
    assert (layer.name, layer.nnz, layer.weight_bits) == ("mine", 120, 4)
    kept = layer.dense_codes() > 0
    assert np.abs(WEIGHT[kept]).min() >= np.abs(WEIGHT[~kept]).max()


@pytest.mark.parametrize(
    "form",
    [
        lambda w: w.tolist(),
        lambda w: w.astype(">f4"),
        lambda w: np.asfortranarray(w),
        lambda w: np.repeat(w, 2, axis=1)[:, ::2],
        lambda w: w.astype(np.longdouble),
        lambda w: np.asmatrix(w),
    ],
)
def test_forms_of_a_dense_matrix(form):
    assert eie.CompressedLayer.from_dense(form(WEIGHT)).equals(eie.CompressedLayer.from_dense(WEIGHT))


def test_matrices_of_integers_and_truth_values():
    whole = rng.integers(-3, 4, (6, 5))
    for given in (whole, whole.astype(np.int8), whole > 0):
        layer = eie.CompressedLayer.from_dense(given)
        assert np.array_equal(layer.decode() / 2.0**layer.w_frac, given.astype(float))


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    tensor = torch.tensor(WEIGHT, requires_grad=True)
    assert eie.CompressedLayer.from_dense(tensor).equals(eie.CompressedLayer.from_dense(WEIGHT))
    half = tensor.detach().to(torch.bfloat16)
    right = eie.CompressedLayer.from_dense(half.float().numpy())
    assert eie.CompressedLayer.from_dense(half).equals(right)
    assert eie.CompressedLayer.from_dense(half.to_sparse()).equals(right)
    assert eie.CompressedLayer.from_dense(half.t().contiguous().t()).equals(right)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_sparse_matrices(kind):
    sparse = scipy.sparse.random_array((30, 20), density=0.2, rng=rng)
    right = eie.CompressedLayer.from_dense(sparse.toarray(), weight_bits=5)
    assert eie.CompressedLayer.from_sparse(sparse.asformat(kind), weight_bits=5).equals(right)
    assert eie.CompressedLayer.from_dense(sparse.asformat(kind), weight_bits=5).equals(right)


def test_a_sparse_matrix_that_is_never_dense(monkeypatch):
    count = 300_000
    places = rng.integers(0, [[2_000_000], [1_000_000]], (2, count))
    values = rng.choice([-1.5, -0.25, 0.5, 2.0], count)
    sparse = scipy.sparse.coo_array((values, tuple(places)), (2_000_000, 1_000_000))
    layer = eie.CompressedLayer.from_sparse(sparse, relu=False)
    assert layer.shape == sparse.shape
    x = np.round(rng.random(1_000_000) * 128) / 128
    right = sparse @ x
    decoded = scipy.sparse.csc_array(
        (layer.codebook[layer.codes] / 2.0**layer.w_frac, layer.indices, layer.indptr), layer.shape
    )
    assert np.abs(decoded @ x - right).max() < 1e-2 * np.abs(right).max()
    layer.check(full=True)
    # The fewest bits for four values and zero.
    few = eie.CompressedLayer.from_sparse(sparse, relu=False, weight_bits=None)
    assert few.weight_bits == 3
    assert np.array_equal(few.codebook[few.codes], layer.codebook[layer.codes])
    # Small ones, by the same way.
    monkeypatch.setattr("eie.compress.matrix._MOST_DENSE", 0)
    small = scipy.sparse.csr_array(np.where(rng.random((40, 30)) < 0.3, np.round(WEIGHT), 0))
    found = eie.CompressedLayer.from_sparse(small, bias=np.ones(40), relu=False)
    assert np.abs(answer(found) - (small @ X + 1)).max() < 0.02


@pytest.mark.parametrize(
    ("make", "given", "options", "text"),
    [
        ("from_dense", [[1, 2], [3]], {}, "weight is not an array"),
        ("from_dense", [1.0, 2.0], {}, r"weight must be a matrix \[outputs, inputs\], not of shape \[2\]"),
        ("from_dense", [["a"]], {}, "weight must hold real numbers, not <U1"),
        ("from_dense", [[1j]], {}, "weight must hold real numbers, not complex128"),
        ("from_dense", np.zeros((0, 3)), {}, r"weight must hold real numbers, not float64\[0, 3\]"),
        ("from_dense", [[np.nan, 1]], {}, r"weight\[0, 0\] is nan"),
        ("from_dense", [[1, 2]], {"bias": [1, 2]}, "bias must have one value for each of 1 outputs"),
        ("from_dense", [[1, 2]], {"weight_bits": 9}, "weight_bits must be from 1 to 8, not 9"),
        ("from_dense", [[1, 2]], {"weight_bits": 4.0}, "weight_bits must be from 1 to 8, not 4.0"),
        ("from_dense", [[1, 2]], {"density": 0}, "density must be more than 0 and at most 1"),
        ("from_sparse", [[1, 2]], {}, "the matrix must be a scipy sparse matrix, not list"),
    ],
)
def test_what_is_no_matrix(make, given, options, text):
    with pytest.raises(ModelError, match=f"^{text}"):
        getattr(eie.CompressedLayer, make)(given, **options)
