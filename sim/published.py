"""The published figures, typed: `published()` reads them from sim/data/published.toml, their only place.

>>> published().layer("NT-We").overhead
0.5384615384615383
>>> published().layer("Alex-7").baseline("gpu", "sparse", 1)
65.8
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeVar, get_type_hints

from eie.errors import FormatError
from eie.schema import PE_BLOCKS

PlatformKey = Literal["cpu", "gpu", "mgpu"]
Matrix = Literal["dense", "sparse"]
PLATFORMS: tuple[PlatformKey, ...] = ("cpu", "gpu", "mgpu")
MATRICES: tuple[Matrix, ...] = ("dense", "sparse")
BATCHES = (1, 64)
COMPONENTS = ("memory", "clock network", "register", "combinational", "filler cell")
ARITHMETICS = ("float32", "fixed16", "fixed8")
OPERATIONS = (
    *("int8_add", "int16_add", "int32_add", "float32_add"),
    *("int8_multiply", "int32_multiply", "float32_multiply"),
    *("register_file_32", "sram_32", "dram_32"),
)


@dataclass(frozen=True)
class PublishedLayer:
    """A benchmark layer; times in microseconds, densities and overhead as fractions.

    theoretical_us : work, padding included, over peak throughput. actual_us : simulated. speedup_cpu_dense : of
    the accelerator over the CPU's dense product, batch 1. baselines : time per vector by (platform, matrix, batch).
    """

    name: str
    cols: int
    rows: int
    weight_density: float
    activation_density: float
    theoretical_us: float
    actual_us: float
    speedup_cpu_dense: float
    baselines: Mapping[tuple[str, str, int], float]

    @property
    def overhead(self) -> float:
        """Time beyond the theoretical one, as a fraction of it."""
        return self.actual_us / self.theoretical_us - 1

    def baseline(self, platform: PlatformKey, matrix: Matrix, batch: int) -> float:
        """Published microseconds per vector on another platform; `batch` is 1 or 64."""
        return self.baselines[platform, matrix, batch]


@dataclass(frozen=True)
class Platform:
    """A platform and, over its dense products at batch 1, the accelerator's published mean ratios."""

    key: PlatformKey
    name: str
    power_w: float
    mean_speedup: float
    mean_energy_efficiency: float


@dataclass(frozen=True)
class Share:
    """Power and area of a part of the PE."""

    name: str
    power_mw: float
    area_um2: float


@dataclass(frozen=True)
class PublishedPE:
    """One PE: in all, by kind of cell, and by block; the blocks leave out the filler cells."""

    source: str
    power_mw: float
    area_um2: float
    components: tuple[Share, ...]
    blocks: tuple[Share, ...]

    def component(self, name: str) -> Share:
        """The kind of cell `name`: memory, clock network, register, combinational or filler cell."""
        return _named(self.components, name, "component")

    def block(self, name: str) -> Share:
        """The block `name`: act_queue, ptr_read, spmat_read, arithm_unit or act_rw."""
        return _named(self.blocks, name, "block")


@dataclass(frozen=True)
class LnzdNode:
    """One node of the leading non-zero detection tree."""

    source: str
    power_mw: float
    area_um2: float


@dataclass(frozen=True)
class Chip:
    """The whole chip."""

    source: str
    power_w: float
    area_mm2: float


@dataclass(frozen=True)
class Machine:
    """The machine that the times belong to."""

    source: str
    n_pe: int
    clock_mhz: int
    queue_depth: int
    technology_nm: int
    critical_path_ns: float
    gops: float


@dataclass(frozen=True)
class Statements:
    """What the text says of the curves of figures 8 to 11; efficiency, accuracy: fractions."""

    queue_depth_knee: int
    queue_depth_1_efficiency: float
    sram_widths: tuple[int, ...]
    sram_best_width: int
    accuracy: Mapping[str, float]
    throughput_256_over_64: float


@dataclass(frozen=True)
class Published:
    """Everything that was published and that this project compares itself with."""

    machine: Machine
    layers: tuple[PublishedLayer, ...]
    platforms: tuple[Platform, ...]
    pe: PublishedPE
    lnzd_node: LnzdNode
    chip: Chip
    statements: Statements
    operation_pj: Mapping[str, float]

    def layer(self, name: str) -> PublishedLayer:
        """The benchmark layer `name`, such as "Alex-7"."""
        return _named(self.layers, name, "layer")

    def platform(self, key: PlatformKey) -> Platform:
        """The platform `key`: cpu, gpu or mgpu."""
        return next(p for p in self.platforms if p.key == key)


