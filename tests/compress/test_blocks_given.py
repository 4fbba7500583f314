"""Blocks of a given matrix: recognised, or imposed in one shot."""

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.blocks import BlockStructure
from eie.cli.main import main
from eie.compress.blocks import imposed
from eie.compress.float_layers import FloatLayer
from eie.compress.pipeline import Settings, compress_network
from eie.errors import ModelError


def matrix(structure, seed=1, zeros=0.0):
    rng = np.random.default_rng(seed)
    weight = np.zeros(structure.shape, np.float32)
    blocks = [rng.normal(size=(structure.height(d), structure.width(d))) for d in range(structure.distinct)]
    for b in range(structure.blocks):
        block = blocks[b % structure.distinct][: structure.height(b), : structure.width(b)]
        weight[np.ix_(structure.rows_of(b), structure.cols_of(b))] = block
    weight[rng.random(weight.shape) < zeros] = 0
    return weight


@pytest.mark.parametrize("order", ["aligned", "shuffled"])
@pytest.mark.parametrize(("blocks", "distinct"), [(2, 2), (7, 3), (10, 1), (10, 10), (60, 60)])
def test_blocks_of_a_matrix_are_recognised(order, blocks, distinct):
    structure = BlockStructure(60, 911, blocks, order, distinct)
    weight = matrix(structure)
    layer = eie.CompressedLayer.from_dense(weight)
    assert layer.blocks == structure
    assert np.array_equal(layer.decode() != 0, weight != 0)


def test_what_has_no_blocks_or_mostly_zeros_in_them_has_none():
    structure = BlockStructure(60, 90, 6, "shuffled")
    weight = matrix(structure)
    assert eie.CompressedLayer.from_dense(weight).blocks == structure
    other = weight.copy()
    other[0, 1] = 1.0
    assert eie.CompressedLayer.from_dense(other).blocks is None
    assert eie.CompressedLayer.from_dense(matrix(structure, zeros=0.1)).blocks == structure
    assert eie.CompressedLayer.from_dense(matrix(structure, zeros=0.5)).blocks is None
    assert eie.CompressedLayer.from_dense(weight, density=0.01).blocks is None
    assert eie.CompressedLayer.from_dense(np.random.default_rng(1).normal(size=(60, 90))).blocks is None


@pytest.mark.parametrize(("bits", "values"), [(1, 2), (4, 16), (8, 255), (None, 32)])
def test_imposed_blocks_keep_their_weights_and_share_all_codes(bits, values):
    weight = np.random.default_rng(1).normal(size=(50, 80)).astype(np.float32)
    layer = imposed(FloatLayer("fc", weight, None, True), 5, bits)
    mask = BlockStructure(50, 80, 5, "shuffled").mask()
    found = layer.to_float().weight
    assert not found[~mask].any()
    assert len(np.unique(found[mask])) == values
    error = np.linalg.norm((found - weight)[mask]) / np.linalg.norm(weight[mask])
    assert error < {1: 0.7, 4: 0.12, 8: 0.02, None: 0.05}[bits]


def test_values_that_become_the_same_in_fixed_point_are_one_code_and_the_error_is_right():
    """Weights near 0 in blocks, beside large ones: their centroids round to 0."""
    weight = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32) * np.float32(1e-7)
    weight[0, 0] = weight[1, 2] = 1.0
    layers, report = compress_network([FloatLayer("fc", weight, None, True)], Settings(blocks=2))
    assert layers[0].block_codes().bits < 4
    found = layers[0].decode() / 2.0 ** layers[0].w_frac
    expected = np.linalg.norm(found - weight) / np.linalg.norm(weight)
    assert report.layers[0].relative_error == pytest.approx(expected, rel=1e-6)


def test_more_blocks_than_rows_are_refused():
    with pytest.raises(ModelError, match="layer 'fc': a 4 x 80 matrix has from 1 to 4 blocks, not 5"):
        imposed(FloatLayer("fc", np.ones((4, 80), np.float32), None, True), 5)


def test_eie_compress_with_blocks(tmp_path):
    rng = np.random.default_rng(2)
    np.savez(
        tmp_path / "net.npz",
        **{"fc1.weight": rng.normal(size=(60, 80)), "fc2.weight": rng.normal(size=(10, 60))},
    )

    def run(*args):
        options = ["compress", str(tmp_path / "net.npz"), "-o", str(tmp_path / "net.eie"), *args]
        return CliRunner().invoke(main, options, catch_exceptions=False)

    assert run("--blocks", "5").exit_code == 0
    first, second = eie.load(tmp_path / "net.eie")
    assert (str(first.blocks), str(second.blocks)) == ("5 blocks, shuffled", "5 blocks, shuffled")
    assert first.block_codes().bits == 4
    settings = tmp_path / "s.toml"
    settings.write_text('density = 0.2\n[layers."fc1"]\nblocks = 4\nweight_bits = 3\n')
    assert run("--settings", str(settings)).exit_code == 0
    first, second = eie.load(tmp_path / "net.eie")
    assert (first.blocks.blocks, first.block_codes().bits, second.blocks) == (4, 3, None)
    before = (tmp_path / "net.eie").read_bytes()
    refused = run("--blocks", "11")
    assert refused.exit_code == 2
    assert "layer 'fc2': a 10 x 60 matrix has from 1 to 10 blocks, not 11" in refused.stderr
    useless = {
        "--blocks has no effect beside --settings: give it there": (
            "--blocks",
            "5",
            "--settings",
            str(settings),
        ),
        "--density has no effect with --blocks: there is no convolution": (
            "--blocks",
            "5",
            "--density",
            "0.5",
        ),
    }
    for line, options in useless.items():
        refused = run(*options)
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"eie: error: {line}")
    assert (tmp_path / "net.eie").read_bytes() == before
