"""The exported Verilog alone, in Icarus, under a small plain testbench: values, cycles and counters of whole layers.

What is expected is worked out here, from the compressed matrix and the timing law, entry by entry.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.rtl.export.export import export, load_image
from eie.schema import pe_counters
from eie.sim.cosim import toolchain
from eie.timing import schedule


def random_job(cfg: ArchConfig, rows: int, cols: int, weights: float, activations: float, seed: int) -> Job:
    rng = np.random.default_rng(seed)
    codes = rng.integers(1, cfg.n_codes, (rows, cols)) * (rng.random((rows, cols)) < weights)
    span = 1 << (cfg.code_bits - 1)
    codebook = rng.integers(-span, span, cfg.n_codes)
    codebook[0] = 0
    high = 1 << (cfg.act_bits - 1)
    x = rng.integers(-high, high, cols) * (rng.random(cols) < activations)
    bias = rng.integers(-(1 << (cfg.acc_bits - 2)), 1 << (cfg.acc_bits - 2), rows)
    shift = max(0, cfg.product_bits - cfg.acc_bits - 1)
    layer = CompressedLayer.from_codes(
        codes.astype(np.uint8), codebook, bias, bool(seed % 2), shift, max(0, cfg.acc_bits - cfg.act_bits)
    )
    return Job.create(layer, x, cfg)


def round_half_up(value: int, shift: int) -> int:
    return (value * 2 + 2**shift) // 2 ** (shift + 1) if shift else value


def clip(value: int, bits: int) -> tuple[int, int]:
    clipped = min(max(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
    return clipped, int(clipped != value)


Outcome = tuple[int, int, list[int], list[dict[str, int]]]


def expected(job: Job) -> Outcome:
    """Cycles, broadcast stalls, activations and counters of each PE, one entry at a time."""
    cfg, layer = job.cfg, job.layer
    plan = schedule(job.interleaved.lengths[job.active], cfg)
    y = [0] * layer.rows
    counters = []
    for k in range(cfg.n_pe):
        v, z, pointers = job.interleaved.pe(k)
        acc = [int(b) for b in layer.bias[k :: cfg.n_pe]]
        count = dict.fromkeys((c.name.lower() for c in pe_counters(cfg)), 0)
        count["ptr_reads"] = len(job.active)
        held, issued = None, {}
        for m, j in enumerate(job.active):
            span = range(pointers[j], pointers[j + 1])
            count["empty_columns"] += not span
            row = -1
            for e in span:
                row += int(z[e]) + 1
                time = int(plan.start[m, k]) + e - span.start
                count["entries"] += 1
                count["fillers"] += v[e] == 0
                count["spmat_reads"] += held != e // cfg.entries_per_word
                held = e // cfg.entries_per_word
                count["bypasses"] += row in (issued.get(time - 1), issued.get(time - 2))
                issued[time] = row
                product = int(layer.codebook[v[e]]) * int(job.x[j])
                acc[row], clipped = clip(acc[row] + round_half_up(product, layer.product_shift), cfg.acc_bits)
                count["saturations"] += clipped
        for local, value in enumerate(acc):
            kept = max(value, 0) if layer.relu else value
            y[local * cfg.n_pe + k], clipped = clip(round_half_up(kept, layer.output_shift), cfg.act_bits)
            count["writeback_saturations"] += clipped
        counters.append({name: int(value) for name, value in count.items()})
    return plan.cycles, plan.broadcast_stalls, y, counters


def run(job: Job, folder: Path, *, images: bool) -> Outcome:
    """The same from Icarus: an export with its own testbench, the SRAMs initialised or loaded through the port."""
    iverilog = toolchain.require("icarus").path
    if not images:
        (folder / "load.hex").write_text(load_image(job, weights=True))
    writes = len((folder / "load.hex").read_text().splitlines())
    compiled = subprocess.run(
        [
            *(iverilog, "-g2005", "-Wall", "-o", "eie.vvp", f"-Peie_array_tb.WRITES={writes}"),
            *sorted(path.name for path in folder.glob("*.v")),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (compiled.returncode, compiled.stdout, compiled.stderr) == (0, "", "")
    ran = subprocess.run(
        [iverilog.with_name("vvp"), "-n", "eie.vvp", *([] if images else ["+eie_no_images"])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    y = [int(value) for name, *_, value in lines if name == "y"]
    counts = [int(value) for name, *_, value in lines if name == "counter"]
    names = [c.name.lower() for c in pe_counters(job.cfg)]
    counters = [dict(zip(names, counts[k : k + 8], strict=True)) for k in range(0, len(counts), 8)]
    head = {name: int(value) for name, value in (line for line in lines if len(line) == 2)}
    assert head["done"] == 1
    return head["cycles"], head["broadcast_stalls"], y, counters


SMALL = ArchConfig(n_pe=4, entries=600, pointers=100, src_depth=20, acc_depth=20)
CASES = {
    "published widths": (SMALL, 37, 41, 0.3, 0.5),
    "one PE": (SMALL.replace(n_pe=1, src_depth=70, acc_depth=70), 60, 60, 0.1, 0.4),
    "two PEs, depth 1": (SMALL.replace(n_pe=2, queue_depth=1, src_depth=40), 33, 60, 0.2, 0.6),
    "eight PEs, long runs": (SMALL.replace(n_pe=8, acc_depth=64), 512, 23, 0.02, 1.0),
    "sixteen PEs, depth 3": (SMALL.replace(n_pe=16, queue_depth=3), 100, 90, 0.3, 0.6),
    "32-bit accumulators": (SMALL.replace(acc_bits=32), 40, 40, 0.5, 0.5),
    "six entries a word": (SMALL.replace(weight_bits=4, index_bits=6), 60, 40, 0.2, 0.6),
    "one entry a word": (SMALL.replace(word_bits=16, weight_bits=8, index_bits=8), 60, 40, 0.2, 0.6),
    "512-bit words": (SMALL.replace(word_bits=512, weight_bits=3, index_bits=2), 60, 40, 0.3, 0.6),
    "one bit each": (SMALL.replace(weight_bits=1, index_bits=1, word_bits=16), 50, 40, 0.2, 0.6),
    "bus registers": (SMALL.replace(bus_registers=3, queue_depth=5), 40, 40, 0.2, 0.8),
    "8-bit numbers": (SMALL.replace(act_bits=8, acc_bits=8, code_bits=4), 40, 40, 0.4, 0.7),
    "one of everything": (
        ArchConfig(n_pe=1, queue_depth=1, entries=1, pointers=2, pointer_bits=4, src_depth=1, acc_depth=1),
        *(1, 1, 1.0, 1.0),
    ),
    "nothing active": (SMALL, 30, 30, 0.3, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_layer(case: str, tmp_path: Path) -> None:
    seed = 1000 + list(CASES).index(case)
    job = random_job(*CASES[case], seed=seed)
    export(job.cfg, tmp_path, job, check=False)
    for images in (True, False):
        assert run(job, tmp_path, images=images) == expected(job), f"seed {seed}, images {images}"


def test_cases_reach_the_corners() -> None:
    """The cases above cover what they are meant to."""
    totals: dict[str, int] = {}
    stalls = 0
    for i, case in enumerate(CASES.values()):
        _, stalled, _, counters = expected(random_job(*case, seed=1000 + i))
        stalls += stalled
        for pe in counters:
            for name, value in pe.items():
                totals[name] = totals.get(name, 0) + value
    assert stalls > 0
    assert all(totals.values()), totals
