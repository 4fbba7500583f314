"""Recipes and their command, on a few made-up digits and with few epochs."""

import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.cli.pages import train_pictures
from eie.compress import datasets
from eie.compress.train import recipes, sensitivity
from eie.compress.train.loop import Training
from eie.compress.train.weights import find_weights
from tests.support.small_mnist import idx_files


@pytest.fixture
def folder(small, tmp_path, monkeypatch):
    """A folder with the small data set; the recipes are cut down to it."""
    datasets.fetch("mnist", tmp_path / "data")
    for name, recipe in recipes.RECIPES.items():
        short = replace(
            recipe,
            batch=32,
            dense=Training(epochs=8, lr=3e-3),
            teacher=Training(epochs=2, lr=2e-3),
            pruned=Training(epochs=2, lr=0.01, momentum=0.9),
            shared=Training(epochs=1, lr=1e-4),
        )
        monkeypatch.setitem(recipes.RECIPES, name, short)
    monkeypatch.setattr(recipes, "_IN_BLOCKS", Training(epochs=2, lr=2e-3))
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


def test_a_recipe_in_blocks(folder):
    done = call(folder, "lenet-5", "--blocks", "10", "--distinct", "2", "--bits", "3")
    assert done.exit_code == 0, done.output
    assert "fc1: 10 blocks, 2 distinct, shuffled\nfc2: 5 blocks, shuffled\n" in done.output
    assert re.search(
        r"whole file [\d.]+ x; fully connected layers only, .* \(as MESA counts\) [\d.]+ x", done.output
    )
    path = folder / "out" / "lenet-5.eie"
    layers = {layer.name: layer for layer in eie.load(path)}
    assert [layers[name].block_codes().bits for name in ("fc1", "fc2")] == [3, 3]
    assert layers["conv2"].weight_bits == 4
    shown = CliRunner().invoke(main, ["info", str(path)], catch_exceptions=False).output
    assert "fc1: 10 blocks, 2 distinct, shuffled" in shown
    result = json.loads((folder / "out" / "result.json").read_text())
    printed = json.loads(
        CliRunner().invoke(main, ["info", str(path), "--json"], catch_exceptions=False).output
    )
    assert printed["mesa_ratio"] == result["mesa_ratio"] > result["ratio"] > 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--distinct", "2"],
            "--distinct, --alike, --order and --bits are about blocks: give --blocks as well",
        ),
        (["--blocks", "10", "--distinct", "11"], "of 10 blocks from 1 to 10 are distinct, not 11"),
        (["--blocks", "10", "--distinct", "2", "--alike", "1"], "it needs distinct = 10, not 2"),
        (["--blocks", "10", "--scan"], "--scan and --budget are about pruning: not with --blocks"),
        (["--blocks", "400"], "layer 'fc1': a 300 x 784 matrix has from 1 to 300 blocks, not 400"),
    ],
)
def test_impossible_blocks(options, text, folder):
    done = call(folder, "lenet-300-100", *options)
    assert done.exit_code == 2, done.output
    assert text in done.stderr


def test_networks_in_blocks_share_the_teacher_of_the_pruned_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for options in ([], ["--blocks", "4"], ["--blocks", "4", "--alike", "0.5"]):
        args = ["train", "lenet-300-100", "--data", "data", "--quiet", *options]
        assert CliRunner().invoke(main, args, catch_exceptions=False).exit_code == 0
    made = sorted(p.relative_to("out/train").as_posix() for p in Path("out/train").rglob("*.pt"))
    assert made == [
        "lenet-300-100-4-blocks-alike-0.5/checkpoints/prune.pt",
        "lenet-300-100-4-blocks-alike-0.5/checkpoints/share.pt",
        "lenet-300-100-4-blocks/checkpoints/prune.pt",
        "lenet-300-100-4-blocks/checkpoints/share.pt",
        "lenet-300-100/checkpoints/fit.pt",
        "lenet-300-100/checkpoints/prune.pt",
        "lenet-300-100/checkpoints/share.pt",
        "lenet-300-100/checkpoints/teacher/fit.pt",
    ]


