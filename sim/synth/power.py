"""Energy of one PE from its netlist: toggles of a real layer on the mapped cells, with the library's energy tables.

The golden model runs the layer. What PE 0 gets in each cycle drives its netlist in Icarus, whose outputs have to be
golden's; how often each net toggles there in compute mode is counted. Delays are zero, so that glitches are left out;
wires are free, as everywhere in `eie.sim.synth`.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eie.config import ArchConfig
from eie.errors import MismatchError, SimulatorMissing
from eie.golden.array import Array
from eie.golden.run import Host, feed
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result
from eie.schema import PE_BLOCKS, Kind, fields
from eie.sim.cosim.build import build_alone, run_alone
from eie.sim.energy import inventory
from eie.sim.energy.model import CLOCK, COMBINATIONAL, REGISTER, Activity, pe_parts, register_changes
from eie.sim.synth.liberty import Cell, read_liberty, supply_v
from eie.sim.synth.sta import is_register, netlist_of
from eie.sim.synth.yosys import SynthReport

# Of an input edge, in ns: osu018's gates have it at the load of a few pins.
SLEW_NS = 0.12
# The layer that runs: shares of weights and activations that are not zero are those of Alex-7.
ROWS_A_PE, COLS, DENSITY, ACTIVE = 32, 200, 0.09, 0.35
KINDS = (CLOCK, REGISTER, COMBINATIONAL)
_TOP = "eie_power"


@dataclass(frozen=True)
class BlockPower:
    """One block of the PE in compute mode.

    registers, arrays, counters : flip-flops that are declared, in register files, and in event counters. netlist_pj,
    model_pj : energy by kind of cell, of the netlist (arrays and counters apart) and of the energy model (at its own
    node and voltage). share : of the bits of a register that is loaded, those that change; None: none is loaded. nets :
    that gates drive; toggles : of these, a cycle.
    """

    name: str
    registers: int
    arrays: int
    counters: int
    netlist_pj: Mapping[str, float]
    apart_pj: float
    model_pj: Mapping[str, float]
    share: float | None
    nets: int
    toggles: float


@dataclass(frozen=True)
class PowerReport:
    """A PE's energy in one layer, block by block; wiring is what the PE has beside them."""

    cfg: ArchConfig
    cycles: int
    entries: int
    volts: float
    blocks: tuple[BlockPower, ...]


def power_of(report: SynthReport, seed: int = 1) -> PowerReport:
    """Energy of PE 0 of a machine while it computes a random layer.

    report : of a synthesis that has the unit "pe".

    Raises
    ------
    SimulatorMissing : no Icarus, or no Verilog models of the cells beside the library.
    MismatchError : the netlist's outputs are not golden's.
    """
    models = report.library.with_suffix(".v")
    if not models.is_file():
        raise SimulatorMissing(f"no Verilog models of the cells: {models} would be the file")
    cfg, module = report.cfg, report.modules["eie_pe"]
    job = _layer(cfg, seed)
    vectors = Vectors(cfg)
    array = Array(cfg)
    array.load_images(job.program.images)
    # All but the SRAMs is loaded through the port: the netlist has to see it.
    result = feed(Host(array, [vectors.record]), job.program, [job.x], images=True)[0]
    toggles = _toggles(module, models, vectors)
    return _report(report, result, toggles, vectors.computing)


def _layer(cfg: ArchConfig, seed: int) -> Job:
    rng = np.random.default_rng(seed)
    rows = cfg.n_pe * min(ROWS_A_PE, cfg.acc_depth)
    cols = min(COLS, cfg.n_pe * cfg.src_depth)
    codes = rng.integers(1, 1 << cfg.weight_bits, (rows, cols)) * (rng.random((rows, cols)) < DENSITY)
    largest = (1 << cfg.code_bits - 1) - 1
    codebook = np.rint(rng.normal(0, largest / 4, 1 << cfg.weight_bits)).clip(-largest, largest)
    codebook[0] = 0
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), codebook.astype(np.int16), product_shift=12)
    most = (1 << cfg.act_bits - 1) - 1
    x = np.rint(np.abs(rng.normal(0, most / 4, cols))).clip(1, most) * (rng.random(cols) < ACTIVE)
    return Job.create(layer, x.astype(np.int64), cfg)


class Vectors:
    """What PE 0 gets and gives in each cycle of a run on golden.

    Members: lines (binary words, outputs above inputs), computing (in which cycles).
    """

    def __init__(self, cfg: ArchConfig) -> None:
        ports = fields("pe", cfg)
        self.inputs = [field for field in ports if field.kind is Kind.IN]
        self.outputs = [field for field in ports if field.kind.is_port and field.kind is not Kind.IN]
        self.lines: list[str] = []
        self.computing: list[bool] = []

    def record(self, array: Array) -> None:
        """One cycle, between propagate and update."""
        pe = array.pes[0]
        names = [*reversed(self.outputs), *reversed(self.inputs)]
        values = (int(pe.signal(field.name).value) & ((1 << field.width) - 1) for field in names)
        words = zip(values, names, strict=True)
        self.lines.append("".join(format(value, f"0{field.width}b") for value, field in words))
        self.computing.append(bool(array.ccu.compute.value))

    @property
    def input_bits(self) -> int:
        """Bits of all inputs."""
        return sum(field.width for field in self.inputs)


