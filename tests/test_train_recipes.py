"""Recipes and their command, on a few made-up digits and with few epochs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_datasets import small  # noqa: F401  (a fixture)

import eie
from eie.cli import train_pictures
from eie.cli.main import main
from eie.compress import datasets
from eie.compress.train import recipes
from eie.compress.train.loop import Training
from eie.compress.train.weights import find_weights


@pytest.fixture
def folder(small, tmp_path, monkeypatch):  # noqa: F811
    """A folder with the small data set; the recipes are cut down to it."""
    datasets.fetch("mnist", tmp_path / "data")
    for name, recipe in recipes.RECIPES.items():
        short = replace(
            recipe,
            batch=32,
            dense=Training(epochs=8, lr=3e-3),
            pruned=Training(epochs=2, lr=0.01, momentum=0.9),
            shared=Training(epochs=1, lr=1e-4),
        )
        monkeypatch.setitem(recipes.RECIPES, name, short)
    return tmp_path


def call(folder, *args):
    options = ["--data", str(folder / "data"), "-o", str(folder / "out"), "--quiet", *args]
    return CliRunner().invoke(main, ["train", *options], catch_exceptions=False)


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_a_recipe_from_data_to_file(name, folder):
    done = call(folder, name)
    assert done.exit_code == 0, done.output
    assert "whole file" in done.output
    assert "in the accelerator's arithmetic" in done.output
    result = json.loads((folder / "out" / "result.json").read_text())
    path = folder / "out" / f"{name}.eie"
    layers = eie.load(path)
    assert result["bytes"] == path.stat().st_size
    assert [(p["name"], p["kept"]) for p in result["layers"]] == [(layer.name, layer.nnz) for layer in layers]
    densities = recipes.RECIPES[name].densities
    for layer in layers:
        assert layer.nnz == max(1, round(densities[layer.name] * layer.rows * layer.cols))
    assert result["tested"] == 64
    assert abs(result["fixed_error"] - result["error"]) <= 100 * 2 / 64
    assert (folder / "out" / "accuracy_against_bits.png").stat().st_size > 10_000
    assert (folder / "out" / "mask.png").exists() == (name == "lenet-300-100")


def test_the_same_seed_gives_the_same_file(folder):
    files = []
    for place in ("one", "two"):
        bench = recipes.Bench.of(recipes.RECIPES["lenet-300-100"], datasets.load("mnist", folder / "data"))
        files.append(recipes.run_recipe(bench, folder / place, progress=False).path.read_bytes())
    assert files[0] == files[1]


def test_scan_and_budget(folder):
    done = call(folder, "lenet-300-100", "--budget", "20", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert set(found["scores"]) == {"fc1", "fc2", "fc3"}
    assert found["choice"]["reached"]
    assert (folder / "out" / "sensitivity.png").stat().st_size > 10_000
    done = call(folder, "lenet-300-100", "--budget", "-50")
    assert done.exit_code == 1
    assert "no densities found that cost at most -50 points: the best reach" in done.output


def test_holdout_never_looks_at_the_test_digits(folder):
    digits = datasets.load("mnist", folder / "data")
    bench = recipes.Bench.of(recipes.RECIPES["lenet-5"], digits, 60)
    assert len(bench.x) == len(digits.images) - 60
    assert np.array_equal(bench.test_y.numpy(), digits.labels[-60:])
    done = call(folder, "lenet-5", "--holdout", "100000")
    assert done.exit_code == 2
    assert "holdout must be from 0 to" in done.output


def test_data_that_is_not_there_is_one_line(folder):
    done = CliRunner().invoke(
        main, ["train", "lenet-5", "--data", str(folder / "none"), "-o", str(folder / "out")]
    )
    assert done.exit_code == 2
    assert "none does not exist: run `eie data mnist`" in done.output


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_the_networks_have_the_published_sizes(name):
    model = recipes.RECIPES[name].build()
    count = sum(p.numel() for p in model.parameters())
    assert count == {"lenet-300-100": 266_610, "lenet-5": 431_080}[name]
    assert [w.name for w in find_weights(model)] == list(recipes.RECIPES[name].published.rows)


def test_distorted_digits_keep_their_background():
    torch.manual_seed(1)
    x = torch.zeros(8, 784)
    assert not recipes.distort(x).any()
    x[:, 14 * 28 + 14] = 1
    moved = recipes.distort(x)
    assert moved.shape == x.shape
    assert not torch.equal(moved, x)
    assert moved.sum(1) == pytest.approx(torch.ones(8).numpy(), abs=0.3)


def test_every_batch_has_other_digits():
    data = recipes.Batches(torch.arange(10.0)[:, None], torch.arange(10), 3)
    assert len(data) == 3
    seen = [int(v) for _, y in data for v in y]
    assert len(set(seen)) == 9
    ordered = recipes.Batches(torch.arange(10.0)[:, None], torch.arange(10), 3, shuffle=False)
    assert [len(y) for _, y in ordered] == [3, 3, 3, 1]


def test_pictures_of_odd_sizes():
    mask = np.zeros((1, 4), np.bool_)
    assert train_pictures.first_layer_mask("x", mask, 2).startswith(b"\x89PNG")
