"""Every functional cover point is reached by the chip's stimulus, in lockstep with golden, on Verilator."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cover_points
from chip_mutant_host import ChipAnswer, ChipRequest
from rich.console import Console
from rich.table import Table

from eie.rtl.verilog import chip_verilog
from eie.sim.cosim.build import build, run_test
from eie.sim.cosim.outcome import OUTCOME, REQUEST
from tests.support.chip_stimulus import CHIP, chip_stimulus


def test_every_cover_point_is_reached(
    seed: int, tmp_path: Path, signed: Callable[[str, dict[str, Any]], None]
) -> None:
    sources = cover_points.with_cover_points(chip_verilog(CHIP, probe=True), CHIP)
    built = build("verilator", sources, "eie_chip")
    (tmp_path / REQUEST).write_bytes(pickle.dumps(ChipRequest(CHIP, chip_stimulus(seed), 0)))
    run_test(built, "chip_mutant_host", "recorded", tmp_path, plusargs=["+eie_no_images"], seed=seed)
    answer: ChipAnswer = pickle.loads((tmp_path / OUTCOME).read_bytes())
    assert not answer.divergence, answer.divergence
    hits = Counter((tmp_path / cover_points.FILE).read_text().splitlines())
    table = Table(title=f"cover points, seed {seed}, {answer.tape_cycles:,} cycles")
    for heading in ("module", "point", "instances"):
        table.add_column(heading, justify="right" if heading == "instances" else "left")
    rows = [
        {"module": module, "point": point, "instances": hits[point]}
        for module, points in cover_points.cover_points(CHIP).items()
        for point in points
    ]
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120, highlight=False, markup=False).print(table)
    signed("functional", {"cycles": answer.tape_cycles, "rows": rows})
    missed = [row["point"] for row in rows if not row["instances"]]
    assert not missed
    assert not hits.keys() - {row["point"] for row in rows}
