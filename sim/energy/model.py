"""Energy, power and area of a run: what the counters count, times the energy of each event.

docs/energy.md derives the model, says what is published, assumed and fitted, and how it scales to other configurations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eie.config import SUM_BITS, ArchConfig
from eie.errors import ConfigError
from eie.result import Counter
from eie.schema import PE_BLOCKS, SHIFT_BITS, lnzd_nodes, pointer_srams
from eie.sim.energy import inventory
from eie.sim.energy.constants import Constants
from eie.sim.energy.constants import constants as default_constants
from eie.sim.energy.sram import sram, table
from eie.sim.energy.technology import Technology
from eie.sim.published import COMPONENTS, published

MEMORY, CLOCK, REGISTER, COMBINATIONAL, FILLER = COMPONENTS
# One multiply-accumulate counts as two operations, as in the published 102 GOP/s.
OPERATIONS_PER_MAC = 2


@dataclass(frozen=True)
class Activity:
    """Events of a run per PE (means over the PEs) and its cycles.

    columns : columns or groups whose pointers are read. runs : of these, those that the queue holds. issues : cycles
    in which entries issue. minima : the run took minima in place of products (docs/adder.md).
    """

    columns: float = 0.0
    entries: float = 0.0
    macs: float = 0.0
    words: float = 0.0
    cycles: int = 0
    runs: float = 0.0
    issues: float = 0.0
    minima: bool = False


@dataclass(frozen=True)
class Part:
    """One kind of cell in one block: figures of one instance of the block, of which the chip has `count`."""

    block: str
    component: str
    count: int
    area_um2: float
    leakage_mw: float = 0.0
    dynamic_pj: float = 0.0

    def energy_nj(self, seconds: float) -> float:
        """Energy of one instance in a run of this length."""
        return self.dynamic_pj * 1e-3 + self.leakage_mw * seconds * 1e6


@dataclass(frozen=True)
class BlockFigures:
    """Power, area and energy of one instance of a block (of one PE), of which the chip has `count`."""

    name: str
    count: int
    power_mw: float
    area_um2: float
    energy_nj: float

    @property
    def chip_power_mw(self) -> float:
        """Power of all instances."""
        return self.count * self.power_mw

    @property
    def chip_area_mm2(self) -> float:
        """Area of all instances."""
        return self.count * self.area_um2 * 1e-6


@dataclass(frozen=True)
class Estimate:
    """Energy, power and area of one run on one chip.

    energy_nj, power_mw, area_mm2 : the whole chip. seconds : length of the run in compute mode. macs : of the run.
    blocks : the five blocks of a PE, LNZD node, CCU. components : the kinds of cell in one PE, filler cells included.
    parts : the kinds of cell in each block, which all other figures are sums of.
    """

    energy_nj: float
    power_mw: float
    area_mm2: float
    seconds: float
    macs: int
    blocks: tuple[BlockFigures, ...]
    components: tuple[BlockFigures, ...]
    parts: tuple[Part, ...]

    @property
    def pe_power_mw(self) -> float:
        """Power of one PE."""
        return sum(component.power_mw for component in self.components)

    @property
    def pe_area_um2(self) -> float:
        """Area of one PE, filler cells included."""
        return sum(component.area_um2 for component in self.components)

    @property
    def pj_per_mac(self) -> float:
        """Energy per multiply-accumulate (NaN when there was none)."""
        return self.energy_nj * 1e3 / self.macs if self.macs else math.nan

    @property
    def gops(self) -> float:
        """Operations done per second, in 1e9: two per multiply-accumulate (0 when nothing ran)."""
        return self._per_second(self.macs)

    @property
    def gops_per_watt(self) -> float:
        """Operations per joule, in 1e9 (0 when nothing ran)."""
        return self._per_joule(self.macs)

    def dense_gops(self, rows: int, cols: int) -> float:
        """GOP/s of a machine that does the same layer in the same time without leaving anything out."""
        return self._per_second(rows * cols)

    def dense_gops_per_watt(self, rows: int, cols: int) -> float:
        """Operations of the dense layer per joule, in 1e9."""
        return self._per_joule(rows * cols)

    def _per_second(self, macs: int) -> float:
        return OPERATIONS_PER_MAC * macs / self.seconds * 1e-9 if self.seconds else 0.0

    def _per_joule(self, macs: int) -> float:
        return OPERATIONS_PER_MAC * macs / self.energy_nj if self.energy_nj else 0.0


def estimate(
    cfg: ArchConfig,
    counters: Mapping[str, Counter],
    cycles: int | None,
    *,
    performance_counters: bool = False,
    minima: bool = False,
    constants: Constants | None = None,
    technology: Technology | None = None,
) -> Estimate:
    """Energy, power and area of a run with these counters (`Result.counters`) and compute-mode cycles.

    performance_counters : count the RTL's own event counters in, which the published machine is not said to have.
    minima : the run is of an adder layer (docs/adder.md): what counts as multiply-accumulates are minima.
    constants : others than those of sim/energy/data/energy.toml, to see what hangs on one of them.
    technology : another node or other constants (docs/technology.md).

    Raises
    ------
    ConfigError : no cycles (the reference engine has none); counters that are missing, of another number of PEs, no
        integers, negative, more than the cycles can hold, or on some PE more macs or words read than entries.
    CapacityError : a memory without figures.

    >>> nothing = dict.fromkeys(("entries", "macs", "ptr_reads", "spmat_reads"), np.zeros(64, np.int64))
    >>> run = estimate(ArchConfig(), nothing, 0)
    >>> run.energy_nj, run.power_mw, round(run.area_mm2, 1)
    (0.0, 0.0, 36.9)
    """
    activity, macs = activity_of(cfg, counters, cycles)
    c = constants or (technology.constants if technology else default_constants())
    parts = _parts(cfg, c, replace(activity, minima=minima), performance_counters)
    if technology is not None:
        parts = [_scaled(part, technology) for part in parts]
    return _total(cfg, c, parts, activity.cycles, macs)


def _scaled(part: Part, technology: Technology) -> Part:
    return replace(
        part,
        area_um2=part.area_um2 * technology.area,
        leakage_mw=part.leakage_mw * technology.leakage,
        dynamic_pj=part.dynamic_pj * technology.energy,
    )


def area(cfg: ArchConfig, *, performance_counters: bool = False) -> float:
    """Area of the whole chip in mm2.

    >>> round(area(ArchConfig(n_pe=128)) / area(ArchConfig(n_pe=64)), 3)
    2.0
    """
    c = default_constants()
    return _total(cfg, c, _parts(cfg, c, Activity(), performance_counters), 0, 0).area_mm2


def activity_of(cfg: ArchConfig, counters: Mapping[str, Counter], cycles: int | None) -> tuple[Activity, int]:
    """A run's events per PE, and its multiply-accumulates in all; errors as in `estimate`."""
    if isinstance(cycles, bool) or not isinstance(cycles, int | np.integer) or cycles < 0:
        raise ConfigError(f"energy needs the cycles of a run, an integer from 0, not {cycles!r}")
    needed = {name: cfg.issue if name in ("entries", "macs") else 1 for name in _NEEDED}
    needed |= {"empty_columns": 1} if cfg.filter_empty else {}
    needed |= {"starved": 1} if cfg.issue > 1 else {}
    found = {name: _counter(cfg, counters, name, int(cycles), most) for name, most in needed.items()}
    for name in ("macs", "spmat_reads"):
        beyond = np.flatnonzero(found[name] > found["entries"])
        if beyond.size:
            k = int(beyond[0])
            raise ConfigError(
                f"PE {k} cannot have more {name} than entries: {found[name][k]} against {found['entries'][k]}"
            )
    # Python's integers do not overflow.
    totals = {name: sum(value.tolist()) for name, value in found.items()}
    columns, entries, macs, words = (totals[name] / cfg.n_pe for name in _NEEDED)
    runs = columns - totals["empty_columns"] / cfg.n_pe if cfg.filter_empty else columns
    issues = cycles - totals["starved"] / cfg.n_pe if cfg.issue > 1 else entries
    return Activity(columns, entries, macs, words, int(cycles), runs, issues), totals["macs"]


