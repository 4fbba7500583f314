"""Run nsnet2 on recorded speech and LeNet-5 on digits, and print the tables of docs/networks.md.

    python examples/models/fetch.py nsnet2 speech      # first: network and recordings
    python examples/networks/measure.py                # nsnet2 compressed in several ways, LeNet-5
    python examples/networks/measure.py --write        # put the tables there
    python examples/networks/measure.py --rtl verilator --frames 15:17    # these frames on the RTL, compared

nsnet2's fixed-point scales follow from seven recordings; the eighth is measured. What each setting gives is kept beside
the network as a .eie file, for `eie run --weights`.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import eie
from eie.capacity import sized_for
from eie.compress.float_layers import FloatArray
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.sim.chain import run_network
from eie.sim.energy.model import estimate
from eie.sim.networks.accelerator import Record
from eie.sim.networks.description import Description, read_description
from eie.sim.networks.graph import Trained
from eie.sim.networks.network import energy_uj
from eie.sim.networks.run import GraphNetwork, GraphRun, decibels, snr
from eie.sim.workloads.inputs import Given

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import ROOT, Page, errors_told, table

HERE = Path(__file__).resolve().parent
MODELS = ROOT / "build" / "models"
PAGE = Page(
    "docs/networks.md", "<!-- tables: examples/networks/measure.py --write -->", "<!-- end of the tables -->"
)
MEASURED = "Front_Center.wav"
N_PE = 64
DIGITS = 100


@dataclass(frozen=True)
class Setting:
    """Share of the weights that stay, bits of a code and of an accumulator."""

    density: float
    weight_bits: int
    acc_bits: int

    @property
    def file(self) -> Path:
        """Where the compressed network goes."""
        return MODELS / f"nsnet2-{100 * self.density:g}-{self.weight_bits}-{self.acc_bits}.eie"


SETTINGS = (
    Setting(1.0, 8, 32),
    Setting(1.0, 8, 16),
    Setting(1.0, 6, 16),
    Setting(1.0, 4, 32),
    Setting(1.0, 4, 16),
    Setting(0.5, 4, 16),
)
SHOWN = Setting(1.0, 4, 16)  # of which the layers are shown one by one, and that runs on the RTL


# ---- nsnet2 ------------------------------------------------------------------------------------------------


class Denoiser:
    """nsnet2 and the speech."""

    def __init__(self) -> None:
        self.description: Description = read_description(HERE / "nsnet2.toml")
        self.graph = self.description.graph
        assert self.description.sound is not None
        self.sound = self.description.sound
        others = [path for path in sorted(MODELS.glob("*.wav")) if path.name != MEASURED]
        self.speech = self.description.given(MODELS / MEASURED)
        frames = np.concatenate([self.features(path) for path in others], axis=1)
        self.met = self.graph.met_by_each({"input": frames})
        self.frames = frames.shape[1]
        self.trained = self.graph.evaluate(self.speech.inputs, Trained(self.graph))["output"]

    def features(self, path: Path) -> FloatArray:
        """What the network takes of one recording."""
        return self.description.given(path).inputs["input"]

    def compressed(self, setting: Setting) -> GraphNetwork:
        """The network, with layers from the file of an earlier run if there is one."""
        if not setting.file.exists():
            widths = Widths(acc_bits=setting.acc_bits)
            settings = Settings((setting.density,), weight_bits=setting.weight_bits, widths=widths)
            eie.save(setting.file, compress_each(self.graph.trained, list(self.met.values()), settings))
        return GraphNetwork(self.graph, eie.load(setting.file), str(setting.file))

    def run(self, setting: Setting, given: Given, engine: str = "fast") -> GraphRun:
        """Speech through an engine."""
        network = self.compressed(setting)
        cfg = network.machine(ArchConfig(n_pe=N_PE, acc_bits=setting.acc_bits))
        return network.run(given.inputs, cfg, engine)

    def against_onnxruntime(self) -> str:
        """How far our float run is from onnxruntime's."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: the float run is not compared with it."
        import onnxruntime

        path = str(MODELS / "nsnet2.onnx")
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (theirs,) = session.run(None, {"input": self.speech.inputs["input"].astype(np.float32)})
        ours = self.trained
        return (
            f"The float run is onnxruntime's (float32) within {np.abs(ours - theirs).max():.1e}, gains being from "
            f"0 to 1: {decibels(theirs, ours):.0f} dB."
        )


def published_uj(run: GraphRun) -> float:
    """Energy of all frames on a machine with the published memory sizes; it has the same cycles."""
    cfg = ArchConfig(n_pe=N_PE, acc_bits=run.cfg.acc_bits, weight_bits=run.cfg.weight_bits)
    return sum(estimate(cfg, one.counters, one.cycles).energy_nj for one in run.results) * 1e-3


