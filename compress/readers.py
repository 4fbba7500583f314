"""Readers of trained networks (.safetensors, .npz, .onnx) and of input batches (.npz, .npy)."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from eie.compress.network import FloatArray, FloatLayer, Model, array_text, check_finite
from eie.errors import EieError, ModelError

Arrays = Mapping[str, npt.NDArray[Any]]

_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "uint16",
    "BOOL": "bool",
}
# Stands for the types that numpy lacks, such as F8_E4M3.
_OTHER_DTYPE = np.zeros((), "V1")
# What a weight's name may end in, and what may take its place in the name of its bias.
_WEIGHT = re.compile(r"(?:(?P<stem>.*)(?P<mark>[._/]))?(?P<word>weights?|kernel|[wW])(?P<number>[._]?\d*)")
_BIAS_WORDS = {
    "weight": ("bias",),
    "weights": ("biases", "bias"),
    "kernel": ("bias",),
    "w": ("b", "bias"),
    "W": ("b", "B", "bias"),
}
_BIAS = re.compile(r"(?:.*[._/])?bias(?:es)?[._]?\d*")


def natural_key(name: str) -> list[str | int]:
    """Key that sorts fc2 before fc10.

    >>> sorted(["fc10", "fc2", "fc1"], key=natural_key)
    ['fc1', 'fc2', 'fc10']
    """
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def names_of(weight: str) -> tuple[str, list[str]]:
    """Layer name, and the names that its bias may have, that go with the tensor called `weight`.

    >>> names_of("fc1.weight"), names_of("w1"), names_of("table")
    (('fc1', ['fc1.bias']), ('w1', ['b1', 'bias1']), ('table', []))
    """
    match = _WEIGHT.fullmatch(weight)
    if match is None:
        return weight, []
    stem, mark, word, number = match.group("stem", "mark", "word", "number")
    biases = [(stem or "") + (mark or "") + bias + number for bias in _BIAS_WORDS[word]]
    return (stem + number if stem else weight), biases


def _float32(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    # What overflows becomes infinite, which FloatLayer refuses with its place.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _is_float(array: npt.NDArray[Any]) -> bool:
    return bool(array.dtype.kind == "f")


def _bias(layer: str, name: str, array: npt.NDArray[Any], rows: int) -> npt.NDArray[np.float32]:
    if array.shape not in ((rows,), (1, rows), (rows, 1)) or not _is_float(array):
        raise ModelError(
            f"layer {layer!r}: a bias must be floats of shape [{rows}], [1, {rows}] or [{rows}, 1], "
            f"not {array_text(name, array)}"
        )
    return _float32(array.reshape(rows))


def from_arrays(arrays: Arrays) -> Model:
    """Layers from named arrays, in their order: every 2-D float array but a bias is a weight [outputs, inputs].

    `fc1.weight` goes with `fc1.bias`, `fc1_w` with `fc1_b`, `W1` with `b1`, `kernel` with `bias`; a weight whose bias
    is missing has none. Every layer but the last has a ReLU.

    Raises
    ------
    ModelError : a bias of the wrong type or shape, NaN or infinite values.
    """
    biases = {bias for name in arrays for bias in names_of(name)[1]}
    weights = {
        name: array
        for name, array in arrays.items()
        if array.ndim == 2 and _is_float(array) and name not in biases and not _BIAS.fullmatch(name)
    }
    layers, used = [], set(weights)
    for i, (name, weight) in enumerate(weights.items()):
        layer, bias_names = names_of(name)
        bias_name = next((bias for bias in bias_names if bias in arrays), None)
        bias = None
        if bias_name is not None:
            bias = _bias(layer, bias_name, arrays[bias_name], len(weight))
            used.add(bias_name)
        layers.append(FloatLayer(layer, _float32(weight), bias, relu=i < len(weights) - 1))
    return Model(layers, tuple(array_text(name, array) for name, array in arrays.items() if name not in used))


def _read_safetensors(path: Path) -> Model:
    arrays = {}
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        if tensor["dtype"] not in _DTYPES:
            arrays[name] = np.broadcast_to(_OTHER_DTYPE, tensor["shape"])
            continue
        flat: npt.NDArray[Any] = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
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
        # A member that is no array comes as bytes.
        return {name: np.asarray(loaded[name]) for name in loaded.files}


def _read_onnx(path: Path) -> Model:
    from eie.compress.onnx_reader import read

    return read(path)


_READERS: dict[str, Callable[[Path], Model]] = {
    ".safetensors": _read_safetensors,
    ".npz": lambda path: from_arrays(_npz_arrays(path)),
    ".onnx": _read_onnx,
}

# What the libraries raise for a file that is not what its name says, or claims more than there is memory for.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    safetensors.SafetensorError,
)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.partition("\n")[0] or type(error).__name__


def read_model(path: str | os.PathLike[str]) -> Model:
    """The layers of a trained network, by the file's ending.

    .safetensors (in natural order of the names: fc2 before fc10) and .npz (in the file's order): see `from_arrays`.
    .onnx: see `eie.compress.onnx_reader`.

    Raises
    ------
    ModelError : an unknown ending, an unreadable file, no 2-D weights, a bias of the wrong type or shape, NaN or
        infinite values.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ModelError(f"{file}: a model must be a file ending in {', '.join(_READERS)}")
    try:
        model = reader(file)
    except EieError as error:
        raise ModelError(f"{file}: {error}") from None
    except _UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as {file.suffix.lower()}: {_reason(error)}") from None
    if not model.layers:
        raise ModelError(f"{file}: no 2-D weights found (fully connected layers are what can be compressed)")
    return model


def read_vectors(path: str | os.PathLike[str], cols: int) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]]]:
    """The input vectors in a .npz or .npy file, [n, cols] in the file's own type, and the file's other arrays.

    They are the first array whose items hold `cols` numbers each (items of more dimensions are flattened), or else
    the first that is one such vector.

    Raises
    ------
    ModelError : an unreadable file, no such array, or NaN or infinite values.
    """
    file = Path(path)
    try:
        arrays = _npz_arrays(file)
    except _UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as .npz or .npy: {_reason(error)}") from None
    numbers = {name: array for name, array in arrays.items() if array.dtype.kind in "iuf" and array.size}
    batches = (n for n, a in numbers.items() if a.ndim >= 2 and a.size == len(a) * cols)
    single = (n for n, a in numbers.items() if a.shape == (cols,))
    found = next(batches, None) or next(single, None)
    if found is None:
        content = ", ".join(array_text(name, array) for name, array in arrays.items())
        raise ModelError(f"{file}: no numbers [n, {cols}] or [{cols}], only {content or 'nothing'}")
    vectors = numbers[found].reshape(-1, cols)
    if vectors.dtype.kind == "f":
        check_finite(vectors, str(file))
    return vectors, [array for name, array in arrays.items() if name != found]


def is_real(vectors: npt.NDArray[Any]) -> bool:
    """Whether the vectors are real numbers (floats, or uint8 pixels) rather than fixed-point integers."""
    return _is_float(vectors) or vectors.dtype == np.uint8


def real_inputs(vectors: npt.NDArray[Any]) -> FloatArray:
    """Vectors as float64: uint8 are pixels, 255 being 1.0; others keep their value."""
    wide = vectors.astype(np.float64)
    return wide / 255 if vectors.dtype == np.uint8 else wide


def read_inputs(
    path: str | os.PathLike[str], cols: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """A batch of real inputs, float32[batch, cols], and its labels, int64[batch], if the file holds them.

    See `read_vectors` and `real_inputs`. The labels are an integer vector of the same length.

    Raises
    ------
    ModelError : an unreadable file, no such array, or values beyond float32.
    """
    vectors, others = read_vectors(path, cols)
    x = _float32(real_inputs(vectors))
    check_finite(x, str(path))
    labels = [a for a in others if a.shape == (len(x),) and a.dtype.kind in "iu"]
    return x, labels[0].astype(np.int64) if labels else None