_NEEDED = ("ptr_reads", "entries", "macs", "spmat_reads")


def _counter(
    cfg: ArchConfig, counters: Mapping[str, Counter], name: str, cycles: int, a_cycle: int
) -> npt.NDArray[np.integer]:
    value = counters.get(name)
    try:
        found = np.asarray(value)
    except ValueError:  # lists of different lengths
        found = np.empty(0)
    wrong = None
    if value is None:
        wrong = "is missing"
    elif found.shape != (cfg.n_pe,):
        wrong = f"has the shape {found.shape}"
    elif found.dtype.kind not in "iu":
        wrong = f"holds {found.dtype}, not integers"
    if wrong:
        raise ConfigError(f"energy needs the counter {name} of each of {cfg.n_pe} PEs: it {wrong}")
    if int(found.min()) < 0 or int(found.max()) > a_cycle * cycles:
        most = f"the {cycles} cycles of the run on each PE"
        if a_cycle > 1:
            most = f"{a_cycle * cycles} on each PE, in the {cycles} cycles of the run"
        raise ConfigError(f"the counter {name} must be from 0 to {most}")
    return found


def _total(cfg: ArchConfig, c: Constants, parts: Sequence[Part], cycles: int, macs: int) -> Estimate:
    seconds = cycles / cfg.clock_hz
    filler = c.filler_share
    per_pe = [part for part in parts if part.block in PE_BLOCKS]
    cells = sum(part.area_um2 for part in per_pe)
    per_pe.append(Part(FILLER, FILLER, cfg.n_pe, cells * filler / (1 - filler)))
    chip = [*parts, per_pe[-1]]
    energy = sum(part.count * part.energy_nj(seconds) for part in chip)
    return Estimate(
        energy_nj=energy,
        power_mw=energy * 1e-6 / seconds if seconds else 0.0,
        area_mm2=sum(part.count * part.area_um2 for part in chip) * 1e-6,
        seconds=seconds,
        macs=macs,
        blocks=_sum("block", [part for part in chip if part.block != FILLER], seconds),
        components=_sum("component", per_pe, seconds),
        parts=tuple(chip),
    )


