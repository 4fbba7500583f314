"""Networks as packages ship them, compressed and run whole on the fast engine, beside onnxruntime on the original.

    python examples/models/fetch.py nsnet2 plcmos dnsmos aecmos magika basic-pitch silero-vad orinet speech
    python examples/networks/real.py --write         # all of them, the table into docs/networks.md as well
    python examples/networks/real.py magika          # one of them

Every product with a constant matrix runs on the accelerator: all weights kept, 8-bit codes, 32-bit sums, 64 PEs. Scales
follow from other inputs than those that are measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageDraw
from scipy.io import wavfile
from scipy.signal import resample_poly

from eie.compress.format.file import measure
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.run import GraphNetwork, GraphRun

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import ROOT, Page, errors_told, table

MODELS = ROOT / "build" / "models"
PAGE = Page(
    "docs/networks.md",
    "<!-- tables: examples/networks/real.py --write -->",
    "<!-- end of the real networks -->",
)
ROWS = MODELS / "real.json"  # the rows of all that were measured
BITS, N_PE, SEED = 8, 64, 1
Array = npt.NDArray[Any]
Feed = Mapping[str, Array]


# ---- inputs ------------------------------------------------------------------------------------------------


def speech(name: str, rate: int) -> Array:
    """A recording at another rate, -1 to 1."""
    found, samples = wavfile.read(MODELS / f"{name}.wav")
    return resample_poly(samples.astype(np.float64) / 32768, rate, found).astype(np.float32)


def powers(samples: Array, window: int, hop: int) -> Array:
    """Log10 of the power of each frequency, a row a frame."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop] * np.hanning(window)
    return np.log10(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-12)).astype(np.float32)


