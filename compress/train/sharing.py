"""Weight sharing while training: the weights of a layer take few values, and these are trained (Han et al., 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from eie.blocks import BlockStructure
from eie.compress.share import k_means
from eie.compress.train.blocks import Blocks, BlockWeights, of_layers
from eie.compress.train.loop import Epoch, Loss, Training, run
from eie.compress.train.weights import PerLayer, Weight, find_weights, per_layer
from eie.errors import ModelError

# The table of a layer has at most 256 places, one of them for no weight.
MOST_BLOCK_BITS = 7
Start = Literal["linear", "density", "random"]


@dataclass(frozen=True, eq=False)
class SharedWeight:
    """A layer's weights as codes into a table. codes : int64, the parameter's shape; 0 = pruned. centroids :
    float32[2**bits]; centroids[0] = 0, and unused ones are 0, too. blocks : where the weights lie, if in blocks, which
    have 2**bits values; the table then has twice as many places.
    """

    codes: Tensor
    centroids: Tensor
    blocks: BlockStructure | None = None

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (len(self.centroids) - 1).bit_length() - (self.blocks is not None)

    def decode(self) -> Tensor:
        """The weights that codes and centroids stand for."""
        return self.centroids.detach()[self.codes]


@dataclass(frozen=True, eq=False)
class Shared:
    """Outcome of `share`: the layers by name, and what each epoch ended with."""

    layers: dict[str, SharedWeight]
    history: list[Epoch]


def first_centroids(values: np.ndarray[Any, Any], k: int, start: Start, seed: int) -> np.ndarray[Any, Any]:
    """Where k-means begins: evenly over the range, evenly over the values' number, or at values drawn at random.

    >>> first_centroids(np.array([0.0, 1.0, 2.0, 10.0]), 2, "linear", 1).tolist()
    [0.0, 10.0]
    """
    if start == "linear":
        return np.linspace(values.min(), values.max(), k)
    if start == "density":
        return np.quantile(values, (np.arange(k) + 0.5) / k)
    return np.sort(np.random.default_rng(seed).choice(values, k, replace=values.size < k))


def cluster(weight: Tensor, bits: int, start: Start = "linear", seed: int = 1) -> SharedWeight:
    """Share the non-zero elements of `weight` among at most 2**bits - 1 values by k-means; zeros get code 0."""
    values = weight.detach().cpu().double().numpy()
    kept = values != 0
    codes = np.zeros(values.shape, np.int64)
    centroids = np.zeros(1 << bits, np.float32)
    if kept.any():
        begin = first_centroids(values[kept], len(centroids) - 1, start, seed)
        found = k_means(values[kept], len(centroids) - 1, begin)
        codes[kept] = np.searchsorted((found[1:] + found[:-1]) / 2, values[kept], side="right") + 1
        centroids[1 : 1 + found.size] = found
    return SharedWeight(torch.from_numpy(codes), torch.from_numpy(centroids))


def cluster_blocks(of: BlockWeights, bits: int, start: Start = "linear", seed: int = 1) -> SharedWeight:
    """Share the weights in blocks, zeros as well, among at most 2**bits values; code 0 is for what is in no block.

    Raises
    ------
    ModelError : weights that are not in the blocks, or too many bits.
    """
    if bits > MOST_BLOCK_BITS:
        raise ModelError(
            f"layer {of.weight.name!r}: weights in blocks have at most {MOST_BLOCK_BITS} bits, not {bits}"
        )
    if not of.holds():
        raise ModelError(
            f"layer {of.weight.name!r} does not have these blocks ({of.structure}): prune it so first"
        )
    values = of.stored().cpu().double().numpy()
    found = k_means(values, 1 << bits, first_centroids(values, 1 << bits, start, seed))
    centroids = np.zeros(2 << bits, np.float32)
    centroids[1 : 1 + found.size] = found
    codes = torch.from_numpy(np.searchsorted((found[1:] + found[:-1]) / 2, values, side="right") + 1)
    return SharedWeight(of.spread(codes.to(of.place)).cpu(), torch.from_numpy(centroids), of.structure)


class Sharing:
    """The sharing phase: centroids and everything that is no weight matrix are trained; codes stay as they are."""

    name = "share"

    def __init__(
        self, model: nn.Module, weights: list[Weight], shared: list[SharedWeight], start: Start
    ) -> None:
        self.model, self.weights, self.shared, self.start = model, weights, shared, start
        device = weights[0].parameter.device
        self.codes = [s.codes.to(device) for s in shared]
        self.centroids = [nn.Parameter(s.centroids.clone().to(device)) for s in shared]
        self._put()

    def _put(self) -> None:
        with torch.no_grad():
            for weight, codes, centroids in zip(self.weights, self.codes, self.centroids, strict=True):
                weight.parameter.copy_(centroids[codes])

    def trained(self) -> list[Tensor]:  # noqa: D102
        matrices = {id(weight.parameter) for weight in self.weights}
        return [*self.centroids, *(p for p in self.model.parameters() if id(p) not in matrices)]

    def settings(self) -> dict[str, Any]:  # noqa: D102
        blocks = {
            w.name: str(s.blocks)
            for w, s in zip(self.weights, self.shared, strict=True)
            if s.blocks is not None
        }
        return {
            "bits": {w.name: s.bits for w, s in zip(self.weights, self.shared, strict=True)},
            "start": self.start,
        } | ({"blocks": blocks} if blocks else {})

    def before_step(self) -> None:
        """A centroid's gradient is the sum over its weights; code 0 has none, so that it stays zero."""
        for weight, codes, centroids in zip(self.weights, self.codes, self.centroids, strict=True):
            if weight.parameter.grad is not None:
                total = torch.zeros_like(centroids)
                total.index_add_(0, codes.flatten(), weight.parameter.grad.flatten().to(total.dtype))
                total[0] = 0
                centroids.grad = total

    def after_step(self, progress: float) -> None:  # noqa: D102
        self._put()

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {"centroids": [c.detach() for c in self.centroids]}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: D102
        with torch.no_grad():
            for centroids, saved in zip(self.centroids, state["centroids"], strict=True):
                centroids.copy_(saved)
        self._put()

    def result(self) -> dict[str, SharedWeight]:
        """The layers by name."""
        return {
            weight.name: SharedWeight(shared.codes, centroids.detach().cpu(), shared.blocks)
            for weight, shared, centroids in zip(self.weights, self.shared, self.centroids, strict=True)
        }


