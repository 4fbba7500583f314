"""What torch.fx and a batch show of a model: what a node does, what each layer takes; a layer with shared weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from eie.compress.share import SharedLayer
from eie.compress.train.sharing import Shared
from eie.compress.train.weights import Weight
from eie.conv import Conv
from eie.errors import ModelError

# What leaves the numbers that pass through as they are (dropout: once the network is trained).
_PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.Identity)
_PASSIVE_CALLS = ("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "dropout")
_RELU = {torch.relu, torch.relu_, functional.relu, functional.relu_}


@dataclass
class Place:
    """What follows a layer in the network: ReLU, max pooling; and the size of its input image."""

    relu: bool = False
    pool: nn.MaxPool2d | None = None
    image: tuple[int, int] = (0, 0)


def _pair(value: Any) -> tuple[int, int]:
    down, across = value if isinstance(value, tuple | list) else (value, value)
    return int(down), int(across)


def _plain_pool(module: nn.Module | None) -> bool:
    return (
        isinstance(module, nn.MaxPool2d)
        and _pair(module.padding) == (0, 0)
        and _pair(module.dilation) == (1, 1)
        and not module.ceil_mode
    )


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """relu, pool, passive, or other."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if (
        isinstance(module, nn.ReLU)
        or node.target in _RELU
        or (node.op, node.target) == ("call_method", "relu")
    ):
        return "relu"
    if _plain_pool(module):
        return "pool"
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if isinstance(module, _PASSIVE) or (node.op != "call_module" and name in _PASSIVE_CALLS):
        return "passive"
    return "other"


# ---- what a batch shows ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Run:
    """What a batch did in the model: inputs of each module with weights, in the order in which they were first called,
    by the module's id, and how often it was called; the batch itself, and the model's answer.
    """

    inputs: dict[int, Tensor]
    calls: dict[int, int]
    batch: Tensor
    answer: Any

    @classmethod
    def of(cls, model: nn.Module, weights: list[Weight], batch: Tensor | npt.NDArray[Any]) -> Run:
        """Run the model on a batch. Raises `ModelError` where it does not take it."""
        parameter = weights[0].parameter
        x = torch.as_tensor(batch).to(parameter.device)
        x = x.to(parameter.dtype) if x.is_floating_point() else x
        inputs: dict[int, Tensor] = {}
        calls: dict[int, int] = {}

        def note(module: nn.Module, given: Any) -> None:
            calls[id(module)] = calls.get(id(module), 0) + 1
            inputs.setdefault(id(module), given[0].detach())

        hooks = [m.register_forward_pre_hook(note) for m in {w.module: None for w in weights}]
        try:
            with torch.no_grad():
                answer = model(x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"the model does not take the calibration batch {list(x.shape)}: {reason}"
            ) from None
        finally:
            for hook in hooks:
                hook.remove()
        return cls(inputs, calls, x, answer)

    def image(self, weight: Weight) -> tuple[int, int]:
        """Size of the images that a convolution takes; zeros for another layer, or one that is never called."""
        given = self.inputs.get(id(weight.module))
        if given is None or not isinstance(weight.module, nn.Conv2d):
            return (0, 0)
        return int(given.shape[-2]), int(given.shape[-1])

    def ordered(self, weights: list[Weight]) -> list[Weight]:
        """The matrices in the order in which the model uses them; what it does not use comes last."""
        order = {module: place for place, module in enumerate(self.inputs)}
        return sorted(weights, key=lambda weight: order.get(id(weight.module), len(order)))


def rows_of(x: Any, count: int) -> npt.NDArray[Any] | None:
    """A tensor as [count, numbers], if it is one of real numbers that can be seen so."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0 or len(x) != count:
        return None
    return x.detach().double().cpu().reshape(count, -1).numpy()


def same(one: npt.NDArray[Any] | None, two: npt.NDArray[Any] | None, dtype: torch.dtype) -> bool:
    """Whether they are the same but for rounding in `dtype`."""
    if one is None or two is None or one.shape != two.shape:
        return False
    close = max(1e-3, torch.finfo(dtype).eps ** 0.5)
    return bool(np.abs(one - two).max(initial=0) <= close * max(np.abs(two).max(initial=0), 1e-9))


def _conv(module: nn.Module, place: Place) -> Conv | None:
    """Geometry for the accelerator; None where it knows no such convolution."""
    if not isinstance(module, nn.Conv2d) or module.groups != 1 or _pair(module.dilation) != (1, 1):
        return None
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    conv = Conv(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding), size=place.image)
    if place.pool is None:
        return conv
    stride = place.pool.kernel_size if place.pool.stride is None else place.pool.stride
    return replace(conv, pool=_pair(place.pool.kernel_size), pool_stride=_pair(stride))


def shared_layer(weight: Weight, shared: Shared, place: Place) -> SharedLayer:
    """The layer that `share` made of a weight, with what follows it. Raises `ModelError` if it is not there."""
    found = shared.layers.get(weight.name)
    if found is None or found.codes.shape != weight.parameter.shape:
        raise ModelError(f"layer {weight.name!r} is not one of those that were shared: is it another model?")
    if not torch.equal(found.decode().to(weight.parameter), weight.parameter.detach()):
        raise ModelError(
            f"the weights of layer {weight.name!r} are no longer the shared ones: call share again"
        )
    rows = weight.parameter.shape[0]
    bias = np.zeros(rows) if weight.bias is None else weight.bias.detach().cpu().double().numpy()
    return SharedLayer(
        name=weight.name,
        codes=found.codes.reshape(rows, -1).cpu().numpy().astype(np.uint8),
        centroids=found.centroids.detach().cpu().double().numpy(),
        bias=bias,
        relu=place.relu,
        conv=_conv(weight.module, place),
        blocks=found.blocks,
    )
