"""Readers of trained networks (.safetensors, .npz, .onnx) and of input batches (.npz, .npy)."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from eie.compress.network import FloatLayer
from eie.errors import EieError, ModelError

Arrays = Mapping[str, npt.NDArray[Any]]

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
# What a weight's name may end in, and what takes its place in the name of its bias.
_WEIGHT = re.compile(r"(?:(?P<stem>.*)(?P<mark>[._/]))?(?P<word>weights?|kernel|[wW])(?P<number>[._]?\d*)")
_BIAS_WORDS = {"weight": "bias", "weights": "biases", "kernel": "bias", "w": "b", "W": "b"}


def natural_key(name: str) -> list[str | int]:
    """Key that sorts fc2 before fc10.

    >>> sorted(["fc10", "fc2", "fc1"], key=natural_key)
    ['fc1', 'fc2', 'fc10']
    """
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def names_of(weight: str) -> tuple[str, str | None]:
    """Layer name and bias name that go with the tensor called `weight`.

    >>> names_of("fc1.weight"), names_of("W1"), names_of("table")
    (('fc1', 'fc1.bias'), ('W1', 'b1'), ('table', None))
    """
    match = _WEIGHT.fullmatch(weight)
    if match is None:
        return weight, None
    stem, mark, word, number = match.group("stem", "mark", "word", "number")
    bias = (stem or "") + (mark or "") + _BIAS_WORDS[word] + number
    return (stem + number if stem else weight), bias


def _float32(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    # What overflows becomes infinite, which FloatLayer refuses with its place.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _is_float(array: npt.NDArray[Any]) -> bool:
    return bool(array.dtype.kind == "f")


def from_arrays(arrays: Arrays) -> list[FloatLayer]:
    """Layers from named arrays, in their order: every 2-D float array is a weight [outputs, inputs].

    `fc1.weight` goes with `fc1.bias`, `fc1_w` with `fc1_b`, `W1` with `b1`, `kernel` with `bias`; a weight whose bias
    is missing has none. Every layer but the last has a ReLU.

    Raises
    ------
    ModelError : no 2-D weights, a bias of the wrong length, NaN or infinite values.
    """
    weights = {name: array for name, array in arrays.items() if array.ndim == 2 and _is_float(array)}
    layers = []
    for i, (name, weight) in enumerate(weights.items()):
        layer, bias_name = names_of(name)
        bias = arrays.get(bias_name) if bias_name else None
        if bias is not None and (bias.ndim != 1 or not _is_float(bias)):
            bias = None
        layers.append(
            FloatLayer(
                layer,
                _float32(weight),
                None if bias is None else _float32(bias),
                relu=i < len(weights) - 1,
            )
        )
    return layers


def _read_safetensors(path: Path) -> list[FloatLayer]:
    arrays = {}
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        if tensor["dtype"] in _DTYPES:
            flat = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
            if tensor["dtype"] == "BF16":
                flat = (flat.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = flat.reshape(tensor["shape"])
    # The library keeps no order of its own.
    return from_arrays({name: arrays[name] for name in sorted(arrays, key=natural_key)})


def _npz_arrays(path: Path) -> Arrays:
    """Arrays of a .npz file in its order (or the one of a .npy file)."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {path.stem: loaded}
    with loaded:
        return {name: loaded[name] for name in loaded.files}


def _read_onnx(path: Path) -> list[FloatLayer]:
    from eie.compress.onnx_reader import read

    return read(path)


_READERS: dict[str, Callable[[Path], list[FloatLayer]]] = {
    ".safetensors": _read_safetensors,
    ".npz": lambda path: from_arrays(_npz_arrays(path)),
    ".onnx": _read_onnx,
}

# What the libraries raise for a file that is not what its name says.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.partition("\n")[0] or type(error).__name__


def read_model(path: str | os.PathLike[str]) -> list[FloatLayer]:
    """The layers of a trained network, by the file's ending.

    .safetensors (in natural order of the names: fc2 before fc10) and .npz (in the file's order): see `from_arrays`.
    .onnx: see `eie.compress.onnx_reader`.

    Raises
    ------
    ModelError : an unknown ending, an unreadable file, no 2-D weights, NaN or infinite values.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ModelError(f"{file}: a model must be a file ending in {', '.join(_READERS)}")
    try:
        layers = reader(file)
    except EieError as error:
        raise ModelError(f"{file}: {error}") from None
    except _UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as {file.suffix.lower()}: {_reason(error)}") from None
    if not layers:
        raise ModelError(f"{file}: no 2-D weights found (fully connected layers are what can be compressed)")
    return layers


def read_inputs(
    path: str | os.PathLike[str], cols: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """A batch of inputs, float32[batch, cols], and its labels, int64[batch], if the file holds them.

    The inputs are the first array of the .npz (or .npy) file whose items hold `cols` numbers each; items of more
    dimensions are flattened. Unsigned bytes are taken for pixels and divided by 255. The labels are an integer vector
    of the same length.

    Raises
    ------
    ModelError : an unreadable file, or no such array.
    """
    file = Path(path)
    try:
        arrays = _npz_arrays(file)
    except _UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as .npz or .npy: {_reason(error)}") from None
    for array in arrays.values():
        if array.ndim >= 2 and len(array) and array.size == len(array) * cols and array.dtype.kind in "fiu":
            scale = 255 if array.dtype == np.uint8 else 1
            x = array.reshape(len(array), cols).astype(np.float32) / np.float32(scale)
            break
    else:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ModelError(f"{file}: no array [batch, {cols}] of numbers, only {shapes or 'nothing'}")
    labels = [a for a in arrays.values() if a.shape == (len(x),) and a.dtype.kind in "iu"]
    return x, labels[0].astype(np.int64) if labels else None
