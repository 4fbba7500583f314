"""Tensors that together make one weight: masks of pruning, norms and directions, spectral norms.

PyTorch keeps a parametrised weight in parts, under names that it always uses. Where the parts say what the weight is,
they become one array; where they do not, the weight is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import Unused
from eie.compress.readers.arrays import FileArray
from eie.errors import ModelError

Array = npt.NDArray[Any]
_PARAMETRIZED = re.compile(r"(?P<stem>(?:.*\.)?)parametrizations\.(?P<name>\w+)\.(?P<part>.+)")
_LORA = re.compile(
    r"(?P<stem>.*?)[._]lora_(?:A|B|up|down|embedding_A|embedding_B|magnitude_vector)(?:[._].*)?"
)
_MASKED = re.compile(r"(?P<stem>(?:.*[./])?)(?P<word>weights?|kernel|w|W)(?P<tail>:\d+)?")
# Keras 3 numbers what a layer holds, in the order in which the layer made it.
_NUMBERED = re.compile(r"(?P<stem>.*[/.])vars[/.](?P<number>\d+)")
_SCALE = re.compile(
    r"(?P<stem>.*[._])?(?:weight[._])?(?:scales?(?:_inv)?|zeros?|zero_points?|qzeros|absmax|nested_absmax|quant_map"
    r"|nested_quant_map|SCB)"
)
# Of fewer numbers than this two vectors may point the same way although nothing has turned them so.
_CHANCE = 8
_REMEDY = (
    "make it one tensor before saving: torch.nn.utils.parametrize.remove_parametrizations or prune.remove"
)


@dataclass
class Combined:
    """Arrays by name, of which parts of one weight have become one.

    refused : why a weight cannot be had, by its name. notes : what was combined.
    """

    arrays: dict[str, FileArray]
    refused: dict[str, str] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def replace(self, parts: Sequence[str], name: str, array: FileArray) -> None:
        """Put `array` where the first of its parts was."""
        items = {}
        for key, value in self.arrays.items():
            if key == parts[0]:
                items[name] = array
            elif key not in parts:
                items[key] = value
        self.arrays = items

    def refuse(self, parts: Sequence[str], name: str, why: str) -> None:
        """No layer can have the weight `name`, which is of these parts."""
        first = self.arrays[parts[0]]
        self.refused[name] = f"{name} is kept as {', '.join(parts)}, {why}"
        self.replace(parts, name, FileArray("float32", first.shape, partial(_nothing, self.refused[name])))

    def leave_out(self, name: str, why: str) -> None:
        """No layer uses this array."""
        self.unused.append(Unused(self.arrays.pop(name).text(name), why))


def _nothing(why: str) -> Array:
    raise ModelError(why)


def combined(arrays: dict[str, FileArray]) -> Combined:
    """The arrays, with one in place of those that together make one weight."""
    found = Combined(dict(arrays))
    for step in _STEPS:
        step(found)
    return found


def _made(found: Combined, parts: list[str], name: str, make: Callable[..., Array], how: str) -> None:
    arrays = [found.arrays[part] for part in parts]
    largest = max(arrays, key=lambda one: (np.prod(one.shape, dtype=np.float64), len(one.shape)))
    read = partial(_make, make, [one.read for one in arrays])
    found.notes.append(f"{name} is {how}: {', '.join(parts)}")
    found.replace(parts, name, FileArray(largest.dtype, largest.shape, read))


def _make(make: Callable[..., Array], reads: Sequence[Callable[[], Array]]) -> Array:
    return make(*(read().astype(np.float64) for read in reads))


def _numbered(found: Combined) -> None:
    """Keras 3: a kernel and its bias, or both kernels of a recurrent layer and their bias, by number."""
    groups: dict[str, dict[str, str]] = {}
    for name in found.arrays:
        match = _NUMBERED.fullmatch(name)
        if match:
            groups.setdefault(match["stem"], {})[match["number"]] = name
    for stem, numbers in groups.items():
        dims = [len(found.arrays[numbers[str(i)]].shape) for i in range(len(numbers)) if str(i) in numbers]
        words = {1: ["kernel"], 2: ["kernel", "bias"]}.get(len(numbers), [])
        if len(dims) > 1 and dims[:2] == [2, 2]:
            words = ["kernel", "recurrent_kernel", "bias"]
        if len(dims) != len(numbers) or dims[0] < 2 or (dims[1:2] != [1] and words[1:2] == ["bias"]):
            continue
        for number, word in zip(sorted(numbers, key=int), words, strict=False):
            name = stem + word
            if name not in found.arrays:
                found.replace([numbers[number]], name, found.arrays[numbers[number]])


# ---- PyTorch's parts ---------------------------------------------------------------------------------------


def _masks(found: Combined) -> None:
    """torch.nn.utils.prune: weight_orig times weight_mask."""
    for part in list(found.arrays):
        name, other = part.removesuffix("_orig"), part.removesuffix("_orig") + "_mask"
        if name == part or other not in found.arrays:
            continue
        if name in found.arrays or found.arrays[part].shape != found.arrays[other].shape:
            found.refuse([part, other], name, f"which do not go together; {_REMEDY}")
        else:
            _made(found, [part, other], name, np.multiply, "pruned")


def _norms(found: Combined) -> None:
    """torch.nn.utils.weight_norm: weight_v with norms weight_g."""
    for part in list(found.arrays):
        name, other = part.removesuffix("_g"), part.removesuffix("_g") + "_v"
        if name == part or other not in found.arrays or "weight" not in name.rpartition(".")[2]:
            continue
        if name in found.arrays or not _are_norms(found.arrays[part].shape, found.arrays[other].shape):
            found.refuse([part, other], name, f"which do not go together; {_REMEDY}")
        else:
            _made(found, [part, other], name, _of_norm, "of the norms and directions")


def _are_norms(norms: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether there is one norm, or one for each place along one axis."""
    along = [axis for axis, size in enumerate(norms) if size != 1]
    return not norms or (
        len(norms) == len(shape) and len(along) <= 1 and all(norms[a] == shape[a] for a in along)
    )