def test_part_mesa_has_both_rules_and_trains_nothing_twice(folder, monkeypatch):
    from eie.sim.evaluation import mesa

    monkeypatch.chdir(folder)
    Path("build").mkdir()
    Path("data").rename("build/mnist")
    rows = [row for row in mesa.ROWS if row.key in ("deepc", "mesa", "k2")]
    small = recipes.RECIPES["lenet-5"]
    made, times = [], []
    for _ in range(2):
        made.append(mesa.section(1, rows=rows, network=small, held_out=32))
        times.append({p: p.stat().st_mtime_ns for p in Path("out").rglob("*.pt")})
    assert made[0] == made[1]
    assert times[0] == times[1]
    found = made[0].data["rows"]
    assert found["k2"]["mesa_ratio"] > 3 * found["deepc"]["mesa_ratio"]
    assert found["mesa"]["delta_bits"] > 0
    table = made[0].tables[0]
    assert [row[0] for row in table.rows][1:] == [row.what for row in rows]
    path = Path("out/train/mesa/mnist-seed-1/k2/lenet-5.eie")
    assert found["k2"]["nbytes"] == path.stat().st_size
    # With all digits to learn from nothing is held out, and nothing is taken from the training without the last ones.
    of_all = mesa.section(1, rows=rows[-1:], network=small, held_out=0)
    assert of_all.tables[0].rows[1][2] == ""
    assert Path("out/train/mesa/mnist-whole-seed-1/k2/lenet-5.eie").read_bytes() != path.read_bytes()


def test_the_same_seed_gives_the_same_file_and_nothing_is_trained_twice(folder):
    files, times = [], []
    for place in ("one", "two", "one"):
        bench = recipes.Bench.of(recipes.RECIPES["lenet-300-100"], datasets.load("mnist", folder / "data"))
        files.append(recipes.run_recipe(bench, folder / place, progress=False).path.read_bytes())
        times.append({p: p.stat().st_mtime_ns for p in (folder / place).rglob("*.pt")})
    assert files[0] == files[1] == files[2]
    assert times[0] == times[2]
    assert sorted(p.relative_to(folder / "one" / "checkpoints").as_posix() for p in times[0]) == [
        "fit.pt",
        "prune.pt",
        "share.pt",
        "teacher/fit.pt",
    ]


def test_scan_and_budget(folder, monkeypatch):
    done = call(folder, "lenet-300-100", "--budget", "20", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert set(found["scores"]) == {"fc1", "fc2", "fc3"}
    assert found["choice"]["reached"]
    assert (folder / "out" / "sensitivity.png").stat().st_size > 10_000
    # Nothing is found within the budget when all that is tried is far too sparse: the best, and status 1.
    monkeypatch.setattr(sensitivity, "scan", partial(sensitivity.scan, densities=(0.001, 0.01)))
    done = call(folder, "lenet-300-100", "--budget", "0")
    assert done.exit_code == 1
    assert re.search(
        r"^densities: fc1 [\d.]+ %, fc2 [\d.]+ %, fc3 [\d.]+ %: [\d.]+ % in one shot$", done.output, re.M
    )
    assert "no densities found that cost at most 0 points: the best reach" in done.stderr


@pytest.mark.parametrize("budget", ["-1", "nan", "101"])
def test_impossible_budgets(budget, folder):
    done = call(folder, "lenet-300-100", "--budget", budget)
    assert done.exit_code == 2
    assert f"budget must be from 0 to 100 percentage points, not {budget}" in done.stderr


def test_another_data_set_does_not_take_up_the_checkpoints_of_the_first(folder, monkeypatch):
    call(folder, "lenet-300-100", "--scan")
    other = idx_files(seed=2)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in other.items()}
    monkeypatch.setitem(
        datasets.DATA_SETS, "fashion-mnist", replace(datasets.DATA_SETS["mnist"], sha256=sums)
    )
    for name, data in other.items():
        (folder / "data" / name).write_bytes(data)
    done = call(folder, "lenet-300-100", "--scan", "--data-set", "fashion-mnist")
    assert done.exit_code == 2
    assert "fit.pt belongs to another run (data differs): delete it, or choose another folder" in done.stderr
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(
        main, ["train", "lenet-300-100", "--scan", "--data-set", "fashion-mnist", "--data", "data", "--quiet"]
    )
    assert done.exit_code == 0
    assert [p.name for p in Path("out/train").iterdir()] == ["lenet-300-100-fashion-mnist"]


