"""Builds of Verilator's models: for a short run, and for a long one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eie.cache import cache_folder
from eie.config import ArchConfig
from eie.errors import SimulationError
from eie.sim.cosim import build as building
from eie.sim.cosim import lockstep as lockstepping
from eie.sim.cosim.launch import run_rtl
from tests.support.cases import seeded_case

SMALL = ArchConfig(n_pe=2, entries=600, pointers=50, src_depth=49, acc_depth=110)
COUNTER = "module top(input clk, output reg [3:0] q); always @(posedge clk) q <= q + 1; endmodule\n"


@pytest.fixture
def no_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache without models. Verilator's runtime is compiled for long: the one that is there will do."""
    runtime = cache_folder() / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    (tmp_path / "runtime").symlink_to(runtime)
    monkeypatch.setenv("EIE_CACHE", str(tmp_path))


@pytest.mark.usefixtures("no_builds")
def test_the_runtime_that_is_compiled_ahead_is_that_of_lockstep_and_of_free_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[str] = []
    key_of = building._runtime_key
    monkeypatch.setattr(building, "_runtime_key", lambda *given: (keys.append(key_of(*given)), keys[-1])[1])
    building.compile_runtime()
    lockstepping.prepared(SMALL, "verilator")
    run_rtl([seeded_case(1, [SMALL]).job], "verilator")
    assert len(keys) == 4
    assert keys[2:] == keys[:2]


def free_model(cfg: ArchConfig) -> None:
    """Build what a free run of the machine needs, and run it."""
    run_rtl([seeded_case(1, [cfg]).job], "verilator")


@pytest.mark.usefixtures("no_builds")
@pytest.mark.parametrize("build", [partial(lockstepping.prepared, simulator="verilator"), free_model])
def test_pes_share_the_functions_of_a_model(
    build: Callable[[ArchConfig], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Written(Exception):
        pass

    def measure(_: Any, work: Path, *__: Any) -> None:
        raise Written(sum(path.stat().st_size for path in work.glob("*.cpp")))

    def of_pes(n_pe: int) -> int:
        with pytest.raises(Written) as written:
            build(SMALL.replace(n_pe=n_pe))
        return int(written.value.args[0])

    monkeypatch.setattr(building, "_make_model", measure)
    assert 0 < of_pes(16) < 2 * of_pes(4)


@pytest.mark.usefixtures("no_builds")
def test_without_make_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    which = building.shutil.which
    monkeypatch.setattr(
        building.shutil,
        "which",
        lambda name, *given, **named: None if name == "make" else which(name, *given, **named),
    )
    with pytest.raises(SimulationError, match=r"make is not installed: .*apt-get install -y make"):
        building.compile_runtime()


@pytest.mark.usefixtures("no_builds")
def test_a_model_that_was_optimised_once_serves_short_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
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
    job = seeded_case(1, [SMALL]).job
    with pytest.raises(Asked, match=str(expected)):
        lockstepping.lockstep([job], simulator)