def bands(samples: Array, count: int) -> Array:
    """Log powers in bands that grow wider with frequency, scaled as mel spectra are: (dB + 40) / 40."""
    spectra = 10 ** powers(samples, 321, 160)
    edges = np.unique(np.geomspace(1, spectra.shape[1] - 1, count + 1).round().astype(int))
    made = np.add.reduceat(spectra, edges[:-1], axis=1)
    wide = np.repeat(made, -(-count // made.shape[1]), axis=1)[:, :count]
    return ((10 * np.log10(np.maximum(wide / wide.max(), 1e-8)) + 40) / 40).astype(np.float32)


def long_enough(frames: Array, count: int) -> Array:
    """So many frames, again from the start where they end."""
    return np.tile(frames, (-(-count // len(frames)), 1))[:count]


def content(path: Path) -> Array:
    """What magika sees of a file: 1024 bytes from both ends, 256 where there are none."""
    data = path.read_bytes()
    head = np.full(1024, 256, np.int32)
    tail = head.copy()
    first, last = data.lstrip()[:1024], data.rstrip()[-1024:]
    head[: len(first)] = list(first)
    tail[len(tail) - len(last) :] = list(last)
    return np.concatenate([head, tail])


def chord(notes: Sequence[int], count: int) -> Array:
    """Notes (MIDI numbers) with overtones, at 22050 Hz."""
    time = np.arange(count) / 22050
    made = sum(
        np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * time) / k
        for note in notes
        for k in range(1, 5)
    )
    return (made * np.exp(-time) / 4).astype(np.float32)


def page(turn: int, seed: int) -> Array:
    """A page of scribble in lines, turned by quarters, as orinet takes it."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (320, 320), "white")
    draw = ImageDraw.Draw(image)
    for line in range(14):
        words = ["".join(rng.choice(list("abcdeghilmnoprstuy"), rng.integers(2, 9))) for _ in range(6)]
        draw.text((20, 16 + 20 * line), " ".join(words), fill="black")
    pixels = np.rot90(np.asarray(image, np.float32) / 255, turn)
    return (
        ((pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1)[None].astype(np.float32)
    )


# ---- networks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network: what it is calibrated on and measured on, and what counts of its answers.

    file : of fetch.py. what : in the table. unit : of its inputs. task : of both answers. state : an output that is the
    next input, by the input's name.
    """

    file: str
    what: str
    unit: str
    calibration: Callable[[], Sequence[Feed]]
    inputs: Callable[[], Sequence[Feed]]
    task: Callable[[Sequence[Array], Sequence[Array]], str]
    state: tuple[str, str] | None = None


def _same_class(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    pairs = [(a.argmax(-1), b.argmax(-1)) for a, b in zip(ours, theirs, strict=True)]
    right = sum(int((a == b).sum()) for a, b in pairs)
    return f"{right} of {sum(a.size for a, _ in pairs)} classes the same"


def _same_side(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    a, b = np.concatenate([y.ravel() for y in ours]), np.concatenate([y.ravel() for y in theirs])
    return f"{int(((a > 0.5) == (b > 0.5)).sum()):,} of {a.size:,} on the same side of 0.5"


def _scores(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    texts = [
        f"{float(a.ravel()[0]):.2f} for {float(b.ravel()[0]):.2f}" for a, b in zip(ours, theirs, strict=True)
    ]
    return "score " + ", ".join(texts)


def _gains(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    return f"gains within {max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)):.2f}"


def _plcmos(name: str) -> Feed:
    rater = np.random.default_rng(SEED).normal(size=(1, 64)).astype(np.float32)
    return {"degraded_audio": powers(speech(name, 16000), 512, 256)[None, None, :80], "rater_embed": rater}


def _aecmos(*names: str) -> Feed:
    spectra = [bands(speech(name, 16000), 160)[:100] for name in names]
    return {"input": np.stack(spectra)[None], "h0": np.zeros((4, 1, 64), np.float32)}


def _silero(name: str) -> list[Feed]:
    samples = np.concatenate([np.zeros(64, np.float32), speech(name, 16000)])
    chunks = np.lib.stride_tricks.sliding_window_view(samples, 576)[::512][:30]
    zeros, rate = np.zeros((2, 1, 128), np.float32), np.array(16000)
    return [{"input": chunk[None], "state": zeros, "sr": rate} for chunk in chunks]


_TEXTS = (
    "README.md",
    "Makefile",
    "pyproject.toml",
    "eie/fixed.py",
    "docs/blocks.svg",
    "LICENSE",
    "scripts/setup",
)
_OTHERS = (
    "CHANGELOG.md",
    "eie/layer.py",
    "docs/timing.md",
    "examples/networks/digit.png",
    "cli/main.py",
    "scripts/lint",
)
_NSNET2 = slice(20, 60)
CASES = {
    "nsnet2": Case(
        "nsnet2",
        "speech denoiser",
        "40 frames",
        lambda: [
            {"input": _spectra("Side_Left")[None, _NSNET2]},
            {"input": _spectra("Rear_Left")[None, _NSNET2]},
        ],
        lambda: [{"input": _spectra("Front_Center")[None, _NSNET2]}],
        _gains,
    ),
    "magika": Case(
        "magika",
        "type of a file",
        "file",
        lambda: [{"bytes": np.stack([content(ROOT / one) for one in _OTHERS])}],
        lambda: [{"bytes": content(ROOT / one)[None]} for one in _TEXTS],
        _same_class,
    ),
    "plcmos": Case(
        "plcmos",
        "quality of speech",
        "80 frames",
        lambda: [_plcmos("Side_Left"), _plcmos("Rear_Left")],
        lambda: [_plcmos("Front_Center")],
        _scores,
    ),
    "dnsmos": Case(
        "dnsmos",
        "quality of speech",
        "900 frames",
        lambda: [{"input_1": long_enough(bands(speech("Side_Left", 16000), 120), 900)[None]}],
        lambda: [{"input_1": long_enough(bands(speech("Front_Center", 16000), 120), 900)[None]}],
        _scores,
    ),
    "aecmos": Case(
        "aecmos",
        "echo in speech",
        "100 frames",
        lambda: [_aecmos("Side_Left", "Rear_Left", "Front_Left")],
        lambda: [_aecmos("Front_Center", "Rear_Center", "Side_Right")],
        _scores,
    ),
    "silero-vad": Case(
        "silero-vad",
        "is it speech?",
        "chunk of 32 ms",
        lambda: _silero("Side_Left"),
        lambda: _silero("Front_Center"),
        _same_side,
        ("state", "stateN"),
    ),
    "orinet": Case(
        "orinet",
        "which way is up?",
        "page",
        lambda: [{"x": page(0, 5)}],
        lambda: [{"x": page(1, 7)}, {"x": page(2, 8)}],
        _same_class,
    ),
    "basic-pitch": Case(
        "basic-pitch",
        "notes of music",
        "2 s",
        lambda: [{"serving_default_input_2:0": chord((55, 59, 62), 43844)[None, :, None]}],
        lambda: [{"serving_default_input_2:0": chord((60, 64, 67), 43844)[None, :, None]}],
        _same_side,
    ),
}


def _spectra(name: str) -> Array:
    """What nsnet2 takes: see nsnet2.toml."""
    samples = speech(name, 48000)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 960)[::512] * np.sqrt(np.hanning(960))
    return np.log10(np.maximum(np.abs(np.fft.rfft(frames, 1024)) ** 2, 1e-12)).astype(np.float32)


# ---- runs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One network beside its original. error : norm of the difference of the main output over the output's."""

    case: Case
    matrices: int
    share: float
    left: tuple[str, ...]
    error: float
    task: str
    cycles: float
    energy_uj: float
    ratio: float

    @property
    def row(self) -> list[str]:
        """Of the table."""
        return [
            self.case.file,
            self.case.what,
            str(self.matrices),
            f"{100 * self.share:.1f} %",
            f"{self.ratio:.1f} x",
            f"{100 * self.error:.2f} %",
            self.task,
            self.case.unit,
            f"{self.cycles:,.0f}",
            f"{self.cycles / 800:,.0f}",
            f"{self.energy_uj:,.1f}",
        ]


HEADINGS = (
    *(
        "network",
        "what it tells",
        "matrices",
        "multiply-accumulates on the accelerator",
        "smaller",
        "relative error",
    ),
    *("the task", "an input", "cycles", "µs", "µJ"),
)


def _sequence(
    case: Case, feeds: Sequence[Feed], run: Callable[[Feed], Mapping[str, Array]]
) -> Iterator[Mapping[str, Array]]:
    """Answers to inputs one after the other; a state goes on from one to the next."""
    state = None
    for feed in feeds:
        if case.state is not None and state is not None:
            feed = {**feed, case.state[0]: state}
        made = run(feed)
        if case.state is not None:
            state = np.asarray(made[case.state[1]], np.float32)
        yield made


def _met(network: Any, case: Case, session: Any) -> dict[str, Array]:
    """What each matrix meets on all calibration inputs."""
    names = [one.name for one in session.get_outputs()]
    found: dict[str, list[Array]] = {}

    def run(feed: Feed) -> Mapping[str, Array]:
        for name, vectors in network.met_by_each(feed).items():
            found.setdefault(name, []).append(vectors)
        return dict(zip(names, session.run(None, dict(feed)), strict=True))

    for _ in _sequence(case, case.calibration(), run):
        pass
    together = {name: np.concatenate(vectors) for name, vectors in found.items()}
    return {name: x[np.linspace(0, len(x) - 1, min(128, len(x)), dtype=int)] for name, x in together.items()}


def measured(case: Case) -> Measured:
    """Compress a network, run it and its original."""
    path = MODELS / f"{case.file}.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    graph = read_graph(path)
    met = _met(graph, case, session)
    settings = Settings(weight_bits=BITS, widths=Widths(acc_bits=32))
    layers = compress_each(graph.trained, [met.get(name) for name in graph.layers], settings)
    network = GraphNetwork(graph, layers, case.file)
    cfg = network.machine(ArchConfig(n_pe=N_PE, acc_bits=32))
    inputs, runs = case.inputs(), list[GraphRun]()

    def ours(feed: Feed) -> Mapping[str, Array]:
        runs.append(network.run(feed, cfg, watch=not runs))
        return runs[-1].named

    found = [made[names[0]] for made in _sequence(case, inputs, ours)]
    run = lambda feed: dict(zip(names, session.run(None, dict(feed)), strict=True))  # noqa: E731
    right = [made[names[0]] for made in _sequence(case, inputs, run)]
    flat = [np.concatenate([np.ravel(one) for one in each]).astype(np.float64) for each in (found, right)]
    size = measure(layers)
    return Measured(
        case,
        len(runs[0].records),
        runs[0].share,
        graph.left,
        float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])),
        case.task(found, right),
        sum(one.cycles or 0 for one in runs) / len(runs),
        sum(one.energy_uj or 0 for one in runs) / len(runs),
        size.ratio,
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = PAGE.arguments(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; default all")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in CASES]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}: use {', '.join(CASES)}")
    names = arguments.names or list(CASES)
    missing = [name for name in names if not (MODELS / f"{CASES[name].file}.onnx").exists()]
    if missing or not (MODELS / "Front_Center.wav").exists():
        parser.error(f"{MODELS} lacks files: run examples/models/fetch.py {' '.join(names)} speech")
    rows: dict[str, list[str]] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    with errors_told():
        for name in names:
            found = measured(CASES[name])
            rows[name] = found.row
            ROWS.write_text(json.dumps(rows))
            print(f"{name}: {' | '.join(found.row[2:])} {found.left or ''}", file=sys.stderr)
    print(table(HEADINGS, [rows[name] for name in names], texts=2))
    if arguments.write:
        PAGE.write(table(HEADINGS, [rows[name] for name in CASES if name in rows], texts=2))


if __name__ == "__main__":
    main()
