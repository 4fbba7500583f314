"""The example network that a clone holds: LeNet-300-100 trained on MNIST, and 1,000 digits of its test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatLayer
from eie.compress.readers.files import read_model
from eie.errors import ModelError
from eie.sim.workloads.inputs import read_inputs

NETWORK = "lenet_300_100"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / NETWORK
# What its layers keep when it is compressed, and the digits that its scales are chosen from.
DENSITIES = (0.08, 0.09, 0.26)
CALIBRATION_DIGITS = 100


@dataclass(frozen=True, eq=False)
class Digits:
    """Test digits: pixels float32[n, 784] in 0..1, and labels int64[n]."""

    pixels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def require(folder: Path, who: str) -> None:
    """Raise `ModelError` if `folder` is the clone's and there is no clone; `who` needs it."""
    if folder == EXAMPLE and not folder.is_dir():
        raise ModelError(
            f"{who} needs the folder examples/{NETWORK} of a clone, which an installed package lacks: "
            "run it in a clone, or name a copy with --example FOLDER"
        )


def read_trained(folder: Path) -> list[FloatLayer]:
    """The trained layers.

    Raises
    ------
    ModelError : the file is missing or is something else; likewise in `read_digits`.
    """
    return list(read_model(folder / f"{NETWORK}.safetensors").layers)


def lenet_5(folder: Path) -> Path:
    """The file of the network that `eie train lenet-5` made, in a folder beside the example's."""
    return folder.parent / "trained" / "lenet-5.eie"


def read_digits(folder: Path) -> Digits:
    """The digits and their labels."""
    path = folder / "mnist_test_1000.npz"
    pixels, labels = read_inputs(path, 784)
    if labels is None:
        raise ModelError(f"{path} holds no labels")
    return Digits(pixels, labels)
