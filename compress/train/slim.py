"""Networks with several widths in one set of weights (slimmable, Yu et al., 2019; universally, Yu and Huang, 2019)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.compress.format import file
from eie.compress.quantize import Widths, first_x_frac, quantize_layer
from eie.compress.train import export
from eie.compress.train.exits import Joint
from eie.compress.train.sharing import Shared
from eie.compress.train.traced import Place, Run
from eie.compress.train.weights import Weight, find_weights
from eie.errors import LayerError, ModelError
from eie.fixed import quantize
from eie.layer import CompressedLayer
from eie.prefix import THOUSAND, Prefix, share_text, thousandths

# Layers with parameters of their own for each width, which a file with one matrix cannot hold.
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
# Widths of a step with the sandwich rule, beside the narrowest and the whole.
_DRAWN = 2


class Slim(nn.Module):
    """A chain of layers of which the first units, a share of each hidden layer, are a network too. Made by `widths`.

    In training it answers at several widths, the whole last; otherwise with the whole network. `at` answers at one.
    """

    def __init__(
        self, model: nn.Module, shares: Sequence[int], rows: dict[str, list[int]], sandwich: bool
    ) -> None:
        super().__init__()
        self.model, self.shares, self.rows, self.sandwich = model, list(shares), rows, sandwich
        self._kept: dict[str, Tensor] = {}
        for weight in find_weights(model):
            if weight.name in rows:
                weight.module.register_forward_hook(self._cut(weight.name))

    def _cut(self, name: str) -> Any:
        def cut(module: nn.Module, given: Any, answer: Tensor) -> Tensor:
            kept = self._kept.get(name)
            return answer if kept is None else answer * kept.reshape(*kept.shape, *[1] * (answer.dim() - 2))

        return cut

    def _answers(self, x: Tensor, places: Sequence[int]) -> list[Tensor]:
        """The answers at the widths of these numbers, as one batch."""
        try:
            for name, rows in self.rows.items():
                unit = torch.arange(rows[-1], device=x.device)
                below = torch.stack([unit < rows[place] for place in places]).to(x.dtype)
                self._kept[name] = below.repeat_interleave(len(x), 0)
            return list(self.model(x.repeat(len(places), *[1] * (x.dim() - 1))).chunk(len(places)))
        finally:
            self._kept.clear()

    def at(self, x: Tensor, width: float) -> Tensor:
        """The answer at a width, such as 0.5. Raises `ModelError` if there is no such width."""
        return self._answers(x, [self._place(width)])[0]

    def _place(self, width: float) -> int:
        try:
            return self.shares.index(thousandths(width))
        except (ValueError, LayerError):
            names = ", ".join(map(share_text, self.shares))
            raise ModelError(f"the model has no width {width:g} (it has {names})") from None

    def forward(self, x: Tensor) -> Any:
        """Answers at several widths in training, the whole network's alone otherwise."""
        if not self.training:
            return self.model(x)
        last = len(self.shares) - 1
        places = list(range(last + 1))
        if self.sandwich and last > 1 + _DRAWN:
            between = torch.randperm(last - 1)[:_DRAWN] + 1
            places = [0, *sorted(between.tolist()), last]
        return self._answers(x, places)


class InPlace(Joint):
    """A loss for the whole network by the labels, and for its narrower widths by what the whole answers.

    weights : of the answers, the whole's the last; 1 for each by default.
    """

    def __call__(self, answers: Any, y: Any) -> Tensor:
        """The sum of the losses of answers, or the loss of one answer."""
        if isinstance(answers, Tensor):
            return self.loss(answers, y)
        *narrow, whole = answers
        soft = functional.log_softmax(whole.detach(), dim=1)
        each = [
            functional.kl_div(
                functional.log_softmax(one, dim=1), soft, reduction="batchmean", log_target=True
            )
            for one in narrow
        ]
        return self.sum([*each, self.loss(whole, y)])


def widths(model: nn.Module, shares: Sequence[float], example: Tensor, *, sandwich: bool = False) -> Slim:
    """Make a chain of layers one with several widths: at width w a hidden layer has its first w of its units.

    Parameters
    ----------
    model : layers one after the other (Linear and Conv2d, ReLU, max pooling).
    shares : the widths, above 0 and in steps of 0.001; the largest is 1.
    example : a batch of inputs.
    sandwich : each step trains the narrowest width, the whole, and two of those between, drawn anew.

    Raises
    ------
    ModelError : shares that are no such widths; a model that cannot be narrowed, with the layer that is in the way.

    Examples
    --------
    >>> slim = widths(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), [0.5, 1], torch.rand(2, 6))
    >>> slim.rows, [tuple(answer.shape) for answer in slim(torch.rand(4, 6))]
    ({'0': [4, 8]}, [(4, 3), (4, 3)])
    """
    try:
        each = [thousandths(share) for share in shares]
    except LayerError as error:
        raise ModelError(str(error)) from None
    if len(each) < 2 or each != sorted(set(each)) or each[-1] != THOUSAND:
        raise ModelError(f"widths must ascend to 1, at least two of them, not {list(shares)}")
    for name, module in model.named_modules():
        if isinstance(module, _NORMS):
            raise ModelError(
                f"layer {name!r} is a {type(module).__name__}: each width would need its own, and the file has one set "
                "of weights: leave it out, or fold it into the layer before"
            )
    weights = find_weights(model)
    run = Run.of(model.eval(), weights, example)
    order = run.ordered(weights)
    # At least one unit.
    rows = {
        weight.name: [math.ceil(share * weight.parameter.shape[0] / THOUSAND) for share in each]
        for weight in order[:-1]
    }
    slim = Slim(model, each, rows, sandwich)
    _check(slim, order, example)
    return slim