def _sum(key: str, parts: Sequence[Part], seconds: float) -> tuple[BlockFigures, ...]:
    """Figures of the parts that share a block or a component, in the order in which they first occur."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(getattr(part, key), []).append(part)
    figures = []
    for name, group in groups.items():
        energy = sum(part.energy_nj(seconds) for part in group)
        power = energy * 1e-6 / seconds if seconds else 0.0
        figures.append(
            BlockFigures(name, group[0].count, power, sum(part.area_um2 for part in group), energy)
        )
    return tuple(figures)


def _parts(cfg: ArchConfig, c: Constants, activity: Activity, counters: bool) -> list[Part]:
    parts = [part for block in PE_BLOCKS for part in _block(block, cfg, c, activity, cfg.n_pe, counters)]
    tables = _block("block_table", cfg, c, activity, cfg.segments, counters) if cfg.index_free else []
    return [*parts, *_lnzd(cfg, activity), *_block("ccu", cfg, c, activity, 1, counters), *tables]


def pe_parts(block: str, cfg: ArchConfig, activity: Activity) -> list[Part]:
    """The kinds of cell of one block of a PE, without event counters, by the default constants; its wiring has none."""
    return _block(block, cfg, default_constants(), activity, 1, False) if block in PE_BLOCKS else []


def _block(
    block: str, cfg: ArchConfig, c: Constants, activity: Activity, count: int, counters: bool
) -> list[Part]:
    """The kinds of cell of one block, every one but the filler cells."""
    registers = inventory.flip_flops(block, cfg, counters=counters)
    arrays = inventory.arrays(block, cfg)
    gates = inventory.gates(block, cfg)
    latches = sum(array.words * array.bits for array in arrays)
    register_um2 = c.ff_um2 * sum(registers.values()) + c.latch_um2 * latches
    gate_um2 = c.mux2_um2 * gates.mux2 + c.adder_um2 * gates.adder + c.and2_um2 * gates.and2
    memory = [sram(macro.words, macro.bits) for macro in inventory.macros(block, cfg)]
    clock_pj = activity.cycles * sum(registers.values()) * _ff_clock_pj(c)
    register_pj = register_changes(block, cfg, activity, c.activity) * _ff_toggle_pj(c)
    return [
        Part(
            block,
            MEMORY,
            count,
            sum(figures.area_um2 for figures in memory),
            sum(figures.leakage_mw for figures in memory) * c.operating_v / table().supply_v,
            _memory_pj(block, cfg, c, activity),
        ),
        Part(block, CLOCK, count, 0.0, 0.0, clock_pj),
        Part(
            block,
            REGISTER,
            count,
            register_um2,
            _leakage_mw(c, register_um2),
            register_pj + _arrays_pj(block, cfg, c, activity),
        ),
        Part(
            block,
            COMBINATIONAL,
            count,
            gate_um2,
            _leakage_mw(c, gate_um2),
            _combinational_pj(block, cfg, c, activity),
        ),
    ]


def _lnzd(cfg: ArchConfig, activity: Activity) -> list[Part]:
    """The tree's nodes: published for 64 PEs at 800 MHz, in proportion to the bits of an entry that a node holds."""
    node, machine = published().lnzd_node, published().machine
    paper = ArchConfig(n_pe=machine.n_pe)
    width = _entry_bits(cfg) / _entry_bits(paper)
    per_cycle_pj = node.power_mw / (machine.clock_mhz * 1e6) * 1e9
    energy = activity.cycles * per_cycle_pj * width
    return [Part("lnzd", REGISTER, sum(lnzd_nodes(cfg)), node.area_um2 * width, 0.0, energy)]


