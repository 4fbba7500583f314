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

from eie.compress.readers.beside import external_file
from eie.errors import ModelError

Array = npt.NDArray[Any]
Step = Callable[[Array], Array]
Place = tuple[int, int]  # first byte and bytes of an array in the file

# Numbers of the fields of ModelProto, GraphProto and TensorProto (onnx.proto), and how protobuf writes them.
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5
# Arrays below so many bytes stay in the message.
_LEAST = 1 << 12
# What a graph computes from its constants may have so many numbers, or so many times those that it is made from:
# a small file never takes much memory.
MOST_NUMBERS, MOST_TIMES = 1 << 24, 16
# Where the numbers of an array are that a compressed layer holds.
IN_LAYER = "(a compressed layer)"
# Floating-point types that numpy lacks, and their bytes. Older versions of the library do not know all of them.
_SMALL_FLOATS = {
    getattr(onnx.TensorProto, name): size
    for name, size in {
        "BFLOAT16": 2,
        "FLOAT8E4M3FN": 1,
        "FLOAT8E4M3FNUZ": 1,
        "FLOAT8E5M2": 1,
        "FLOAT8E5M2FNUZ": 1,
    }.items()
    if hasattr(onnx.TensorProto, name)
}


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
    """An array that is not read yet. form : has its shape and type, and takes no memory.

    work : numbers that are computed to read it, those on the way to it included, as often as they are.
    """

    form: Array
    read: Reading
    work: int = 0

    @property
    def is_float(self) -> bool:
        """Whether it holds some floating-point numbers."""
        return self.form.dtype.kind == "f" and self.form.size > 0

    def then(self, step: Step, shape: tuple[int, ...] | None = None) -> Constant:
        """What `step` makes of it; shape : of the result, unless the step only looks at the array in another way."""
        form = step(self.form) if shape is None else form_of(shape, self.form.dtype)
        return Constant(form, Reading(self.read.source, (*self.read.steps, step)), self.work)


def form_of(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of this shape and type that takes no memory."""
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


def _inside(tensor: Any, dtype: Any) -> Array:
    """An array in the message."""
    copy = type(tensor)()
    copy.CopyFrom(tensor)  # older versions of the library keep the bytes in it
    return np.asarray(numpy_helper.to_array(copy)).astype(dtype, copy=False)


def _converted(path: Path, kind: int, shape: tuple[int, ...], place: Place) -> Array:
    """Numbers of a type that numpy lacks, by the library."""
    at, size = place
    with path.open("rb") as file:
        file.seek(at)
        content = file.read(size)
    tensor = onnx.TensorProto(data_type=kind, dims=shape, raw_data=content)
    return np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)


def _scattered(values: Constant, places: Constant, shape: tuple[int, ...]) -> Array:
    """A sparse tensor as a dense one."""
    whole = np.zeros(shape, values.form.dtype)
    at = places.read()
    if at.size and (at.min() < 0 or (at.ndim == 1 and at.max() >= whole.size)):
        raise ModelError("not an ONNX file (a sparse tensor has an index outside its shape)")
    whole[np.unravel_index(at, shape) if at.ndim == 1 else tuple(at.T)] = values.read()
    return whole


def _external(tensor: Any, path: Path, size: int) -> tuple[Path, Place]:
    """File and place of a tensor of `size` bytes that is kept outside the message."""
    about = {entry.key: entry.value for entry in tensor.external_data}
    file = external_file(about.get("location", ""), tensor.name, path)
    try:
        at, length = int(about.get("offset", 0)), int(about.get("length", size))
    except ValueError:
        raise ModelError(f"not an ONNX file ({tensor.name} lies outside {file.name})") from None
    if at < 0 or length < 0 or at + length > file.stat().st_size:
        raise ModelError(f"{tensor.name} is in the file {file.name}, which is too short")
    return file, (at, length)


def whole_tensor(tensor: Any, path: Path, places: dict[str, Place]) -> Any:
    """A tensor of the model in `path` as a message with all its bytes.

    Raises
    ------
    ModelError : its external file is missing, too short, or may not be read.
    """
    file, place = path, places.get(tensor.name)
    whole = type(tensor)()
    whole.CopyFrom(tensor)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = _SMALL_FLOATS.get(tensor.data_type, kind.itemsize) * int(
            np.prod(tensor.dims, dtype=np.float64)
        )
        file, place = _external(tensor, path, size)
        whole.ClearField("data_location")
        whole.ClearField("external_data")
    if place is not None:
        at, size = place
        with file.open("rb") as content:
            content.seek(at)
            whole.raw_data = content.read(size)
    return whole


def _is_in_layer(tensor: Any) -> bool:
    return any(one.key == "location" and one.value == IN_LAYER for one in tensor.external_data)


def _held_elsewhere(name: str) -> Array:
    raise ModelError(f"the numbers of {name} are those of a compressed layer that the file lacks")


def constant(tensor: Any, path: Path, places: dict[str, Place]) -> Constant:
    """A tensor of the model in `path`.

    Raises
    ------
    ModelError : its external file is missing, or may not be read.
    """
    kind, shape = tensor.data_type, tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ModelError(f"not an ONNX file ({tensor.name} has the shape {list(shape)})")
    given = onnx.helper.tensor_dtype_to_np_dtype(kind)
    small = kind in _SMALL_FLOATS  # types that numpy lacks
    dtype = np.dtype(np.float32) if small else given
    file, place = path, places.get(tensor.name)
    if tensor.data_location == onnx.TensorProto.EXTERNAL and _is_in_layer(tensor):
        return Constant(form_of(shape, dtype), Reading(partial(_held_elsewhere, tensor.name)))
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        size = _SMALL_FLOATS.get(kind, given.itemsize) * int(np.prod(shape, dtype=np.float64))
        file, place = _external(tensor, path, size)
    source: Callable[[], Array]
    if place is None:
        source = partial(_inside, tensor, dtype)
    elif kind == onnx.TensorProto.BFLOAT16:
        source = partial(_from_bfloat16, file, shape, place)
    elif small or dtype.kind not in "biufc":
        source = partial(_converted, file, kind, shape, place)
    else:
        source = partial(_from_file, file, dtype, shape, place)
    return Constant(form_of(shape, dtype), Reading(source))


def sparse_constant(tensor: Any, path: Path) -> Constant:
    """A sparse tensor of the model in `path`, as a dense array.

    Raises
    ------
    ModelError : an impossible shape, or one of much more than the entries that are there.
    """
    values, places = constant(tensor.values, path, {}), constant(tensor.indices, path, {})
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ModelError(f"not an ONNX file ({tensor.values.name} has the shape {list(shape)})")
    if np.prod(shape, dtype=np.float64) > max(MOST_NUMBERS, MOST_TIMES * values.form.size):
        raise ModelError(
            f"{tensor.values.name} of shape {list(shape)} is far larger than its {values.form.size} entries"
        )
    return Constant(form_of(shape, values.form.dtype), Reading(partial(_scattered, values, places, shape)))