def _sliced(slim: Slim, order: Sequence[Weight], x: Tensor, place: int) -> Tensor:
    """What the first units alone answer: the layers one after the other, cut to size."""
    after = export._places(slim.model)
    for weight in order:
        module, where = weight.module, after.get(id(weight.module), Place())
        rows = slim.rows[weight.name][place] if weight.name in slim.rows else weight.parameter.shape[0]
        bias = None if weight.bias is None else weight.bias[:rows]
        if isinstance(module, nn.Conv2d):
            kernel = weight.parameter[:rows, : x.shape[1]]
            x = functional.conv2d(x, kernel, bias, module.stride, module.padding, module.dilation)
        else:
            x = x.flatten(1)
            x = functional.linear(x, weight.parameter[:rows, : x.shape[1]], bias)
        x = x.relu() if where.relu else x
        x = where.pool(x) if where.pool is not None else x
    return x


def _check(slim: Slim, order: Sequence[Weight], example: Tensor) -> None:
    """Raise `ModelError` unless the first units of each layer are a network by themselves."""
    for weight in order:
        module = weight.module
        if not isinstance(module, nn.Linear | nn.Conv2d) or getattr(module, "groups", 1) != 1:
            what = "a grouped convolution" if isinstance(module, nn.Conv2d) else f"a {type(module).__name__}"
            raise ModelError(
                f"layer {weight.name!r} cannot be narrowed: it is {what}, not a Linear or a Conv2d"
            )
    with torch.no_grad():
        for place, share in enumerate(slim.shares):
            seen = slim._answers(example, [place])[0]
            try:
                alone = _sliced(slim, order, example, place)
            except RuntimeError:
                alone = None
            if (
                alone is None
                or alone.shape != seen.shape
                or not torch.allclose(alone, seen, rtol=1e-3, atol=1e-5)
            ):
                raise ModelError(
                    f"the model cannot be narrowed to {share_text(share)}: its layers "
                    f"({', '.join(weight.name for weight in order)}) are not one after the other "
                    "with only ReLU, max pooling or flattening between them"
                )


def save_widths(
    path: str | os.PathLike[str],
    slim: Slim,
    shared: Shared,
    calibration: Tensor,
    widths: Widths | None = None,
) -> list[CompressedLayer]:
    """Write a module with several widths, whose weights `share` left, to a `.eie` file: one matrix a layer.

    The scales of a layer are the same at all widths, and such that none of them clips on the calibration batch.

    Returns the layers of the file.

    Raises
    ------
    ModelError : weights that are not those that `share` left; no scale fits. OutputError : the file cannot be written.
    """
    slim.eval()
    widths = widths or Widths()
    own = {name.removeprefix("model."): one for name, one in shared.layers.items()}
    chain = export._chain(slim.model, find_weights(slim.model), Shared(own, []), calibration)
    if chain is None:
        raise ModelError("a file with several widths wants a model that is one layer after the other")
    inputs = calibration.detach().double().cpu().numpy().reshape(len(calibration), -1)
    # Every width at a time: what a width does not have is 0 in its part of the batch.
    real = np.tile(inputs, (len(slim.shares), 1))
    x_frac = first_x_frac(real, widths)
    fixed = quantize(real, x_frac, widths.act_bits)
    cols = [chain[0].codes.shape[1]] * len(slim.shares)
    layers: list[CompressedLayer] = []
    for trained, behind in zip(chain, [*chain[1:], None], strict=True):
        layer, scales, real, fixed = quantize_layer(
            replace(trained, blocks=None), real, fixed, x_frac, widths
        )
        x_frac = scales.y_frac
        rows = slim.rows.get(layer.name, [layer.rows] * len(slim.shares))
        prefixes = [Prefix(*one) for one in zip(slim.shares, rows, cols, strict=True)]
        layers.append(replace(layer, prefixes=tuple(prefixes[:-1])))
        unit = np.arange(real.shape[1]) * layer.rows // real.shape[1]
        kept = np.repeat(unit[None] < np.array(rows)[:, None], len(inputs), axis=0)
        real, fixed = real * kept, fixed * kept
        if behind is not None:
            # A convolution has its taps for each channel, a Linear each place of a channel's image.
            cols = [count * behind.codes.shape[1] // layer.rows for count in rows]
    file.save(path, layers)
    return layers