def _named(items: Any, name: str, what: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise FormatError(f"no published {what} {name!r}; there are {', '.join(item.name for item in items)}")


Kind = TypeVar("Kind")


def _refuse(where: str, what: str) -> FormatError:
    return FormatError(f"published figures, {where}: {what}")


def _keys(where: str, found: Iterable[str], wanted: Sequence[str]) -> None:
    """Exactly these, each once."""
    there = Counter(list(found))
    off = {"missing": Counter(wanted) - there, "unknown or there twice": there - Counter(wanted)}
    if any(off.values()):
        raise _refuse(where, "; ".join(f"{what}: {', '.join(names)}" for what, names in off.items() if names))


def _number(where: str, value: Any, *, whole: bool = False, zero: bool = False) -> None:
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or value < 0 or (value == 0 and not zero) or not math.isfinite(value):
        raise _refuse(where, f"{value!r} must be a positive {'whole ' if whole else ''}number")


def _made(kind: type[Kind], where: str, table: Mapping[str, Any], **more: Any) -> Kind:
    """One of `kind`: its fields but for those in `more` from `table`, text or positive numbers (a share may be 0)."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in more}
    _keys(where, table, tuple(hints))
    for name, value in table.items():
        if hints[name] in (int, float):
            _number(f"{where}, {name}", value, whole=hints[name] is int, zero=kind is Share)
        elif not isinstance(value, str):
            raise _refuse(f"{where}, {name}", f"{value!r} must be text")
    return kind(**table, **more)


def _numbers(where: str, table: Mapping[str, Any], wanted: Sequence[str]) -> Mapping[str, float]:
    _keys(where, table, wanted)
    for name, value in table.items():
        _number(f"{where}, {name}", value)
    return table


def _layers(tables: list[dict[str, Any]], baselines: list[dict[str, Any]]) -> tuple[PublishedLayer, ...]:
    wanted = [f"{p} {m} {b}" for p in PLATFORMS for m in MATRICES for b in BATCHES]
    _keys("baselines", [f"{row['platform']} {row['matrix']} {row['batch']}" for row in baselines], wanted)
    layers = []
    for number, table in enumerate(tables):
        times = {}
        for row in baselines:
            where = f"baseline {row['platform']} {row['matrix']} {row['batch']}"
            if len(row["us"]) != len(tables):
                raise _refuse(where, f"{len(row['us'])} times of {len(tables)} layers")
            _number(where, row["us"][number])
            times[row["platform"], row["matrix"], row["batch"]] = float(row["us"][number])
        layers.append(_made(PublishedLayer, f"layer {table['name']}", table, baselines=times))
    _keys("layers", [layer.name for layer in layers], tuple({layer.name: None for layer in layers}))
    return tuple(layers)


def _check_layer(layer: PublishedLayer) -> None:
    densities = (layer.weight_density, layer.activation_density)
    if max(densities) > 1 or layer.theoretical_us > layer.actual_us:
        raise _refuse(f"layer {layer.name}", "a density or a time is out of range")


def _statements(table: Mapping[str, Any]) -> Statements:
    widths, accuracy = tuple(table["sram_widths"]), table["accuracy"]
    for width in widths:
        _number("statements, sram_widths", width, whole=True)
    _numbers("statements, accuracy", accuracy, ARITHMETICS)
    rest = {name: value for name, value in table.items() if name not in ("sram_widths", "accuracy")}
    said = _made(Statements, "statements", rest, sram_widths=widths, accuracy=accuracy)
    if said.sram_best_width not in widths:
        raise _refuse("statements", "sram_best_width must be one of sram_widths")
    if max(said.queue_depth_1_efficiency, *accuracy.values()) > 1:
        raise _refuse("statements", "an efficiency or an accuracy is more than 1")
    return said


def _pe(table: Mapping[str, Any]) -> PublishedPE:
    shares = {
        kind: tuple(_made(Share, f"pe, {kind}", s) for s in table[kind]) for kind in ("component", "block")
    }
    for kind, wanted in (("component", COMPONENTS), ("block", PE_BLOCKS)):
        _keys(f"pe, {kind}", [share.name for share in shares[kind]], wanted)
    rest = {name: value for name, value in table.items() if name not in shares}
    return _made(PublishedPE, "pe", rest, components=shares["component"], blocks=shares["block"])


def _check_pe(pe: PublishedPE) -> None:
    """Both ways of splitting the PE add up to it, but for rounding (the blocks leave out the filler cells)."""
    filler = pe.component("filler cell").area_um2
    for what, shares, apart in (("components", pe.components, 0.0), ("blocks", pe.blocks, filler)):
        power, area = sum(s.power_mw for s in shares), sum(s.area_um2 for s in shares) + apart
        if not math.isclose(power, pe.power_mw, abs_tol=0.002) or area != pe.area_um2:
            raise FormatError(
                f"published figures, one PE: the {what} add up to {power:g} mW and {area:g} um2"
            )


def parse(text: str) -> Published:
    """The figures in `text` (TOML).

    Raises
    ------
    FormatError : a table or a key that is missing or unknown, a name twice, a number that is none or not positive, or
        figures that contradict each other.
    """
    try:
        data = tomllib.loads(text)
        figures = Published(
            machine=_made(Machine, "machine", data.pop("machine")),
            layers=_layers(data.pop("layer"), data.pop("baseline")),
            platforms=tuple(_made(Platform, f"platform {p['key']}", p) for p in data.pop("platform")),
            pe=_pe(data.pop("pe")),
            lnzd_node=_made(LnzdNode, "lnzd_node", data.pop("lnzd_node")),
            chip=_made(Chip, "chip", data.pop("chip")),
            statements=_statements(data.pop("statements")),
            operation_pj=_numbers("operation_pj", data.pop("operation_pj"), OPERATIONS),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"published figures: {type(error).__name__}: {error}") from error
    if data:
        raise FormatError(f"published figures: {', '.join(data)} means nothing")
    _keys("platforms", [platform.key for platform in figures.platforms], PLATFORMS)
    for layer in figures.layers:
        _check_layer(layer)
    _check_pe(figures.pe)
    return figures


@cache
def published() -> Published:
    """The published figures, read once."""
    return parse((files("eie.sim") / "data" / "published.toml").read_text("utf-8"))