def share(
    model: nn.Module,
    loader: Any,
    loss: Loss,
    *,
    bits: PerLayer = 4,
    start: Start = "linear",
    blocks: Mapping[str, Blocks] | None = None,
    training: Training | None = None,
) -> Shared:
    """Let the weights of each layer share 2**bits values (zero among them), and train these values.

    A weight that is zero (cut by `prune`) keeps code 0 and stays zero. The model's weights end as the shared values.

    Parameters
    ----------
    loader, loss : as for `prune`. bits : of a code, 1 to 8, for all layers or by glob pattern.
    start : where k-means begins: "linear" (best in the paper), "density" or "random".
    blocks : those that `prune` was given. In blocks all 2**bits values (1 to 7 bits) are weights.

    Raises
    ------
    ModelError : settings out of range, and see `run`.
    """
    training = training or Training(epochs=5)
    if start not in get_args(Start):
        raise ModelError(f"start must be linear, density or random, not {start!r}")
    weights = find_weights(model)
    each = per_layer("bits", bits, weights, 1, 8)
    widths = [int(b) for b in each]
    if widths != each:
        raise ModelError(f"bits must be whole numbers, not {bits}")
    of_weight = of_layers(blocks or {}, weights)
    shared = [
        cluster_blocks(BlockWeights(weight, of_weight[weight.name]), width, start, training.seed)
        if weight.name in of_weight
        else cluster(weight.parameter, width, start, training.seed)
        for weight, width in zip(weights, widths, strict=True)
    ]
    phase = Sharing(model, weights, shared, start)
    history = run(model, loader, loss, phase, training)
    return Shared(phase.result(), history)
