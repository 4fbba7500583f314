"""Block-diagonal weight matrices while training: which weights there are, which are the same, and how alike the others
become (MPDCompress: Supic et al., 2018; MESA). docs/blocks.md says what each of it means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from eie.blocks import BlockStructure
from eie.compress.train.weights import Weight
from eie.errors import LayerError, ModelError


@dataclass(frozen=True)
class Blocks:
    """A weight matrix in blocks, an alternative to its density.

    n : blocks. distinct : how many of them differ, used in turn (0: all; 1: one for all).
    order : "shuffled", "aligned" or "permuted" (`eie.blocks.BlockStructure`). seed : of "permuted".
    alike : MESA's penalty, added to the loss of each layer: alike / (n - 1) times the squared distances of neighbour
    blocks' weights, added up.

    Raises
    ------
    ModelError : no blocks, or a penalty on blocks that are the same anyway.
    """

    n: int
    distinct: int = 0
    order: str = "shuffled"
    alike: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            BlockStructure(self.n, self.n, self.n, self.order, self.distinct, self.seed)
        except LayerError as error:
            raise ModelError(str(error)) from None
        if isinstance(self.alike, str) or not 0 <= self.alike < float("inf"):
            raise ModelError(f"alike must be at least 0 and finite, not {self.alike}")
        if self.alike and self.n == 1:
            raise ModelError(f"alike = {self.alike:g} is about neighbour blocks: one block has none")
        if self.alike and self.distinct not in (0, self.n):
            raise ModelError(
                f"alike = {self.alike:g} makes free blocks more alike: it needs distinct = {self.n}, "
                f"not {self.distinct}"
            )

    def structure(self, weight: Weight) -> BlockStructure:
        """Where the weights of a matrix then lie.

        Raises
        ------
        ModelError : a matrix that cannot have these blocks.
        """
        if isinstance(weight.module, nn.Conv2d):
            raise ModelError(f"layer {weight.name!r} is a convolution: blocks are of Linear, LSTM and GRU")
        rows, cols = weight.parameter.shape
        try:
            found = BlockStructure(rows, cols, self.n, self.order, self.distinct, self.seed)
        except LayerError as error:
            raise ModelError(f"layer {weight.name!r}: {error}") from None
        if rows < 2 * self.n and self.n > 1 and (found.distinct < self.n or self.alike):
            raise ModelError(
                f"layer {weight.name!r}: {self.n} blocks of {rows} rows have single rows, which would all become the "
                "same: leave them free (distinct = 0, alike = 0), take fewer blocks, or leave the layer out"
            )
        return found


def of_layers(blocks: Mapping[str, Blocks], weights: Sequence[Weight]) -> dict[str, Blocks]:
    """The blocks of each layer that has some, by its name; glob patterns, of which the first that fits counts.

    Raises
    ------
    ModelError : a pattern that fits no layer, something else than `Blocks`, or a layer that cannot have them.
    """
    for pattern, one in blocks.items():
        if not isinstance(one, Blocks):
            raise ModelError(f"blocks of {pattern!r} must be train.Blocks, not {type(one).__name__}")
        if not any(fnmatchcase(weight.name, pattern) for weight in weights):
            names = ", ".join(weight.name for weight in weights)
            raise ModelError(f"blocks: no layer is called {pattern!r} (there are {names})")
    found: dict[str, Blocks] = {}
    for weight in weights:
        fitting = [one for pattern, one in blocks.items() if fnmatchcase(weight.name, pattern)]
        if fitting:
            fitting[0].structure(weight)
            found[weight.name] = fitting[0]
    return found


class BlockWeights:
    """The weights of one matrix in blocks: the optimiser sees the whole matrix, whose gradients keep it in its blocks,
    and the same in blocks that are the same.
    """

    def __init__(self, weight: Weight, blocks: Blocks) -> None:
        self.weight, self.blocks = weight, blocks
        self.structure = s = blocks.structure(weight)
        rows, cols = np.nonzero(s.mask())
        device = weight.parameter.device
        # The elements in blocks, in the flattened matrix, and the number of each one's weight.
        self.inside = torch.from_numpy(rows * s.cols + cols).to(device)
        self.place = torch.from_numpy(s.locate(rows, cols)[1]).to(device)
        flat = np.arange(s.rows * s.cols).reshape(s.shape)
        # Elements of each block but the first, and the one at the same place of the block before.
        own, before = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for b in range(1, s.blocks if blocks.alike else 0):
            here = flat[np.ix_(s.rows_of(b), s.cols_of(b))]
            there = flat[np.ix_(s.rows_of(b - 1), s.cols_of(b - 1))][: here.shape[0], : here.shape[1]]
            own.append(here.ravel())
            before.append(there.ravel())
        self.own, self.before = (torch.from_numpy(np.concatenate(each)).to(device) for each in (own, before))

    def stored(self) -> Tensor:
        """The weights of the distinct blocks, one block after the other."""
        values = self.weight.parameter.detach()
        found = values.new_zeros(self.structure.stored)
        # Of equal ones any will do.
        found[self.place] = values.flatten()[self.inside]
        return found

    def spread(self, stored: Tensor) -> Tensor:
        """The matrix that has these weights, `stored`'s: as they are where blocks are the same, 0 elsewhere."""
        found = stored.new_zeros(self.structure.rows * self.structure.cols)
        found[self.inside] = stored[self.place]
        return found.view(self.structure.shape)

    def begin(self) -> None:
        """Take the weights at the blocks' places, those of distinct blocks for all; larger, as each output now has
        fewer inputs: by the root of the columns of the matrix over those of a block. Weights in these blocks stay.
        """
        s = self.structure
        if self.holds():
            return
        with torch.no_grad():
            values = self.weight.parameter.detach()
            scale = (s.cols / s.width(0)) ** 0.5
            blocks = [values[s.rows_of(d)][:, s.cols_of(d)].flatten() for d in range(s.distinct)]
            self.weight.parameter.copy_(self.spread(scale * torch.cat(blocks)))

    def holds(self) -> bool:
        """Whether the weights lie in the blocks, and are the same where they should be."""
        return torch.equal(self.spread(self.stored()), self.weight.parameter.detach())

    def before_step(self) -> None:
        """Add the penalty's gradient, add up those of the same weight, and drop those of none."""
        grad = self.weight.parameter.grad
        if grad is None:
            return
        with torch.no_grad():
            if self.blocks.alike:
                values = self.weight.parameter.flatten()
                force = 2 * self.blocks.alike / (self.blocks.n - 1) * (values[self.own] - values[self.before])
                grad.view(-1).index_add_(0, self.own, force)
                grad.view(-1).index_add_(0, self.before, -force)
            total = grad.new_zeros(self.structure.stored)
            total.index_add_(0, self.place, grad.flatten()[self.inside])
            grad.copy_(self.spread(total))