def _of_norm(norms: Array, directions: Array) -> Array:
    axes = tuple(axis for axis in range(directions.ndim) if not norms.ndim or norms.shape[axis] == 1)
    length = np.sqrt(np.square(directions).sum(axis=axes, keepdims=True))
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # without a direction it is no number, in PyTorch as well
        return np.asarray(directions * (norms / length))


def _spectral(found: Combined) -> None:
    """torch.nn.utils.spectral_norm: weight_orig over its largest singular value, of the vectors _u and _v."""
    for part in list(found.arrays):
        name = part.removesuffix("_orig")
        parts = [part, name + "_u", name + "_v"]
        if name != part and all(one in found.arrays for one in parts):
            _spectral_of(found, parts, name)


def _spectral_of(found: Combined, parts: list[str], name: str) -> None:
    shape, left, right = (found.arrays[part].shape for part in parts)
    sizes = [(size, int(np.prod(shape)) // max(size, 1)) for size in shape[:2]]
    if len(left) != 1 or len(right) != 1 or (left[0], right[0]) not in sizes:
        found.refuse(parts, name, f"which do not go together; {_REMEDY}")
    else:
        _made(found, parts, name, partial(_over_sigma, name), "over its spectral norm")


def _over_sigma(name: str, weight: Array, left: Array, right: Array) -> Array:
    """`left` runs along the first axis in PyTorch, or along the second (a transposed convolution, or who asked for it).
    Where it could be either, it is the second only if the vectors show it: power iteration has made them singular
    vectors of the weight, nearly, along one axis, and far from it along the other. Short vectors do that by chance.
    """
    along = [
        np.moveaxis(weight, axis, 0).reshape(len(left), -1)
        for axis in range(min(2, weight.ndim))
        if weight.shape[axis] == len(left) and weight.size == len(left) * len(right)
    ]
    near = [min(_cosine(left, one @ right), _cosine(right, left @ one)) for one in along]
    place = int(len(near) == 2 and near[1] > 0.99 and near[0] < 0.5)
    if place and len(right) < _CHANCE:
        raise ModelError(
            f"{name}: its spectral norm may be that along the first or the second axis; {_REMEDY}"
        )
    return np.asarray(weight / (left @ along[place] @ right))


def _cosine(one: Array, two: Array) -> float:
    return float(abs(one @ two) / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-30))


def _parametrizations(found: Combined) -> None:
    """torch.nn.utils.parametrize: weight norms and spectral norms say what they are, others only in Python."""
    groups: dict[str, list[str]] = {}
    for name in found.arrays:
        match = _PARAMETRIZED.fullmatch(name)
        if match:
            groups.setdefault(match["stem"] + match["name"], []).append(name)
    for name, parts in groups.items():
        short = {_PARAMETRIZED.fullmatch(part)["part"]: part for part in parts}  # type: ignore[index]
        step = 0
        if {"original0", "original1"} <= short.keys():
            two = [short.pop("original0"), short.pop("original1")]
            if not _are_norms(*(found.arrays[part].shape for part in two)):
                found.refuse(parts, name, f"by a parametrisation that the file does not tell; {_REMEDY}")
                continue
            _made(found, two, name, _of_norm, "of the norms and directions")
            step, whole = 1, name
        else:
            whole = short.pop("original", "")
        while whole and {f"{step}._u", f"{step}._v"} <= short.keys():
            vectors = [short.pop(f"{step}._u"), short.pop(f"{step}._v")]
            _spectral_of(found, [whole, *vectors], name)
            step, whole = step + 1, name
        if short or whole != name:
            left = [part for part in (whole, *short.values()) if part in found.arrays]
            found.refuse(left, name, f"by a parametrisation that the file does not tell; {_REMEDY}")


def _attention(found: Combined) -> None:
    """One bias of three matrices (torch.nn.MultiheadAttention with kdim or vdim) becomes three."""
    for name in list(found.arrays):
        stem, mark, _ = name.rpartition("in_proj_bias")
        if not mark or name != stem + mark:
            continue
        parts = [f"{stem}{letter}_proj_weight" for letter in "qkv"]
        whole = found.arrays[name]
        if not all(part in found.arrays for part in parts) or len(whole.shape) != 1 or whole.shape[0] % 3:
            continue
        each = whole.shape[0] // 3
        items: dict[str, FileArray] = {}
        for key, value in found.arrays.items():
            if key != name:
                items[key] = value
                continue
            for place, letter in enumerate("qkv"):
                read = partial(_third, whole.read, place)
                items[f"{stem}{letter}_proj_bias"] = FileArray(whole.dtype, (each,), read, whole.refused)
        found.arrays = items


def _third(read: Callable[[], Array], place: int) -> Array:
    whole = read()
    each = len(whole) // 3
    return whole[place * each : (place + 1) * each]


def _lone_parts(found: Combined) -> None:
    """weight_orig, whose other parts are missing."""
    for part in list(found.arrays):
        name = part.removesuffix("_orig")
        if name != part and "weight" in name.rpartition(".")[2] and name not in found.arrays:
            found.refuse([part], name, f"whose other parts are missing; {_REMEDY}")
        elif part.endswith("weight_mask") and part.removesuffix("_mask") not in found.arrays:
            found.leave_out(part, "a mask without its weights")


# ---- what others keep beside a weight ----------------------------------------------------------------------


def _masks_beside(found: Combined) -> None:
    """A mask beside its weights: fc.weight with fc.weight_mask, fc.mask or mask.fc.weight."""
    for name in list(found.arrays):
        match = _MASKED.fullmatch(name)
        if match is None:
            continue
        stem, word, tail = match["stem"] or "", match["word"], match["tail"] or ""
        own = [f"{stem}{word}_mask{tail}", f"{name}.mask", f"{name}_mask"]
        own += [f"{first}{mark}{name}" for first in ("mask", "masks") for mark in "./"]
        held = [mask for mask in (*own, f"{stem}mask{tail}") if mask in found.arrays]
        if not held:
            continue
        mask = held[0]
        weight, over = found.arrays[name].shape, found.arrays[mask].shape
        if over == weight:
            _made(found, [name, mask], name, partial(_masked, mask), "masked")
        elif mask in own:
            found.refuse(
                [name, mask],
                name,
                f"of shapes {list(weight)} and {list(over)}, which do not go together: multiply them before saving",
            )
        else:
            found.notes.append(
                f"{mask} {list(over)} is of another shape than {name} {list(weight)}, and not multiplied with it"
            )


def _masked(name: str, weight: Array, mask: Array) -> Array:
    if not np.isin(mask, (0, 1)).all():
        raise ModelError(f"{name} holds more than zeros and ones: multiply the weights with it before saving")
    return np.asarray(weight * mask)


def _adapters(found: Combined) -> None:
    """Low-rank changes of weights, whose scale is not in the file."""
    stems = {match["stem"] for name in found.arrays if (match := _LORA.fullmatch(name))}
    for name in list(found.arrays):
        if _LORA.fullmatch(name):
            found.leave_out(name, "a low-rank change of other weights")
    for stem in stems:
        for name in (f"{stem}.base_layer.weight", f"{stem}.weight"):
            if name in found.arrays:
                found.refused[name] = (
                    f"{name} has low-rank changes (lora) beside it, whose scale the file does not tell: "
                    "merge them before saving (merge_and_unload)"
                )


def _quantised(found: Combined) -> None:
    """Scales of weights that are integers or 8-bit floats: neither is a layer by itself."""
    for name in list(found.arrays):
        match = _SCALE.fullmatch(name)
        stem = match["stem"] or "" if match else ""
        for weight in (f"{stem}weight", f"{stem}qweight") if match else ():
            held = found.arrays.get(weight)
            if held is None or (held.dtype.startswith("float") and not held.dtype.startswith("float8")):
                continue
            if name in found.arrays:
                found.leave_out(name, "a scale of quantised weights")
            if held.dtype.startswith("float8"):
                found.refused[weight] = (
                    f"{weight} is quantised, with a scale beside it: write it as floats first"
                )


_STEPS = (
    *(_numbered, _masks, _parametrizations, _norms, _spectral, _attention, _lone_parts, _masks_beside),
    *(_adapters, _quantised),
)