def setting_row(setting: Setting, run: GraphRun, denoiser: Denoiser) -> list[str]:
    """One way of compressing."""
    count, hop_us = denoiser.speech.count, denoiser.sound.hop_us
    found = snr(run.outputs, denoiser.trained, denoiser.speech.spectra)
    us = (run.cycles or 0) / count / run.cfg.clock_hz * 1e6
    return [
        f"{100 * setting.density:g} %",
        str(setting.weight_bits),
        str(setting.acc_bits),
        f"{found['output']:.1f} dB",
        f"{found['sound']:.1f} dB",
        f"{(run.cycles or 0) / count:,.0f}",
        f"{us:.1f}",
        f"{100 * us / hop_us:.2f} %",
        f"{(run.worst(count) or 0) / run.cfg.clock_hz * 1e6:.1f}",
        f"{(run.energy_uj or 0) / count:.1f}",
        f"{published_uj(run) / count:.1f}",
    ]


SETTING = (
    "kept",
    "code bits",
    "sum bits",
    "gains, SNR",
    "speech, SNR",
    "cycles a frame",
    "µs",
    "of its hop",
    "slowest, µs",
    "µJ a frame",
    "µJ, published memories",
)
LAYER = ("matrix", "outputs x inputs", "active inputs", "cycles a frame", "µs", "µJ")


def active_share(record: Record) -> str:
    """How many of a matrix's inputs are not zero."""
    return f"{100 * sum(record.active) / (record.vectors * record.layer.cols):.1f} %"


def layer_rows(run: GraphRun, count: int) -> Iterator[list[str]]:
    """One row a matrix, and the sum; a frame of `count`."""
    for name, record in run.records.items():
        cycles = (record.result.cycles or 0) / count
        yield [
            name,
            f"{record.layer.rows} x {record.layer.cols}",
            active_share(record),
            f"{cycles:,.0f}",
            f"{cycles / run.cfg.clock_hz * 1e6:.2f}",
            f"{(energy_uj(record.result) or 0) / count:.2f}",
        ]
    cycles = (run.cycles or 0) / count
    us = cycles / run.cfg.clock_hz * 1e6
    yield ["all", "", "", f"{cycles:,.0f}", f"{us:.2f}", f"{(run.energy_uj or 0) / count:.2f}"]


def on_chip(run: GraphRun) -> str:
    """Whether all matrices fit the published machine at once."""
    cfg = ArchConfig(n_pe=N_PE)
    sizes = [sized_for(cfg, layer) for layer in run.layers]
    entries, pointers = sum(one.entries for one in sizes), sum(one.pointers for one in sizes)
    fits = entries <= cfg.entries and pointers <= cfg.pointers
    return (
        f"All matrices together have {entries:,} entries on the fullest PEs, of {cfg.entries:,}, and {pointers:,} "
        f"pointers, of {cfg.pointers:,}: the whole network {'fits' if fits else 'does not fit'} the published memories "
        "at once."
    )


def io_line(run: GraphRun, count: int) -> str:
    """What the cycles leave out, a frame of `count`."""
    load, back = (
        sum(getattr(r, name) for r in run.results) / count for name in ("load_cycles", "writeback_cycles")
    )
    return (
        f"Not in these figures, and a frame each: {load:,.0f} cycles of writes through the I/O port (activations, "
        f"biases, codebooks) and {back:,.0f} of write-back."
    )


