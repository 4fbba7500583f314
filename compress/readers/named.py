"""Layers from named arrays: which of them are weights, and what belongs to each."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from eie.compress.float_layers import Layers, LayerSource, Model, Unused
from eie.compress.readers.arrays import FLOATS, FileArray, is_bias, is_recurrent, names_of
from eie.compress.readers.combined import combined
from eie.compress.readers.layout import Stored, inputs_first, no_matrix
from eie.conv import MAX_SIZE, Conv
from eie.errors import ModelError, printable
from eie.layer import MAX_DIM

_OPTIMIZER = re.compile(
    r"(?:.*[./])?(?:optimi[sz]ers?(?:_states?)?(?:_dict)?|opt_state|exp_avg(?:_sq)?|max_exp_avg_sq|momentum_buffer"
    r"|Adam(?:_\d+)?|Momentum|RMSProp(?:_\d+)?)(?::\d+)?(?:[./].*)?"
)
# What an optimizer keeps for each weight, behind the weight's name.
_SLOT = re.compile(
    r"(?P<of>.*)[._/](?:grad|square_avg|acc_delta|grad_avg|exp_inf|momentum|velocity|mu_product|max_exp_avg_sqs)(?::\d+)?"
)
_MOMENTS = "an optimizer's"
# A part of a name that says that what it holds is a running average of the network.
AVERAGE = re.compile(r"(?i)(?:\w+_)?(?:ema|swa|shadow)(?:_\w+)?|ExponentialMovingAverage")


@dataclass(frozen=True)
class Choice:
    """What the user says about the arrays of a file.

    key : the dictionary, or the beginning of the names, that is the network. transpose : see `layout.inputs_first`.
    """

    key: str = ""
    transpose: tuple[str, ...] = ()


def is_average(name: str) -> bool:
    """Whether a name says that it is of a running average of the network."""
    return any(AVERAGE.fullmatch(part) for part in re.split(r"[./]", name))


def is_optimizers(name: str) -> bool:
    """Whether a name says that it is of an optimizer's state."""
    return _OPTIMIZER.fullmatch(name) is not None


def _is_slot(name: str, arrays: Mapping[str, FileArray]) -> bool:
    """Whether an array is what an optimizer keeps for another one."""
    match = _SLOT.fullmatch(name)
    return match is not None and match["of"] in arrays


def may_be_weights(array: FileArray) -> bool:
    """Whether an array has the type and the dimensions of a layer's weights."""
    return array.dtype in FLOATS and 2 <= len(array.shape) <= 4


def _unfit(name: str, array: FileArray) -> str:
    """Why the array is no layer's weights; empty if it may be."""
    if array.refused:
        return array.refused
    if array.dtype not in FLOATS:
        floats = array.dtype.lower().startswith(("f8_", "f6_", "f4_", "float", "bfloat", "complex"))
        return "numbers of this type are not read" if floats else "not floating point"
    if is_optimizers(name):
        return _MOMENTS
    if len(array.shape) < 2:
        return "one number" if not array.shape else "a vector that is not a bias of any layer"
    if is_bias(name):
        return "a bias without a layer"
    if len(array.shape) > 4:
        return f"{len(array.shape)} dimensions; layers have 2, convolutions 3 or 4"
    rows, cols = array.shape[0], int(np.prod(array.shape[1:], dtype=np.float64))
    if not (1 <= rows <= MAX_DIM and 1 <= cols <= MAX_DIM):
        if min(array.shape) < 0:
            return "an impossible shape"
        return "empty" if 0 in array.shape else f"more than {MAX_DIM} rows or columns"
    if max(array.shape[2:], default=1) > MAX_SIZE:
        return f"a kernel longer than {MAX_SIZE}"
    return ""


