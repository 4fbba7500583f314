"""`eie plan`: how layers are cut, placed and run on a chip that need not hold them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.balance import Placed
from eie.capacity import sized_for
from eie.cli.inputs import Source, is_graph, warn_clipped
from eie.cli.options import PATH, Machine, gathered, machine_options, matrix_size, option, refuse_useless
from eie.cli.output import check_targets, print_table, say, write
from eie.config import ArchConfig
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan
from eie.plan_program import ACTIVATIONS, BIASES, TABLE, WEIGHTS, plan_program, words_of
from eie.result import Result
from eie.sim.energy.technology import Technology, named
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.plan_report import Phases, as_json, bounds_of, microseconds, pass_rows, require_equal, run_rows
from eie.sim.plans import run_plan
from eie.sim.simulate import ENGINES
from eie.sim.workloads.random import random_layer

# Rows of a table that are shown; --json has all.
_SHOWN = 40
# Headings.
_MODES = ("refill", "compute", "write-back")
_PASS = ("layer", "run", "entry", "rows", "columns", "entries", "words", "activations")
_RUN = ("run", "passes", "group")
_LOADED = (WEIGHTS, BIASES, TABLE, ACTIVATIONS)


@dataclass(frozen=True, eq=False)
class Planned:
    """A chain of layers with its plan, an input and what it gave, and each layer's compute cycles untiled.

    last : how the rows of its last layer are placed.
    """

    plan: Plan
    x: IntArray
    result: Result
    untiled: list[int]
    last: Placed

    @property
    def title(self) -> str:
        """The layers' names and sizes."""
        one = " (one position of the window)" if self.plan.layers[0].conv is not None else ""
        return ", ".join(f"{layer.name} {layer.rows} x {layer.cols}" for layer in self.plan.layers) + one


def chains(layers: Sequence[CompressedLayer]) -> Iterator[list[int]]:
    """Numbers of layers that are planned together; a convolution is by itself, because its windows are the host's."""
    for together, numbers in itertools.groupby(range(len(layers)), key=lambda i: layers[i].conv is None):
        if together:
            yield list(numbers)
        else:
            yield from ([number] for number in numbers)


def plan_chain(placed: Sequence[Placed], x: IntArray, cfg: ArchConfig) -> Planned:
    """Plan layers and run the plan on an input, int[cols of the first layer], on the fast engine."""
    layers = [one.layer for one in placed]
    plan = make_plan(layers, cfg)
    first, result = x, FastPlan(plan).run(x)
    untiled = []
    for layer in layers:
        alone = FastPlan(make_plan([layer], _large(layer, cfg))).run(x)
        untiled.append(alone.count.cycles)
        x = alone.y.astype(np.int64)
    return Planned(plan, first, result, untiled, placed[-1])


def _large(layer: CompressedLayer, cfg: ArchConfig) -> ArchConfig:
    """A machine that holds the layer untiled."""
    sized = sized_for(cfg, layer)
    return sized.replace(act_words=max(cfg.act_words, sized.acc_depth))


def check(planned: Planned, engine: str) -> int:
    """Run a plan on another engine and compare: the numbers compared."""
    (found,) = run_plan(planned.plan, [planned.x], engine)
    return require_equal(planned.result, found)


# ---- tables ------------------------------------------------------------------------------------------------


def _span(span: Sequence[int]) -> str:
    return f"{span[0]}-{span[1] - 1}"


def loading(planned: Planned, technology: Technology) -> tuple[float, float]:
    """Energy in nJ of bringing words from DRAM through the port: for an input, and once."""
    once = sum(words_of(plan_program(planned.plan).setup).values())
    words = Phases.of(planned.result).load
    each, first = (technology.loading_nj(n * planned.plan.cfg.io_data_bits) for n in (words, once))
    return each, first


