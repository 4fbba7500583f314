"""What stands before a layer's body in a `.eie` file. docs/formats.md is the reference."""

from __future__ import annotations

from dataclasses import dataclass

from eie.blocks import ORDERS, PERMUTED, BlockStructure
from eie.compress.format.wire import Reader, signed_varint, varint
from eie.conv import Conv
from eie.errors import FormatError, LayerError
from eie.fixed import MAX_SHIFT
from eie.layer import MAX_DIM, CompressedLayer
from eie.prefix import Prefix

MAX_FRAC = 1000
ADAPTIVE, HUFFMAN, BLOCKS = "adaptive", "Huffman", "blocks"
_RELU, _CONV, _IS_HUFFMAN, _ALONE, _HAS_KIND = 1, 2, 4, 64, 128
# The byte behind the flags, of what is no ordinary matrix.
_KIND_BLOCKS, _KIND_EXIT, _KIND_WIDTHS, _KIND_ADDER = 1, 2, 3, 4
# The byte behind the kind of a layer that adds or scales its rows.
_ADDS, _SCALES = 1, 2


def _pair(pair: tuple[int, int]) -> bytes:
    high, wide = pair
    return varint(2 * high) if high == wide else varint(2 * high + 1) + varint(wide)


def _structure(blocks: BlockStructure) -> bytes:
    order = ORDERS.index(blocks.order)
    seed = varint(blocks.seed) if blocks.order == PERMUTED else b""
    return varint(blocks.blocks) + varint(blocks.distinct) + bytes([order]) + seed


def block_contexts(bits: int) -> int:
    """What the contexts of codes in blocks count as."""
    return (1 << 2 * bits) >> 3


def head_bytes(layer: CompressedLayer, coding: str) -> bytes:
    """The head of a layer whose body is coded so."""
    name = layer.name.encode()
    flags = _RELU * layer.relu | _CONV * (layer.conv is not None) | _IS_HUFFMAN * (coding == HUFFMAN)
    arithmetic = _ADDS * layer.adder | _SCALES * (layer.scale is not None)
    kind = _KIND_BLOCKS * (coding == BLOCKS) or _KIND_EXIT * layer.exit or _KIND_WIDTHS * bool(layer.prefixes)
    kind = kind or _KIND_ADDER * bool(arithmetic)
    flags |= _ALONE * (not layer.follows) | _HAS_KIND * bool(kind)
    blocks = layer.blocks if coding == BLOCKS else None
    # A block has its own codes.
    bits = layer.weight_bits if blocks is None else layer.block_codes().bits
    parts = [
        bytes([flags | (bits - 1) << 3])
        + bytes([kind] if kind else [])
        + bytes([arithmetic] if arithmetic else []),
        varint(len(name)) + name,
        varint(layer.rows)
        + varint(layer.cols)
        + (varint(layer.nnz) if blocks is None else _structure(blocks)),
        bytes([layer.product_shift, layer.output_shift]),
        signed_varint(layer.x_frac) + signed_varint(layer.w_frac),
        b"" if layer.scale is None else signed_varint(layer.scale_frac),
    ]
    if layer.conv:
        numbers = layer.conv.to_numbers()
        parts += [_pair((numbers[i], numbers[i + 1])) for i in range(0, len(numbers), 2)]
    if layer.prefixes:
        parts += [bytes([len(layer.prefixes)]), *(varint(number) for one in layer.prefixes for number in one)]
    return b"".join(parts)