def clipped(run: GraphRun) -> str:
    """Numbers that went beyond their widths."""
    records = run.records.values()
    counts = {
        "inputs": sum(r.clipped for r in records),
        "sums": sum(r.count("saturations") for r in records),
        "outputs": sum(r.count("writeback_saturations") for r in records),
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def nsnet2() -> str:
    """The tables."""
    denoiser = Denoiser()
    rows, shown = [], None
    for setting in SETTINGS:
        run = denoiser.run(setting, denoiser.speech)
        rows.append(setting_row(setting, run, denoiser))
        shown = run if setting == SHOWN else shown
        print(f"nsnet2: {' / '.join(rows[-1][:5])} done", file=sys.stderr)
    assert shown is not None
    dense, sparse = (shown.records[name] for name in ("GRU_22.R", "GRU_15.W"))
    return "\n\n".join(
        [
            "### nsnet2 on speech",
            f"{denoiser.speech.count} frames of {MEASURED}, {N_PE} PEs, 800 MHz, a frame every "
            f"{denoiser.sound.hop_us:,.0f} µs. Scales follow from {denoiser.frames} frames of the seven other "
            f"recordings. {denoiser.against_onnxruntime()}",
            table(SETTING, rows),
            f"Matrix by matrix, all weights kept, {SHOWN.weight_bits}-bit codes, {SHOWN.acc_bits}-bit sums:",
            table(LAYER, list(layer_rows(shown, denoiser.speech.count))),
            f"Behind a ReLU few inputs are left ({active_share(sparse)} of GRU_15.W's), but a GRU's state is dense "
            f"({active_share(dense)} of GRU_22.R's): skipping zeros gains nothing there. Clipped: {clipped(shown)}.",
            f"{io_line(shown, denoiser.speech.count)} {on_chip(shown)}",
        ]
    )


def rtl(engine: str, frames: slice) -> str:
    """Some frames on the RTL, against the fast engine."""
    denoiser = Denoiser()
    given = denoiser.description.given(MODELS / MEASURED, frames)
    fast = denoiser.run(SHOWN, given)
    start = time.perf_counter()
    run = denoiser.run(SHOWN, given, engine)
    seconds = time.perf_counter() - start
    same = np.array_equal(run.outputs, fast.outputs)
    cycles = all(run.records[name].cycles == record.cycles for name, record in fast.records.items())
    vectors = sum(record.vectors for record in run.records.values())
    if not (same and cycles):
        raise SystemExit(
            f"measure.py: error: {engine} and fast differ: outputs equal: {same}, cycles equal: {cycles}"
        )
    return (
        f"{engine}: frames {frames.start}:{frames.stop} of {MEASURED}, {N_PE} PEs: {vectors} products of a matrix with "
        f"a vector, {run.cycles:,} cycles in compute mode, in {seconds:,.0f} s. All {run.outputs.size:,} outputs and "
        "the cycles of each product are those of engine fast."
    )


# ---- LeNet-5 -----------------------------------------------------------------------------------------------


def lenet_5() -> str:
    """The table of the trained example on digits."""
    layers = eie.load(ROOT / "examples" / "trained" / "lenet-5.eie")
    cfg = sized_for(ArchConfig(n_pe=N_PE), *layers)
    with np.load(ROOT / "examples" / "lenet_300_100" / "mnist_test_1000.npz") as arrays:
        images, labels = arrays["images"][:DIGITS].reshape(DIGITS, -1), arrays["labels"][:DIGITS]
    right = 0
    figures = np.zeros((DIGITS, len(layers), 4))  # vectors, active inputs, cycles, nJ
    for number, image in enumerate(images):
        x = eie.fixed.quantize(image / 255, layers[0].x_frac, cfg.act_bits)
        results = run_network(layers, x, cfg, "fast")
        right += int(np.argmax(results[-1].y) == labels[number])
        for place, (layer, result) in enumerate(zip(layers, results, strict=True)):
            vectors = layer.conv.positions[0] * layer.conv.positions[1] if layer.conv else 1
            active = result.total("ptr_reads") / cfg.n_pe
            energy = estimate(cfg, result.counters, result.cycles).energy_nj
            figures[number, place] = vectors, active, result.cycles or 0, energy
    rows = [
        _digit_row(layer.name, f"{layer.rows} x {layer.cols}", layer.cols, figures[:, place])
        for place, layer in enumerate(layers)
    ]
    whole = figures.sum(axis=1)
    total = _digit_row("all", "", 0, whole)
    spread = whole[:, 2] / cfg.clock_hz * 1e6
    return "\n\n".join(
        [
            "### LeNet-5 on digits",
            f"`examples/trained/lenet-5.eie` (trained and compressed), the first {DIGITS} digits of the test set, "
            f"{N_PE} PEs, 800 MHz, a mean image:",
            table(
                ("matrix", "outputs x inputs", "vectors", "active inputs", "cycles", "µs", "µJ"),
                [*rows, total],
            ),
            f"An image takes from {spread.min():.1f} to {spread.max():.1f} µs. {right} of {DIGITS} digits are right.",
        ]
    )


def _digit_row(name: str, size: str, cols: int, figures: npt.NDArray[np.float64]) -> list[str]:
    vectors, active, cycles, energy = figures.mean(axis=0)
    share = f"{100 * active / (vectors * cols):.1f} %" if cols else ""
    return [
        name,
        size,
        f"{vectors:,.0f}",
        share,
        f"{cycles:,.0f}",
        f"{cycles / 800:,.2f}",
        f"{energy * 1e-3:,.2f}",
    ]


def main() -> None:
    """Measure what the command line asks for."""
    parser = PAGE.arguments(__doc__)
    parser.add_argument("--rtl", choices=("icarus", "verilator"), help="only: frames on the RTL")
    parser.add_argument("--frames", default="15:17", help="which frames (default 15:17)")
    arguments = parser.parse_args()
    if not (MODELS / "nsnet2.onnx").exists() or not (MODELS / MEASURED).exists():
        parser.error(f"{MODELS} lacks the network or the speech: run examples/models/fetch.py nsnet2 speech")
    with errors_told():
        if arguments.rtl:
            first, _, last = arguments.frames.partition(":")
            print(rtl(arguments.rtl, slice(int(first), int(last))))
            return
        text = f"{nsnet2()}\n\n{lenet_5()}"
    print(text)
    if arguments.write:
        PAGE.write(text)


if __name__ == "__main__":
    main()
