"""Write the generated parts of docs/: stall table, register map, folders, waveforms, tables of the evaluation.

A page has them between the comments `generated: NAME` and `end: NAME`. NAME is one of `TABLES`, or a part
of the evaluation (`eie reproduce --help`) for its tables; "KEY text" has its paragraphs, "KEY pictures" its pictures.

`make docs` runs it; with --check it only says whether the pages are up to date. Tests do so, one for each of `groups`.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from chip_waveform import draw as draw_chip_waveform
from folders import folder_table
from rich.console import Console
from wrap_pages import wrapped

from eie.capacity import sized_for
from eie.cli.commands.reproduce import compute
from eie.cli.pages.evaluation_page import Made, markdown_table
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.registers import markdown as register_map
from eie.schema import block_names
from eie.sim.evaluation.parts import Part, named
from eie.sim.workloads.example import EXAMPLE
from eie.timing import DELAYS, constants

DOCS = Path(__file__).parents[1] / "docs"


def delay_table() -> str:
    """Declared delays, and the stalls that follow from them for the published machine."""
    cfg = ArchConfig.preset("paper")
    k = constants(cfg)
    lines = ["| delay | block | from -> to | cycles, N = 64 | cause |", "|---|---|---|---|---|"]
    blocks = block_names(cfg)
    for name, d in ((name, d) for name, d in DELAYS.items() if d.block in blocks):
        lines.append(f"| {name} | {d.block} | {d.event} | {d.cycles(cfg)} | {d.cause} |")
    loop = k.A + k.B
    stalls = [
        ("first broadcast of a layer", f"{k.T0}", "the tree fills, one level a cycle (T0)"),
        ("first entry after an idle PE", f"{k.A}", "bus, queue write, pointer read (A)"),
        ("between columns that wait in the queue", "0", "the next column's pointers are prefetched"),
        ("column without an entry on this PE", "1", "a token that writes nothing takes the issue slot"),
        ("filler", "1", "an entry that only advances the row"),
        ("hit on an accumulator still in the pipeline", "0", "bypass from stage 4 into stages 2 and 3"),
        (
            "a PE without credit holds the broadcast",
            f"until its oldest waiting column starts, and {k.B} more",
            "every PE must have room; the credit register shows it a cycle later (B)",
        ),
        (
            f"queue depth below {loop}, short columns",
            f"{loop} for each `queue_depth` columns",
            f"a credit returns A + B = {loop} cycles after its broadcast",
        ),
        ("last entry of a layer", f"{k.C}", "matrix SRAM, then stages 1 to 4 (C)"),
        ("write-back", "ceil(rows / N) + 1", "one row a cycle in every PE, and the last write"),
    ]
    lines += ["", "| event | cycles | why |", "|---|---|---|"]
    lines += [f"| {event} | {cycles} | {why} |" for event, cycles, why in stalls]
    return "\n".join(lines)


def waveform_job() -> Job:
    """Two PEs, depth 1, three columns: start-up, a stall for credit, an empty column, and a bypass at distance 1."""
    codes = np.zeros((6, 4), np.uint8)
    codes[[0, 2], 0] = 1, 2  # PE 0: two entries
    codes[[2, 1], 1] = 3, 1  # PE 0 hits the accumulator of the entry before; PE 1: one entry
    codes[[1], 3] = 2  # PE 0: empty column
    layer = CompressedLayer.from_codes(codes, np.arange(16) * 8, name="waveform")
    return Job.create(layer, [5, 7, 0, 9], sized_for(ArchConfig(n_pe=2, queue_depth=2), layer))


SIGNALS = (
    ("ccu", "bcast", "bcast"),
    ("act_queue", "head_valid", "head_valid"),
    ("ptr_read", "pop", "pop (pointer read)"),
    ("spmat_read", "start", "start"),
    ("spmat_read", "issue", "issue"),
    ("spmat_read", "tok_valid", "stage 1: tok_valid"),
    ("spmat_read", "tok_empty", "stage 1: tok_empty"),
    ("arithm_unit", "s2_valid", "stage 2: s2_valid"),
    ("arithm_unit", "s3_valid", "stage 3: s3_valid"),
    ("arithm_unit", "forward1", "stage 3: forward1 (bypass)"),
    ("arithm_unit", "s4_valid", "stage 4: s4_valid (retire)"),
)


def sample_run() -> tuple[dict[str, list[int]], int]:
    """Each of SIGNALS (PE 0) in every cycle of compute mode of `waveform_job`, and the layer's cycles."""
    from eie.golden.array import Array

    job = waveform_job()
    array = Array(job.cfg)
    array.load_images(job.images)
    rows: dict[str, list[int]] = {label: [] for _, _, label in SIGNALS}

    def cycle(**inputs: int) -> None:
        for name in ("start", "io_write", "io_space", "io_pe", "io_addr", "io_data"):
            getattr(array, name).value = inputs.get(name, 0)
        array.propagate()
        if array.ccu.compute.value:
            for block, name, label in SIGNALS:
                owner = array.ccu if block == "ccu" else getattr(array.pes[0], block)
                rows[label].append(int(getattr(owner, name).value))
        array.update()

    for w in job.load_writes():
        cycle(io_write=1, io_space=int(w.space), io_pe=w.pe, io_addr=int(w.addr), io_data=w.data)
    cycle(start=1)
    cycle()
    while array.busy.value:
        cycle()
    return rows, int(array.cycles.value)


