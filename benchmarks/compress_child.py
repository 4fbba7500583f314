"""What the compression of random matrices costs, measured in this process: seconds, and bytes of peak memory.

python benchmarks/compress_child.py ROWS COLS DENSITY [FILE [PROCESSES]]

Prints one JSON object. With FILE, the matrices of that .safetensors file are compressed into FILE.eie; otherwise one
random normal matrix is made first, pruned, shared, calibrated, encoded for 64 PEs and Huffman-coded. `peak` is the
largest resident memory of the process beyond `baseline`, what it was with all modules loaded and compiled and before
the first weight existed: the weights count, pages of libraries do not. `worker_peak` is that of the largest worker, all
of it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import eie.csc
from eie.compress import pipeline
from eie.compress.float_layers import FloatLayer
from eie.compress.readers.files import read_model

N_PE = 64
SEED = 1


def memory(field: str) -> int:
    """Resident memory in bytes: VmRSS now, of it RssFile of files, RssAnon of no file; VmHWM the most so far.

    getrusage would not do: what it says of a process begins with its parent's memory.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def forget_peak() -> None:
    """Compiling takes more than the small layers of a test."""
    Path("/proc/self/clear_refs").write_text("5")


def random_weights(rows: int, cols: int, seed: int = SEED) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Independent normal weights, without a second array of their size."""
    weight = np.empty((rows, cols), np.float32)
    rng = np.random.default_rng(seed)
    for row in weight:
        rng.standard_normal(dtype=np.float32, out=row)
    return weight


def warm_up() -> None:
    """Compile and load whatever the first call does."""
    small = [FloatLayer("small", random_weights(64, 96))]
    layers, _ = pipeline.compress_network(small, pipeline.Settings((0.3,)))
    eie.csc.interleave(layers[0], N_PE)


def one_layer(rows: int, cols: int, density: float) -> dict[str, Any]:
    """From float weights to the entries of 64 PEs and the Huffman-coded streams."""
    weight = random_weights(rows, cols)
    layer = FloatLayer("layer", weight)
    began, busy = time.perf_counter(), time.process_time()
    (compressed,), report = pipeline.compress_network([layer], pipeline.Settings((density,)))
    entries = eie.csc.interleave(compressed, N_PE).v.size
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "cpu_seconds": time.process_time() - busy,
        "float_bytes": weight.nbytes,
        "entries": entries,
        "bytes": report.size.total_bytes,
    }


def whole_file(path: str, density: float, processes: int) -> dict[str, Any]:
    """A file's layers, one after the other or several at a time, into another file."""
    began = time.perf_counter()
    model = read_model(path)
    report = pipeline.compress_to_file(
        f"{path}.eie", model.layers, pipeline.Settings((density,)), processes=processes
    )
    return {
        "seconds": time.perf_counter() - began,
        "float_bytes": max(4 * layer.rows * layer.cols for layer in report.layers),
        "bytes": report.size.total_bytes,
        "checksum": report.size.checksum,
    }


def main() -> None:
    """Print the figures."""
    rows, cols, density = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    warm_up()
    forget_peak()
    # A machine under pressure takes pages of libraries away, and a process gets back those that it uses: whoever counts
    # them sees memory that nobody asked for. There are no more of them at the peak than before or after it.
    baseline, files = memory("RssAnon"), memory("RssFile")
    if len(sys.argv) > 4:
        found = whole_file(sys.argv[4], density, int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    else:
        found = one_layer(rows, cols, density)
    found |= {"baseline": baseline, "peak": memory("VmHWM") - max(files, memory("RssFile")) - baseline}
    found["worker_peak"] = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps(found))


if __name__ == "__main__":
    main()
