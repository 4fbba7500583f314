"""Grids: sweeps written as TOML, and the points that they stand for. docs/sweeps.md describes the format.

A file is one grid or several; each key of a grid is a value or a list of values, and a grid stands for every
combination of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eie.compress.format.file import load
from eie.config import FIELDS, PRESETS, ArchConfig, checked_value
from eie.errors import ConfigError, LayerError
from eie.files import read_toml
from eie.fixed import IntArray
from eie.layer import MAX_DIM, CompressedLayer
from eie.sim.chain import choose, layer_inputs
from eie.sim.energy.technology import Technology, named
from eie.sim.sweep.columns import MACHINE
from eie.sim.sweep.point import (
    INTERLEAVED,
    MEMORIES,
    PLACEMENTS,
    SIZED,
    SWEEP_ENGINES,
    HeldInput,
    HeldLayer,
    Point,
    RandomInput,
    RandomLayer,
)
from eie.sim.workloads.inputs import in_fixed_point, read_vectors

# Points of one file: they are all listed before the first one runs.
MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Key:
    """A key of a grid: its type, its default (None: it has none), and what a value may be alone.

    Whether a machine can have them together is for its points to find out.
    """

    kind: type
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    choices: Sequence[str] = ()


# The standard deviation of so many numbers over their mean is no larger.
_UNEVEN = Key(float, 0.0, 0, math.isqrt(MAX_DIM))
# Keys of random layers, of layers of files, and of both. A seed has the number of an input added to it, and must still
# be an integer of SQLite. `ArchConfig` knows what its fields may be.
_RANDOM = {
    "rows": Key(int, low=1, high=MAX_DIM),
    "cols": Key(int, low=1, high=MAX_DIM),
    "density": Key(float, 0.1, 0, 1),
    "uneven_rows": _UNEVEN,
    "uneven_cols": _UNEVEN,
}
_FILE = dict.fromkeys(("file", "layer", "input"), Key(str))
KEYS = {
    **_RANDOM,
    **_FILE,
    "act_density": Key(float, 0.35, 0, 1),
    "seed": Key(int, 1, 0, 1 << 62),
    "inputs": Key(int, 1, 1),
    "engine": Key(str, "fast", choices=SWEEP_ENGINES),
    "memories": Key(str, SIZED, choices=MEMORIES),
    "placement": Key(str, INTERLEAVED, choices=PLACEMENTS),
    "technology": Key(str, "45nm"),
    "preset": Key(str, "paper", choices=tuple(PRESETS)),
    **{name: Key(str if FIELDS[name].type == "str" else int) for name in MACHINE},
}
DEFAULTS = {name: key.default for name, key in KEYS.items() if key.default is not None}
_WORDS: dict[type, str] = {int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, eq=False)
class Clipped:
    """Real inputs of a file that were clipped to the activations' range."""

    path: Path
    count: int
    layer: CompressedLayer
    act_bits: int


@dataclass
class Grid:
    """The points of a sweep, and what was clipped of its inputs."""

    points: list[Point] = field(default_factory=list)
    clipped: list[Clipped] = field(default_factory=list)


def read(path: Path) -> Grid:
    """The points of a TOML file; files that it names are looked for beside it.

    Raises
    ------
    ConfigError : not TOML, an unknown key, a value of the wrong type, no points.
    EieError : a layer or input file that cannot be read.
    """
    content = read_toml(path)
    blocks = content.pop("grid", [{}])
    blocks = [blocks] if isinstance(blocks, dict) else blocks
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ConfigError(f"{path}: grid must be tables, [[grid]], not {blocks!r}")
    if not blocks:
        raise ConfigError(f"{path} is empty: it needs at least one [[grid]]")
    return expand([content | block for block in blocks], str(path), path.parent)


def expand(grids: Sequence[Mapping[str, Any]], where: str, folder: Path = Path()) -> Grid:
    """The points that grids stand for. Messages begin with `where`; `folder` is where files are looked for.

    Raises
    ------
    ConfigError, EieError : as from `read`.
    """
    whole = Grid()
    for number, given in enumerate(grids):
        place = where if len(grids) == 1 else f"{where}, grid {number + 1}"
        axes = {name: _values(place, name, value) for name, value in given.items()}
        _check_together(place, axes)
        _expand_one(axes | {k: [v] for k, v in DEFAULTS.items() if k not in axes}, place, folder, whole)
    return whole


