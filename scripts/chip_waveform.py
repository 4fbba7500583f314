"""Draws docs/chip_waveform.svg: the buses of a chip in Icarus while it takes an input, runs, and gives the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eie.axi import block_packet, read_packet, run_packet
from eie.program import Job
from eie.schema import IoSpace
from eie.sim.cosim.chip.script import Pauses, Send, Settle, run_script

LINES = (
    "s_axis_tvalid",
    "s_axis_tready",
    "s_axis_tlast",
    "io_write",
    "start",
    "busy",
    "done",
    "io_read",
    "m_axis_tvalid",
    "m_axis_tready",
    "m_axis_tlast",
)


def sample_run(job: Job) -> dict[str, list[int]]:
    """Each of LINES by cycle, from the input's header word on; the packets are back to back, the result sink pauses."""
    packets = [block_packet(block) for block in [*job.program.setup, *job.blocks]]
    rows = job.rows_per_pe * job.cfg.n_pe
    last = [packets[-1], run_packet(0), read_packet(IoSpace.ACC, rows, spread=True), packets[-1]]
    script = [*map(Send, packets[:-1]), Settle(), *map(Send, last), Settle()]
    report = run_script(job.cfg, script, "icarus", pauses=Pauses(seed=4, back_pressure=0.3), trace=LINES)
    report.require_agreement()
    trace = report.trace
    # The last run of words on the stream: its first one is the input's header.
    words = sum(map(len, last))
    taken = [c for c in range(report.cycles) if trace["s_axis_tvalid"][c] and trace["s_axis_tready"][c]]
    begin = taken[-words] - 1
    end = max(c for c in range(report.cycles) if trace["io_write"][c]) + 3
    return {name: trace[name][begin:end] for name in LINES}


def draw(path: Path, job: Job) -> None:
    """Draw the run of `job` on the chip."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "eie"  # the same picture every time
    rows = sample_run(job)
    length = len(rows["busy"])
    fig, ax = plt.subplots(figsize=(10, 4.6))
    edges = np.arange(length + 1)
    for line, (label, values) in enumerate(rows.items()):
        level = -line + 0.62 * np.array([*values, values[-1]])
        inside = not label.startswith(("s_axis", "m_axis"))
        ax.fill_between(edges, -line, level, step="post", color="#d9c8a0" if inside else "#9ec5e8")
        ax.step(edges, level, where="post", color="#7a5c1e" if inside else "#2b5d8c", lw=1.1)
        ax.text(-0.4, -line + 0.3, label, ha="right", va="center", fontsize=9)
    for number, (text, begin, end) in enumerate(_phases(rows)):
        height = 1.0 if number < 3 else 1.7  # the next input comes while the result still leaves
        ax.annotate("", (begin, height), (end, height), arrowprops={"arrowstyle": "<->", "color": "#b06a00"})
        ax.text((begin + end) / 2, height + 0.12, text, ha="center", va="bottom", fontsize=9, color="#b06a00")
    ax.set_xlim(0, length)
    ax.set_ylim(-len(rows) + 0.6, 2.4)
    ax.set_xticks(range(0, length + 1, 5))
    ax.set_yticks([])
    ax.set_xlabel("clock cycle")
    ax.grid(axis="x", color="#ddd", lw=0.6)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


def _phases(rows: dict[str, list[int]]) -> list[tuple[str, int, int]]:
    """Name, first cycle and end of what happens, from the signals."""

    def span(name: str) -> tuple[int, int]:
        cycles = [c for c, value in enumerate(rows[name]) if value]
        return cycles[0], cycles[-1] + 1

    start = rows["start"].index(1)
    writes = [c for c, value in enumerate(rows["io_write"]) if value]
    before, after = [c for c in writes if c < start - 2], [c for c in writes if c > start]
    return [
        ("input", before[0], before[-1] + 1),
        ("run", start, span("busy")[1]),
        ("result", span("io_read")[0], span("m_axis_tvalid")[1]),
        ("next input", after[0], after[-1] + 1),
    ]
