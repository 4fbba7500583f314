"""The tables of a file's sizes and scales, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eie.compress.format.sizes import SizeReport
from eie.layer import CompressedLayer

if TYPE_CHECKING:
    from eie.compress.quantize import Scales


def size_rows(report: SizeReport) -> list[list[str]]:
    """Rows of `SIZE_HEADINGS`, one a layer and one for the file."""
    rows = []
    for size in report.layers:
        before, after = size.per_weight(lambda p: p.plain), size.per_weight(lambda p: p.coded)
        bound = sum(size.per_weight(lambda p: p.entropy).values())
        rows.append(
            [
                size.name,
                f"{size.rows} x {size.cols}",
                f"{100 * size.nnz / (size.rows * size.cols):.1f} %",
                size.coding,
                *(f"{before[name]:.2f} -> {after[name]:.2f}" for name in ("codes", "positions")),
                f"{bound:.2f} -> {sum(after.values()):.2f}",
                f"{8 * size.nbytes / max(size.nnz, 1):.2f}",
                f"{size.dense_bytes:,}",
                f"{size.nbytes:,}",
                f"{size.dense_bytes / size.nbytes:.1f} x",
            ]
        )
    whole = [f"{report.dense_bytes:,}", f"{report.total_bytes:,}", f"{report.ratio:.1f} x"]
    return [*rows, ["file", *[""] * 7, *whole]]


def two_rules(report: SizeReport) -> str:
    """Ratios by both rules of counting and where the blocks are; empty for a file without blocks."""
    if not any(size.blocks for size in report.layers):
        return ""
    ours, by_mesa = report.connected_ratios
    return "\n".join(
        [
            *(f"{size.name}: {size.blocks}" for size in report.layers if size.blocks),
            f"smaller than float32: whole file {report.ratio:.1f} x; fully connected layers only, codes and positions "
            f"alone, {ours:.1f} x, with Huffman codes and their trees (as MESA counts) {by_mesa:.1f} x",
        ]
    )


SIZE_HEADINGS = (
    "layer",
    "outputs x inputs",
    "density",
    "coding",
    "codes",
    "positions",
    "bound -> both",
    "all",
    "float32 bytes",
    "bytes",
    "smaller",
)


SIZE_NOTE = (
    "Bits are per stored weight, plain -> coded (positions: plain as relative indices with fillers). Bound: the "
    "entropy\nof codes and positions that are independent of each other. 'all' counts codebook, bias and head as well."
)


# A scale's column, and the attribute that it shows.
_SCALES = {
    "x frac": "x_frac",
    "weight frac": "w_frac",
    "sum frac": "acc_frac",
    "y frac": "y_frac",
    "product shift": "product_shift",
    "output shift": "output_shift",
}
SCALE_HEADINGS = ("layer", "codes", *_SCALES, "ReLU")


def scale_row(name: str, codes: int, scales: CompressedLayer | Scales, relu: bool) -> list[str]:
    """A layer's row of `SCALE_HEADINGS`."""
    return [
        name,
        str(codes),
        *(str(getattr(scales, each)) for each in _SCALES.values()),
        "yes" if relu else "no",
    ]
