"""Which layers and which inputs commands take out of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from eie.cli.options import PATH, Machine, option, refuse_useless
from eie.compress.format.file import has_graph, load
from eie.config import ArchConfig
from eie.errors import ConfigError, ModelError
from eie.fixed import IntArray, limits
from eie.layer import CompressedLayer
from eie.sim.chain import choose, single_vectors
from eie.sim.widths import at_width
from eie.sim.workloads.inputs import PICTURES, read_activations
from eie.sim.workloads.random import random_input
from eie.width_program import sized_for_widths

INPUT_HELP = (
    "Input vectors, .npy or .npz ([n, inputs] or one vector). Floats are quantised with the layer's x_frac, uint8 are "
    "pixels / 255, other integers are raw fixed point."
)


# Networks that are a graph, as are .eie files with one; the others are a chain of layers.
GRAPHS = (".onnx", ".toml")


def is_graph(file: Path | None) -> bool:
    """Whether a file is a graph or its description."""
    return file is not None and (file.suffix.lower() in GRAPHS or has_graph(file))


@dataclass(frozen=True, eq=False)
class Products:
    """Matrices of a graph, and a vector in fixed point for each. clipped : of the real numbers in these."""

    layers: list[CompressedLayer]
    vectors: list[IntArray]
    clipped: int


@dataclass(frozen=True)
class Source:
    """Which layers of a .eie file, and which input for them (index None: the only one, or all of a graph's)."""

    which: str | None = option(
        "--layer", metavar="L", help="Only this layer of the file (name, or number from 0)."
    )
    input_file: Path | None = option(
        "--input", type=PATH, metavar="X", help=f"{INPUT_HELP} Or a picture (.png)."
    )
    index: int | None = option("--index", default=0, help="Number of the input vector, from 0.")
    width: float | None = option(
        "--width",
        type=float,
        metavar="W",
        help="Of a network with several widths: run this one, such as 0.5, from the image of all (docs/learn.md).",
    )
    weights: Path | None = option(
        "--weights", type=PATH, metavar="W.eie", help="Compressed layers for a graph (.onnx, .toml)."
    )

    def products(self, file: Path, machine: Machine) -> Products:
        """The matrices of a graph's file with a vector that each one meets, or the chosen one alone.

        Raises
        ------
        EieError : no input, a file that cannot be read, or that does not fit.
        """
        from eie.cli.graphs import products_of  # onnx takes long to import

        if self.input_file is None:
            raise ConfigError(
                f"{file} is a graph: --input X gives the inputs that its matrices' vectors follow from"
            )
        found = products_of(file, self.input_file, self.weights, machine.as_set)
        chosen = choose(found.layers, self.which)
        return Products(chosen, [found.vectors[found.layers.index(layer)] for layer in chosen], found.clipped)

    def layers(self, file: Path) -> list[CompressedLayer]:
        """The layers of the file, or the chosen one."""
        return choose(load(file), self.which)

    def machine(self, machine: Machine, layers: Sequence[CompressedLayer]) -> ArchConfig:
        """The machine that runs these layers, with room for all their widths where one of these is asked for."""
        if self.width is None or not machine.sized:
            return machine.config(layers)
        return sized_for_widths(machine.as_set, layers).replace(**dict(machine.settings))

    def first(self, layers: Sequence[CompressedLayer]) -> CompressedLayer:
        """The layer that takes the input."""
        return layers[0] if self.width is None else at_width(layers, self.width)[0]

    def read(self, layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
        """The input of `layer`, int64[inputs], and how many real numbers in it were clipped."""
        assert self.input_file is not None
        return read_activations(self.input_file, self.index or 0, layer, act_bits)

    def vectors(
        self, layers: Sequence[CompressedLayer], cfg: ArchConfig, density: float, seeds: Iterable[int]
    ) -> tuple[list[IntArray], int]:
        """One vector for each layer's matrix, and how many real numbers were clipped.

        Of an input those of `single_vectors`, else random ones of this density, with a seed for each.
        """
        if self.input_file is None:
            drawn = zip(layers, seeds, strict=False)
            return [random_input(layer.cols, density, seed) for layer, seed in drawn], 0
        first, clipped = self.read(layers[0], cfg.act_bits)
        return single_vectors(layers, first, cfg.acc_bits), clipped

    def refuse_useless(
        self, context: click.Context, with_input: Sequence[str], why: str = "with --input"
    ) -> None:
        """Refuse `with_input` if there is an input, and a number of an input where there is none to choose."""
        if self.input_file is None:
            refuse_useless(context, ("--index",), "without --input")
            return
        refuse_useless(context, with_input, why)
        if self.input_file.suffix.lower() in PICTURES:
            refuse_useless(context, ("--index",), "for a picture")


def check_labels(labels: IntArray, outputs: int, path: Path) -> None:
    """Refuse labels that are no output's number: they would count as wrong, whatever a network answers.

    Raises
    ------
    ModelError : names the first.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= outputs))
    if outside.size:
        place = int(outside[0])
        raise ModelError(
            f"{path}: label {int(labels[place])} of input {place} is the number of no output: the network has "
            f"{outputs}, from 0 to {outputs - 1}"
        )


def warn_clipped(path: Path | None, clipped: int, layer: CompressedLayer, act_bits: int) -> None:
    """One line on stderr when real inputs were clipped."""
    if clipped:
        low, high = (np.ldexp(float(limit), -layer.x_frac) for limit in limits(act_bits))
        click.echo(
            f"eie: note: {path}: {clipped:,} input{'s' * (clipped > 1)} beyond {low:.6g}..{high:.6g} clipped "
            f"({act_bits} bits, x_frac {layer.x_frac})",
            err=True,
        )