def test_a_recipe_that_diverges_ends_with_one_line(folder, monkeypatch):
    recipe = recipes.RECIPES["lenet-300-100"]
    wild = replace(recipe, pruned=Training(epochs=2, lr=1e4, momentum=0.9))
    monkeypatch.setitem(recipes.RECIPES, recipe.name, wild)
    done = call(folder, recipe.name)
    assert done.exit_code == 2
    assert re.fullmatch(
        r"eie: error: training diverged \(prune, epoch \d(, batch \d+)?\): the loss is \S+; try a lower learning rate "
        r"than 10000\n",
        done.stderr,
    )
    assert not (folder / "out" / f"{recipe.name}.eie").exists()


def test_other_images_are_not_set_beside_what_was_published_on_mnist(folder, monkeypatch):
    monkeypatch.setitem(datasets.DATA_SETS, "fashion-mnist", datasets.DATA_SETS["mnist"])
    done = call(folder, "lenet-300-100", "--data-set", "fashion-mnist")
    assert done.exit_code == 0, done.output
    assert "whole file" in done.output
    assert "published" not in done.output


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
    assert "none holds no IDX files: run `eie data mnist`" in done.output


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_the_networks_have_the_published_sizes(name):
    model = recipes.RECIPES[name].build()
    count = sum(p.numel() for p in model.parameters())
    assert count == {"lenet-300-100": 266_610, "lenet-5": 431_080}[name]
    assert [w.name for w in find_weights(model)] == list(recipes.RECIPES[name].published.rows)


def test_distorted_digits_keep_their_background():
    torch.manual_seed(1)
    x = torch.zeros(8, 784)
    assert not recipes.distort(x, 1.5).any()
    x[:, 14 * 28 + 14] = 1
    moved = recipes.distort(x, 0.25)
    assert moved.shape == x.shape
    assert not torch.equal(moved, x)
    # A shift of 3 pixels takes some of the points farther than one of a quarter can.
    near, far = (recipes.distort(x, shift)[:, 14 * 28 + 14] for shift in (0.0, 3.0))
    assert (near > 0.5).all()
    assert not (far > 0.5).all()
    assert moved.sum(1) == pytest.approx(torch.ones(8).numpy(), abs=0.3)


def test_every_batch_has_other_digits():
    data = recipes.Batches(torch.arange(10.0)[:, None], torch.arange(10), 3)
    assert len(data) == 3
    seen = [int(v) for _, y in data for v in y]
    assert len(set(seen)) == 9
    ordered = recipes.Batches(torch.arange(10.0)[:, None], torch.arange(10), 3, shuffle=False)
    assert [len(y) for _, y in ordered] == [3, 3, 3, 1]


def test_pictures_of_odd_sizes():
    layers = {f"layer {n}": (50.0, 90.0) for n in range(20)}
    picture = train_pictures.sensitivity("x", sensitivity.Sensitivity(95.0, (0.1, 1.0), layers), 10)
    assert picture.startswith(b"\x89PNG")
    mask = np.zeros((1, 4), np.bool_)
    assert train_pictures.first_layer_mask("x", mask, 2).startswith(b"\x89PNG")
