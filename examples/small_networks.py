"""Small architectures that need no pruning to be small: depthwise separable convolutions, fire modules.

    python examples/small_networks.py

trains a separable LeNet and a network of fire modules for a moment on the example's digits, shares their weights, and
runs both on the accelerator (docs/learn.md#separable-convolutions-and-fire-modules).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import eie
from eie.compress import train

DIGITS = Path(__file__).parent / "lenet_300_100" / "mnist_test_1000.npz"


class Separable(nn.Sequential):
    """A convolution in two: a kernel for each channel, then 1 x 1 across channels (Howard et al., MobileNets, 2017)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        each = nn.Conv2d(inputs, inputs, kernel, groups=inputs)
        super().__init__(OrderedDict(depth=each, point=nn.Conv2d(inputs, outputs, 1)))


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1 x 1 and by 3 x 3 (Iandola et al., SqueezeNet, 2016)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.one = nn.Conv2d(squeeze, expand, 1)
        self.three = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


def separable_lenet() -> nn.Sequential:
    """LeNet-5 with its second convolution separated: 20 x 25 + 50 x 20 weights there instead of 25,000."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=Separable(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flat=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def small_squeezenet() -> nn.Sequential:
    """SqueezeNet's plan for digits: a convolution, fire modules, a convolution to the classes, and their mean."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, stride=2),
            relu1=nn.ReLU(),
            fire2=Fire(16, 4, 16),
            pool2=nn.MaxPool2d(2),
            fire3=Fire(32, 8, 16),
            conv4=nn.Conv2d(32, 10, 1),
            mean=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
        )
    )


def main(count: int = 1000, epochs: int = 10) -> None:
    """Train, share, save and run both; one line for each."""
    with np.load(DIGITS) as file:
        x = torch.tensor(file["images"][:count] / np.float32(255)).view(-1, 1, 28, 28).float()
        y = torch.tensor(file["labels"][:count].astype(np.int64))
    loader = [(x[i : i + 50], y[i : i + 50]) for i in range(0, count, 50)]
    for build in (separable_lenet, small_squeezenet):
        torch.manual_seed(1)
        model = build()
        how = train.Training(epochs=epochs, lr=3e-3, progress=False)
        train.fit(model, loader, functional.cross_entropy, how)
        again = train.Training(epochs=1, lr=1e-4, progress=False)
        shared = train.share(model, loader, functional.cross_entropy, training=again)
        path = f"{build.__name__}.eie"
        report = train.save(path, model, shared, x[:50])
        net = eie.load(path)
        run = net.run(x[:2].numpy())
        with torch.no_grad():
            apart = float(np.abs(np.asarray(run.outputs) - model(x[:2]).numpy()).max())
        print(
            f"{build.__name__}: {report.size.total_bytes:,} bytes, {run.cycles / 2:,.0f} cycles a digit; "
            f"{train.accuracy(loader)(model):.1f} % of the digits it learnt; at most {apart:.3f} from torch"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
