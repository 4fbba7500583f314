"""The `.eie` file: a compressed network as a safetensors file. docs/formats.md is the reference."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from eie.compress.sizes import LayerSize, SizeReport, StreamSize
from eie.compress.streams import Stream, encode_numbers, join
from eie.errors import FormatError, LayerError, OutputError
from eie.fixed import MAX_SHIFT
from eie.layer import MAX_DIM, CompressedLayer

VERSION = 1
_DIGEST_BYTES = 16
_NO_CHECKSUM = "0" * (2 * _DIGEST_BYTES)
_MAX_FRAC = 1000
_STREAMS = ("codes", "rows", "counts")
_BIAS_TYPES = {"int16": np.int16, "int32": np.int32}


@dataclass(frozen=True)
class _Scalars:
    """What the metadata say of one layer, in their order."""

    name: str
    rows: int
    cols: int
    relu: int
    product_shift: int
    output_shift: int
    x_frac: int
    w_frac: int
    weight_bits: int

    @classmethod
    def of(cls, layer: CompressedLayer) -> _Scalars:
        shifts = (layer.product_shift, layer.output_shift, layer.x_frac, layer.w_frac)
        return cls(layer.name, layer.rows, layer.cols, int(layer.relu), *shifts, layer.weight_bits)

    @classmethod
    def parse(cls, given: Any, place: int) -> _Scalars:
        fields = list(cls.__dataclass_fields__)
        if not isinstance(given, list) or len(given) != len(fields) or not isinstance(given[0], str):
            raise FormatError(f"layer {place}: the metadata must list {', '.join(fields)}")
        ranges = {
            "rows": (1, MAX_DIM),
            "cols": (1, MAX_DIM),
            "relu": (0, 1),
            "product_shift": (0, MAX_SHIFT),
            "output_shift": (0, MAX_SHIFT),
            "x_frac": (-_MAX_FRAC, _MAX_FRAC),
            "w_frac": (-_MAX_FRAC, _MAX_FRAC),
            "weight_bits": (1, 8),
        }
        for value, (name, (low, high)) in zip(given[1:], ranges.items(), strict=True):
            if type(value) is not int or not low <= value <= high:
                raise FormatError(f"layer {given[0]!r}: {name} must be from {low} to {high}, not {value!r}")
        return cls(*given)


@dataclass(frozen=True, eq=False)
class _Coded:
    """A layer's streams: code indices, zeros before each entry in its column, entries of each column."""

    scalars: _Scalars
    codes: Stream
    rows: Stream
    counts: Stream


def _encode(layer: CompressedLayer) -> _Coded:
    before = np.empty_like(layer.indices)
    before[:1] = -1
    before[1:] = layer.indices[:-1]
    starts = layer.indptr[:-1]
    before[starts[starts < layer.nnz]] = -1
    zeros = (layer.indices - before - 1).astype(np.int64)
    return _Coded(
        _Scalars.of(layer),
        Stream.encode(layer.codes, layer.weight_bits),
        encode_numbers(zeros),
        encode_numbers(np.diff(layer.indptr)),
    )


def _decode(coded: _Coded, codebook: npt.NDArray[np.int16], bias: npt.NDArray[np.int32]) -> CompressedLayer:
    about = coded.scalars
    if coded.codes.width != about.weight_bits:
        raise FormatError(
            f"codes of {coded.codes.width} bits, but the codebook's indices have {about.weight_bits}"
        )
    counts, zeros = join(coded.counts.symbols, coded.counts.width), join(coded.rows.symbols, coded.rows.width)
    entries = len(coded.codes.symbols)
    if len(counts) != about.cols:
        raise FormatError(f"{len(counts)} column counts for {about.cols} columns")
    if len(zeros) != entries or int(counts.sum()) != entries:
        raise FormatError(
            f"the column counts add up to {int(counts.sum())}, but there are {entries} codes and {len(zeros)} rows"
        )
    indptr = np.concatenate(([0], np.cumsum(counts)))
    # Rows ascend by zeros + 1 from -1 in each column.
    ascent = np.concatenate(([0], np.cumsum(zeros + 1)))
    rows = ascent[1:] - 1 - np.repeat(ascent[indptr[:-1]], counts)
    if entries and int(rows.max()) >= about.rows:
        column = int(np.searchsorted(indptr, int(np.argmax(rows >= about.rows)), side="right")) - 1
        raise FormatError(f"column {column} has an entry past the last row {about.rows - 1}")
    layer = CompressedLayer(
        shape=(about.rows, about.cols),
        indptr=indptr,
        indices=rows.astype(np.int32),
        codes=coded.codes.symbols,
        codebook=codebook,
        bias=bias,
        relu=bool(about.relu),
        product_shift=about.product_shift,
        output_shift=about.output_shift,
        name=about.name,
        x_frac=about.x_frac,
        w_frac=about.w_frac,
    )
    layer.check(full=True)
    return layer