def _values(place: str, name: str, given: Any) -> list[Any]:
    """The values of a key, checked and of its type."""
    if name not in KEYS:
        near = difflib.get_close_matches(name, [*KEYS, "grid"], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use {', '.join(sorted(KEYS))}"
        raise ConfigError(f"{place}: there is no field {name!r}: {hint}")
    values = given if isinstance(given, list) else [given]
    if not values:
        raise ConfigError(f"{place}: {name} is empty: a grid needs at least one value of each field")
    kind, choices = KEYS[name].kind, KEYS[name].choices
    # 1 is a real number as well, and a layer may be given by its number.
    accepted = {float: (int, float), str: (str, int) if name == "layer" else (str,)}.get(kind, (kind,))
    for value in values:
        # TOML's true is Python's 1.
        if not isinstance(value, accepted) or isinstance(value, bool):
            words = "a name or a whole number" if name == "layer" else _WORDS[kind]
            raise ConfigError(f"{place}: {name} must be {words}, not {value!r}")
        if choices and value not in choices:
            raise ConfigError(f"{place}: {name} must be one of {', '.join(choices)}, not {value!r}")
        _check_range(place, name, value)
    return [kind(value) for value in values]


def _check_range(place: str, name: str, value: Any) -> None:
    """Refuse a number that can never work, whatever it comes together with."""
    if name in MACHINE:
        try:
            checked_value(name, value)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
    elif KEYS[name].kind is not str:
        low, high = KEYS[name].low, KEYS[name].high
        if not low <= value <= high:  # nan is in no range
            words = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ConfigError(f"{place}: {name} must be {words}, not {value}")


def _check_together(place: str, axes: Mapping[str, Any]) -> None:
    """A layer must be given, and once; what has no effect beside it is refused, because it would mislead."""
    if "file" not in axes and not ("rows" in axes and "cols" in axes):
        raise ConfigError(f"{place}: needs a layer: rows and cols of a random one, or file of a .eie file")
    if "file" in axes:
        _refuse(place, axes, _RANDOM, "beside file")
        if "input" in axes:
            _refuse(place, axes, ("act_density", "seed"), "beside input")
    else:
        _refuse(place, axes, _FILE, "without file")


def _refuse(place: str, axes: Mapping[str, Any], names: Any, why: str) -> None:
    useless = [name for name in names if name in axes]
    if useless:
        raise ConfigError(
            f"{place}: {' and '.join(useless)} {'has' if len(useless) == 1 else 'have'} no effect {why}"
        )


# ---- points ------------------------------------------------------------------------------------------------


def _product(axes: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every combination of the axes called `names`, the last one changing fastest."""
    chosen = {name: axes[name] for name in names if name in axes}
    for values in itertools.product(*chosen.values()):
        yield dict(zip(chosen, values, strict=True))


def _expand_one(axes: Mapping[str, Sequence[Any]], place: str, folder: Path, whole: Grid) -> None:
    points = len(whole.points) + max(axes["inputs"]) * math.prod(len(values) for values in axes.values())
    if points > MAX_POINTS:
        raise ConfigError(
            f"{place}: up to {points:,} points, more than {MAX_POINTS:,}: split the grid into files, "
            "which may share a store (-o)"
        )
    work = ("file", "layer", "input", *_RANDOM, "seed", "act_density", "inputs")
    given_machine = [name for name in axes if name in MACHINE]
    machines = [
        dataclasses.asdict(PRESETS[preset]) | fields
        for preset in axes["preset"]
        for fields in _product(axes, given_machine)
    ]
    files = _Files(folder, place)
    technologies = [_technology(name, folder, place) for name in axes["technology"]]
    for chosen in _product(axes, work):
        for machine in machines:
            for layer, vectors in files.workloads(chosen, machine):
                whole.points += [
                    Point(machine, memories, engine, layer, vector, number, technology, placement)
                    for technology in technologies
                    for memories in axes["memories"]
                    for placement in axes["placement"]
                    for engine in axes["engine"]
                    for number, vector in enumerate(vectors)
                ]
    whole.clipped += files.clipped


def _technology(name: str, folder: Path, place: str) -> Technology:
    try:
        return named(name, folder)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


Workload = tuple[RandomLayer | HeldLayer, Sequence[RandomInput | HeldInput]]


class _Files:
    """Layers and inputs of a grid; those of files are read once."""

    def __init__(self, folder: Path, place: str) -> None:
        self.folder = folder
        self.place = place
        self.clipped: list[Clipped] = []
        self._layers: dict[tuple[Any, ...], list[HeldLayer]] = {}
        self._vectors: dict[tuple[Any, ...], list[list[HeldInput]]] = {}

    def workloads(self, chosen: Mapping[str, Any], machine: Mapping[str, Any]) -> list[Workload]:
        """The layers that these keys stand for, each with its inputs."""
        seed, density, count = chosen["seed"], chosen["act_density"], chosen["inputs"]
        if "file" not in chosen:
            layer = RandomLayer(**{name: chosen[name] for name in _RANDOM}, seed=seed)
            return [(layer, [RandomInput(density, seed + i) for i in range(count)])]
        name, which = chosen["file"], chosen.get("layer")
        if (name, which) not in self._layers:
            found = choose(load(self.folder / name), which)
            self._layers[name, which] = [HeldLayer(layer, name) for layer in found]
        layers = self._layers[name, which]
        if "input" not in chosen:
            # Inputs of different layers differ.
            return [
                (layer, [RandomInput(density, seed + place + i) for i in range(count)])
                for place, layer in enumerate(layers)
            ]
        vectors = self._read(layers, chosen["input"], count, machine)
        return list(zip(layers, vectors, strict=True))

    def _read(
        self, layers: Sequence[HeldLayer], name: str, count: int, machine: Mapping[str, Any]
    ) -> list[list[HeldInput]]:
        """The inputs of each layer: the first one's are those of the file, the next one's its outputs, ..."""
        try:
            cfg = ArchConfig(**machine)
        except ConfigError:  # the point will say so; its inputs do not matter
            cfg = ArchConfig()
        key = (name, count, cfg.act_bits, cfg.acc_bits, *layers)
        if key not in self._vectors:
            held = [layer.layer for layer in layers]
            first = self._first(self.folder / name, held[0], count, cfg.act_bits)
            inputs = layer_inputs(held, first, cfg.acc_bits)
            self._vectors[key] = [[HeldInput(x) for x in batch] for batch in inputs]
        return self._vectors[key]

    def _first(self, path: Path, layer: CompressedLayer, count: int, act_bits: int) -> IntArray:
        held = read_vectors(path, layer.inputs)[0][:count]
        if len(held) < count:
            raise LayerError(f"{self.place}: {path} holds {len(held)} input vectors, not {count} (inputs)")
        vectors, clipped = in_fixed_point(held, layer, act_bits)
        if clipped:
            self.clipped.append(Clipped(path, clipped, layer, act_bits))
        return vectors
