"""What the tests of training share: a small problem, a small network for it, and settings of a short training."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from eie.compress.train import Training


def problem(seed: int = 1, cols: int = 12) -> DataLoader:
    """Which of the first four inputs is largest: 256 cases."""
    x = torch.rand(256, cols, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, x[:, :4].argmax(1)), 32, shuffle=True)


def network(seed: int = 1, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = OrderedDict(
        fc1=nn.Linear(12, 20), relu=nn.ReLU(), drop=nn.Dropout(dropout), fc2=nn.Linear(20, 4)
    )
    return nn.Sequential(layers)


def quick(epochs: int = 4, **other) -> Training:
    return Training(**{"epochs": epochs, "lr": 1e-2, "progress": False, **other})


class Killed(Exception):
    """What ends a training in a test."""


def killed_after(epochs: int) -> Callable[[nn.Module], float]:
    """An `evaluate` that ends the training when more than so many epochs are measured."""
    left = iter(range(epochs, -1, -1))

    def evaluate(model: nn.Module) -> float:
        if next(left) == 0:
            raise Killed
        return 0.0

    return evaluate
