"""The body of a layer in a `.eie` file, in both codings. docs/formats.md is the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockCodes
from eie.compress.format import adaptive
from eie.compress.format.adaptive import Coder, Ints
from eie.compress.format.head import Head, block_contexts
from eie.compress.format.streams import Stream, encode_numbers, join
from eie.compress.format.wire import Reader, varint
from eie.errors import FormatError
from eie.layer import CompressedLayer

# What a byte of a body may stand for at most, of rows, columns and entries together, and of elements in the adaptive
# code: bounds of a reader's memory and time.
MAX_PER_BYTE = 8
_MAX_ELEMENTS_PER_BYTE = 1 << 10
# The same of rows, columns and elements in blocks, which one code may stand for several of.
MAX_PER_BLOCK_BYTE = 32
# What each row has: its bias, and its scale, if there are any.
Rows = tuple[npt.NDArray[np.int32], npt.NDArray[np.int16] | None]


def _write_numbers(coder: Coder, layer: CompressedLayer, differences: Ints | None = None) -> dict[str, float]:
    """Codebook, as the differences of its codes, and bias, with it the scales of rows; the bits of each."""
    coder.numbers(np.diff(layer.codebook.astype(np.int64)) if differences is None else differences)
    codebook = coder.bits
    coder.numbers(layer.bias)
    if layer.scale is not None:
        coder.numbers(layer.scale.astype(np.int64))
    return {"codebook": codebook, "bias": coder.bits - codebook}


def _read_numbers(coder: Coder, head: Head) -> tuple[npt.NDArray[np.int16], Rows, dict[str, float]]:
    # Code 0 is 0 and not there, but in blocks a weight like others.
    differences = coder.numbers(np.zeros((1 << head.weight_bits) - (head.blocks is None), np.int64))
    codebook = np.concatenate(([0] if head.blocks is None else [], np.cumsum(differences))).astype(np.int64)
    if not np.array_equal(codebook.astype(np.int16), codebook):
        raise FormatError("a code of more than 16 bits")
    bits = coder.bits
    bias = coder.numbers(np.zeros(head.rows, np.int64)).astype(np.int32)
    scale = None
    if head.scale_frac is not None:
        wide = coder.numbers(np.zeros(head.rows, np.int64))
        scale = wide.astype(np.int16)
        if not np.array_equal(scale, wide):
            raise FormatError("a scale of more than 16 bits")
    return codebook.astype(np.int16), (bias, scale), {"codebook": bits, "bias": coder.bits - bits}


def _least_bytes(layer: CompressedLayer) -> int:
    """Of a body: a reader's memory follows its size, which cheap numbers must not make too small."""
    return -(-(layer.rows + layer.cols + layer.nnz) // MAX_PER_BYTE)


def adaptive_body(layer: CompressedLayer, before: Ints) -> tuple[bytes, dict[str, float]]:
    """Stride, then everything in one arithmetic-coded stretch; the bits of each part."""
    stride = adaptive.best_stride(layer)
    coder = Coder()
    bits = _write_numbers(coder, layer)
    dense = adaptive.matrix(layer, stride)
    start = coder.bits
    coder.positions(dense, stride, layer.nnz, before)
    bits["positions"] = coder.bits - start
    start = coder.bits
    coder.codes(dense, stride, layer.weight_bits)
    bits["codes"] = coder.bits - start
    elements = adaptive.elements(layer.rows, layer.cols, stride)
    least = max(_least_bytes(layer), -(-elements // _MAX_ELEMENTS_PER_BYTE))
    return (bytes([stride]) + coder.finish()).ljust(least, b"\0"), bits


def read_adaptive(body: bytes, head: Head, before: Ints) -> tuple[CompressedLayer, dict[str, float]]:
    """The layer, and the bits of each part.

    Raises
    ------
    FormatError : the body breaks a rule of the format. LayerError : so does the layer in it.
    """
    stride = Reader(body).byte("the stride")
    if stride < adaptive.MIN_STRIDE:
        raise FormatError(f"a stride of {stride} (at least {adaptive.MIN_STRIDE})")
    elements = adaptive.elements(head.rows, head.cols, stride)
    most = min(adaptive.MAX_ELEMENTS, _MAX_ELEMENTS_PER_BYTE * len(body))
    if elements > most:
        raise FormatError(f"{elements} elements in {len(body)} bytes (at most {most})")
    coder = Coder(body[1:])
    codebook, of_rows, bits = _read_numbers(coder, head)
    dense = np.zeros((stride + 1 + head.cols, head.rows), np.uint8)
    start = coder.bits
    found = coder.positions(dense, stride, head.entries, before)
    if found < head.entries:
        raise FormatError(f"{head.entries} entries are announced, but there are {found}")
    bits["positions"] = coder.bits - start
    start = coder.bits
    columns = dense[stride + 1 :]
    places = np.flatnonzero(columns)
    coder.codes(dense, stride, head.weight_bits)
    bits["codes"] = coder.bits - start
    layer = _layer(
        head,
        np.searchsorted(places, np.arange(head.cols + 1) * head.rows),
        (places % head.rows).astype(np.int32),
        columns.ravel()[places],
        codebook,
        of_rows,
    )
    return layer, bits


def blocks_body(layer: CompressedLayer) -> tuple[bytes, dict[str, float]]:
    """Whether there are deltas, then everything in one arithmetic-coded stretch; the bits of each part."""
    blocks = layer.block_codes()
    codebook = blocks.codebook.astype(np.int64)
    codes = np.concatenate([block.ravel() for block in blocks.codes])
    found: list[tuple[bytes, dict[str, float]]] = []
    for deltas in (False, True) if len(blocks.codes) > 1 else (False,):
        coder = Coder()
        bits = _write_numbers(coder, layer, np.diff(codebook, prepend=0))
        start = coder.bits
        coder.block_codes(codes, blocks.structure, blocks.bits, deltas)
        bits |= {"codes": coder.bits - start, "positions": 0.0}
        found.append((bytes([deltas]) + coder.finish(), bits))
    body, bits = min(found, key=lambda coded: len(coded[0]))
    units = layer.rows + layer.cols + blocks.structure.entries + block_contexts(blocks.bits)
    return body.ljust(-(-units // MAX_PER_BLOCK_BYTE), b"\0"), bits


def read_blocks(body: bytes, head: Head) -> tuple[CompressedLayer, dict[str, float]]:
    """As `read_adaptive`."""
    structure = head.blocks
    assert structure is not None
    deltas = Reader(body).byte("the kind of codes")
    if deltas > 1:
        raise FormatError(f"codes of kind {deltas} (0 or 1)")
    coder = Coder(body[1:])
    codebook, of_rows, bits = _read_numbers(coder, head)
    start = coder.bits
    stored = np.zeros(structure.stored, np.uint8)
    coder.block_codes(stored, structure, head.weight_bits, bool(deltas))
    bits |= {"codes": coder.bits - start, "positions": 0.0}
    codes = BlockCodes(structure, tuple(structure.split(stored)), codebook)
    indptr, indices, entries, table = codes.expanded()
    return _layer(head, indptr, indices, entries, table, of_rows), bits


def huffman_body(layer: CompressedLayer) -> tuple[bytes, dict[str, float]]:
    """Codebook and bias, then three streams: code indices, zeros before each entry in its column, column counts."""
    before = np.empty_like(layer.indices)
    before[:1] = -1
    before[1:] = layer.indices[:-1]
    starts = layer.indptr[:-1]
    before[starts[starts < layer.nnz]] = -1
    zeros = (layer.indices - before - 1).astype(np.int64)
    codes = Stream.encode(layer.codes, layer.weight_bits).to_bytes()
    places = encode_numbers(zeros).to_bytes() + encode_numbers(np.diff(layer.indptr)).to_bytes()
    coder = Coder()
    bits = _write_numbers(coder, layer)
    numbers = coder.finish()
    numbers += bytes(max(0, _least_bytes(layer) - len(numbers) - len(codes) - len(places)))
    body = varint(len(numbers)) + numbers + codes + places
    return body, bits | {"codes": 8.0 * len(codes), "positions": 8.0 * len(places)}


def read_huffman(body: bytes, head: Head) -> tuple[CompressedLayer, dict[str, float]]:
    """As `read_adaptive`."""
    reader = Reader(body)
    coder = Coder(reader.take(reader.varint("the codebook"), "the codebook and the bias"))
    codebook, of_rows, bits = _read_numbers(coder, head)
    streams, size = [], {}
    for what in ("codes", "rows", "counts"):
        start = reader.place
        try:
            streams.append(Stream.parse(reader))
        except FormatError as error:
            raise FormatError(f"{what}: {error}") from None
        size[what] = 8.0 * (reader.place - start)
    if reader.left:
        raise FormatError(f"{reader.left} bytes are left after the last stream")
    bits |= {"codes": size["codes"], "positions": size["rows"] + size["counts"]}
    codes, rows, counts = streams
    return _from_streams(head, codes, rows, counts, codebook, of_rows), bits


def _from_streams(
    head: Head,
    codes: Stream,
    rows: Stream,
    counts: Stream,
    codebook: npt.NDArray[np.int16],
    of_rows: Rows,
) -> CompressedLayer:
    if codes.width != head.weight_bits:
        raise FormatError(f"codes of {codes.width} bits, but the codebook's indices have {head.weight_bits}")
    each, zeros = join(counts.symbols, counts.width), join(rows.symbols, rows.width)
    if len(each) != head.cols:
        raise FormatError(f"{len(each)} column counts for {head.cols} columns")
    found = {len(codes.symbols), len(zeros), int(each.sum())}
    if found != {head.entries}:
        raise FormatError(
            f"{head.entries} entries are announced, but there are {len(codes.symbols)} codes, {len(zeros)} rows "
            f"and {int(each.sum())} in the columns"
        )
    indptr = np.concatenate(([0], np.cumsum(each)))
    # Rows ascend by zeros + 1 from -1 in each column.
    ascent = np.concatenate(([0], np.cumsum(zeros + 1)))
    indices = ascent[1:] - 1 - np.repeat(ascent[indptr[:-1]], each)
    if head.entries and int(indices.max()) >= head.rows:
        column = int(np.searchsorted(indptr, int(np.argmax(indices >= head.rows)), side="right")) - 1
        raise FormatError(f"column {column} has an entry past the last row {head.rows - 1}")
    return _layer(head, indptr, indices.astype(np.int32), codes.symbols, codebook, of_rows)


def _layer(
    head: Head,
    indptr: Ints,
    indices: npt.NDArray[np.int32],
    codes: npt.NDArray[np.uint8],
    codebook: npt.NDArray[np.int16],
    of_rows: Rows,
) -> CompressedLayer:
    bias, scale = of_rows
    arrays: list[npt.NDArray[np.integer]] = [indptr, indices, codes, codebook, bias]
    for array in arrays if scale is None else [*arrays, scale]:
        array.flags.writeable = False  # nobody else has them: the layer need not copy
    layer = CompressedLayer(
        shape=(head.rows, head.cols),
        indptr=indptr,
        indices=indices,
        codes=codes,
        codebook=codebook,
        bias=bias,
        relu=head.relu,
        product_shift=head.product_shift,
        output_shift=head.output_shift,
        name=head.name,
        x_frac=head.x_frac,
        w_frac=head.w_frac,
        conv=head.conv,
        follows=head.follows,
        blocks=head.blocks,
        exit=head.exit,
        adder=head.adder,
        scale=scale,
        scale_frac=head.scale_frac or 0,
        prefixes=head.prefixes,
    )
    layer.check(full=True)
    return layer