def _entry_bits(cfg: ArchConfig) -> int:
    return cfg.src_addr_bits + cfg.leaf_bits + cfg.act_bits + cfg.act1_bits


# ---- events that change registers ----------------------------------------------------------------------------------


def register_changes(block: str, cfg: ArchConfig, activity: Activity, share: float) -> float:
    """Register bits of a block of a PE that change in a run, when `share` of the bits of each loaded register do.

    A register that counts up changes 2 - 2**(1 - width) bits a count on the average, whatever the data.
    """
    further = (activity.entries - activity.issues) / max(1, cfg.issue - 1)
    events = {
        "column": activity.columns,
        "run": activity.runs,
        "entry": activity.entries,
        "issue": activity.issues,
        "lane": further,
        "word": activity.words,
    }
    changes = 0.0
    widths = inventory.flip_flops(block, cfg)
    for name, event in inventory.loaded(block, cfg).items():
        if event is not None:
            width = widths[name]
            counts_up = name in inventory.COUNTS_UP
            changes += events[event] * (2 - 2.0 ** (1 - width) if counts_up else width * share)
    return changes


# ---- energy of events, in pJ at the operating voltage --------------------------------------------------------------


def _at_operating(c: Constants, fj: float, from_v: float) -> float:
    """fJ at another supply -> pJ at the operating one: the energy of a switched capacitance goes with V squared."""
    return fj * 1e-3 * (c.operating_v / from_v) ** 2


def _ff_clock_pj(c: Constants) -> float:
    return _at_operating(c, c.ff_clock_fj + c.ff_clock_pin_ff * c.cell_v**2, c.cell_v)


def _ff_toggle_pj(c: Constants) -> float:
    return _at_operating(c, c.ff_toggle_fj + c.ff_load_ff * c.cell_v**2 / 2, c.cell_v)


def _leakage_mw(c: Constants, area_um2: float) -> float:
    return area_um2 * c.leakage_nw_per_um2 * 1e-6 * c.operating_v / c.cell_v


def memory_read_pj(words: int, width_bits: int, constants: Constants | None = None) -> float:
    """Energy of reading one word of an SRAM at the operating voltage."""
    return _at_operating(
        constants or default_constants(), sram(words, width_bits).read_pj * 1e3, table().supply_v
    )


