"""Layers that add instead of multiplying: y = -sum |x - w| (Chen et al., AdderNet, CVPR 2020; docs/adder.md).

    net = nn.Sequential(Adder(784, 300), nn.BatchNorm1d(300), nn.ReLU(), nn.Linear(300, 10))
    train.fit(net, loader, loss, Training(epochs=20, lr=0.1, momentum=0.9))

Each must have a BatchNorm behind it: its outputs are sums of magnitudes, far below zero. The weights' gradient is that
of the squared distance; the inputs' is clipped to -1..1; and the former is scaled, layer by layer, to the same length
for each weight, which is the published learning rate that adapts itself. Any optimiser then goes on as usual.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.errors import ModelError

# Root mean square of a weight's gradient: eta of the paper's equation 13, as the released code has it.
RATE = 0.2
_TINY = 1e-12
# Rows that are worth a thread.
_FEWEST_ROWS = 64


def _in_threads(rows: int, work: Callable[[slice], None]) -> None:
    """Do the work of so many rows in as many threads as torch has; each row is one thread's alone."""
    threads = min(torch.get_num_threads(), max(1, rows // _FEWEST_ROWS))
    if threads == 1:
        work(slice(0, rows))
        return
    ends = [rows * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (slice(*pair) for pair in itertools.pairwise(ends))))


class _Distance(torch.autograd.Function):
    """-sum |x - w|: x float32[n, inputs], w float32[outputs, inputs]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        from eie.compress.train import adder_kernels as kernels  # numba

        ctx.save_for_backward(x, weight)
        y = torch.empty(len(x), len(weight))
        by_column = weight.detach().t().contiguous().numpy()
        start = -weight.detach().abs().sum(1).numpy()
        given, found = x.detach().contiguous().numpy(), y.numpy()
        _in_threads(len(x), lambda rows: kernels.forward(given[rows], by_column, start, found[rows]))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        from eie.compress.train import adder_kernels as kernels  # numba

        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x, memory_format=torch.contiguous_format)
            given, weights = x.detach().contiguous().numpy(), weight.detach().contiguous().numpy()
            times, found = gradient.numpy(), dx.numpy()
            _in_threads(
                len(x), lambda rows: kernels.input_gradient(given[rows], weights, times[rows], found[rows])
            )
        if ctx.needs_input_grad[1]:
            dw = gradient.t() @ x - gradient.sum(0)[:, None] * weight
            dw *= RATE * math.sqrt(dw.numel()) / dw.norm().clamp(min=_TINY)
        return dx, dw


def _distance(x: Tensor, weight: Tensor, name: str) -> Tensor:
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise ModelError(f"{name} takes float32 on the processor, not {x.dtype} on {x.device.type}")
    answer: Tensor = _Distance.apply(x, weight)
    return answer


class Adder(nn.Linear):
    """y = -sum |x - w| + bias in the place of `nn.Linear`; weights begin as N(0, 1).

    Parameters
    ----------
    in_features, out_features, bias : as of `nn.Linear`; a BatchNorm behind it makes a bias needless.
    positive : whether its inputs are never negative (pixels, what a ReLU gives). Weights below 0 then only add a
        constant, so that `prune` takes them for the smallest, and `save` leaves them out.

    Examples
    --------
    >>> layer = Adder(3, 1)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[1.0, 0.0, -2.0]]))
    >>> layer(torch.tensor([[0.5, 1.0, 0.0]])).tolist()
    [[-3.5]]
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, *, positive: bool = False):
        super().__init__(in_features, out_features, bias)
        self.positive = positive

    def reset_parameters(self) -> None:
        """Weights as published, a bias of 0."""
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """[..., outputs] for [..., inputs]."""
        if input.shape[-1:] != (self.in_features,):
            raise ModelError(f"an Adder of {self.in_features} inputs does not take {list(input.shape)}")
        y = _distance(input.reshape(-1, self.in_features), self.weight, "an Adder")
        y = y.reshape(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


class AdderConv2d(nn.Conv2d):
    """The same in the place of `nn.Conv2d`: at each position the distance between window and filter.

    Padding is with zeros, from which a weight is as far as it is large. Groups and dilation are refused.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, bias : as of `nn.Conv2d`. positive : as of `Adder`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = False,
        *,
        positive: bool = False,
    ):
        if isinstance(padding, str):
            raise ModelError(
                f"an AdderConv2d takes its padding as numbers, such as 1 or (1, 2), not {padding!r}"
            )
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.positive = positive

    def reset_parameters(self) -> None:
        """Weights as published, a bias of 0."""
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """[batch, channels, height, width] for the same of the input."""
        if input.dim() != 4 or input.shape[1] != self.in_channels:
            raise ModelError(
                f"an AdderConv2d of {self.in_channels} channels does not take {list(input.shape)}"
            )
        kernel, stride, padding = self.kernel_size, self.stride, self.padding
        size = [(input.shape[2 + i] + 2 * int(padding[i]) - kernel[i]) // stride[i] + 1 for i in range(2)]
        windows = functional.unfold(input, kernel, padding=padding, stride=stride)  # type: ignore[arg-type]
        vectors = windows.transpose(1, 2).reshape(-1, windows.shape[1])
        y = _distance(vectors, self.weight.reshape(self.out_channels, -1), "an AdderConv2d")
        y = y.reshape(len(input), -1, self.out_channels).transpose(1, 2)
        y = y.reshape(len(input), self.out_channels, *size)
        return y if self.bias is None else y + self.bias[:, None, None]
