"""The main job on a smaller machine, what it leaves behind, and what stops it."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import eie
import eie.compress.format.file
import eie.compress.forward
from eie.cli import demo_job as demo_module
from eie.cli.main import main
from eie.cli.pages.demo_report import Lockstep, Outcome, html, zeros
from eie.errors import MismatchError
from eie.plan import make_plan
from eie.sim.cosim.lockstep import LockstepReport
from eie.sim.plans import run_plan
from eie.sim.simulate import simulate
from eie.sim.sweep.point import held_points
from eie.sim.sweep.run import run_in_memory
from eie.sim.sweep.store import Store
from eie.sim.workloads.example import EXAMPLE
from eie.sim.workloads.random import random_input, random_layer
from tests.support.json_schemas import check

SMALL = eie.ArchConfig(n_pe=16)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo leaves on 16 PEs, beside a file that was there before; its figures are in figures.json."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "CFG", SMALL)
        result = CliRunner().invoke(main, ["demo", "--out", str(folder), "--digits", "1", "--json"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    (folder / "figures.json").write_text(result.stdout)
    return folder


def test_the_main_job_agrees_with_the_library(out: Path) -> None:
    figures = check("demo", (out / "figures.json").read_text())
    layers = eie.load(out / "lenet_300_100.eie")
    with np.load(EXAMPLE / "mnist_test_1000.npz") as arrays:
        x = eie.compress.forward.quantize_inputs(layers[0], arrays["images"][0].ravel() / 255)
    for layer, shown in zip(layers, figures["layers"], strict=True):
        result = simulate(layer, x, SMALL)
        assert shown["cycles"] == result.cycles
        assert shown["bypasses"] == result.total("bypasses")
        assert shown["density"] == layer.density
        x = result.y
    assert figures["bytes_after"] == (out / "lenet_300_100.eie").stat().st_size
    assert [one["simulator"] for one in figures["lockstep"]] == ["icarus", "verilator"]
    for one in figures["lockstep"]:
        assert one["mismatches"] == 0
        assert one["comparisons"] == one["cycles"] * one["signals"] > 1_000_000
    # One-shot compression may cost a little; it must not cost much.
    accuracy = figures["accuracy"]
    assert accuracy["as trained, float"] > 0.98
    assert accuracy["compressed, accelerator"] > accuracy["as trained, float"] - 0.01


def test_everything_is_there_and_nothing_else_is_lost(out: Path) -> None:
    names = {path.name for path in out.iterdir()} - {"figures.json"}
    pictures = {
        f"{name}.png" for name in ("speedup", "padding", "balance", "utilization", "queue_depth", "work")
    }
    assert names == pictures | {
        *(
            "mine.txt",
            "lenet_300_100.eie",
            "sweep.csv",
            "sweep.sqlite",
            "fc3_golden.vcd",
            "report.html",
            "verilog",
        ),
    }
    with Store(out / "sweep.sqlite", read_only=True) as store:
        assert {row["n_pe"] for row in store.rows()} == set(demo_module.SWEEP_PES)
    assert (out / "verilog" / "pe015_spmat.hex").is_file()


class Links(HTMLParser):
    """Where a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_stands_alone(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert len(links.targets) == len(list(out.glob("*.png"))) == 6
    assert all(target.startswith("data:image/png;base64,") for target in links.targets)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    figures = json.loads((out / "figures.json").read_text())
    assert f"{figures['lockstep'][0]['comparisons']:,}" in page
    assert f"{figures['bytes_after']:,}" in page


# ---- what stops it -----------------------------------------------------------------------------------------


def ran(layer: eie.CompressedLayer, x: np.ndarray, cfg: eie.ArchConfig) -> Lockstep:
    """A lockstep outcome with the golden model's results in it."""
    results = run_plan(make_plan([layer], cfg), [x], "golden")
    return Lockstep("icarus", LockstepReport("icarus", 100, 10, None, results, 1.0))


def test_outputs_and_cycles_are_held_to_reference_and_law(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = eie.ArchConfig(n_pe=4)
    monkeypatch.setattr(demo_module, "CFG", cfg)
    layer, x = random_layer(20, 30, 0.3, seed=1, name="fc1"), random_input(30, 0.5, seed=1)
    rows = run_in_memory(held_points([layer], [x[None]], [cfg]))
    expected = run_plan(make_plan([layer], cfg), [x], "fast")
    good = ran(layer, x, cfg)
    demo_module._check([good], [layer], x[None], expected, rows)
    late = [rows[0] | {"cycles": rows[0]["cycles"] + 1}]
    with pytest.raises(
        MismatchError, match=r"icarus, digit 0, layer fc1: \d+ cycles in the RTL, \d+ by the timing law"
    ):
        demo_module._check([good], [layer], x[None], expected, late)
    other = run_plan(make_plan([layer], cfg), [np.roll(x, 1)], "fast")[0]
    different = [replace(expected[0], runs=other.runs)]
    with pytest.raises(MismatchError, match=r"icarus, digit 0: run 0, .*: fast \d+, golden \d+"):
        demo_module._check([good], [layer], x[None], different, rows)
    good.report.results[0].y[3] += 1
    with pytest.raises(MismatchError, match=r"icarus, digit 0: output 3 is .* in the reference"):
        demo_module._check([good], [layer], x[None], expected, rows)


def outcome_of(name: str) -> Outcome:
    """What a demo of one small layer would have measured."""
    cfg = eie.ArchConfig(n_pe=4)
    layer = random_layer(20, 30, 0.1, seed=1, name=name)
    x = np.zeros(30, np.int64)
    x[3] = 1
    return Outcome(
        layers=[layer],
        sizes=eie.compress.format.file.measure([layer]),
        accuracy={"as trained, float": 9, "compressed, float": 8, "compressed, accelerator": 8},
        tested=10,
        locksteps=[ran(layer, x, cfg)],
        lockstep_digits=1,
        calibration_digits=1,
        sweep_digits=1,
        rows=run_in_memory(held_points([layer], [x[None]], [cfg])),
        pictures={},
        tools={"icarus": "11.0"},
        seconds=1.0,
        folder="out",
        digits="examples/digits.npz",
    )


def test_commands_of_the_report_name_files_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo_module.typed(EXAMPLE / "mnist_test_1000.npz") == str(EXAMPLE / "mnist_test_1000.npz")
    assert demo_module.typed(tmp_path / "examples" / "x.npz") == "examples/x.npz"
    assert "--input examples/digits.npz" in html(outcome_of("fc"))


def test_text_is_escaped() -> None:
    page = html(outcome_of("a <b> & c"))
    assert "a &lt;b&gt; &amp; c" in page
    assert "<b> &" not in page


def test_zeros_are_explained() -> None:
    outcome = outcome_of("fc1")
    assert zeros(outcome) == [
        "No padding in fc1: a PE holds at most 5 rows of a column there, and an entry bridges 15 zeros by itself.",
        "No broadcast stalls in fc1: no PE ever had 8 columns waiting when the next one was due.",
        "No bypasses in fc1: no accumulator was hit again within the next two entries.",
        "No clipped sums in fc1: the fixed-point scales were chosen from calibration inputs so that sums fit, with one "
        "bit to spare.",
    ]
    assert "1,000 comparisons" in html(outcome)


def fail_when(path: str) -> None:
    """Fail as soon as the file exists."""
    while not Path(path).exists():
        time.sleep(0.05)
    raise MismatchError("they differ")


def wait_for_a_program(path: str) -> None:
    """Run a program that would take minutes, and create the file when it runs."""
    subprocess.run([sys.executable, "-c", f"open({path!r}, 'w'); import time; time.sleep(300)"], check=True)


def test_a_worker_that_starts_too_late_does_not_run() -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(1, spawn) as pool:
        workers = manager.dict()
        with pytest.raises(MismatchError), demo_module.stopping({}, workers):
            raise MismatchError("they differ")
        late = pool.submit(demo_module.announced, workers, "icarus", time.sleep, 300)
        assert isinstance(late.exception(timeout=120), KeyboardInterrupt)


# While the command imports, and while the workers compile models or run them; tests/cli/test_signals.py has between.
@pytest.mark.parametrize("line", ["That takes", "done  reading"])
def test_ctrl_c_while_workers_start_is_one_line(line: str, tmp_path: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "eie", "demo", "--out", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout is not None
    assert any(said.startswith(line) for said in command.stdout)
    time.sleep(1.5)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    _, err = command.communicate(timeout=120)
    assert (command.returncode, err) == (130, "eie: interrupted\n")


def test_a_failed_lockstep_run_stops_the_other(tmp_path: Path) -> None:
    spawn, path = multiprocessing.get_context("spawn"), str(tmp_path / "busy")
    with spawn.Manager() as manager, ProcessPoolExecutor(2, spawn) as pool:
        workers, names = manager.dict(), {"icarus": wait_for_a_program, "verilator": fail_when}
        running = {n: pool.submit(demo_module.announced, workers, n, f, path) for n, f in names.items()}
        with pytest.raises(MismatchError, match="they differ"), demo_module.stopping(running, workers):
            demo_module._gather(Console(quiet=True), [*running.values()], manager.dict(), 1)
    assert isinstance(running["icarus"].exception(), KeyboardInterrupt)