def _toggles(module: Mapping[str, Any], models: Path, vectors: Vectors) -> Counter[int]:
    """How often each net toggles between the first cycle of compute mode and the one behind the last."""
    files = {"cells.v": models.read_text(), "pe.v": _verilog(module), "bench.v": _bench(vectors)}
    built = build_alone("icarus", files, _TOP)
    with tempfile.TemporaryDirectory(prefix="eie-power-") as temporary:
        folder = Path(temporary)
        (folder / "vectors.txt").write_text("\n".join(vectors.lines) + "\n")
        run_alone(built, folder)
        wrong = (folder / "wrong.txt").read_text().split()
        if wrong:
            raise MismatchError(f"the netlist of the PE differs from golden first in cycle {wrong[0]}")
        with (folder / "pe.vcd").open() as dump:
            return _counted(dump)


def _counted(lines: Iterable[str]) -> Counter[int]:
    """Toggles by net of a VCD; from and to x is none."""
    nets: dict[str, int] = {}
    last: dict[str, str] = {}
    toggles: Counter[int] = Counter()
    for line in lines:
        if line[0] in "01":
            code = line[1:-1]
            if last.get(code, "x") not in (line[0], "x") and code in nets:
                toggles[nets[code]] += 1
            last[code] = line[0]
        elif line[0] in "xz":
            last[line[1:-1]] = "x"
        elif found := re.match(r"\$var wire 1 (\S+) n(\d+) \$end", line):
            nets[found[1]] = int(found[2])
    return toggles


def _verilog(module: Mapping[str, Any]) -> str:
    """The mapped module in Verilog, its nets by their numbers."""

    def net(bit: int | str) -> str:
        return f"n{bit}" if isinstance(bit, int) else f"1'b{bit}"

    bits = {
        bit
        for cell in module["cells"].values()
        for pins in cell["connections"].values()
        for bit in pins
        if isinstance(bit, int)
    }
    lines = []
    for name, port in module["ports"].items():
        bits |= {bit for bit in port["bits"] if isinstance(bit, int)}
        lines.append(f"  {port['direction']} [{len(port['bits']) - 1}:0] {name};")
        together = "{" + ", ".join(net(bit) for bit in reversed(port["bits"])) + "}"
        inwards = port["direction"] == "input"
        lines.append(f"  assign {together} = {name};" if inwards else f"  assign {name} = {together};")
    for number, cell in enumerate(module["cells"].values()):
        pins = ", ".join(f".{pin}({net(to[0])})" for pin, to in cell["connections"].items() if to)
        lines.append(f"  {cell['type']} u{number} ({pins});")
    wires = [f"  wire n{bit};" for bit in sorted(bits)]
    return "\n".join([f"module eie_pe({', '.join(module['ports'])});", *wires, *lines, "endmodule\n"])


def _bench(vectors: Vectors) -> str:
    """Drives the netlist cycle by cycle, compares, and dumps compute mode. Inputs change with the clock's edge."""
    begin = vectors.computing.index(True)
    end = len(vectors.computing) - vectors.computing[::-1].index(True)
    inputs, width = vectors.input_bits, len(vectors.lines[0])
    pins, low = [".clk(clk)", ".rst(rst)"], 0
    for field in (*vectors.inputs, *vectors.outputs):
        source = "got" if low >= inputs else "in"
        at = low - inputs if low >= inputs else low
        pins.append(f".{field.name}({source}[{at + field.width - 1}:{at}])")
        low += field.width
    return f"""
module {_TOP};
  reg clk = 0, rst = 1;
  reg [{inputs - 1}:0] in;
  wire [{width - inputs - 1}:0] got;
  reg [{width - 1}:0] lines [0:{len(vectors.lines)}];
  integer i, wrong;
  eie_pe dut ({", ".join(pins)});
  wire differs = |(got ^ lines[i][{width - 1}:{inputs}]);
  initial begin
    $readmemb("vectors.txt", lines, 0, {len(vectors.lines) - 1});
    wrong = $fopen("wrong.txt", "w");
    in = 0;
    i = 0;
    repeat (3) begin #5 clk = 1; #5 clk = 0; end
    rst = 0;
    in = lines[0][{inputs - 1}:0];
    for (i = 0; i < {len(vectors.lines)}; i = i + 1) begin
      if (i == {begin}) begin $dumpfile("pe.vcd"); $dumpvars(1, dut); end
      #5 if (differs === 1'b1) $fdisplay(wrong, "%0d", i);
      clk = 1;
      in <= lines[i + 1][{inputs - 1}:0];
      #5 clk = 0;
      if (i == {end - 1}) $dumpoff;
    end
    $fclose(wrong);
    $finish;
  end
endmodule
"""


