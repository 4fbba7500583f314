"""The `.eie` file: a compressed network, as small as it gets. docs/formats.md is the reference."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from eie.compress.format import adaptive
from eie.compress.format.adaptive import Ints
from eie.compress.format.body import (
    MAX_PER_BLOCK_BYTE,
    MAX_PER_BYTE,
    adaptive_body,
    blocks_body,
    huffman_body,
    read_adaptive,
    read_blocks,
    read_huffman,
)
from eie.compress.format.head import ADAPTIVE, BLOCKS, HUFFMAN, MAX_FRAC, Head, head_bytes
from eie.compress.format.sizes import LayerSize, SizeReport, layer_size
from eie.compress.format.wire import Reader, varint
from eie.errors import FormatError, LayerError, OutputError
from eie.files import beside
from eie.layer import CompressedLayer

VERSION = 2
# Of a file that holds a graph, too.
WITH_GRAPH = 3
MAGIC = b"EIE"
_CHECKSUM_BYTES = 8
_HEADER_BYTES = len(MAGIC) + 1 + _CHECKSUM_BYTES

# A layer takes its time, however few bytes it has.
MAX_LAYERS = 4096
# A graph may be so large, or so many times its bytes in the file.
SMALL_GRAPH, MOST_TIMES = 1 << 20, 100

Read = TypeVar("Read")
Coded = tuple[str, bytes, dict[str, float]]  # the coding, the body, and the bits of its parts


@dataclass(frozen=True, eq=False)
class EncodedLayer:
    """What a file holds of a layer.

    A layer so small that the adaptive code may suit it is kept whole: that code looks at the layer before, so that it
    has to wait until the file is put together.
    """

    data: bytes
    size: LayerSize | None
    entries_of_rows: Ints
    layer: CompressedLayer | None = None

    @classmethod
    def of(cls, layer: CompressedLayer) -> EncodedLayer:
        """`layer`, encoded as far as it can be by itself.

        Raises
        ------
        LayerError : it breaks its rules (`CompressedLayer.check(full=True)`).
        """
        _check(layer)
        counts = adaptive.entries_of_rows(layer)
        if layer.blocks is not None:
            return cls(*_finished(layer, (BLOCKS, *blocks_body(layer))), counts)
        if adaptive.elements(layer.rows, layer.cols, adaptive.MIN_STRIDE) <= adaptive.MAX_ELEMENTS:
            return cls(b"", None, counts, layer)
        return cls(*_finished(layer, (HUFFMAN, *huffman_body(layer))), counts)

    def behind(self, previous: Ints | None) -> tuple[bytes, LayerSize]:
        """Its bytes behind a layer with `previous` entries in its rows, in the shorter coding, and their sizes."""
        if self.size is not None:
            return self.data, self.size
        assert self.layer is not None
        before = adaptive.before(previous, self.layer.cols)
        candidates: list[Coded] = [
            (ADAPTIVE, *adaptive_body(self.layer, before)),
            (HUFFMAN, *huffman_body(self.layer)),
        ]
        return _finished(self.layer, min(candidates, key=lambda coded: len(coded[1])))


def _finished(layer: CompressedLayer, coded: Coded) -> tuple[bytes, LayerSize]:
    coding, body, bits = coded
    data = head_bytes(layer, coding) + varint(len(body)) + body
    return data, layer_size(layer, coding, bits, len(data))


def _decode(reader: Reader, previous: Ints | None) -> tuple[CompressedLayer, str, dict[str, float]]:
    """The next layer, how it was coded, and the bits of its parts."""
    head = Head.parse(reader)
    try:
        body = reader.take(reader.varint("a layer's size"), "the layer")
        if head.units > (MAX_PER_BYTE if head.blocks is None else MAX_PER_BLOCK_BYTE) * len(body):
            raise FormatError(
                f"{head.rows} rows, {head.cols} columns and {head.entries} entries in {len(body)} bytes"
            )
        if head.coding == BLOCKS:
            layer, bits = read_blocks(body, head)
        elif head.coding == HUFFMAN:
            layer, bits = read_huffman(body, head)
        else:
            layer, bits = read_adaptive(body, head, adaptive.before(previous, head.cols))
    except FormatError as error:
        raise FormatError(f"layer {head.name!r}: {error}") from None
    except LayerError as error:
        raise FormatError(str(error)) from None
    return layer, head.coding, bits


def _digest(start: bytes) -> hashlib.blake2b:
    """BLAKE2b of the file but for the checksum itself: of `start`, which stands before it, and what will follow it."""
    return hashlib.blake2b(start, digest_size=_CHECKSUM_BYTES)


def _packed(graph: bytes) -> bytes:
    """A graph as a file holds it."""
    packed = zlib.compress(graph, 9)
    if len(graph) > max(SMALL_GRAPH, MOST_TIMES * len(packed)):
        packed = zlib.compress(graph, 0)
    return varint(len(packed)) + packed


def _unpacked(packed: bytes) -> bytes:
    """The graph in a file.

    Raises
    ------
    FormatError : it is damaged, or far larger than its bytes.
    """
    most = max(SMALL_GRAPH, MOST_TIMES * len(packed))
    stream = zlib.decompressobj()
    try:
        graph = stream.decompress(packed, most)
    except zlib.error:
        raise FormatError("its graph is damaged") from None
    if not stream.eof or stream.unused_data:
        raise FormatError(f"its graph is cut short, or larger than {most:,} bytes")
    return graph


def _write(file: IO[bytes], layers: Iterable[EncodedLayer], graph: bytes = b"") -> SizeReport:
    """The file's contents, each layer when its turn comes, and where its bytes go.

    The checksum, which stands before the layers, is put in at the end.
    """
    start = MAGIC + bytes([WITH_GRAPH if graph else VERSION])
    file.write(start.ljust(_HEADER_BYTES, b"\0"))
    digest, previous = _digest(start), None
    head = _packed(graph) if graph else b""
    file.write(head)
    digest.update(head)
    sizes: list[LayerSize] = []
    for layer in layers:
        if len(sizes) == MAX_LAYERS:
            raise LayerError(f"a .eie file has at most {MAX_LAYERS} layers")
        data, size = layer.behind(previous)
        file.write(data)
        digest.update(data)
        sizes.append(size)
        previous = layer.entries_of_rows
        del layer, data  # before the next one is made
    if not sizes:
        raise LayerError("a .eie file needs at least one layer")
    file.seek(len(start))
    file.write(digest.digest())
    before = _HEADER_BYTES + len(head)
    total = before + sum(size.nbytes for size in sizes)
    return SizeReport(total, before, start[-1], digest.hexdigest(), tuple(sizes))


def _check(layer: CompressedLayer) -> None:
    layer.check(full=True)
    if max(abs(layer.x_frac), abs(layer.w_frac), abs(layer.scale_frac)) > MAX_FRAC:
        raise LayerError(
            f"layer {layer.name!r}: x_frac, w_frac and scale_frac must be from -{MAX_FRAC} to {MAX_FRAC}"
        )
    try:
        layer.name.encode()
    except UnicodeEncodeError:
        raise LayerError(f"layer {layer.name!r}: the name has characters that UTF-8 cannot encode") from None


def to_bytes(layers: Iterable[CompressedLayer]) -> bytes:
    """The file's contents.

    Raises
    ------
    LayerError : no layers, or one that breaks its rules (`CompressedLayer.check(full=True)`).
    """
    file = io.BytesIO()
    _write(file, map(EncodedLayer.of, layers))
    return file.getvalue()


def _stored(data: bytes) -> bytes:
    """The checksum in a file."""
    return data[len(MAGIC) + 1 : _HEADER_BYTES]


def _open(data: bytes) -> tuple[Reader, bytes]:
    """Behind the header of a file, which is verified, and its graph as it is packed; empty without one."""
    if data[8:16] == b'{"__meta' or b'"eie"' in data[:256]:
        raise FormatError(
            "format version 1, which only development versions wrote: compress the network again"
        )
    if data[: len(MAGIC)] != MAGIC or len(data) < _HEADER_BYTES:
        raise FormatError("not a .eie file, or only the beginning of one")
    version = data[len(MAGIC)]
    if version > WITH_GRAPH:
        raise FormatError(
            f"format version {version} is newer than this program's {WITH_GRAPH}: use a newer eie"
        )
    if version < VERSION:
        raise FormatError(f"format version {version} has never existed")
    digest = _digest(data[: len(MAGIC) + 1])
    digest.update(memoryview(data)[_HEADER_BYTES:])
    if digest.digest() != _stored(data):
        raise FormatError("the checksum does not match: the file is truncated or corrupt")
    reader = Reader(data, _HEADER_BYTES)
    if version < WITH_GRAPH:
        return reader, b""
    return reader, reader.take(reader.varint("its graph's size"), "its graph")


def _parse(data: bytes) -> Iterator[tuple[CompressedLayer, Callable[[], LayerSize]]]:
    """The layers, and what computes the sizes of each."""
    (reader, packed), previous, count = _open(data), None, 0
    if packed:
        _unpacked(packed)
    while reader.left or not count:
        if count == MAX_LAYERS:
            raise FormatError(f"more than {MAX_LAYERS} layers")
        start = reader.place
        layer, coding, bits = _decode(reader, previous)
        previous, count = adaptive.entries_of_rows(layer), count + 1
        yield layer, partial(layer_size, layer, coding, bits, reader.place - start)


def _read_all(data: bytes) -> tuple[SizeReport, list[CompressedLayer]]:
    layers: list[CompressedLayer] = []
    return _sizes(data, layers.append), layers


def _sizes(data: bytes, keep: Callable[[CompressedLayer], None] = lambda _: None) -> SizeReport:
    """Sizes of a file, each of whose layers is handed to `keep`."""
    before, sizes = _open(data)[0].place, []
    for layer, size in _parse(data):
        keep(layer)
        sizes.append(size())
    return SizeReport(len(data), before, data[len(MAGIC)], _stored(data).hex(), tuple(sizes))


def _read(path: str | os.PathLike[str], parse: Callable[[bytes], Read]) -> Read:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    try:
        return parse(data)
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from None


def from_bytes(data: bytes) -> list[CompressedLayer]:
    """The layers of a file's contents, every rule of the format verified.

    Raises
    ------
    FormatError : they are truncated, corrupt or hostile, or of another version.
    """
    return [layer for layer, _ in _parse(data)]


def load(path: str | os.PathLike[str]) -> list[CompressedLayer]:
    """The layers of a `.eie` file, every rule of the format verified.

    Working memory stays below 250 bytes for each byte of the file (a coded symbol may take a single bit), and 1,500 in
    layers of the adaptive code, which hold at most 2 MB of elements; whatever sizes the file claims.

    Raises
    ------
    FormatError : a file that cannot be read, is truncated, corrupt or hostile, or newer than this version.
    """
    return _read(path, from_bytes)


def has_graph(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a `.eie` file with a graph in it."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC) + 1) == MAGIC + bytes([WITH_GRAPH])
    except OSError:
        return False


def load_graph(path: str | os.PathLike[str]) -> bytes:
    """The graph in a `.eie` file, an ONNX message without the compressed weights; empty without one.

    Raises
    ------
    FormatError : as `load`.
    """
    return _read(path, lambda data: _unpacked(packed) if (packed := _open(data)[1]) else b"")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` when the block ends well: never half a file.

    It has another name in the same folder meanwhile. What a killed process has left so for the same file goes first.

    Raises
    ------
    OutputError : the folder or the file cannot be written.
    """
    target = Path(path)
    temporary = beside(target)
    try:
        try:
            with temporary.open("wb") as file:
                yield file
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from None


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write all of a file, or nothing. Raises `OutputError` as `replacing`."""
    with replacing(path) as file:
        file.write(data)


def save(path: str | os.PathLike[str], layers: Iterable[CompressedLayer], graph: bytes = b"") -> None:
    """Write a network to a `.eie` file. The same layers give the same bytes.

    If a generator gives the layers one by one, they are written one by one and not kept.

    Parameters
    ----------
    path : the file, which is replaced as a whole.
    layers : the layers, in the order in which they follow one another; a network is a sequence of its layers.
    graph : an ONNX message that says what lies between the layers; empty if they follow one another.

    Raises
    ------
    LayerError : no layers, or one that breaks its rules.
    OutputError : the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> layer = CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.eie", [layer])
    ...     load(f"{folder}/net.eie")
    [CompressedLayer('layer', 2 x 2, 50.0 % of the weights, 2-bit codes, ReLU)]
    """
    save_encoded(path, map(EncodedLayer.of, layers), graph)


def save_encoded(
    path: str | os.PathLike[str], layers: Iterable[EncodedLayer], graph: bytes = b""
) -> SizeReport:
    """Write the file that `save` writes, from layers encoded already; its sizes.

    Raises
    ------
    LayerError : no layers. OutputError : the file cannot be written.
    """
    with replacing(path) as file:
        return _write(file, layers, graph)


def measure(layers: Iterable[CompressedLayer], graph: bytes = b"") -> SizeReport:
    """Sizes of the file that `save` would write."""
    return _write(io.BytesIO(), map(EncodedLayer.of, layers), graph)


def describe(path: str | os.PathLike[str]) -> SizeReport:
    """Sizes of a `.eie` file, which is verified as by `load`."""
    return _read(path, _sizes)


def load_with_sizes(path: str | os.PathLike[str]) -> tuple[SizeReport, list[CompressedLayer]]:
    """What `describe` and `load` give, from one reading of the file."""
    return _read(path, _read_all)
