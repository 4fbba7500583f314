"""`eie board`: the chip on an FPGA board, driven from this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.cli.inputs import INPUT_HELP, warn_clipped
from eie.cli.options import PATH, RealRange, gathered, option
from eie.cli.output import print_table
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.errors import FormatError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.fpga.board import Measured, SerialPort, compare, run_on_board
from eie.sim.fpga.fit import resident_program
from eie.sim.fpga.flow import DESIGN, NETWORK
from eie.sim.workloads.inputs import read_activations


@dataclass(frozen=True)
class Line:
    """The serial line to the board."""

    port: Path = option("--port", type=PATH, required=True, metavar="DEV", help="Serial device of the board.")
    baud: int | None = option(
        "--baud", type=click.IntRange(1), default=None, show_default="the design's", help="Rate of the line."
    )
    patience: float = option(
        "--patience",
        type=RealRange(0.1),
        default=5.0,
        metavar="S",
        help="Seconds to wait for an answer.",
    )


@click.command()
@click.argument("action", type=click.Choice(["run"]))
@click.argument("folder", type=PATH)
@gathered("line", Line)
@click.option(
    "--input", "input_file", type=PATH, required=True, metavar="X", help=f"{INPUT_HELP} Or a picture (.png)."
)
@click.option(
    "--index",
    "indices",
    type=click.IntRange(0),
    multiple=True,
    default=(0,),
    help="Number of the input vector, from 0. May be repeated.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def board(
    action: str, folder: Path, line: Line, input_file: Path, indices: Sequence[int], json_out: bool
) -> None:
    """Run the network of a FOLDER of `eie fpga` on the board that has its bitstream, and compare with the fast engine.

    The exit status is 1 if an output or the cycles differ.

    \b
    Example:
      eie board run fpga --port /dev/ttyUSB0 --input test.npz --index 0 --index 1
    """
    cfg, baud = _design(folder)
    layers = load(folder / NETWORK)
    program = resident_program(layers, cfg)
    inputs = [_input(input_file, index, layers[0], cfg) for index in indices]
    with SerialPort(line.port, line.baud or baud, line.patience) as port:
        found = run_on_board(port, program, inputs)
    fast = FastPlan(make_plan(layers, cfg))
    compare(found, [fast.run(x) for x in inputs], indices)
    if json_out:
        click.echo(
            json.dumps({"results": [_json(index, one) for index, one in zip(indices, found, strict=True)]})
        )
        return
    rows = [
        (str(index), f"{one.cycles:,}", str(int(np.argmax(one.y))), " ".join(map(str, one.y.tolist()[:10])))
        for index, one in zip(indices, found, strict=True)
    ]
    print_table(("input", "cycles", "largest", "outputs"), rows, text_last=True)
    click.echo("outputs and cycles are those of the fast engine")


def _json(index: int, one: Measured) -> dict[str, Any]:
    return {"index": index} | dataclasses.asdict(one) | {"y": one.y.tolist()}


def _design(folder: Path) -> tuple[ArchConfig, int]:
    """The machine of a folder of `eie fpga`, and the rate of its line.

    Raises
    ------
    FormatError : the folder holds no design.
    """
    try:
        held = json.loads((folder / DESIGN).read_text())
        return ArchConfig(**held["config"]), int(held["baud"])
    except (OSError, ValueError, KeyError, TypeError):
        raise FormatError(f"{folder} holds no {DESIGN}: name a folder that eie fpga has written") from None


def _input(file: Path, index: int, layer: CompressedLayer, cfg: ArchConfig) -> IntArray:
    """An input vector in fixed point."""
    x, clipped = read_activations(file, index, layer, cfg.act_bits)
    warn_clipped(file, clipped, layer, cfg.act_bits)
    return x