def show(planned: Planned, technology: Technology) -> None:
    """Print the tables of one chain."""
    plan, result = planned.plan, planned.result
    phases = Phases.of(result)
    click.echo(f"{planned.title}\n")
    passes = [
        [
            row["layer"],
            *(str(row[name]) for name in ("run", "entry")),
            *(_span(row[name]) for name in ("rows", "columns")),
            *(f"{row[name]:,}" for name in ("entries", "words")),
            f"{row['from']} > {row['to']}" if row["to"] else row["from"],
            *(f"{row[name]:,}" for name in ("refill", "compute", "write_back")),
            row["bound"],
        ]
        for row in pass_rows(plan, result)
    ]
    _print([*_PASS, *_MODES, "cut by"], passes)
    runs = [
        [
            str(number),
            *(str(row[name]) for name in ("passes", "group")),
            *(f"{row['loaded'].get(name, 0):,}" for name in _LOADED),
            *(f"{row[name]:,}" for name in ("refill", "compute", "write_back", "control", "store")),
            row["bound"],
        ]
        for number, row in enumerate(run_rows(plan, result))
    ]
    click.echo()
    _print([*_RUN, *_LOADED, *_MODES, "control", "store", "begins for"], runs)
    click.echo()
    rows = [
        [name, f"{cycles:,}", f"{cycles / phases.total:.1%}", f"{microseconds(cycles, plan):,.2f}"]
        for name, cycles in phases.by_name.items()
    ]
    rows.append(["total", f"{phases.total:,}", "", f"{microseconds(phases.total, plan):,.2f}"])
    print_table(["phase", "cycles", "share", "µs"], rows)
    once = words_of(plan_program(plan).setup)
    texts = [f"{words:,} {name}" for name, words in once.items()]
    click.echo(f"\nonce: {' + '.join(texts) or 'nothing'} (words, a cycle each)")
    each, first = loading(planned, technology)
    click.echo(
        f"loading from DRAM: {each:,.1f} nJ for an input, {first:,.1f} nJ once "
        f"({plan.cfg.io_data_bits} bits a word, {technology.name})"
    )
    click.echo(f"compute untiled: {sum(planned.untiled):,} cycles, with the plan {phases.compute:,}")
    for line in bounds_of(plan, phases):
        click.echo(line)


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print_table(headings, rows[:_SHOWN], text_last=True)
    if len(rows) > _SHOWN:
        click.echo(f"... and {len(rows) - _SHOWN:,} more (--json has all)")


def _json(
    planned: Sequence[Planned], cfg: ArchConfig, clipped: int, technology: Technology
) -> list[dict[str, Any]]:
    machine_of = {"n_pe": cfg.n_pe, "clock_hz": cfg.clock_hz, "clipped_inputs": clipped}
    found = []
    for one in planned:
        each, first = loading(one, technology)
        energy = {"loading_nj": each, "setup_loading_nj": first}
        y = {"y": one.last.restored(one.result.y).tolist()}
        found.append(machine_of | as_json(one.plan, one.result, one.untiled) | energy | y)
    return found


# ---- the command -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomCase:
    """The random layer that is planned without a file, and the density of random inputs."""

    size: tuple[int, int] | None = option(
        "--random", type=matrix_size, metavar="ROWSxCOLS", help="Plan a random layer of this size."
    )
    density: float = option(
        "--density", default=0.1, help="Share of the random layer's weights that are not zero."
    )
    act_density: float = option(
        "--act-density", default=0.3, help="Share of random inputs that are not zero."
    )
    seed: int = option("--seed", type=click.IntRange(0), default=1, help="Seed of everything random.")


@dataclass(frozen=True)
class Outputs:
    """What is drawn and compared beside the tables."""

    picture: Path | None = option(
        "--picture", type=PATH, metavar="F.png", help="Draw the phases of each chain of layers."
    )
    engine: str | None = option(
        "--check",
        type=click.Choice([name for name in ENGINES if name not in ("fast", "cpu")]),
        help="Run the plan on this engine, too, and compare: activations, and each run's cycles and counters.",
    )
    technology: str = option(
        "--technology",
        default="45nm",
        metavar="T",
        help="Technology for the energy of loading: a node such as 16nm, or a .toml file (docs/technology.md).",
    )
    json_out: bool = option("--json", is_flag=True, help="Print a JSON array with an object for each chain.")