def _memory_pj(block: str, cfg: ArchConfig, c: Constants, activity: Activity) -> float:
    # Both banks of pointers are read at a time, or the one of pairs.
    pointers = len(pointer_srams(cfg)) * activity.columns
    reads = {"ptr_read": pointers, "spmat_read": activity.words}.get(block, 0.0)
    macros = inventory.macros(block, cfg)
    if not reads or not macros:
        return 0.0
    macro = macros[0]
    return reads * memory_read_pj(macro.words, macro.bits, c)


# Words of the register file whose access energy the paper gives.
_FILE_WORDS = 64


def _arrays_pj(block: str, cfg: ArchConfig, c: Constants, activity: Activity) -> float:
    """Writes of latch arrays and accesses of the register files."""
    if block == "act_queue":
        (fifo,) = inventory.arrays(block, cfg)
        latch_fj = c.latch_pulse_fj + c.latch_toggle_fj * c.activity
        return activity.runs * fifo.bits * _at_operating(c, latch_fj, c.cell_v)
    if block == "act_rw":
        # The published 1 pJ is for 32 bits; a read and a write for each entry. A deeper file: as CACTI's memories grow.
        depth = max(cfg.acc_depth, _FILE_WORDS)
        growth = sram(depth, cfg.acc_bits).read_pj / sram(_FILE_WORDS, cfg.acc_bits).read_pj
        bit_pj = published().operation_pj["register_file_32"] / 32 * growth
        ports = 1 + (cfg.issue - 1) * c.file_port_share
        return activity.entries * 2 * cfg.acc_bits * bit_pj * ports
    return 0.0


def _int16_adds_pj(bits: int) -> float:
    """Additions of so many bits in all: in proportion to the published one of 16."""
    return published().operation_pj["int16_add"] * bits / 16


def _combinational_pj(block: str, cfg: ArchConfig, c: Constants, activity: Activity) -> float:
    gate = c.activity * _at_operating(c, c.gate_toggle_fj, c.cell_v)
    if block == "act_queue":
        (fifo,) = inventory.arrays(block, cfg)
        return (
            activity.runs
            * fifo.bits
            * math.log2(max(2, fifo.words) if cfg.filter_empty else fifo.words)
            * gate
        )
    if block == "spmat_read":
        levels = math.log2(cfg.entries_per_word * cfg.window)
        counting = _int16_adds_pj(cfg.acc_addr_bits) if cfg.index_free else 0.0
        return activity.entries * (cfg.entry_bits * levels * gate + counting)
    if block == "ptr_read" and cfg.index_free:
        return activity.columns * _int16_adds_pj(inventory.gates(block, cfg).adder)
    if block == "block_table":
        multiply = c.int16_multiply_pj * cfg.col_bits * cfg.length_bits / 16**2
        reading = (
            sum(array.bits for array in inventory.arrays(block, cfg)) * math.log2(max(2, cfg.blocks)) * gate
        )
        return activity.columns * (
            multiply + _int16_adds_pj(5 * cfg.col_bits + cfg.entry_number_bits) + reading
        )
    if block == "arithm_unit":
        multiply = c.int16_multiply_pj * cfg.code_bits * cfg.act_bits / 16**2
        if activity.minima:  # two magnitudes and a comparison; the multiplier rests
            smaller = min(cfg.code_bits, cfg.act_bits)
            multiply = _int16_adds_pj(cfg.code_bits + cfg.act_bits + smaller) + smaller * gate
        adder_bits = (cfg.acc_addr_bits if cfg.relative else 0) + cfg.product_bits + cfg.acc_bits
        paths = cfg.code_bits * cfg.weight_bits + cfg.product_bits * SHIFT_BITS
        add = _int16_adds_pj(adder_bits)
        return activity.macs * multiply + activity.entries * (add + paths * gate)
    if block == "ccu" and activity.minima:  # the inputs' magnitudes
        return activity.columns * _int16_adds_pj(cfg.act_bits + SUM_BITS)
    return 0.0
