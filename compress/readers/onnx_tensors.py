"""The numbers in an ONNX file: their shapes are known at once, they themselves are read when they are asked for.

A file holds its graph and its numbers in one protobuf message, which the library reads as a whole. So the large arrays
are cut out of the message before the library sees it, and their places are kept.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from eie.errors import ModelError

Array = npt.NDArray[Any]
Step = Callable[[Array], Array]
Place = tuple[int, int]  # first byte and bytes of an array in the file

# Numbers of the fields of ModelProto, GraphProto and TensorProto (onnx.proto), and how protobuf writes them.
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5
# Arrays below so many bytes stay in the message.
_LEAST = 1 << 12


# ---- the message -------------------------------------------------------------------------------------------


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    number = 0
    for i in range(10):
        byte = data[at + i]
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number, at + i + 1
    raise DecodeError("a number of more than ten bytes")


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message: its number (0 if it holds no bytes), where it begins, and its bytes' begin and end."""
    try:
        while at < end:
            begin = at
            key, at = _varint(data, at)
            start = at
            if key & 7 == _SIZED:
                size, start = _varint(data, at)
                at = start + size
            elif key & 7 == _VARINT:
                _, at = _varint(data, at)
            elif key & 7 in (_EIGHT, _FOUR):
                at += 8 if key & 7 == _EIGHT else 4
            else:
                raise DecodeError(f"a field of kind {key & 7}")
            if at > end:
                raise IndexError
            yield key >> 3 if key & 7 == _SIZED else 0, begin, start, at
    except IndexError:
        raise DecodeError("it is truncated") from None


def _sized(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    out, size = bytearray([number << 3 | _SIZED]), len(content)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes(out) + bytes([size]) + content


def _without_large(
    data: mmap.mmap, at: int, end: int, path: tuple[int, ...], places: dict[str, Place]
) -> bytes:
    """The message from `at` to `end` without the bytes of large tensors in the field that `path` leads to."""
    parts = []
    for number, begin, start, stop in _fields(data, at, end):
        if number == path[0] and stop - start >= _LEAST:
            inner = (
                _without_large(data, start, stop, path[1:], places)
                if len(path) > 1
                else _tensor(data, start, stop, places)
            )
            parts.append(_sized(number, inner))
        else:
            parts.append(data[begin:stop])
    return b"".join(parts)


def _tensor(data: mmap.mmap, at: int, end: int, places: dict[str, Place]) -> bytes:
    """A tensor without its bytes, whose place is kept under the tensor's name."""
    parts, name, place = [], "", None
    for number, begin, start, stop in _fields(data, at, end):
        if number == _RAW_DATA:
            place = start, stop - start
        else:
            parts.append(data[begin:stop])
            name = data[start:stop].decode(errors="replace") if number == _NAME else name
    if place:
        places[name] = place
    return b"".join(parts)


def load(path: Path) -> tuple[Any, dict[str, Place]]:
    """The model without the bytes of its large initializers, and where these are in the file.

    Raises
    ------
    ModelError : not an ONNX file. OSError : it cannot be read.
    """
    places: dict[str, Place] = {}
    if not path.stat().st_size:
        raise ModelError("not an ONNX file (it is empty)")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = _without_large(data, 0, len(data), (_GRAPH, _INITIALIZER), places)
        return onnx.load_model_from_string(model), places
    except DecodeError as error:
        raise ModelError(f"not an ONNX file ({str(error).partition(chr(10))[0]})") from None


# ---- its arrays --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How to come by an array: from where, and what is done to it."""

    source: Callable[[], Array]
    steps: tuple[Step, ...] = ()

    def __call__(self) -> Array:
        """The array."""
        array = self.source()
        for step in self.steps:
            array = step(array)
        return array


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that is not read yet. form : has its shape and type, and takes no memory."""

    form: Array
    read: Reading

    @property
    def is_float(self) -> bool:
        """Whether it holds some floating-point numbers."""
        return self.form.dtype.kind == "f" and self.form.size > 0

    def then(self, step: Step, shape: tuple[int, ...] | None = None) -> Constant:
        """What `step` makes of it; shape : of the result, unless the step only looks at the array in another way."""
        form = step(self.form) if shape is None else _form(shape, self.form.dtype)
        return Constant(form, Reading(self.read.source, (*self.read.steps, step)))


def _form(shape: tuple[int, ...], dtype: Any) -> Array:
    return np.broadcast_to(np.zeros((), dtype), shape)


def _from_file(path: Path, dtype: Any, shape: tuple[int, ...], place: Place) -> Array:
    at, size = place
    count = int(np.prod(shape, dtype=np.int64))
    if count * dtype.itemsize != size:
        raise ModelError(f"not an ONNX file ({size} bytes for an array of shape {list(shape)})")
    return np.fromfile(path, dtype.newbyteorder("<"), count, offset=at).reshape(shape)


def _from_bfloat16(path: Path, shape: tuple[int, ...], place: Place) -> Array:
    halves = _from_file(path, np.dtype(np.uint16), shape, place)
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _outside(tensor: Any, folder: str, dtype: Any) -> Array:
    """An array in a file of its own, or in the message."""
    copy = type(tensor)()
    copy.CopyFrom(tensor)  # older versions of the library keep the bytes in it
    try:
        return np.asarray(numpy_helper.to_array(copy, folder)).astype(dtype, copy=False)
    except onnx.checker.ValidationError as error:
        raise ModelError(str(error).partition("\n")[0]) from None


def constant(tensor: Any, path: Path, places: dict[str, Place]) -> Constant:
    """A tensor of the model in `path`.

    Raises
    ------
    ModelError : its external file is missing.
    """
    is_bfloat16 = tensor.data_type == onnx.TensorProto.BFLOAT16
    dtype = np.dtype(np.float32) if is_bfloat16 else onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    source: Callable[[], Array]
    if tensor.name in places and is_bfloat16:
        source = partial(_from_bfloat16, path, shape, places[tensor.name])
    elif tensor.name in places:
        source = partial(_from_file, path, dtype, shape, places[tensor.name])
    else:
        for entry in tensor.external_data:
            if entry.key == "location" and not (path.parent / entry.value).is_file():
                raise ModelError(f"{tensor.name} is in the file {entry.value}, which is missing")
        source = partial(_outside, tensor, str(path.parent), dtype)
    return Constant(_form(shape, dtype), Reading(source))