@dataclass(frozen=True, eq=False)
class _File:
    """A file's contents, verified."""

    data: bytes
    checksum: str
    bias_width: int
    coded: list[_Coded]
    layers: list[CompressedLayer]

    def sizes(self) -> SizeReport:
        """Where its bytes go."""
        layers = (
            LayerSize(
                c.scalars.name,
                c.scalars.rows,
                c.scalars.cols,
                len(c.codes.symbols),
                StreamSize.of(c.codes),
                StreamSize.of(c.rows),
                StreamSize.of(c.counts),
                2 << c.scalars.weight_bits,
                self.bias_width * c.scalars.rows,
            )
            for c in self.coded
        )
        header_bytes = 8 + struct.unpack_from("<Q", self.data)[0]
        return SizeReport(len(self.data), header_bytes, VERSION, self.checksum, tuple(layers))


# ---- the container -----------------------------------------------------------------------------------------


def _checksum(data: bytes, digits: str) -> str:
    """BLAKE2b-128 of the whole file with the checksum's own digits, which occur once, set to 0."""
    blank = data.replace(digits.encode(), _NO_CHECKSUM.encode(), 1)
    return hashlib.blake2b(blank, digest_size=_DIGEST_BYTES).hexdigest()


def to_bytes(layers: Sequence[CompressedLayer]) -> bytes:
    """The file's contents.

    Raises
    ------
    LayerError : no layers, or one that breaks its rules (`CompressedLayer.check(full=True)`).
    """
    if not layers:
        raise LayerError("a .eie file needs at least one layer")
    for layer in layers:
        layer.check(full=True)
        if max(abs(layer.x_frac), abs(layer.w_frac)) > _MAX_FRAC:
            raise LayerError(
                f"layer {layer.name!r}: x_frac and w_frac must be from -{_MAX_FRAC} to {_MAX_FRAC}"
            )
    coded = [_encode(layer) for layer in layers]
    tensors: dict[str, npt.NDArray[Any]] = {
        name: np.frombuffer(b"".join(getattr(c, name).to_bytes() for c in coded), np.uint8)
        for name in _STREAMS
    }
    bias = np.concatenate([layer.bias for layer in layers])
    tensors["bias"] = bias.astype(np.int16) if np.array_equal(bias.astype(np.int16), bias) else bias
    tensors["codebook"] = np.concatenate([layer.codebook for layer in layers])
    about = {
        "version": VERSION,
        "checksum": _NO_CHECKSUM,
        "layers": [list(vars(c.scalars).values()) for c in coded],
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    blank = safetensors.numpy.save(tensors, {"eie": json.dumps(about, separators=(",", ":"))})
    # The first run of zeros is the checksum's: it stands before the layers and the data.
    digits = _checksum(blank, _NO_CHECKSUM)
    return blank.replace(_NO_CHECKSUM.encode(), digits.encode(), 1)


def _metadata(data: bytes) -> dict[str, Any]:
    """The entry "eie" of the safetensors header, its version and checksum verified."""
    header = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    text = header.get("__metadata__", {}).get("eie")
    if text is None:
        raise FormatError("a safetensors file, but not a compressed network (no metadata 'eie')")
    about = json.loads(text)
    if not isinstance(about, dict) or type(about.get("version")) is not int:
        raise FormatError("the metadata have no version")
    if about["version"] > VERSION:
        raise FormatError(
            f"format version {about['version']} is newer than this program's {VERSION}: use a newer eie"
        )
    if about["version"] != VERSION:
        raise FormatError(f"format version {about['version']} has never existed")
    digits = about.get("checksum")
    if not isinstance(digits, str) or len(digits) != len(_NO_CHECKSUM) or _checksum(data, digits) != digits:
        raise FormatError("the checksum does not match: the file is corrupt")
    if set(about) != {"version", "checksum", "layers"} or not isinstance(about["layers"], list):
        raise FormatError("the metadata must be version, checksum and a list of layers")
    if not about["layers"]:
        raise FormatError("the metadata list no layer")
    return about


def _open(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Metadata and the five tensors of a file, types checked."""
    try:
        tensors = safetensors.numpy.load(data)
        about = _metadata(data)
    except FormatError:
        raise
    except (
        safetensors.SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        # The library words these errors for itself; the first line says enough.
        raise FormatError(
            f"truncated, corrupt, or no .eie file ({str(error).partition(chr(10))[0]})"
        ) from None
    if set(tensors) != {*_STREAMS, "bias", "codebook"}:
        raise FormatError(
            f"tensors {', '.join(sorted(tensors))}: must be bias, codebook, codes, counts, rows"
        )
    for name, array in tensors.items():
        allowed = {"bias": set(_BIAS_TYPES), "codebook": {"int16"}}.get(name, {"uint8"})
        if array.ndim != 1 or array.dtype.name not in allowed:
            raise FormatError(
                f"tensor {name!r} must be a vector of {' or '.join(sorted(allowed))}, "
                f"not {array.dtype.name}{list(array.shape)}"
            )
    return about, tensors


def _vectors(scalars: list[_Scalars], tensors: dict[str, npt.NDArray[Any]]) -> list[tuple[Any, Any]]:
    """Codebook int16 and bias int32 of each layer."""
    sizes = {"codebook": [1 << s.weight_bits for s in scalars], "bias": [s.rows for s in scalars]}
    parts = []
    for name, each in sizes.items():
        if sum(each) != tensors[name].size:
            raise FormatError(
                f"tensor {name!r} holds {tensors[name].size} values, but the layers need {sum(each)}"
            )
        wide = tensors[name].astype(np.int16 if name == "codebook" else np.int32)
        parts.append(np.split(wide, np.cumsum(each)[:-1]))
    return list(zip(*parts, strict=True))


def _parse(data: bytes) -> _File:
    about, tensors = _open(data)
    scalars = [_Scalars.parse(given, place) for place, given in enumerate(about["layers"])]
    raw = {name: tensors[name].tobytes() for name in _STREAMS}
    place = dict.fromkeys(_STREAMS, 0)
    coded, layers = [], []
    for s, (codebook, bias) in zip(scalars, _vectors(scalars, tensors), strict=True):
        streams = {}
        try:
            for name in _STREAMS:
                try:
                    streams[name], place[name] = Stream.parse(raw[name], place[name])
                except FormatError as error:
                    raise FormatError(f"{name}: {error}") from None
            coded.append(_Coded(s, **streams))
            layers.append(_decode(coded[-1], codebook, bias))
        except FormatError as error:
            raise FormatError(f"layer {s.name!r}: {error}") from None
        except LayerError as error:
            raise FormatError(str(error)) from None
    for name in _STREAMS:
        if place[name] != len(raw[name]):
            raise FormatError(
                f"{len(raw[name]) - place[name]} bytes are left after the last stream of {name!r}"
            )
    return _File(data, about["checksum"], tensors["bias"].itemsize, coded, layers)


def _read(path: str | os.PathLike[str]) -> _File:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    try:
        return _parse(data)
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from None


def load(path: str | os.PathLike[str]) -> list[CompressedLayer]:
    """The layers of a `.eie` file, every rule of the format verified.

    Working memory stays below about 200 bytes per byte of the file (a coded symbol may take a single bit), whatever
    sizes the file claims.

    Raises
    ------
    FormatError : a file that cannot be read, is truncated, corrupt or hostile, or newer than this version.
    """
    return _read(path).layers


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write under another name in the same folder, then rename: never half a file.

    Raises
    ------
    OutputError : the folder or the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from None


def save(path: str | os.PathLike[str], layers: Sequence[CompressedLayer]) -> None:
    """Write a network to a `.eie` file. The same layers give the same bytes.

    Raises
    ------
    LayerError : no layers, or one that breaks its rules. OutputError : the file cannot be written.
    """
    write_atomically(path, to_bytes(layers))


def measure(layers: Sequence[CompressedLayer]) -> SizeReport:
    """Sizes of the file that `save` would write."""
    return _parse(to_bytes(layers)).sizes()


def describe(path: str | os.PathLike[str]) -> SizeReport:
    """Sizes of a `.eie` file, which is verified as by `load`."""
    return _read(path).sizes()
