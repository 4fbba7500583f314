"""What commands read: input vectors, lists of numbers, sizes, and the machine's options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import numpy as np
from click.core import ParameterSource

from eie.capacity import sized_for
from eie.compress.forward import check_network
from eie.compress.readers import files as readers
from eie.config import PRESETS, ArchConfig
from eie.errors import LayerError
from eie.fixed import IntArray, limits
from eie.layer import CompressedLayer
from eie.sim.networks.pictures import read_picture
from eie.sim.workloads.files import in_fixed_point

Command = TypeVar("Command", bound=Callable[..., Any])

INPUT_HELP = (
    "Input vectors, .npy or .npz ([n, inputs] or one vector). Floats are quantised with the layer's x_frac, uint8 are "
    "pixels / 255, other integers are raw fixed point."
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


class Setting(NamedTuple):
    """A field of the configuration and its value, such as pointers=4096."""

    name: str
    value: int

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def setting(text: str) -> Setting:
    """The setting that a text such as pointers=4096 says."""
    name, mark, value = text.partition("=")
    if not mark or not value.strip().isdecimal():
        raise click.BadParameter(f"{text!r} is no setting such as pointers=4096")
    return Setting(name.strip(), int(value))


def machine_options(*, n_pe: int, sized: bool) -> Callable[[Command], Command]:
    """Options --pe, --depth, --preset, --sized/--published and --set (parameter `settings`), with these defaults."""
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
        click.option(
            "--set",
            "settings",
            type=setting,
            multiple=True,
            metavar="FIELD=N",
            help="Another size of the machine, such as pointers=4096; may be given several times.",
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def machine(
    preset: str,
    n_pe: int,
    depth: int,
    sized: bool,
    layers: Sequence[CompressedLayer],
    settings: Sequence[Setting] = (),
) -> ArchConfig:
    """The configuration that the options ask for; what is set by hand counts more than what the layers need."""
    changes = dict(settings)
    cfg = ArchConfig.preset(preset, n_pe=n_pe, queue_depth=depth).replace(**changes)
    return sized_for(cfg, *layers).replace(**changes) if sized else cfg


# ---- input vectors -----------------------------------------------------------------------------------------


def read_vectors(
    path: Path, layer: CompressedLayer, act_bits: int, chosen: slice = slice(None)
) -> tuple[IntArray, int]:
    """The chosen input vectors for `layer`, int64[n, inputs], and how many real numbers in them were clipped.

    See `INPUT_HELP` for what is converted how, and `eie.compress.readers.files.read_vectors` for which array is taken.

    Raises
    ------
    ModelError : a file that cannot be read, holds no such vectors, or numbers that are not finite.
    LayerError : integers that do not fit.
    """
    check_network([layer])
    return in_fixed_point(readers.read_vectors(path, layer.inputs)[0][chosen], layer, act_bits)


def read_vector(path: Path, index: int, layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
    """Input vector number `index` of a file, int64[inputs], and how many real numbers in it were clipped."""
    check_network([layer])
    held, _ = readers.read_vectors(path, layer.inputs)
    if not 0 <= index < len(held):
        raise LayerError(f"{path} holds {len(held)} input vectors: there is no number {index}")
    vectors, clipped = in_fixed_point(held[index : index + 1], layer, act_bits)
    return vectors[0], clipped


def read_picture_vector(path: Path, layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
    """A picture as the input of `layer`, int64[inputs], and how many of its pixels were clipped.

    Of a matrix, any picture with as many pixels as it has inputs will do, gray.

    Raises
    ------
    ModelError : a file that is no picture, or one of the wrong size. LayerError : a convolution of unknown size.
    """
    check_network([layer])
    if layer.conv is None:
        pixels = read_picture(path, 1, None, layer.inputs)
    else:
        pixels = read_picture(path, layer.conv.channels(layer.cols), layer.conv.size, 0)
    vectors, clipped = in_fixed_point(pixels.reshape(1, -1), layer, act_bits)
    return vectors[0], clipped


def warn_clipped(path: Path | None, clipped: int, layer: CompressedLayer, act_bits: int) -> None:
    """One line on stderr when real inputs were clipped."""
    if clipped:
        low, high = (np.ldexp(float(limit), -layer.x_frac) for limit in limits(act_bits))
        click.echo(
            f"eie: note: {path}: {clipped:,} input{'s' * (clipped > 1)} beyond {low:.6g}..{high:.6g} clipped "
            f"({act_bits} bits, x_frac {layer.x_frac})",
            err=True,
        )


def refuse_useless(context: click.Context, options: Sequence[str], why: str) -> None:
    """Refuse those of `options` that were given although they can do nothing: they would mislead.

    Raises
    ------
    click.UsageError : names them and says `why`.
    """
    given = {
        param.opts[0]
        for param in context.command.params
        if context.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT
    }
    useless = [option for option in options if option in given]
    if useless:
        raise click.UsageError(f"{' and '.join(useless)} can do nothing {why}")