@dataclass(frozen=True)
class Head:
    """What stands before a layer's body."""

    name: str
    relu: bool
    coding: str
    weight_bits: int
    rows: int
    cols: int
    entries: int
    product_shift: int
    output_shift: int
    x_frac: int
    w_frac: int
    conv: Conv | None
    follows: bool
    blocks: BlockStructure | None = None
    exit: bool = False
    prefixes: tuple[Prefix, ...] = ()
    adder: bool = False
    # Of the scales of rows; None without.
    scale_frac: int | None = None

    @classmethod
    def parse(cls, reader: Reader) -> Head:
        """The next head.

        Raises
        ------
        FormatError : it is cut short, or a number is out of its range.
        """
        flags = reader.byte("a layer's head")
        kind = reader.byte("a layer's kind") if flags & _HAS_KIND else 0
        in_blocks = kind == _KIND_BLOCKS
        if flags & _HAS_KIND:
            if kind not in (_KIND_BLOCKS, _KIND_EXIT, _KIND_WIDTHS, _KIND_ADDER):
                raise FormatError(
                    f"a layer of kind {kind}, which this program does not know: use a newer eie"
                )
            if in_blocks and flags & _IS_HUFFMAN:
                raise FormatError(f"the flags {flags:#04x} have no meaning")
        arithmetic = reader.byte("a layer's arithmetic") if kind == _KIND_ADDER else 0
        if kind == _KIND_ADDER and not 0 < arithmetic <= _ADDS | _SCALES:
            raise FormatError(f"the arithmetic {arithmetic:#04x} has no meaning")
        name = reader.take(reader.varint("a layer's name"), "a layer's name")
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise FormatError("its name is not UTF-8") from None
        rows, cols = reader.varint("a layer's head"), reader.varint("a layer's head")
        blocks = _parse_structure(reader, text, rows, cols) if in_blocks else None
        entries = reader.varint("a layer's head") if blocks is None else blocks.entries
        product_shift, output_shift = reader.byte("a layer's head"), reader.byte("a layer's head")
        x_frac, w_frac = reader.signed_varint("a layer's head"), reader.signed_varint("a layer's head")
        scale_frac = reader.signed_varint("a layer's head") if arithmetic & _SCALES else None
        ranges = {
            "rows": (rows, 1, MAX_DIM),
            "cols": (cols, 1, MAX_DIM),
            "entries": (entries, 0, rows * cols),
            "product_shift": (product_shift, 0, MAX_SHIFT),
            "output_shift": (output_shift, 0, MAX_SHIFT),
            "x_frac": (x_frac, -MAX_FRAC, MAX_FRAC),
            "w_frac": (w_frac, -MAX_FRAC, MAX_FRAC),
            "scale_frac": (scale_frac or 0, -MAX_FRAC, MAX_FRAC),
        }
        for what, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise FormatError(f"layer {text!r}: {what} must be from {low} to {high}, not {value}")
        return cls(
            text,
            bool(flags & _RELU),
            BLOCKS if in_blocks else HUFFMAN if flags & _IS_HUFFMAN else ADAPTIVE,
            (flags >> 3 & 7) + 1,
            rows,
            cols,
            entries,
            product_shift,
            output_shift,
            x_frac,
            w_frac,
            _conv(reader, text) if flags & _CONV else None,
            not flags & _ALONE,
            blocks,
            kind == _KIND_EXIT,
            _prefixes(reader, text) if kind == _KIND_WIDTHS else (),
            bool(arithmetic & _ADDS),
            scale_frac,
        )

    @property
    def units(self) -> int:
        """What takes memory, in a coding: of blocks also the coder's contexts."""
        contexts = 0 if self.blocks is None else block_contexts(self.weight_bits)
        return self.rows + self.cols + self.entries + contexts


def _parse_structure(reader: Reader, name: str, rows: int, cols: int) -> BlockStructure:
    blocks, distinct, order = (
        reader.varint("blocks"),
        reader.varint("blocks"),
        reader.byte("the order of blocks"),
    )
    seed = reader.varint("the seed of blocks") if order == ORDERS.index(PERMUTED) else 0
    if order >= len(ORDERS):
        raise FormatError(f"layer {name!r}: order {order} of blocks has no meaning")
    if max(rows, cols) > MAX_DIM or distinct < 1:
        raise FormatError(f"layer {name!r}: a {rows} x {cols} matrix with {distinct} distinct blocks")
    try:
        return BlockStructure(rows, cols, blocks, ORDERS[order], distinct, seed)
    except LayerError as error:
        raise FormatError(f"layer {name!r}: {error}") from None


def _prefixes(reader: Reader, name: str) -> tuple[Prefix, ...]:
    count = reader.byte("a layer's widths")
    if not count:
        raise FormatError(f"layer {name!r}: it must have at least one narrower width, not 0")
    return tuple(Prefix(*(reader.varint("a layer's widths") for _ in range(3))) for _ in range(count))


def _conv(reader: Reader, name: str) -> Conv:
    numbers = []
    for _ in range(6):
        first = reader.varint("a convolution's geometry")
        numbers += [first >> 1, reader.varint("a convolution's geometry") if first & 1 else first >> 1]
    try:
        return Conv.from_numbers(numbers)
    except LayerError as error:
        raise FormatError(f"layer {name!r}: {error}") from None
