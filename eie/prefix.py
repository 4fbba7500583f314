"""Narrower widths of one network (slimmable): which first rows and columns of a layer each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from eie.errors import LayerError

if TYPE_CHECKING:
    from eie.layer import CompressedLayer

# A share is a whole number of thousandths, so that it has one name.
THOUSAND = 1000
MOST_PREFIXES = 255


class Prefix(NamedTuple):
    """What a layer is at one of its network's narrower widths: its first `rows` rows and `cols` columns.

    share : the width, in thousandths of the whole.
    """

    share: int
    rows: int
    cols: int


def share_text(share: int) -> str:
    """A share in thousandths as the number that a command takes.

    >>> share_text(500), share_text(125), share_text(1000)
    ('0.5', '0.125', '1')
    """
    return f"{share / THOUSAND:g}"


def shares_of(layers: Sequence[CompressedLayer]) -> list[int]:
    """The widths of a network, in thousandths, ascending; the last one is the whole.

    Raises
    ------
    LayerError : layers that have other widths than the first one.
    """
    each = [[prefix.share for prefix in layer.prefixes] for layer in layers]
    for layer, shares in zip(layers, each, strict=True):
        if shares != each[0]:
            raise LayerError(
                f"layer {layer.name!r} has the narrower widths {shares} (in thousandths), but {layers[0].name!r} has "
                f"{each[0]}"
            )
    return [*each[0], THOUSAND]


def thousandths(width: float) -> int:
    """A width, above 0 and at most 1, in thousandths.

    Raises
    ------
    LayerError : another number, or one with more than three decimals.
    """
    share = round(width * THOUSAND) if 0 < width <= 1 else 0
    if not share or abs(share - width * THOUSAND) > 1e-6:
        raise LayerError(f"a width is from 0.001 to 1, in steps of 0.001, not {width:g}")
    return share


def check_prefixes(prefixes: Sequence[Prefix], rows: int, cols: int) -> str:
    """Why these are not the prefixes of a matrix; empty if they are."""
    if len(prefixes) > MOST_PREFIXES:
        return f"it has {len(prefixes)} narrower widths, not at most {MOST_PREFIXES}"
    before = Prefix(0, 1, 1)
    for one in prefixes:
        if not before.share < one.share < THOUSAND:
            return f"its widths must ascend from 1 to {THOUSAND - 1} thousandths, and {one.share} does not"
        if not (before.rows <= one.rows <= rows and before.cols <= one.cols <= cols):
            return (
                f"at width {share_text(one.share)} it has {one.rows} rows and {one.cols} columns, which must be from "
                f"{before.rows} and {before.cols} to {rows} and {cols}"
            )
        before = one
    return ""
