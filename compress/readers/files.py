"""Readers of trained networks: .safetensors, .npz, .onnx, PyTorch's."""

from __future__ import annotations

import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import safetensors

from eie.compress.float_layers import Layers, LayerSource, Model
from eie.compress.readers import torch_state
from eie.compress.readers.arrays import FileArray, natural_key
from eie.compress.readers.beside import external_file
from eie.compress.readers.named import Choice, from_arrays
from eie.errors import EieError, ModelError, printable

_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
}
# So many arrays are named when a file has no layer.
_SHOWN = 4


def _safetensors_array(path: Path, dtype: str, shape: tuple[int, ...], start: int) -> npt.NDArray[Any]:
    """One tensor of the file, whose data begin at byte `start`."""
    stored = {"bfloat16": "<u2", "float8_e4m3fn": "u1", "float8_e5m2": "u1"}.get(dtype)
    kind = np.dtype(stored or dtype).newbyteorder("<")
    flat: npt.NDArray[Any] = np.fromfile(path, kind, int(np.prod(shape, dtype=np.int64)), offset=start)
    if dtype == "bfloat16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "float8_e5m2":  # the upper half of float16
        flat = (flat.astype(np.uint16) << 8).view(np.float16)
    elif dtype == "float8_e4m3fn":
        flat = _E4M3[flat]
    return flat.reshape(shape)


def _e4m3() -> npt.NDArray[np.float32]:
    """Values of the 256 numbers of a sign, 4 bits of exponent (bias 7) and 3 of mantissa; NaN is S1111111."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    size = np.where(exponent, np.ldexp(8.0 + mantissa, exponent - 10), np.ldexp(mantissa * 1.0, -9))
    size[exponent + mantissa == 22] = np.nan
    return np.where(bits & 128, -size, size).astype(np.float32)


_E4M3 = _e4m3()


def _safetensors_headers(path: Path) -> dict[str, FileArray]:
    """Arrays of a file, of which only the header is read."""
    with safetensors.safe_open(path, framework="numpy"):
        pass  # the library has checked the header and every tensor's place
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    arrays = {}
    for name, about in header.items():
        dtype, shape = _DTYPES.get(about["dtype"], about["dtype"]), tuple(about["shape"])
        read = partial(_safetensors_array, path, dtype, shape, 8 + size + about["data_offsets"][0])
        arrays[name] = FileArray(dtype, shape, read)
    return arrays


def _read_safetensors(path: Path, choice: Choice) -> Model:
    arrays = _safetensors_headers(path)
    # The library keeps no order of its own.
    return from_arrays({name: arrays[name] for name in sorted(arrays, key=natural_key)}, choice)


def _read_shards(path: Path, choice: Choice) -> Model:
    """The arrays of several files, which an index names: {"weight_map": {array: file}}."""
    index = json.loads(path.read_text())
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
        raise ModelError("not an index of shards: it needs a table weight_map of arrays and their files")
    arrays: dict[str, FileArray] = {}
    for name in dict.fromkeys(shards.values()):
        file = external_file(name, "a part of the network", path)
        if name.endswith(".safetensors"):
            found = _safetensors_headers(file)
        elif kind_of(file) in (".pt", ".pth", ".bin", ".ckpt"):
            found = torch_state.arrays_of(file)
        else:
            raise ModelError(f"{name} is not a file that an index may name: use .safetensors or .bin")
        arrays |= {array: held for array, held in found.items() if shards.get(array) == name}
    missing = [name for name in shards if name not in arrays]
    if missing:
        raise ModelError(f"{missing[0]} is not in the file {shards[missing[0]]}, where the index puts it")
    return from_arrays({name: arrays[name] for name in sorted(arrays, key=natural_key)}, choice)


@lru_cache(maxsize=2)
def _archive(path: Path, _changed: tuple[int, int]) -> zipfile.ZipFile:
    """An archive, whose list of members is read once and not for each of them."""
    return zipfile.ZipFile(path)


def _npz_member(path: Path, member: str) -> npt.NDArray[Any]:
    about = path.stat()
    with _archive(path, (about.st_mtime_ns, about.st_size)).open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _npz_headers(path: Path) -> dict[str, FileArray]:
    """Arrays of a .npz file in its order, of which only the headers are read."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, dtype, size = _npy_header(file)
            refused = "not in NumPy's format" if dtype == "no array" else ""
            if size > member.file_size:
                refused = f"{size:,} bytes, of which the file holds {member.file_size:,}"
            name = member.filename.removesuffix(".npy")
            read = partial(_npz_member, path, member.filename)
            arrays[name] = FileArray(dtype, shape, read, refused)
    return arrays


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], str, int]:
    """Shape, type and bytes of an array; of something else, none."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
        return (), "no array", 0
    # Not str(dtype), which tells the byte order as well.
    return shape, dtype.name if dtype.kind in "biufc" else str(dtype), dtype.itemsize * math.prod(shape)


def _read_onnx(path: Path, choice: Choice) -> Model:
    from eie.compress.readers.onnx_layers import read

    if choice.key or choice.transpose:
        raise ModelError(
            "--key and --transpose are for named arrays: a graph already says what its matrices are"
        )
    return read(path)


def _read_torch(path: Path, choice: Choice) -> Model:
    return torch_state.read(path, choice)


_READERS: dict[str, Callable[[Path, Choice], Model]] = {
    ".safetensors": _read_safetensors,
    ".npz": lambda path, choice: from_arrays(_npz_headers(path), choice),
    ".onnx": _read_onnx,
    **dict.fromkeys((".pt", ".pth", ".pth.tar", ".ckpt", ".bin"), _read_torch),
    **dict.fromkeys((".safetensors.index.json", ".bin.index.json"), _read_shards),
}
MODEL_KINDS = tuple(_READERS)


def kind_of(path: Path) -> str:
    """The ending of `MODEL_KINDS` that a file has, the longest one; the last part of its name's if it has none."""
    name = path.name.lower()
    return max((kind for kind in MODEL_KINDS if name.endswith(kind)), key=len, default=path.suffix.lower())


