"""The published figures, typed: `published()` reads them from sim/data/published.toml, their only place.

>>> published().layer("NT-We").overhead
0.5384615384615383
>>> published().layer("Alex-7").baseline("gpu", "sparse", 1)
65.8
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from eie.errors import FormatError

PlatformKey = Literal["cpu", "gpu", "mgpu"]
Matrix = Literal["dense", "sparse"]
PLATFORMS: tuple[PlatformKey, ...] = ("cpu", "gpu", "mgpu")
MATRICES: tuple[Matrix, ...] = ("dense", "sparse")
BATCHES = (1, 64)


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


def _layers(tables: list[dict[str, Any]], baselines: list[dict[str, Any]]) -> tuple[PublishedLayer, ...]:
    times: list[dict[tuple[str, str, int], float]] = [{} for _ in tables]
    for row in baselines:
        key = row["platform"], row["matrix"], row["batch"]
        for layer, us in zip(times, row["us"], strict=True):
            layer[key] = float(us)
    expected = {(p, m, b) for p in PLATFORMS for m in MATRICES for b in BATCHES}
    for table, layer in zip(tables, times, strict=True):
        if set(layer) != expected or min(layer.values()) <= 0:
            raise FormatError(
                f"published figures, layer {table['name']}: baselines must be {len(expected)} times"
            )
    return tuple(PublishedLayer(**t, baselines=b) for t, b in zip(tables, times, strict=True))


def _check_layer(layer: PublishedLayer) -> None:
    densities = (layer.weight_density, layer.activation_density)
    if not all(0 < d <= 1 for d in densities) or not 0 < layer.theoretical_us <= layer.actual_us:
        raise FormatError(f"published figures, layer {layer.name}: a density or a time is out of range")


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
    FormatError : a table that is missing or has too many or too few entries, or figures that contradict each other.
    """
    try:
        data = tomllib.loads(text)
        pe = dict(data["pe"])
        shares = {kind: tuple(Share(**s) for s in pe.pop(kind)) for kind in ("component", "block")}
        statements = data["statements"] | {"sram_widths": tuple(data["statements"]["sram_widths"])}
        figures = Published(
            machine=Machine(**data["machine"]),
            layers=_layers(data["layer"], data["baseline"]),
            platforms=tuple(Platform(**p) for p in data["platform"]),
            pe=PublishedPE(**pe, components=shares["component"], blocks=shares["block"]),
            lnzd_node=LnzdNode(**data["lnzd_node"]),
            chip=Chip(**data["chip"]),
            statements=Statements(**statements),
            operation_pj=data["operation_pj"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"published figures: {error}") from error
    for layer in figures.layers:
        _check_layer(layer)
    _check_pe(figures.pe)
    return figures


@cache
def published() -> Published:
    """The published figures, read once."""
    return parse((files("eie.sim") / "data" / "published.toml").read_text("utf-8"))
