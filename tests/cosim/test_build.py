"""Builds of Verilator's models: for a short run, and for a long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eie.cache import cache_folder
from eie.config import ArchConfig
from eie.sim.cosim import build as building
from eie.sim.cosim import lockstep as lockstepping
from tests.support.cases import seeded_case

COUNTER = "module top(input clk, output reg [3:0] q); always @(posedge clk) q <= q + 1; endmodule\n"


def test_a_model_that_was_optimised_once_serves_short_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Verilator's runtime is compiled for long: the one that is there will do.
    runtime = cache_folder() / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    (tmp_path / "runtime").symlink_to(runtime)
    monkeypatch.setenv("EIE_CACHE", str(tmp_path))
    asked: list[tuple[str, ...]] = []
    compiles = building._make_model
    monkeypatch.setattr(
        building, "_make_model", lambda *given: (asked.append(given[3:]), compiles(*given))[1]
    )
    short = building.build("verilator", {"top.v": COUNTER}, "top")
    assert building.build("verilator", {"top.v": COUNTER}, "top") == short
    long = building.build("verilator", {"top.v": COUNTER}, "top", long_run=True)
    assert long.folder != short.folder
    assert building.build("verilator", {"top.v": COUNTER}, "top") == long
    levels = [flag for flags in asked for flag in flags if flag.startswith("OPT_FAST=")]
    assert levels == ["OPT_FAST=-O0", "OPT_FAST=-O1"]


@pytest.mark.parametrize(
    ("simulator", "limit", "expected"),
    [
        ("verilator", 1, True),
        ("verilator", 10**9, False),
        ("icarus", 1, False),
    ],
)
def test_lockstep_asks_for_an_optimised_model_by_the_cycles_that_it_expects(
    simulator: str, limit: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def build(*_: Any, long_run: bool, **__: Any) -> None:
        raise Asked(long_run)

    monkeypatch.setattr(lockstepping, "build", build)
    monkeypatch.setattr(lockstepping, "LONG", limit)
    job = seeded_case(1, [ArchConfig(n_pe=2, entries=600, pointers=50, src_depth=49, acc_depth=110)]).job
    with pytest.raises(Asked, match=str(expected)):
        lockstepping.lockstep([job], simulator)