# What the libraries raise for a file that is not what its name says, or claims more than there is memory for.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,
    tokenize.TokenError,
    safetensors.SafetensorError,
)


def _line(text: str) -> str:
    """The first line of a text that may hold anything, such as names from a damaged file."""
    return printable(text.partition("\n")[0])


def reason_of(error: Exception) -> str:
    """What a library says of a file that it cannot read, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _line(text) or type(error).__name__


@dataclass(frozen=True)
class _Guarded:
    """A source's `read`, whose library's errors become one line."""

    read: Callable[[], Any]
    kind: str

    def __call__(self) -> Any:
        try:
            return self.read()
        except UNREADABLE as error:
            raise ModelError(f"cannot be read as {self.kind}: {reason_of(error)}") from None


def guarded(source: LayerSource, file: Path) -> LayerSource:
    """A layer of `file`, whose errors when it is asked for name the file, in one line."""
    return replace(source, read=_Guarded(source.read, kind_of(file)), place=str(file))


def read_model(path: str | os.PathLike[str], *, key: str = "", transpose: Sequence[str] = ()) -> Model:
    """The layers of a trained network, by the file's ending. Weights are read when a layer is asked for.

    .safetensors (in natural order of the names: fc2 before fc10; also an index of several), .npz (in the file's order),
    .pt, .pth, .pth.tar, .ckpt and .bin (a state dictionary, by PyTorch): see `eie.compress.readers.named.from_arrays`.
    .onnx: see `eie.compress.readers.onnx_layers`.

    Parameters
    ----------
    key : which dictionary of a checkpoint is the network (a.b: b inside a), or how the names of its arrays begin.
    transpose : glob patterns of arrays or layers that are kept as [inputs, outputs], whatever their names say; with a !
        in front, [outputs, inputs].

    Raises
    ------
    ModelError : an unknown ending, an unreadable file, no layer; when a layer is asked for, a bias of the wrong type or
        shape, NaN or infinite values.
    """
    file = Path(path)
    kind = kind_of(file)
    reader = _READERS.get(kind)
    if reader is None:
        raise ModelError(f"{file}: a model must be a file ending in {', '.join(MODEL_KINDS)}")
    if file.is_dir():
        raise ModelError(f"{file} is a folder, not a file: give the file in it")
    if file.exists() and not file.is_file():
        raise ModelError(f"{file} is a pipe or a device: give a file, which can be read more than once")
    try:
        model = reader(file, Choice(key, tuple(transpose)))
    except EieError as error:
        raise ModelError(f"{file}: {_line(str(error))}") from None
    except UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as {kind}: {reason_of(error)}") from None
    if not model.layers:
        found = ", ".join(map(str, model.unused[:_SHOWN])) or "no arrays"
        more = f" and {len(model.unused) - _SHOWN} more" if len(model.unused) > _SHOWN else ""
        raise ModelError(f"{file}: no layer to compress, only {_line(found)}{more}")
    return Model(
        Layers(tuple(guarded(source, file) for source in model.layers.sources)),
        tuple(replace(one, array=printable(one.array)) for one in model.unused),
        tuple(map(printable, model.notes)),
    )
