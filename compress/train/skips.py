"""Layers that an input may skip: a residual network with a gate before each block (SkipNet, Wang et al., 2018)."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from eie.compress.format import file
from eie.compress.forward import fixed_layer
from eie.compress.quantize import Widths, first_x_frac, quantize_layer
from eie.compress.share import SharedLayer
from eie.compress.train.loop import Loss
from eie.compress.train.sharing import Shared
from eie.compress.train.traced import Place, shared_layer
from eie.compress.train.weights import find_weights
from eie.errors import ModelError
from eie.fixed import quantize
from eie.layer import CompressedLayer


class Skipping(nn.Module):
    """relu(stem x), then blocks h + relu(W h), each of which runs where its gate is above 0, then a head.

    A gate is one number of h. What it decides is 0 or 1, and its gradient is that of the sigmoid (straight through).
    In training it answers with [answer, share of the blocks that each input ran]; otherwise with the answer.

    Parameters
    ----------
    inputs, units, blocks, classes : sizes; there is at least one block.

    Examples
    --------
    >>> model = Skipping(6, 8, 3, 4)
    >>> [tuple(one.shape) for one in model(torch.rand(5, 6))], tuple(model.eval()(torch.rand(5, 6)).shape)
    ([(5, 4), (5,)], (5, 4))
    """

    def __init__(self, inputs: int, units: int, blocks: int, classes: int) -> None:
        super().__init__()
        if blocks < 1:
            raise ModelError(f"a network that skips blocks needs at least one, not {blocks}")
        self.stem, self.head = nn.Linear(inputs, units), nn.Linear(units, classes)
        self.blocks = nn.ModuleList(nn.Linear(units, units) for _ in range(blocks))
        self.gates = nn.ModuleList(nn.Linear(units, 1) for _ in range(blocks))
        for gate in self.gates:
            # All blocks run at first.
            nn.init.constant_(gate.get_parameter("bias"), 1.0)

    def traced(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The answers, and which blocks each input ran, [batch, blocks], of 0 and 1."""
        h, ran = self.stem(x.flatten(1)).relu(), []
        for block, gate in zip(self.blocks, self.gates, strict=True):
            score = gate(h)
            soft = score.sigmoid()
            # The brackets: what is decided is exactly 0 or 1.
            open_ = (score > 0).to(h) + (soft - soft.detach())
            h = h + open_ * block(h).relu()
            ran.append(open_)
        return self.head(h), torch.cat(ran, dim=1)

    def forward(self, x: Tensor) -> Any:
        """See the class."""
        answer, ran = self.traced(x)
        return [answer, ran.mean(dim=1)] if self.training else answer


class Priced:
    """A loss, and a price for the share of the blocks that ran: what a network that skips is trained with.

    price : what all blocks of an input cost, in units of the loss.
    """

    def __init__(self, loss: Loss, price: float) -> None:
        if not 0 <= price < float("inf"):
            raise ModelError(f"the price of blocks must be at least 0, not {price:g}")
        self.loss, self.price = loss, price
        # A checkpoint tells losses by their names.
        self.__qualname__ = f"Priced({getattr(loss, '__qualname__', type(loss).__qualname__)}, {price})"

    def __call__(self, answers: Any, y: Any) -> Tensor:
        """The loss of what the module gave, or of one answer."""
        if isinstance(answers, Tensor):
            return self.loss(answers, y)
        answer, share = answers
        return self.loss(answer, y) + self.price * share.mean()


def save_skipping(
    path: str | os.PathLike[str],
    model: Skipping,
    shared: Shared,
    calibration: Tensor,
    widths: Widths | None = None,
) -> list[CompressedLayer]:
    """Write a network that skips, whose weights `share` left, to a `.eie` file: each gate before its block.

    Returns the layers of the file.

    Raises
    ------
    ModelError : weights that are not those that `share` left; no scale fits. OutputError : the file cannot be written.
    """
    model.eval()
    widths = widths or Widths()
    weights = {weight.name: weight for weight in find_weights(model)}

    def layer(name: str, relu: bool, alone: bool = True) -> SharedLayer:
        return replace(shared_layer(weights[name], shared, Place(relu=relu)), follows=not alone, blocks=None)

    real = calibration.detach().double().cpu().numpy().reshape(len(calibration), -1)
    x_frac = first_x_frac(real, widths)
    fixed = quantize(real, x_frac, widths.act_bits)
    done, scales, real, fixed = quantize_layer(layer("stem", True, alone=False), real, fixed, x_frac, widths)
    layers = [done]
    x_frac = scales.y_frac
    for number in range(len(model.blocks)):
        gate = quantize_layer(layer(f"gates.{number}", False), real, fixed, x_frac, widths)[0]
        block, scales, more, _ = quantize_layer(layer(f"blocks.{number}", True), real, fixed, x_frac, widths)
        layers += [replace(gate, exit=True, follows=True), replace(block, follows=number == 0)]
        opened = fixed_layer(gate, fixed, widths.acc_bits, widths.act_bits)[0] > 0
        real = real + opened * more
        # The sum is the host's: the next layer takes it at a scale of its own.
        x_frac = first_x_frac(real, widths)
        fixed = quantize(real, x_frac, widths.act_bits)
    layers.append(
        replace(quantize_layer(layer("head", False), real, fixed, x_frac, widths)[0], follows=False)
    )
    file.save(path, layers)
    return layers
