"""Early exits in training: heads behind named layers of a module, trained along with it (BranchyNet, Teerapittayanon et
al., 2016).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eie.compress.format import file
from eie.compress.forward import fixed_layer
from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.quantize import Widths, first_x_frac, quantize_layer
from eie.compress.share import SharedLayer
from eie.compress.train import export
from eie.compress.train.loop import Loss
from eie.compress.train.sharing import Shared
from eie.compress.train.traced import Place, Run, shared_layer
from eie.compress.train.weights import find_weights
from eie.errors import ModelError
from eie.fixed import quantize
from eie.layer import CompressedLayer


class Exits(nn.Module):
    """A chain of layers with heads: `model` answers as ever; in training, the answers of all heads come with it.

    A head takes what the layer behind `after` takes: the outputs of the layer it is named after, behind their ReLU and
    pooling.

    Parameters
    ----------
    model : layers one after the other (Linear and Conv2d, ReLU, max pooling). after : names of some, not the last.
    example : a batch of inputs; the heads' sizes follow from it.

    Raises
    ------
    ModelError : a name that is none of the layers', or the last one's; a model that does not take the batch.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> exits = Exits(model, ["0"], torch.rand(2, 6))
    >>> [tuple(answer.shape) for answer in exits.answers(torch.rand(2, 6))]
    [(2, 3), (2, 3)]
    """

    def __init__(self, model: nn.Module, after: Sequence[str], example: Tensor) -> None:
        super().__init__()
        weights = find_weights(model)
        run = Run.of(model.eval(), weights, example)
        order = run.ordered(weights)
        names = [weight.name for weight in order]
        self.model, self.after = model, [name for name in names if name in after]
        for name in after:
            if name not in names[:-1]:
                where = (
                    "is the last: its answer is the network's" if name in names else "is none of the model's"
                )
                raise ModelError(
                    f"no exit behind {name!r}, which {where} (exits go behind {', '.join(names[:-1])})"
                )
        answer = run.answer
        if not isinstance(answer, Tensor) or answer.dim() != 2:
            raise ModelError("early exits need a model that answers with [batch, classes]")
        self._seen: dict[str, Tensor] = {}
        self.heads = nn.ModuleDict()
        for name in self.after:
            module = order[names.index(name) + 1].module
            size = run.inputs[id(module)].flatten(1).shape[1]
            if name.replace(".", "_") in self.heads:
                raise ModelError(f"two layers would have the head {name.replace('.', '_')!r}: rename one")
            self.heads[name.replace(".", "_")] = nn.Linear(size, answer.shape[1]).to(answer)
            # A partial of a method: a copy of the module has hooks of its own, and pickle takes them.
            module.register_forward_pre_hook(partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, given: Any) -> None:
        self._seen[name] = given[0]

    def answers(self, x: Tensor) -> list[Tensor]:
        """The answer of each head in turn, and the model's."""
        self._seen.clear()
        last = self.model(x)
        found = [self.heads[name.replace(".", "_")](self._seen[name].flatten(1)) for name in self.after]
        self._seen.clear()
        return [*found, last]

    def forward(self, x: Tensor) -> Any:
        """All answers in training, the model's alone otherwise."""
        return self.answers(x) if self.training else self.model(x)


class Joint:
    """The sum of a loss over all answers, weighted: what a module with exits is trained with.

    weights : of the answers, the model's own the last; 1 for each by default.
    """

    def __init__(self, loss: Loss, weights: Sequence[float] | None = None) -> None:
        self.loss, self.weights = loss, weights
        # A checkpoint tells losses by their names.
        of = getattr(loss, "__qualname__", type(loss).__qualname__)
        self.__qualname__ = f"{type(self).__name__}({of}, {weights})"

    def __call__(self, answers: Any, y: Any) -> Tensor:
        """The loss of answers, or of one answer."""
        if isinstance(answers, Tensor):
            return self.loss(answers, y)
        return self.sum([self.loss(answer, y) for answer in answers])

    def sum(self, losses: Sequence[Tensor]) -> Tensor:
        """The weighted sum of losses, a scalar for each answer. Raises `ModelError` for another number of weights."""
        weights = [1.0] * len(losses) if self.weights is None else self.weights
        if len(weights) != len(losses):
            raise ModelError(
                f"{len(weights)} weights for {len(losses)} answers: give one for each, the whole network's last"
            )
        return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()


def save_exits(
    path: str | os.PathLike[str],
    exits: Exits,
    shared: Shared,
    calibration: Tensor,
    widths: Widths | None = None,
) -> tuple[list[CompressedLayer], CompressionReport]:
    """Write a module with early exits, whose weights `share` left, to a `.eie` file: each exit behind what it takes.

    Returns the layers of the file, and the report of the network without its exits.

    Raises
    ------
    ModelError : a model that is no chain of layers, and as `save`. OutputError : the file cannot be written.
    """
    exits.eval()
    widths = widths or Widths()
    own = {
        name.removeprefix("model."): one for name, one in shared.layers.items() if name.startswith("model.")
    }
    chain = export._chain(exits.model, find_weights(exits.model), Shared(own, []), calibration)
    if chain is None:
        raise ModelError(
            "early exits need a model that is one layer after the other (Linear, Conv2d, ReLU, pooling)"
        )
    real = calibration.detach().double().cpu().numpy().reshape(len(calibration), -1)
    compressed, report = compress_network(chain, Settings(widths=widths), real)
    x_frac = first_x_frac(real, widths)
    fixed = quantize(real, x_frac, widths.act_bits)
    heads = {weight.name: weight for weight in find_weights(exits)}
    layers: list[CompressedLayer] = []
    for layer, trained in zip(compressed, chain, strict=True):
        layers.append(layer)
        real = trained.to_float().forward(real)
        fixed = fixed_layer(layer, fixed, widths.acc_bits, widths.act_bits)[0]
        if layer.name in exits.after:
            name = f"heads.{layer.name.replace('.', '_')}"
            head: SharedLayer = replace(shared_layer(heads[name], shared, Place()), name=f"exit.{layer.name}")
            done = quantize_layer(head, real, fixed, layer.y_frac, widths)[0]
            layers.append(replace(done, exit=True))
    file.save(path, layers)
    return layers, report


def exit_share(exits: Exits, loader: Any, threshold: float) -> tuple[float, list[float]]:
    """Error in percent, and the share of inputs that leaves at each exit and at the end, in floating point."""
    wrong = total = 0
    counts = np.zeros(len(exits.after) + 1)
    exits.eval()
    with torch.no_grad():
        for x, y in loader:
            answers = exits.answers(x)
            left = torch.full((len(y),), len(answers) - 1)
            for number in range(len(answers) - 2, -1, -1):
                left[answers[number].softmax(1).amax(1) > threshold] = number
            found = torch.stack([one.argmax(1) for one in answers])[left, torch.arange(len(y))]
            wrong += int((found != y).sum())
            total += len(y)
            counts += np.bincount(left.numpy(), minlength=len(counts))
    return 100 * wrong / max(total, 1), (counts / max(total, 1)).tolist()