def _report(report: SynthReport, result: Result, toggles: Counter[int], computing: list[bool]) -> PowerReport:
    cfg, cycles = report.cfg, sum(computing)
    library, volts = read_liberty(report.library), supply_v(report.library)
    netlist = netlist_of(report.modules["eie_pe"], library)
    names = _names(report.modules["eie_pe"])
    pj: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    bits: dict[str, Counter[str]] = defaultdict(Counter)
    changes: Counter[str] = Counter()
    nets: Counter[str] = Counter()
    moves: Counter[str] = Counter()
    for name, (cell, pins) in netlist.cells.items():
        block, kind = _block_of(name), COMBINATIONAL
        load = sum(netlist.loads[net] for pin, net in pins.items() if pin in cell.arcs)
        count = sum(toggles[net] for pin, net in pins.items() if pin in cell.arcs and isinstance(net, int))
        if is_register(cell):
            output = next(net for pin, net in pins.items() if pin in cell.arcs)
            block, kind = _kind_of(cfg, block, names[output])
            bits[block][kind] += 1
            changes[block] += count if kind == REGISTER else 0
            clock = cycles * (_clock_pj(cell, volts))
            pj[block][CLOCK if kind == REGISTER else "apart"] += clock
        else:
            nets[block] += 1
            moves[block] += count
        energy = count * (_toggle_pj(cell, load) + 0.5 * load * volts**2)
        pj[block][kind if kind in KINDS else "apart"] += energy
    activity = _activity(cfg, result, cycles)
    blocks = []
    for block in (*PE_BLOCKS, "pe"):
        model = {part.component: part.dynamic_pj for part in pe_parts(block, cfg, activity)}
        blocks.append(
            BlockPower(
                "wiring" if block == "pe" else block,
                bits[block][REGISTER],
                bits[block]["array"],
                bits[block]["counter"],
                {kind: pj[block][kind] for kind in KINDS},
                pj[block]["apart"],
                {kind: model.get(kind, 0.0) for kind in KINDS},
                _share(block, cfg, activity, changes[block]),
                nets[block],
                moves[block] / cycles,
            )
        )
    return PowerReport(cfg, cycles, int(np.asarray(result.counters["entries"]).flat[0]), volts, tuple(blocks))


def _share(block: str, cfg: ArchConfig, activity: Activity, changes: int) -> float | None:
    """Of the bits that are loaded, those that change; what counts up changes as the model says."""
    if block == "pe":
        return None
    least = register_changes(block, cfg, activity, 0.0)
    loaded = register_changes(block, cfg, activity, 1.0) - least
    return (changes - least) / loaded if loaded else None


def _activity(cfg: ArchConfig, result: Result, cycles: int) -> Activity:
    """Events of PE 0."""
    of = {
        name: int(np.asarray(values).flat[0])
        for name, values in result.counters.items()
        if values is not None
    }
    columns, entries = of["ptr_reads"], of["entries"]
    runs = columns - of["empty_columns"] if cfg.filter_empty else columns
    issues = cycles - of["starved"] if cfg.issue > 1 else entries
    return Activity(columns, entries, of["macs"], of["spmat_reads"], cycles, runs, issues)


def _block_of(cell: str) -> str:
    found = re.search(rf"\b({'|'.join(PE_BLOCKS)})\.", cell)
    return found[1] if found else "pe"


def _names(module: Mapping[str, Any]) -> dict[int | str, list[tuple[str, str]]]:
    """Of each net the names that it has: block ("" for the PE's own) and signal."""
    names: dict[int | str, list[tuple[str, str]]] = defaultdict(list)
    for name, net in module["netnames"].items():
        block, _, signal = name.rpartition(".")
        for bit in net["bits"]:
            names[bit].append((block, signal))
    return names


def _kind_of(cfg: ArchConfig, block: str, names: list[tuple[str, str]]) -> tuple[str, str]:
    """Block of a flip-flop, and what it is: a declared register, an event counter, or a bit of a register file."""
    for instance, signal in names:
        if signal in inventory.COUNTERS:
            return (instance if instance in PE_BLOCKS else block), "counter"
        if instance in PE_BLOCKS:
            declared = {**inventory.flip_flops(instance, cfg), **inventory.derived(instance, cfg)}
            if signal in declared:
                return instance, REGISTER
    return block, REGISTER if block == "pe" else "array"


def _toggle_pj(cell: Cell, load: float) -> float:
    """The cell's own energy of a toggle of its output, the mean of its edges and inputs."""
    energies = [
        table.at(load, SLEW_NS)
        for pin in cell.arcs
        for tables in cell.power.get(pin, {}).values()
        for table in tables
    ]
    return float(np.mean(energies)) if energies else 0.0


def _clock_pj(cell: Cell, volts: float) -> float:
    """Both edges of the clock at a flip-flop: its own energy and its pin."""
    pins = {arc.pin for arcs in cell.arcs.values() for arc in arcs if arc.clocked}
    own = sum(
        table.at(SLEW_NS, 0.0)
        for pin in pins
        for tables in cell.power.get(pin, {}).values()
        for table in tables
    )
    return own + sum(cell.capacitances[pin] for pin in pins) * volts**2