def _columns(rows: dict[str, list[int]], label: str, active: list[int]) -> dict[int, int]:
    """Which column each 1 of a signal belongs to, by cycle: columns come in order, one a pulse."""
    cycles = [cycle for cycle, value in enumerate(rows[label]) if value]
    return dict(zip(cycles, active, strict=True))


def draw_waveform(path: Path) -> None:
    """Draw `sample_run` with the law's constants marked."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "eie"  # the same picture every time
    rows, cycles = sample_run()
    k = constants(waveform_job().cfg)
    length = len(rows["bcast"])
    active = waveform_job().active.tolist()
    columns = {label: _columns(rows, label, active) for label in ("bcast", "pop (pointer read)", "start")}
    fig, ax = plt.subplots(figsize=(10, 5.2))
    for line, (label, values) in enumerate(rows.items()):
        base = -line
        ax.fill_between(
            np.arange(length + 1),
            base,
            base + 0.62 * np.array([*values, values[-1]]),
            step="post",
            color="#9ec5e8",
        )
        ax.step(
            np.arange(length + 1),
            base + 0.62 * np.array([*values, values[-1]]),
            where="post",
            color="#2b5d8c",
            lw=1.2,
        )
        for cycle, column in columns.get(label, {}).items():
            ax.text(
                cycle + 0.5, base + 0.29, str(column), ha="center", va="center", fontsize=8, color="#17324d"
            )
        ax.text(-0.3, base + 0.3, label, ha="right", va="center", fontsize=9)
    ax.annotate(
        f"B = {k.B}: credit returns",
        (rows["start"].index(1) + k.B, 0.0),
        (rows["start"].index(1) + k.B + 1.4, 0.35),
        fontsize=9,
        color="#b06a00",
        va="center",
        arrowprops={"arrowstyle": "->", "color": "#b06a00"},
    )
    first = rows["bcast"].index(1)
    start = rows["start"].index(1)
    slots = [a | b for a, b in zip(rows["start"], rows["issue"], strict=True)]
    last_slot = length - 1 - slots[::-1].index(1)
    for x0, x1, y, text in (
        (0, first, 1.05, f"T0 = {k.T0}"),
        (first, start, 1.05, f"A = {k.A}"),
        (last_slot + 1, cycles, 1.05, f"C = {k.C}"),
    ):
        ax.annotate("", (x0, y), (x1, y), arrowprops={"arrowstyle": "<->", "color": "#b06a00"})
        ax.text((x0 + x1) / 2, y + 0.12, text, ha="center", va="bottom", fontsize=9, color="#b06a00")
    ax.axvline(cycles, color="#b06a00", lw=1, ls="--")
    ax.text(cycles + 0.1, 1.05, f"cycles = {cycles}", color="#b06a00", fontsize=9, va="center")
    ax.set_xlim(0, length + 0.5)
    ax.set_ylim(-len(rows) + 0.6, 1.8)
    ax.set_xticks(range(length))
    ax.set_yticks([])
    ax.set_xlabel("cycle of compute mode")
    ax.grid(axis="x", color="#ddd", lw=0.6)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


# What is made without the evaluation, by name.
TABLES = {"stall table": delay_table, "register map": register_map, "folders": folder_table}
SEED = 1
# Where the pages' pictures of the evaluation are.
PICTURES = "evaluation"


def marked(page: Path) -> list[str]:
    """Names of a page's generated parts."""
    return re.findall(r"^<!-- generated: (.+) -->$", page.read_text(), re.M)