@click.command()
@click.argument("file", metavar="[NET]", type=PATH, required=False)
@gathered("random", RandomCase)
@gathered("source", Source, "which", "input_file", "index", "weights")
@machine_options(n_pe=64, sized=False)
@gathered("out", Outputs)
@click.pass_context
def plan(
    context: click.Context,
    file: Path | None,
    random: RandomCase,
    source: Source,
    machine: Machine,
    out: Outputs,
) -> None:
    """Show how layers are cut into passes that fit a chip, and how long an input takes: the cycles of load, refill,
    compute, write-back and store, and what limits them (docs/plan.md). The layers are those of a .eie file, the
    matrices of a graph (.onnx, .toml, with --input), or a random layer.

    \b
    Example:
      eie plan out/lenet_300_100.eie --pe 4 --set acc_depth=16
      eie plan --random 4096x25088 --density 0.04 --act-density 0.18
      eie plan --random 60x50 --pe 4 --set acc_depth=4 --check icarus
    """
    found = source.products(file, machine) if file is not None and is_graph(file) else None
    layers = found.layers if found else _layers(context, file, random, source)
    cfg = machine.config(layers)
    technology = named(out.technology)
    check_targets(out.picture)
    vectors, clipped = (
        (found.vectors, found.clipped)
        if found
        else source.vectors(layers, cfg, random.act_density, itertools.repeat(random.seed))
    )
    # What one matrix of a graph gives is not what the next one takes.
    together = [[number] for number in range(len(layers))] if found else chains(layers)
    loaded = machine.placed(layers, cfg, chained=not found)
    planned = [plan_chain([loaded[i] for i in numbers], vectors[numbers[0]], cfg) for numbers in together]
    warn_clipped(source.input_file, clipped, layers[0], cfg.act_bits)
    if out.picture is not None:
        _draw(planned, cfg, out.picture)
    compared = sum(check(one, out.engine) for one in planned) if out.engine else 0
    if out.json_out:
        click.echo(json.dumps(_json(planned, cfg, clipped, technology)))
        return
    pointers = f"{cfg.blocks} blocks" if cfg.index_free else f"{2 * cfg.ptr_bank_depth} pointers"
    say(
        f"{cfg.n_pe} PEs, queue depth {cfg.queue_depth}, {cfg.clock_hz / 1e6:g} MHz; per PE: {cfg.acc_depth} "
        f"accumulators, {cfg.src_depth} source activations, {pointers}, {cfg.entries} entries, "
        f"{cfg.act_words} words of activation SRAM, {cfg.codebooks} codebook{'s' * (cfg.codebooks > 1)}; "
        f"{cfg.passes} passes"
    )
    click.echo()
    for number, one in enumerate(planned):
        if number:
            click.echo("\n" + "-" * 60 + "\n")
        show(one, technology)
    if out.engine:
        click.echo(f"\n{out.engine} agrees: {compared:,} numbers compared")
    if out.picture is not None:
        click.echo(f"\n{out.picture}")


def _layers(
    context: click.Context, file: Path | None, random: RandomCase, source: Source
) -> list[CompressedLayer]:
    """The layers to plan; options that have nothing to apply to are refused."""
    if (file is None) == (random.size is None):
        raise click.UsageError("give either a .eie file, a graph (.onnx, .toml) or --random ROWSxCOLS")
    if file is None:
        refuse_useless(context, ("--layer", "--input", "--index"), "with --random")
    else:
        refuse_useless(context, ("--density",), "with a .eie file")
    refuse_useless(context, ("--weights",), "without a graph (.onnx, .toml)")
    source.refuse_useless(context, ("--act-density",))
    if random.size is not None:
        return [random_layer(*random.size, random.density, random.seed)]
    assert file is not None
    return source.layers(file)


def _draw(planned: Sequence[Planned], cfg: ArchConfig, picture: Path) -> None:
    from eie.sim.plots import plan as plan_chart
    from eie.sim.plots import style

    drawn = plan_chart.phases({one.title: Phases.of(one.result) for one in planned}, cfg)
    write(picture, style.save(drawn))
