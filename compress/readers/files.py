"""Readers of trained networks: .safetensors, .npz, .onnx, .pt, .pth."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import safetensors

from eie.compress.float_layers import Layers, LayerSource, Model
from eie.compress.readers.arrays import FileArray, from_arrays, natural_key
from eie.errors import EieError, ModelError

_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
}
# So many arrays are named when a file has no layer.
_SHOWN = 4


def _safetensors_array(path: Path, dtype: str, shape: tuple[int, ...], start: int) -> npt.NDArray[Any]:
    """One tensor of the file, whose data begin at byte `start`."""
    stored = "uint16" if dtype == "bfloat16" else dtype
    flat: npt.NDArray[Any] = np.fromfile(path, stored, int(np.prod(shape, dtype=np.int64)), offset=start)
    if dtype == "bfloat16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)


def _read_safetensors(path: Path) -> Model:
    with safetensors.safe_open(path, framework="numpy"):
        pass  # the library has checked the header and every tensor's place
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    arrays = {}
    # The library keeps no order of its own.
    for name in sorted(header, key=natural_key):
        about = header[name]
        dtype, shape = _DTYPES.get(about["dtype"], about["dtype"]), tuple(about["shape"])
        read = partial(_safetensors_array, path, dtype, shape, 8 + size + about["data_offsets"][0])
        arrays[name] = FileArray(dtype, shape, read)
    return from_arrays(arrays)


def _npz_member(path: Path, name: str) -> npt.NDArray[Any]:
    with np.load(path, allow_pickle=False) as loaded:
        return np.asarray(loaded[name])


def _npz_headers(path: Path) -> dict[str, FileArray]:
    """Arrays of a .npz file in its order, of which only the headers are read."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                shape, dtype = _npy_header(file)
            name = member.removesuffix(".npy")
            arrays[name] = FileArray(dtype, shape, partial(_npz_member, path, name))
    return arrays


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], str]:
    """Shape and type of an array; of something else, none."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except ValueError:
        return (), "no array"
    return shape, str(dtype)


def _read_onnx(path: Path) -> Model:
    from eie.compress.readers.onnx_layers import read

    return read(path)


def _read_torch(path: Path) -> Model:
    from eie.compress.readers.torch_state import read

    return read(path)


_READERS: dict[str, Callable[[Path], Model]] = {
    ".safetensors": _read_safetensors,
    ".npz": lambda path: from_arrays(_npz_headers(path)),
    ".onnx": _read_onnx,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
MODEL_KINDS = tuple(_READERS)

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
    safetensors.SafetensorError,
)


def reason_of(error: Exception) -> str:
    """What a library says of a file that it cannot read, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.partition("\n")[0] or type(error).__name__


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
    return replace(source, read=_Guarded(source.read, file.suffix.lower()), place=str(file))


def read_model(path: str | os.PathLike[str]) -> Model:
    """The layers of a trained network, by the file's ending. Weights are read when a layer is asked for.

    .safetensors (in natural order of the names: fc2 before fc10), .npz (in the file's order), .pt and .pth (a state
    dictionary, by PyTorch): see `eie.compress.readers.arrays.from_arrays`. .onnx: see
    `eie.compress.readers.onnx_layers`.

    Raises
    ------
    ModelError : an unknown ending, an unreadable file, no layer; when a layer is asked for, a bias of the wrong type or
        shape, NaN or infinite values.
    """
    file = Path(path)
    kind = file.suffix.lower()
    reader = _READERS.get(kind)
    if reader is None:
        raise ModelError(f"{file}: a model must be a file ending in {', '.join(MODEL_KINDS)}")
    try:
        model = reader(file)
    except EieError as error:
        raise ModelError(f"{file}: {error}") from None
    except UNREADABLE as error:
        raise ModelError(f"{file}: cannot be read as {kind}: {reason_of(error)}") from None
    if not model.layers:
        found = ", ".join(map(str, model.unused[:_SHOWN])) or "no arrays"
        more = f" and {len(model.unused) - _SHOWN} more" if len(model.unused) > _SHOWN else ""
        raise ModelError(f"{file}: no layer to compress, only {found}{more}")
    return replace(model, layers=Layers(tuple(guarded(source, file) for source in model.layers.sources)))
