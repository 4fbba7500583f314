"""The trained network in examples/lenet_300_100 is what its README says it is."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

from tests.support import ROOT

FOLDER = ROOT / "examples" / "lenet_300_100"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
FILES = re.findall(r"^\| (\S+) \| (\d+) \| ([0-9a-f]{64}) \|$", README, re.MULTILINE)
LAYERS = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
Network = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network() -> Network:
    with safe_open(FOLDER / "lenet_300_100.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


@pytest.fixture(scope="module")
def about() -> dict[str, object]:
    with safe_open(FOLDER / "lenet_300_100.safetensors", framework="numpy") as file:
        return json.loads(file.metadata()["about"])


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "mnist_test_1000.npz") as file:
        assert sorted(file) == ["images", "labels"]
        return file["images"], file["labels"]


def count_right(network: Network, digits: tuple[np.ndarray, np.ndarray]) -> int:
    images, labels = digits
    x = images / np.float32(255)
    for name in LAYERS:
        x = x @ network[f"{name}.weight"].T + network[f"{name}.bias"]
        if name != "fc3":
            x = np.maximum(x, 0)
    return int((x.argmax(axis=1) == labels).sum())


def test_the_readme_lists_both_files() -> None:
    assert {name for name, _, _ in FILES} == {"lenet_300_100.safetensors", "mnist_test_1000.npz"}


@pytest.mark.parametrize(("name", "size", "sha256"), FILES, ids=[row[0] for row in FILES])
def test_files_are_those_of_the_readme(name: str, size: str, sha256: str) -> None:
    data = (FOLDER / name).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), sha256)


def test_weights_are_a_dense_float32_lenet(network: Network) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in LAYERS.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    assert {name: values.shape for name, values in network.items()} == shapes
    for name, values in network.items():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert np.count_nonzero(values) > 0.99 * values.size, f"{name} comes pruned"


def test_digits_are_the_first_thousand_of_the_test_set(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    assert images.dtype == labels.dtype == np.uint8
    assert (images.shape, labels.shape) == ((1000, 784), (1000,))
    # MNIST's test set is known to open with a 7, 2, 1, 0, 4, 1, 4, 9, 5, 9.
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [85, 126, 116, 107, 110, 87, 87, 99, 89, 94]


def test_plain_numpy_reads_as_many_digits_right_as_stated(
    network: Network, about: dict[str, object], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    assert count_right(network, digits) == about["first_1000_right"]


def test_readme_states_the_metadata(about: dict[str, object]) -> None:
    for key, value in about.items():
        assert f"    {key}: {value}\n" in README
    dense = re.search(r"^ +100% +100% +100% +100.0% +([\d.]+) %$", README, re.MULTILINE)
    assert dense is not None
    assert float(dense[1]) == about["test_error_percent"]


def test_published_error_is_reached(about: dict[str, object]) -> None:
    assert isinstance(about["test_error_percent"], float)
    assert (
        about["test_error_percent"] <= 1.64
    )  # Deep Compression, ICLR 2016, LeNet-300-100 before compression


def test_one_shot_pruning_to_the_published_densities_costs_little(
    network: Network, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    pruned = dict(network)
    for name, density in {"fc1.weight": 0.08, "fc2.weight": 0.09, "fc3.weight": 0.26}.items():
        weight = network[name]
        smallest_kept = np.sort(np.abs(weight), axis=None)[-round(density * weight.size)]
        pruned[name] = np.where(np.abs(weight) >= smallest_kept, weight, 0)
        assert np.count_nonzero(pruned[name]) == round(density * weight.size)
    assert count_right(pruned, digits) >= count_right(network, digits) - 5


def train_without_torch(*args: str) -> subprocess.CompletedProcess[str]:
    """Run train.py in an interpreter in which `import torch` fails, be it installed or not."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(FOLDER / "train.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_needs_no_torch() -> None:
    result = train_without_torch("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--evaluate" in result.stdout


def test_training_without_torch_says_what_to_install() -> None:
    result = train_without_torch()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "train.py: torch is not installed: pip install 'eie-sim[train]'\n"
