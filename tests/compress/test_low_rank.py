"""Layers split in two of low rank: against scipy's decomposition, through files and machines, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.compress.float_layers import FloatLayer, float_forward
from eie.compress.format.file import load
from eie.compress.low_rank import choose_rank, factors, low_rank, rank_for, split_layer
from eie.compress.readers.files import read_model
from eie.conv import Conv
from eie.errors import ModelError
from tests.support.json_schemas import check

RNG = np.random.default_rng(1)


def near_rank(rows: int, cols: int, rank: int, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    product = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, cols))
    return (product + noise * rng.normal(size=(rows, cols))).astype(np.float32)


# ---- one matrix --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (7, 7), (1, 9), (9, 1)])
def test_no_matrix_of_the_rank_is_nearer(shape):
    weight = np.random.default_rng(sum(shape)).normal(size=shape)
    singular = scipy.linalg.svdvals(weight)
    for rank in range(1, min(shape) + 1):
        first, second = factors(weight, rank)
        assert (first.shape, second.shape) == ((rank, shape[1]), (shape[0], rank))
        # Eckart and Young: the distance is the root of the squares that are left out.
        off = np.linalg.norm(weight - second @ first)
        assert off == pytest.approx(np.linalg.norm(singular[rank:]), abs=1e-9 * singular[0])
        # A root of each singular value on either side.
        root = np.sqrt(singular[:rank])
        assert np.linalg.norm(first, axis=1) == pytest.approx(root)
        assert np.linalg.norm(second, axis=0) == pytest.approx(root)


def test_the_least_rank_that_keeps_an_energy():
    for seed in range(20):
        singular = np.sort(np.random.default_rng(seed).exponential(size=12))[::-1]
        squares = singular**2
        for energy in (0.01, 0.3, 0.5, 0.9, 0.99, 1.0):
            rank = rank_for(singular, energy)
            assert squares[:rank].sum() >= energy * squares.sum() * (1 - 1e-12), seed
            assert rank == 1 or squares[: rank - 1].sum() < energy * squares.sum(), seed
    assert rank_for([2.0, 0.0, 0.0], 1.0) == 1
    assert rank_for([0.0, 0.0], 0.5) == 1


def test_what_a_split_says():
    weight = near_rank(40, 60, 3)
    split = choose_rank("fc", weight, None, 0.999999)
    assert split is not None
    assert (split.rank, split.before, split.after) == (3, 2400, 300)
    assert split.energy == pytest.approx(1)
    assert str(split) == (
        "layer 'fc' became two of rank 3, which keep 100.0 % of its energy: 300 weights instead of 2,400"
    )
    assert choose_rank("fc", near_rank(40, 60, 40), None, 1.0) is None
    assert choose_rank("fc", np.zeros((4, 5), np.float32), None, 0.5) is None


@pytest.mark.parametrize(
    ("rank", "energy", "line"),
    [
        (4, None, "rank of layer 'fc' must be a whole number from 1 to its matrix's rank, 3, not 4"),
        (0, None, "rank of layer 'fc' must be a whole number from 1 to its matrix's rank, 3, not 0"),
        (1.5, None, "rank of layer 'fc' must be a whole number from 1 to its matrix's rank, 3, not 1.5"),
        (
            float("nan"),
            None,
            "rank of layer 'fc' must be a whole number from 1 to its matrix's rank, 3, not nan",
        ),
        (None, 1.5, "energy of layer 'fc' must be above 0 and at most 1, not 1.5"),
        (None, 0, "energy of layer 'fc' must be above 0 and at most 1, not 0"),
        (None, float("nan"), "energy of layer 'fc' must be above 0 and at most 1, not nan"),
    ],
)
def test_ranks_and_energies_that_there_are_not(rank, energy, line):
    with pytest.raises(ModelError) as caught:
        choose_rank("fc", near_rank(40, 60, 3), rank, energy)
    assert str(caught.value) == line


def test_a_pruned_matrix_counts_what_is_not_zero():
    weight = np.zeros((20, 20), np.float32)
    weight[np.arange(20), np.arange(20)] = np.arange(1, 21)
    with pytest.raises(ModelError) as caught:
        choose_rank("fc", weight, 2, None)
    assert str(caught.value) == (
        "rank 2 does not make layer 'fc' smaller: 80 weights instead of 20 that are not zero; no rank makes it smaller"
    )
    full = near_rank(10, 10, 10)
    with pytest.raises(ModelError, match=r"100 weights instead of 100 .*; at most rank 4 makes it smaller"):
        choose_rank("fc", full, 5, None)
    assert choose_rank("fc", full, 4, None).after == 80


@pytest.mark.parametrize("pool", [(1, 1), (2, 2)])
def test_a_convolution_of_full_rank_does_the_same(pool):
    rng = np.random.default_rng(3)
    conv = Conv((3, 2), (1, 2), (1, 0), pool=pool, pool_stride=pool, size=(9, 10))
    layer = FloatLayer(
        "c", rng.normal(size=(5, 12)).astype(np.float32), rng.normal(size=5).astype(np.float32), True, conv
    )
    halves = split_layer(layer, 5)
    assert [half.name for half in halves] == ["c.0", "c.1"]
    x = rng.normal(size=(4, layer.inputs))
    assert float_forward(halves, x) == pytest.approx(layer.forward(x), rel=1e-4, abs=1e-4)
    # Fewer filters: the nearest matrix of that rank, applied at each position.
    first, second = factors(layer.weight, 2)
    near = FloatLayer("c", (second @ first).astype(np.float32), layer.bias, True, conv)
    assert float_forward(split_layer(layer, 2), x) == pytest.approx(near.forward(x), rel=1e-4, abs=1e-4)


# ---- networks ----------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    arrays = {
        "fc1.weight": near_rank(40, 60, 4, 0.05),
        "fc1.bias": rng.normal(size=40).astype(np.float32),
        "fc2.weight": near_rank(12, 40, 12, seed=2),
        "fc2.bias": rng.normal(size=12).astype(np.float32),
    }
    np.savez("net.npz", **arrays)
    np.save("x.npy", rng.random((20, 60)))
    return tmp_path


def test_the_halves_read_from_a_file(here):
    model, places = low_rank(read_model("net.npz"), rank={"fc1": 4})
    assert places == [0, 0, 1]
    assert [layer.name for layer in model.layers] == ["fc1.0", "fc1.1", "fc2"]
    assert [layer.relu for layer in model.layers] == [False, True, False]
    assert model.layers[0].bias is None
    assert np.array_equal(model.layers[1].bias, np.load("net.npz")["fc1.bias"])
    first, second = factors(np.load("net.npz")["fc1.weight"], 4)
    # In any order, and more than once.
    assert np.array_equal(model.layers[1].weight, second.astype(np.float32))
    assert np.array_equal(model.layers[0].weight, first.astype(np.float32))
    assert [note.partition(" of rank")[0] for note in model.notes[-1:]] == ["layer 'fc1' became two"]


def test_the_first_pattern_that_fits_counts(here):
    model, _ = low_rank(read_model("net.npz"), rank={"fc2": 3, "fc*": 2})
    assert [layer.shape for layer in model.layers] == [(2, 60), (40, 2), (3, 40), (12, 3)]
    model, places = low_rank(read_model("net.npz"), energy={"fc2": 1.0, "*": 0.95})
    assert [layer.name for layer in model.layers] == ["fc1.0", "fc1.1", "fc2"]
    assert places == [0, 0, 1]
    assert model.notes[-1] == "layer 'fc2' stays whole: the energy 1 would not make it smaller"
    for each in ({}, {"rank": 3, "energy": 0.5}):
        with pytest.raises(ModelError, match="give rank or energy, one of them"):
            low_rank(read_model("net.npz"), **each)


def test_halves_that_would_have_anothers_name(tmp_path):
    rng = np.random.default_rng(1)
    names = {"fc.weight": (20, 30), "fc.0.weight": (20, 20)}
    np.savez(tmp_path / "net.npz", **{name: rng.normal(size=size) for name, size in names.items()})
    with pytest.raises(
        ModelError,
        match=r"a layer is already called 'fc\.0', which would be the name of half of another layer",
    ):
        low_rank(read_model(tmp_path / "net.npz"), rank={"fc": 3})


def eie_compress(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["compress", "net.npz", "-o", "net.eie", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_writes_a_network_that_every_engine_runs(here):
    status, out, error = eie_compress(
        "--rank", "fc1=4", "--density", "0.9,0.5", "--calibrate", "x.npy", "--weight-bits", "8"
    )
    assert (status, error) == (0, "")
    assert "note: layer 'fc1' became two of rank 4, which keep " in out
    # Biases: 40 and 12 numbers in both networks.
    given, split = 4 * (40 * 60 + 12 * 40 + 52), 4 * (4 * 100 + 12 * 40 + 52)
    layers = load("net.eie")
    size = Path("net.eie").stat().st_size
    assert f"{size:,} bytes, {split / size:.1f} x smaller than float32" in out
    assert (
        f"{given / size:.1f} x smaller than the {given:,} bytes of the layers before they were split" in out
    )
    assert [layer.shape for layer in layers] == [(4, 60), (40, 4), (12, 40)]
    # Both halves have their layer's density.
    assert [layer.nnz for layer in layers] == [216, 144, 240]
    assert [layer.relu for layer in layers] == [False, True, False]
    x = np.load("x.npy")
    net = eie.load("net.eie")
    machine = eie.sized_for(eie.ArchConfig(n_pe=4, weight_bits=8), *layers)
    runs = [net.run(x[:3], machine, engine=engine) for engine in ("reference", "golden", "fast")]
    for run in runs[1:]:
        assert np.array_equal(run.outputs, runs[0].outputs)
    assert runs[1].cycles == runs[2].cycles
    # Near the network as it was: only 4 of its directions, and little noise, are gone.
    model, _ = low_rank(read_model("net.npz"), rank={"fc1": 4})
    net = eie.compress("net.npz", rank={"fc1": 4}, weight_bits=8, calibration=x)
    machine = eie.sized_for(machine, *net)
    right = float_forward(model.layers, x)
    assert net.run(x, machine, engine="reference").outputs == pytest.approx(
        right, abs=0.05 * abs(right).max()
    )
    whole = float_forward(read_model("net.npz").layers, x)
    assert np.corrcoef(right.ravel(), whole.ravel())[0, 1] > 0.99


def test_the_report_for_scripts(here):
    status, out, error = eie_compress("--energy", "fc1=0.9", "--json")
    assert (status, error) == (0, "")
    report = check("compress", out)
    assert report["given_bytes"] == 4 * (40 * 60 + 12 * 40 + 52)
    assert report["dense_bytes"] < report["given_bytes"]
    assert "became two" in report["notes"][-1]
    status, out, _ = eie_compress("--json")
    report = check("compress", out)
    assert report["given_bytes"] == report["dense_bytes"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--rank", "fc3=2"], "rank fc3 matches no layer (there are fc1, fc2)"),
        (
            ["--rank", "fc2=13"],
            "rank of layer 'fc2' must be a whole number from 1 to its matrix's rank, 12, not 13",
        ),
        (["--rank", "fc2=12"], "rank 12 does not make layer 'fc2' smaller: 624 weights instead of 480"),
        (
            ["--rank", "fc1"],
            "invalid value for '--rank': 'fc1' is not a pattern of names and a number, such as fc1=32",
        ),
        (["--rank", "fc1=x"], "invalid value for '--rank': 'fc1=x' is not a pattern of names and a number"),
        (["--rank", "fc1=4", "--energy", "0.9"], "give rank or energy, one of them"),
        (
            ["--energy", "fc2=0.999"],
            "no layer gets smaller with an energy of 0.999: choose less, or leave it out",
        ),
        (["--energy", "1.1"], "energy of layer 'fc1' must be above 0 and at most 1, not 1.1"),
        (["--rank", "fc1=4", "--density", "0.1,0.2,0.3"], "3 densities for 2 layers: give 1 or 2"),
    ],
)
def test_what_is_refused_leaves_no_file(here, arguments, line):
    status, out, error = eie_compress(*arguments)
    assert (status, out) == (2, "")
    assert error.startswith(f"eie: error: {line}")
    assert len(error.splitlines()) == 1
    assert not Path("net.eie").exists()


def test_the_layers_of_a_graph_stay_as_they_are(here):
    Path("net.toml").write_text('weights = "net.npz"\n')
    result = CliRunner().invoke(main, ["compress", "net.toml", "-o", "net.eie", "--rank", "fc1=4"])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("eie: error: ")
    assert not Path("net.eie").exists()