@dataclass(frozen=True)
class _Layer:
    """A layer of a file: its arrays, and how they are kept.

    inputs_first : whether the last axis is the outputs'. gates : which row of a bias of two rows is this layer's.
    refused : why it cannot be read.
    """

    name: str
    weight: FileArray
    bias_name: str
    bias: FileArray | None
    inputs_first: bool
    gates: int = 0
    refused: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        """The array's axes with the outputs first, the inputs next, and the kernel's behind."""
        axes = tuple(range(len(self.weight.shape)))
        return (axes[-1], axes[-2], *axes[:-2]) if self.inputs_first else axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs, inputs, kernel."""
        return tuple(self.weight.shape[axis] for axis in self.order)

    def read(self) -> Any:
        """Weights and bias, see `LayerSource.read`."""
        if self.refused:
            raise ModelError(self.refused)
        rows = self.shape[0]
        weight = np.ascontiguousarray(self.weight.float32().transpose(self.order)).reshape(rows, -1)
        if self.bias is None:
            return weight, None
        if self.bias.shape == (2, rows) and self.gates:
            return weight, self.bias.float32()[self.gates - 1]
        if self.bias.shape not in ((rows,), (1, rows), (rows, 1)) or self.bias.dtype not in FLOATS:
            raise ModelError(
                f"layer {self.name!r}: a bias must be floats of shape [{rows}], [1, {rows}] or [{rows}, 1], "
                f"not {self.bias.text(self.bias_name)}"
            )
        return weight, self.bias.float32().reshape(rows)

    def source(self) -> LayerSource:
        """As a layer that is read later."""
        rows, *others = self.shape
        down, across = (1, 1, *others[1:])[-2:]
        conv = Conv((down, across)) if len(others) > 1 else None
        # A bound method of a frozen dataclass goes to other processes, too.
        return LayerSource(
            self.name, (rows, int(np.prod(others))), self.read, conv=conv, refused=self.refused
        )


def _follows(one: LayerSource, two: LayerSource) -> bool:
    """Whether `two` may take the outputs of `one`: of convolutions only the channels are known."""
    rows, cols = one.shape[0], two.shape[1]
    if two.conv:
        return one.conv is not None and two.conv.channels(cols) == rows
    return cols % rows == 0 if one.conv else cols == rows


def from_arrays(given: Mapping[str, FileArray], choice: Choice = Choice()) -> Model:
    """Layers from named arrays, in their order: every float array of 2 to 4 dimensions but a bias is a layer's weights.

    They are [outputs, inputs] or, of a convolution, [outputs, channels, kernel height, kernel width] ([outputs,
    channels, kernel] along one dimension), or the other way round (`layout.inputs_first`). `fc1.weight` goes with
    `fc1.bias`, `fc1_w` with `fc1_b`, `W1` with `b1`, `kernel` with `bias`, `rnn.weight_ih_l0` with `rnn.bias_ih_l0`;
    weights whose bias is missing have none. Parts of one weight are put together (`combined`). If each layer may take
    the outputs of the one before it, all but the last have a ReLU; if not, none has.

    Raises
    ------
    ModelError : a key or a pattern that matches nothing, or two arrays that are weights of one layer.
    """
    chosen, unused = _chosen(given, choice.key)
    found = combined(chosen)
    arrays = found.arrays
    biases = {bias for name in arrays for bias in names_of(name)[1]}
    unfit = {name: _unfit(name, array) for name, array in arrays.items()}
    bias_of = {name: next((b for b in names_of(name)[1] if b in arrays), "") for name in arrays}
    unfit |= {name: _MOMENTS for name in arrays if _is_slot(name, arrays)}
    for name, array in arrays.items():
        layer = names_of(name)[0]
        asked = any(fnmatchcase(n, p.removeprefix("!")) for p in choice.transpose for n in (name, layer))
        if not unfit[name] and not asked:
            unfit[name] = no_matrix(name, array.shape, bool(bias_of[name]))
        if not unfit[name] and not _gates(name, arrays) and _is_scale(name, array, arrays.get(bias_of[name])):
            unfit[name] = "one number for each number, as its bias of the same shape tells"
        if not unfit[name] and _is_transposed_convolution(array, arrays.get(bias_of[name])):
            unfit[name] = "a transposed convolution, as its bias tells"
    weights = [name for name in arrays if not unfit[name] and name not in biases]
    names = _layer_names(weights, bias_of)
    stored = {
        name: Stored(names[name], arrays[name].shape, _length(arrays.get(bias_of[name]))) for name in weights
    }
    sides, notes = inputs_first(stored, choice.transpose)
    sources = []
    for name in weights:
        bias = bias_of[name] or _shared_bias(name, arrays)
        one = _Layer(
            names[name],
            arrays[name],
            bias,
            arrays.get(bias),
            sides[name],
            gates=_gates(name, arrays),
            refused=found.refused.get(name, ""),
        )
        sources.append(one.source())
    used = {*weights, *(bias_of[name] for name in weights), *(_shared_bias(name, arrays) for name in weights)}
    recurrent = any(is_recurrent(name) for name in used)
    if not recurrent and all(_follows(one, two) for one, two in itertools.pairwise(sources)):
        sources[:-1] = [replace(source, relu=True) for source in sources[:-1]]
    left = [
        Unused(array.text(name), unfit[name] or "a bias without a layer", _needed(array, unfit[name]))
        for name, array in arrays.items()
        if name not in used
    ]
    return Model(Layers(tuple(sources)), (*left, *found.unused, *unused), (*found.notes, *notes))


def _needed(array: FileArray, why: str) -> int:
    """Bytes that the network needs of an array that is in no layer, and why it is in none."""
    return 0 if array.dtype == "no array" or why == _MOMENTS else array.nbytes


def _chosen(given: Mapping[str, FileArray], key: str) -> tuple[dict[str, FileArray], list[Unused]]:
    """The arrays whose names begin with the key, without it; those of running averages only if nothing else is left."""
    if key:
        arrays = {
            name[len(key) + 1 :]: array
            for name, array in given.items()
            if name.startswith((key + ".", key + "/"))
        }
        if not arrays:
            starts = sorted({re.split(r"[./]", name)[0] for name in given})
            raise ModelError(f"--key {key}: no name begins with it; there are {', '.join(starts[:8])}")
        return arrays, [Unused(f"{len(given) - len(arrays)} arrays", f"not in {key}")] if len(arrays) < len(
            given
        ) else []
    kept = {name: array for name, array in given.items() if not is_average(name)}
    if len(kept) == len(given) or not any(may_be_weights(array) for array in kept.values()):
        return dict(given), []
    why = "a running average of the network (--key takes it)"
    return kept, [Unused(array.text(name), why) for name, array in given.items() if name not in kept]


def _layer_names(weights: Sequence[str], bias_of: Mapping[str, str]) -> dict[str, str]:
    """Names of the layers; where two have the same, those of their arrays.

    Raises
    ------
    ModelError : two of them have the same bias, too.
    """
    names = {name: printable(names_of(name)[0]) for name in weights}
    shared = Counter(bias_of[name] for name in weights if bias_of[name])
    for bias, takers in shared.items():
        if takers > 1:
            same = [name for name in weights if bias_of[name] == bias]
            raise ModelError(
                f"{' and '.join(same)} both claim {bias} as their bias: rename or leave out one of them"
            )
    count = Counter(names.values())
    return {name: layer if count[layer] == 1 else printable(name) for name, layer in names.items()}


def _length(bias: FileArray | None) -> int | None:
    """How many numbers a bias has, if it is a vector."""
    if bias is None or sum(size != 1 for size in bias.shape) > 1 or not bias.shape:
        return None
    return int(np.prod(bias.shape))


def _is_scale(name: str, weight: FileArray, bias: FileArray | None) -> bool:
    """Whether the bias has a number for each of the weights: those of a normalisation over several dimensions.

    A matrix of one row or column may have such a bias where somebody has made it by hand: PyTorch never keeps it so.
    """
    if bias is None or bias.shape != weight.shape:
        return False
    return sum(size != 1 for size in weight.shape) > (not re.fullmatch(r".*\.weight", name))


def _is_transposed_convolution(weight: FileArray, bias: FileArray | None) -> bool:
    """Whether the bias fits the second axis of a kernel alone: PyTorch's are [inputs, outputs, height, width] then."""
    length, shape = _length(bias), weight.shape
    return (
        len(shape) > 2 and length is not None and length == shape[1] and length not in (shape[0], shape[-1])
    )


def _recurrent_pair(name: str) -> tuple[str, str] | None:
    """Of Keras's recurrent layers: the names of both matrices, if `name` is one of them."""
    match = re.fullmatch(r"(.*[./])?(?:recurrent_)?kernel(:\d+)?", name)
    if match is None:
        return None
    start, end = match.group(1) or "", match.group(2) or ""
    return f"{start}kernel{end}", f"{start}recurrent_kernel{end}"


def _gates(name: str, arrays: Mapping[str, FileArray]) -> int:
    """Which row of a bias of two is of a matrix of Keras's recurrent layers (1: of the inputs, 2: of the state)."""
    pair = _recurrent_pair(name)
    return 0 if pair is None or not all(one in arrays for one in pair) else 1 + (name == pair[1])


def _shared_bias(name: str, arrays: Mapping[str, FileArray]) -> str:
    """The bias of two rows, of which the second is the recurrent matrix's."""
    pair = _recurrent_pair(name)
    if pair is None or name != pair[1] or not all(one in arrays for one in pair):
        return ""
    bias = next((one for one in names_of(pair[0])[1] if one in arrays), "")
    return bias if bias and len(arrays[bias].shape) == 2 and arrays[bias].shape[0] == 2 else ""
