"""What commands read: input vectors, lists of numbers, sizes, and the machine's options."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from eie.compress.forward import quantize_inputs
from eie.compress.network import check_finite
from eie.config import PRESETS, ArchConfig
from eie.errors import LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations

Command = TypeVar("Command", bound=Callable[..., Any])

INPUT_HELP = (
    "Input vectors, .npy or .npz ([n, inputs] or one vector). Integers are fixed-point activations, floats real "
    "values; bytes are pixels, 255 being 1.0."
)


# Types of options: functions that click calls with the text.


def whole_numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between, such as 1,2,4."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 1,2,4") from None


def real_numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between, such as 0.1,0.2."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 0.1,0.2") from None


def matrix_size(text: str) -> tuple[int, int]:
    """(rows, cols) of a size such as 300x784."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not a size such as 300x784")
    return int(parts[0]), int(parts[1])


# ---- the machine -------------------------------------------------------------------------------------------


def machine_options(*, n_pe: int, sized: bool) -> Callable[[Command], Command]:
    """Options --pe, --depth, --preset and --sized/--published, with these defaults."""
    options = (
        click.option("--pe", "n_pe", type=int, default=n_pe, show_default=True, help="Processing elements."),
        click.option("--depth", type=int, default=8, show_default=True, help="Activation queue depth."),
        click.option(
            "--preset",
            type=click.Choice(sorted(PRESETS)),
            default="paper",
            show_default=True,
            help="Widths: accumulators of 16 (paper) or 32 bits (wide).",
        ),
        click.option(
            "--sized/--published",
            default=sized,
            show_default=True,
            help="Memories as large as the layers need, or of the published sizes.",
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def machine(preset: str, n_pe: int, depth: int, sized: bool, layers: Sequence[CompressedLayer]) -> ArchConfig:
    """The configuration that the options ask for."""
    cfg = ArchConfig.preset(preset, n_pe=n_pe, queue_depth=depth)
    return cfg.sized_for(*layers) if sized else cfg


# ---- input vectors -----------------------------------------------------------------------------------------


def _arrays(path: Path) -> list[npt.NDArray[Any]]:
    """The arrays of a .npy or .npz file, in its order."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return [content]
            return [np.asarray(content[name]) for name in content.files]
    except OSError as error:
        raise LayerError(f"cannot read inputs from {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise LayerError(f"{path} is no .npy or .npz file of numbers") from None


def _as_rows(array: npt.NDArray[Any], cols: int) -> npt.NDArray[Any] | None:
    """The array as [n, cols] where its items (or it itself) hold `cols` numbers, else None."""
    if array.shape == (cols,):
        return array[None]
    return array.reshape(len(array), cols) if array.ndim > 1 and array[:1].size == cols else None


def read_vectors(path: Path, layer: CompressedLayer, act_bits: int) -> IntArray:
    """Input vectors for `layer`, int64[n, cols]: see `INPUT_HELP` for what is converted how.

    Of a .npz file, the first array that has vectors of this length.

    Raises
    ------
    LayerError : a file that cannot be read, wrong length or type, or values that do not fit.
    """
    arrays = _arrays(path)
    rows = next((rows for array in arrays if (rows := _as_rows(array, layer.cols)) is not None), None)
    if rows is None:
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise LayerError(
            f"{path} must hold vectors of {layer.cols} activations for layer {layer.name!r}, "
            f"not arrays of shape {shapes or 'none'}"
        )
    if rows.dtype.kind not in "iuf":
        raise LayerError(f"{path} must hold numbers, not {rows.dtype}")
    if rows.dtype.kind == "f" or rows.dtype == np.uint8:
        check_finite(rows, str(path))
        real = rows / 255 if rows.dtype == np.uint8 else rows
        return quantize_inputs(layer, real, act_bits)
    return np.stack([as_activations(row, layer, act_bits) for row in rows])


def read_vector(path: Path, index: int, layer: CompressedLayer, act_bits: int) -> IntArray:
    """Input vector number `index` of a file, int64[cols]."""
    vectors = read_vectors(path, layer, act_bits)
    if not 0 <= index < len(vectors):
        raise LayerError(f"{path} holds {len(vectors)} input vectors: there is no number {index}")
    return vectors[index]
