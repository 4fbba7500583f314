"""Speed and memory of compression: a layer of AlexNet's size, weight sharing beside scikit-learn, a 2 GB file.

python benchmarks/compress_speed.py [layer|sharing|stream]

Each compression runs in a process of its own (compress_child.py says how its memory is measured).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from compress_child import random_weights
from random_file import write_file
from rich.console import Console
from rich.table import Table

from eie.compress.prune import keep_density
from eie.compress.readers.files import read_model
from eie.compress.share import best_centroids, k_means, squared_error

CHILD = Path(__file__).with_name("compress_child.py")
ROWS, COLS, DENSITY = 4096, 9216, 0.09
CENTROIDS = 15
# What the project promises of that layer: seconds, and peak memory over the size of its float32 weights; of sharing:
# how much faster than scikit-learn, at no larger error.
SECONDS, TIMES_FLOAT, FASTER = 5.0, 3.0, 20.0
# Files of so many 4096 x 8192 layers, 134 MB each: 0.5 and 2.1 GB.
FILE_ROWS, FILE_COLS, LAYERS = 4096, 8192, (4, 16)
MB = 1e6
EXAMPLE = Path(__file__).parents[1] / "examples" / "lenet_300_100" / "lenet_300_100.safetensors"
EXAMPLE_DENSITIES = (0.08, 0.09, 0.26)


def child(*arguments: object) -> dict[str, Any]:
    """Figures of one compression in a process of its own."""
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def layer() -> bool:
    """The whole way of one layer, the fastest of three: another program may have the cores meanwhile."""
    found = min((child(ROWS, COLS, DENSITY) for _ in range(3)), key=lambda one: one["seconds"])
    times = found["peak"] / found["float_bytes"]
    table = Table("one layer", "measured", "promised")
    table.add_row(
        f"{COLS} x {ROWS} at {100 * DENSITY:g} %: seconds", f"{found['seconds']:.2f}", f"{SECONDS:g}"
    )
    table.add_row("of these, processor time", f"{found['cpu_seconds']:.2f}", "")
    table.add_row("peak memory, MB", f"{found['peak'] / MB:.0f}", "")
    table.add_row("over its float32 weights", f"{times:.2f}", f"{TIMES_FLOAT:g}")
    table.add_row("entries of 64 PEs", f"{found['entries']:,}", "")
    table.add_row("bytes in the file", f"{found['bytes']:,}", "")
    Console().print(table)
    return bool(found["seconds"] <= SECONDS and times <= TIMES_FLOAT)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, the least of three runs, and result."""
    least = np.inf
    for _ in range(3):
        began = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - began)
    return least, result


def sharing() -> bool:
    """15 centroids for the surviving weights of that layer, all evenly spaced over their range at the start.

    KMeans stops by its default tolerance, early, or (tol=0) when nothing changes any more, as ours does.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    weight = random_weights(ROWS, COLS)
    values = weight[keep_density(weight, DENSITY)]
    start = np.linspace(values.min(), values.max(), CENTROIDS, dtype=np.float64)
    column = values.astype(np.float64)[:, None]

    def by(model: Any) -> Callable[[], Any]:
        return lambda: np.sort(model.fit(column).cluster_centers_.ravel())

    same = {"n_clusters": CENTROIDS, "init": start[:, None], "n_init": 1}
    ways: dict[str, Callable[[], Any]] = {
        "eie best_centroids": lambda: best_centroids(values, CENTROIDS),
        "eie k_means (linear start)": lambda: k_means(values, CENTROIDS),
        "scikit-learn KMeans": by(KMeans(**same)),
        "scikit-learn KMeans, tol=0": by(KMeans(**same, tol=0)),
        "scikit-learn MiniBatchKMeans, 65,536 a batch": by(
            MiniBatchKMeans(**same, batch_size=1 << 16, random_state=1)
        ),
    }
    rows = {}
    for name, work in ways.items():
        seconds, centroids = timed(work)
        rows[name] = seconds, squared_error(values, centroids)
    ours, least = rows["eie best_centroids"]
    table = Table(f"{CENTROIDS} centroids of {values.size:,} weights", "s", "times ours", "squared error")
    for name, (seconds, error) in rows.items():
        table.add_row(name, f"{seconds:.3f}", f"{seconds / ours:.1f}", f"{error:.8g}")
    Console().print(table)
    Console().print(trained_example())
    theirs = [row for name, row in rows.items() if "KMeans" in name]
    return rows["scikit-learn KMeans"][0] >= FASTER * ours and all(least <= error for _, error in theirs)


def entropy(values: np.ndarray[Any, Any], centroids: np.ndarray[Any, Any]) -> float:
    """Bits of a code index, when each is coded by itself."""
    labels = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values, side="right")
    share = np.bincount(labels)[np.bincount(labels) > 0] / values.size
    return float(-(share * np.log2(share)).sum())


def trained_example() -> Table:
    """What the least error gains on trained weights, and what it costs once the codes are entropy-coded."""
    table = Table(
        "trained, pruned layer", "centroids", "error over that of k_means", "bits of a code", "of k_means"
    )
    for given, density in zip(read_model(EXAMPLE).layers, EXAMPLE_DENSITIES, strict=True):
        values = given.weight[keep_density(given.weight, density)]
        for k in (15, 31):
            best, linear = best_centroids(values, k), k_means(values, k)
            table.add_row(
                given.name,
                str(k),
                f"{squared_error(values, best) / squared_error(values, linear):.3f}",
                f"{entropy(values, best):.2f}",
                f"{entropy(values, linear):.2f}",
            )
    return table


def stream() -> bool:
    """Files larger than what their compression needs, one layer after the other and two at a time."""
    table = Table("file, MB", "layers", "processes", "s", "peak, MB", "largest worker, MB", "file.eie, MB")
    peaks, kept = {}, True
    with tempfile.TemporaryDirectory() as folder:
        for layers in LAYERS:
            path = Path(folder) / f"{layers}.safetensors"
            write_file(path, layers, FILE_ROWS, FILE_COLS)
            checksums = set()
            for processes in (1, 2):
                found = child(0, 0, DENSITY, path, processes)
                checksums.add(found["checksum"])
                peaks[layers, processes] = found["peak"]
                table.add_row(
                    f"{path.stat().st_size / MB:,.0f}",
                    str(layers),
                    str(processes),
                    f"{found['seconds']:.1f}",
                    f"{found['peak'] / MB:.0f}",
                    f"{found['worker_peak'] / MB:.0f}" if processes > 1 else "",
                    f"{found['bytes'] / MB:.1f}",
                )
            kept &= len(checksums) == 1
            path.unlink()
    Console().print(table)
    few, many = (peaks[layers, 1] for layers in LAYERS)
    return kept and many <= TIMES_FLOAT * found["float_bytes"] and many - few < found["float_bytes"]


PARTS = {"layer": layer, "sharing": sharing, "stream": stream}


def main() -> int:
    """Print the tables; 1 if a promise is broken."""
    chosen = sys.argv[1:] or list(PARTS)
    if not set(chosen) <= set(PARTS):
        print(f"{' '.join(chosen)}: must be of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    broken = [name for name in chosen if not PARTS[name]()]
    if broken:
        print(f"promise broken: {', '.join(broken)}", file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
