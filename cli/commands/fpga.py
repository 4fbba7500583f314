"""`eie fpga`: a network on an FPGA, from its .eie file to a bitstream."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from eie.cli.commands.plan import chains
from eie.cli.options import PATH, RealRange, Setting, gathered, option, setting
from eie.cli.output import filling, print_table
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.errors import LayerError, MismatchError
from eie.layer import CompressedLayer
from eie.program import Program
from eie.sim.fpga.build import Built, as_json, build
from eie.sim.fpga.fit import fitted, resident_program
from eie.sim.fpga.flow import BITSTREAM, DESIGN, MAX_SEED, NETWORK, Target
from eie.sim.fpga.part import BOARDS

# What the published machine is given for its clock on an FPGA; --set takes it away.
_CLOCK = {"lookup_register": 1}
# Of the slowest path.
_SHOWN = 12


@dataclass(frozen=True)
class Where:
    """The target, its clock and its line."""

    board: str | None = option(
        "--board", type=click.Choice(list(BOARDS)), help="A board, as amaranth-boards defines it."
    )
    part: str | None = option(
        "--part",
        metavar="P",
        help="An ECP5 part without a board, such as LFE5U-25F-6BG256C: pins are chosen freely.",
    )
    mhz: float = option("--mhz", type=RealRange(1, 400), default=60.0, help="Clock of the chip.")
    baud: int = option(
        "--baud", type=click.IntRange(1200), default=1_000_000, help="Rate of the serial line."
    )

    def target(self) -> Target:
        """What was asked for.

        Raises
        ------
        click.UsageError : neither a board nor a part, or both.
        """
        if (self.board is None) == (self.part is None):
            raise click.UsageError("name one target: --board or --part")
        return Target(self.board or str(self.part), self.board, self.mhz * 1e6, self.baud)


@click.command()
@click.argument("file", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, metavar="FOLDER", help="Folder to write into.")
@click.option("--pe", "n_pe", type=int, default=8, help="Processing elements.")
@click.option(
    "--set",
    "settings",
    type=setting,
    multiple=True,
    metavar="FIELD=N",
    help="Change a size or a switch of the machine, such as counters=0. May be repeated.",
)
@gathered("where", Where)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, help="Seed of the placement.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def fpga(
    file: Path, out: Path, n_pe: int, settings: tuple[Setting, ...], where: Where, seed: int, json_out: bool
) -> None:
    """Put the network of a .eie FILE on an FPGA: the chip behind a serial line, the weights in block RAM.

    The memories are as large as the network needs. Yosys, nextpnr and ecppack (pip install "eie-sim[fpga]") make the
    bitstream. The command prints what is used and the fastest clock, and keeps them in design.json. The exit status is
    1 if the clock that was asked for is too fast, and 2 if the design does not fit.

    \b
    Example:
      eie fpga net.eie --board ulx3s-85f -o fpga
      eie fpga net.eie --part LFE5U-25F-6BG256C --pe 1 --mhz 40 -o fpga
    """
    target = where.target()
    layers = _chain(load(file), file)
    asked = ArchConfig.preset("paper", **({"n_pe": n_pe} | _CLOCK | dict(settings)))
    sizes = {name: value for name, value in settings if name != "n_pe"}

    def machine(pes: int) -> ArchConfig:
        return fitted(layers, asked.replace(n_pe=pes)).replace(**sizes)

    def say(text: str) -> None:
        if not json_out:
            click.echo(f"{text} ...", err=True)

    def program(pes: int) -> Program:
        return resident_program(layers, machine(pes))

    with filling(out) as staging:
        built = build(program(asked.n_pe), target, staging, seed=seed, progress=say, smaller=program)
        report = as_json(built)
        shutil.copyfile(file, staging / NETWORK)
        (staging / DESIGN).write_text(json.dumps(report, indent=1) + "\n")
    if json_out:
        click.echo(json.dumps(report))
    else:
        _print(built, out)
    if not built.meets:
        raise MismatchError(_missed(built))


def _chain(layers: list[CompressedLayer], file: Path) -> list[CompressedLayer]:
    """The layers of a file, if each takes what the one before it gives.

    Raises
    ------
    LayerError : they do not, or there is a convolution.
    """
    if len(list(chains(layers))) != 1 or layers[0].conv is not None:
        raise LayerError(f"{file}: eie fpga takes fully connected layers alone, one after the other")
    return layers


def _missed(built: Built) -> str:
    """Which clock was asked for, and the path that is too slow for it."""
    mhz = built.target.hz / 1e6
    cells = [stage.what for stage in built.path if not stage.wire]
    ends = f", from {cells[0]} to {cells[-1]}" if cells else ""
    return f"{built.target.name}: {built.mhz:.1f} MHz after routing, {mhz:g} MHz wanted: {1e3 / built.mhz:.2f} ns{ends}"


def _print(built: Built, out: Path) -> None:
    """Tables of what is used and of the slowest path, and the clock."""
    click.echo(f"{out}: {built.cfg.n_pe} PEs on {built.target.name}; the bitstream is {out / BITSTREAM}")
    rows = [
        (
            use.name,
            f"{use.used:,}",
            f"{use.available:,}",
            f"{use.used / use.available:.1%}",
            f"{built.pe[use.name]:,}",
            f"{built.rest[use.name]:,}",
        )
        for use in built.uses
    ]
    print_table(("", "used", "available", "share", "a PE", "everything else"), rows)
    click.echo("a PE: as synthesised, without its SRAMs; used: after packing")
    click.echo(
        f"fastest clock after routing: {built.mhz:.1f} MHz ({built.target.hz / 1e6:g} MHz wanted); slowest path:"
    )
    for stage in built.path[:_SHOWN]:
        click.echo(f"  {stage.ns:5.2f} ns  {'wire' if stage.wire else 'cell'}  {stage.what}")
    if len(built.path) > _SHOWN:
        click.echo(f"  ... {len(built.path) - _SHOWN} more in {out / DESIGN}")