def evaluated() -> list[Part]:
    """The parts of the evaluation that the pages show."""
    keys = {name.split()[0] for page in DOCS.glob("*.md") for name in marked(page) if name not in TABLES}
    parts = named(sorted(keys))
    for part in parts:
        if part.alone:
            raise SystemExit(
                f"part {part.key} of the evaluation differs from run to run: it cannot be generated"
            )
    return parts


def groups() -> list[list[Part]]:
    """Parts to check together, for they share what they measure; the first group has none, and stands for `TABLES`."""
    return [[], *(list(group) for _, group in groupby(evaluated(), lambda part: part.module))]


def evaluate(parts: list[Part]) -> dict[str, Made]:
    """Parts of the evaluation, computed, by key."""
    made = compute(parts, SEED, EXAMPLE, Console(quiet=True))
    return {part.key: one for part, one in zip(parts, made, strict=True)}


def evaluation_body(name: str, made: dict[str, Made]) -> str:
    """What stands between the markers of a part of the evaluation: its tables, text, or links to its pictures."""
    key, _, what = name.partition(" ")
    one = made[key]
    if what == "text":
        blocks = list(one.section.text)
    elif what == "pictures":
        blocks = [f"![{picture.alt}]({PICTURES}/{picture.name}.png)" for picture in one.pictures]
    else:
        blocks = [markdown_table(table) for table in one.section.tables]
    return "\n" + "\n\n".join(blocks) + "\n"


def replaced(text: str, name: str, body: str) -> str:
    """`text` with what stands between the markers of part `name` replaced by `body`, wrapped."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    return f"{before}{begin}\n{wrapped(body)}\n{end}{after}"


def outdated(made: dict[str, Made], tables: bool = True) -> dict[Path, str]:
    """Pages with other text in the parts made (and in those of `TABLES`), and what they should say."""
    found = {}
    for page in sorted(DOCS.glob("*.md")):
        old = new = page.read_text()
        for name in marked(page):
            if name in TABLES and tables:
                new = replaced(new, name, TABLES[name]())
            elif name.split()[0] in made:
                new = replaced(new, name, evaluation_body(name, made))
        if new != old:
            found[page] = new
    return found


def main() -> int:
    """Write, or with --check compare, the generated parts; 1 if a page is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if a page is out of date"
    )
    check = parser.parse_args().check
    made = evaluate(evaluated())
    pages = outdated(made)
    if check:
        for page in pages:
            print(f"{page.name} is out of date: run make docs")
        return int(bool(pages))
    for page, new in pages.items():
        page.write_text(new)
    draw_waveform(DOCS / "waveform.svg")
    draw_chip_waveform(DOCS / "chip_waveform.svg", waveform_job())
    shown = {
        name.split()[0] for page in DOCS.glob("*.md") for name in marked(page) if name.endswith(" pictures")
    }
    (DOCS / PICTURES).mkdir(exist_ok=True)
    for picture in (picture for key in shown for picture in made[key].pictures):
        (DOCS / PICTURES / f"{picture.name}.png").write_bytes(picture.png)
    print(
        f"wrote {', '.join(page.name for page in pages) or 'no page: all were up to date'}; drew the pictures"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
