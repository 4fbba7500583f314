"""Technology: the node, the constants and the energy of loading that an estimate takes, from a file of the user's own.

docs/technology.md gives the format; sim/energy/data/nodes.toml the published scaling, with its source.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.files import read_toml
from eie.layer import CompressedLayer
from eie.schema import block_fields
from eie.sim.energy.constants import Constants, constants
from eie.sim.published import published

# The node of every constant of the model.
BASE_NM = 45
_TABLES = {"constants", "factors", "external"}


@dataclass(frozen=True)
class Technology:
    """What an estimate takes beside the counters.

    Parameters
    ----------
    name : for tables. constants : at 45 nm.
    area, energy, leakage : what areas, energies of events and leakage power at 45 nm are multiplied by.
    dram_pj_per_bit, io_pj_per_bit : energy of bringing a bit from DRAM, and through the chip's pins.
    """

    name: str
    constants: Constants
    area: float
    energy: float
    leakage: float
    dram_pj_per_bit: float
    io_pj_per_bit: float

    @cached_property
    def identity(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return astuple(self)

    def loading_nj(self, bits: int) -> float:
        """Energy of bringing so many bits from DRAM onto the chip."""
        return bits * (self.dram_pj_per_bit + self.io_pj_per_bit) * 1e-3


@dataclass(frozen=True)
class _Node:
    """A row of the published table."""

    area: float
    energy: tuple[float, float, float]
    supply_v: float

    def at(self, supply_v: float) -> float:
        """Energy of an operation at this supply, in the table's unit."""
        a, b, c = self.energy
        return a * supply_v**2 + b * supply_v + c


@cache
def nodes() -> dict[int, _Node]:
    """The published table by node in nm, the largest first."""
    text = (files("eie.sim.energy") / "data" / "nodes.toml").read_text("utf-8")
    base_v = constants().operating_v
    return {
        int(name): _Node(row["area"], tuple(row["energy"]), row.get("supply_v", base_v))
        for name, row in tomllib.loads(text).items()
    }


def scaling(node_nm: float, supply_v: float | None = None) -> tuple[float, float]:
    """What area and energy of an event at 45 nm are multiplied by at another node.

    supply_v : default: the node's nominal one, at 45 nm the model's own.

    Raises
    ------
    ConfigError : a node or a supply beyond the table.

    >>> [round(factor, 3) for factor in (*scaling(45), *scaling(16), *scaling(28))]
    [1.0, 1.0, 0.19, 0.198, 0.368, 0.518]
    """
    table = nodes()
    if not min(table) <= node_nm <= max(table):
        raise ConfigError(f"node_nm must be from {min(table)} to {max(table)}, not {node_nm:g}")
    base = table[BASE_NM]
    if supply_v is not None and not 0.6 <= supply_v <= 1.2:
        raise ConfigError(f"supply_v must be from 0.6 to 1.2, not {supply_v:g}")

    def of(node: int) -> tuple[float, float]:
        row = table[node]
        return row.area, row.at(row.supply_v if supply_v is None else supply_v) / base.at(base.supply_v)

    below, above = (max(n for n in table if n <= node_nm), min(n for n in table if n >= node_nm))
    share = 0.0 if below == above else math.log(node_nm / below) / math.log(above / below)
    pairs = zip(of(below), of(above), strict=True)
    area, energy = (math.exp((1 - share) * math.log(low) + share * math.log(high)) for low, high in pairs)
    return area, energy


def at_node(node_nm: float) -> Technology:
    """The model's constants at a node, with the published energy of DRAM."""
    return _built({"node_nm": node_nm}, f"{node_nm:g} nm")


@cache
def default() -> Technology:
    """45 nm: what every figure is for if nothing else is said."""
    return at_node(BASE_NM)


def named(text: str, folder: Path = Path()) -> Technology:
    """The technology that an option says: a node such as 16nm, or a .toml file.

    Raises
    ------
    ConfigError : neither, or a file that is wrong.
    """
    number = text.removesuffix("nm").strip()
    if number.replace(".", "", 1).isdecimal():
        return at_node(float(number))
    return read(folder / text)


def read(path: Path) -> Technology:
    """The technology of a file; what it does not say is as at its node, or at 45 nm.

    Raises
    ------
    ConfigError : a file that cannot be read, an unknown key, a value that is not a positive number.
    """
    content = read_toml(path)
    try:
        return _built(content, path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _built(content: Mapping[str, Any], name: str) -> Technology:
    known = {"name", "node_nm", "supply_v", *_TABLES}
    _check_keys("", content, known)
    tables = {key: content.get(key, {}) for key in _TABLES}
    for key, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{key} must be a table: [{key}]")
    _check_keys("constants.", tables["constants"], {field.name for field in fields(Constants)})
    _check_keys("factors.", tables["factors"], {"area", "energy", "leakage"})
    _check_keys("external.", tables["external"], {"dram_pj_per_bit", "io_pj_per_bit"})
    if not isinstance(content.get("name", ""), str):
        raise ConfigError(f"name must be a text, not {content['name']!r}")
    node = _number("node_nm", content.get("node_nm", BASE_NM))
    supply = _number("supply_v", content["supply_v"]) if "supply_v" in content else None
    area, energy = scaling(node, supply)
    factors = {key: _number(f"factors.{key}", value) for key, value in tables["factors"].items()}
    external = {key: _number(f"external.{key}", value) for key, value in tables["external"].items()}
    changed = {key: _number(f"constants.{key}", value) for key, value in tables["constants"].items()}
    return Technology(
        content.get("name", name),
        replace(constants(), **changed),
        area * factors.get("area", 1.0),
        energy * factors.get("energy", 1.0),
        # Leakage of an area stays; nothing published says otherwise for all nodes.
        area * factors.get("leakage", 1.0),
        external.get("dram_pj_per_bit", published().operation_pj["dram_32"] / 32),
        external.get("io_pj_per_bit", 0.0),
    )


def _check_keys(place: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"there is no key {place}{key}: use {', '.join(sorted(known))}")


def _number(key: str, value: Any) -> float:
    positive = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not positive or value < 0 or (value == 0 and not key.startswith("external.")):
        raise ConfigError(f"{key} must be a positive number, not {value!r}")
    return float(value)


# ---- what is loaded ----------------------------------------------------------------------------------------


def weight_bits(layer: CompressedLayer, entries: int, cfg: ArchConfig) -> int:
    """Bits of a layer's weights on the chip, loaded once: entries, fillers included, pointers and codebook.

    Index-free the block table stands for the pointers.
    """
    pointers = cfg.n_pe * (layer.cols + 1) * cfg.pointer_bits
    if cfg.index_free and layer.blocks is not None:
        pointers = layer.blocks.blocks * sum(block_fields(cfg).values())
    return entries * cfg.entry_bits + pointers + cfg.n_codes * cfg.code_bits


def input_bits(layer: CompressedLayer, cfg: ArchConfig) -> int:
    """Bits that a layer takes for each input: activations and biases."""
    return layer.cols * cfg.act_bits + layer.rows * cfg.acc_bits
