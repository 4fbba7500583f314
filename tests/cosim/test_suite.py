"""One suite on reference, golden, Icarus and Verilator: values, cycles, counters; then golden and RTL in lockstep.

The RTL is built for a few small configurations, so that corners come soon: one PE, depth 1, three-column queues,
entries that are no power of two, bus registers, narrow activations. Golden has its own, larger random suite.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache

import cocotb_tools.config
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import ConfigError, MismatchError, OutputError
from eie.golden.run import run as run_golden
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import COUNTERS
from eie.schema import ccu_probe, pe_probe
from eie.sim.cosim.build import cache_folder
from eie.sim.cosim.launch import run_rtl
from eie.sim.cosim.lockstep import expected_cycles, lockstep, lockstep_by_layer
from eie.sim.simulate import ENGINES, TIMELESS, simulate, simulate_many
from eie.timing import constants, schedule
from tests.support.cases import KINDS, Case, cases, seeded_case
from tests.support.machines import FOUR, MEMORIES
from tests.support.published_example import published_layer
from tests.support.simulators import on_icarus
from tests.support.witness import Witness

CONFIGS = {
    "four": FOUR,
    "single": ArchConfig(
        n_pe=1,
        queue_depth=1,
        src_depth=24,
        acc_depth=150,
        pointers=26,
        entries=900,
        pointer_bits=10,
        act_words=6,
    ),
    "pair": ArchConfig(
        n_pe=2,
        queue_depth=3,
        bus_registers=1,
        weight_bits=4,
        index_bits=5,
        acc_bits=32,
        **{**MEMORIES, "acc_depth": 70},
    ),
    # Small memories: loading them and reading them back on 16 PEs takes longest of all.
    "sixteen": ArchConfig(
        n_pe=16,
        queue_depth=4,
        bus_registers=2,
        index_bits=2,
        word_bits=32,
        src_depth=4,
        acc_depth=8,
        pointers=34,
        entries=160,
        act_words=6,
    ),
    # Words wider than what a processor holds.
    "narrow": ArchConfig(
        n_pe=4,
        queue_depth=32,
        weight_bits=2,
        act_bits=8,
        code_bits=8,
        acc_bits=10,
        word_bits=128,
        **MEMORIES,
    ),
}
SIMULATORS = ("icarus", "verilator")
SEED = 20_160


@cache
def suite(name: str) -> tuple[Case, ...]:
    """Every kind of case, twice, and the published example where it fits."""
    cfg = CONFIGS[name]
    made = [seeded_case(SEED + i, [cfg], kind) for i, kind in enumerate(KINDS * 2)]
    if name == "four":
        made.append(Case(published_layer(), np.arange(1, 9), cfg, "published"))
    return tuple(made)


@cache
def results(name: str, engine: str):
    """The suite on an engine: one simulator process for all of it."""
    return simulate_many([case.job for case in suite(name)], engine)


@pytest.mark.parametrize("engine", [e for e in ENGINES if e not in TIMELESS])
@pytest.mark.parametrize("name", CONFIGS)
def test_values_cycles_and_counters(name, engine):
    found = results(name, engine)
    assert len(found) == len(suite(name)) >= 16
    for case, result, expected, golden in zip(
        suite(name), found, results(name, "reference"), results(name, "golden"), strict=True
    ):
        job = case.job
        law = schedule(job.interleaved.lengths[job.active], job.cfg)
        assert result.y.dtype == np.int16
        assert np.array_equal(result.y, expected.y), case
        assert result.cycles == law.cycles, case
        assert result.counters["broadcast_stalls"] == law.broadcast_stalls, case
        for counter in ("macs", "saturations", "writeback_saturations"):
            assert np.array_equal(result.counters[counter], expected.counters[counter]), (case, counter)
        assert tuple(result.counters) == COUNTERS
        for counter in COUNTERS:
            assert np.array_equal(result.counters[counter], golden.counters[counter]), (case, counter)
        n, rows = job.cfg.n_pe, job.rows_per_pe
        assert result.writeback_cycles == rows + 1
        assert result.load_cycles == 13 + job.cfg.n_codes + n * (rows + -(-job.layer.cols // n))


def test_the_suite_reaches_its_corners():
    counters = {
        "fillers": "fillers",
        "broadcast stalls": "broadcast_stalls",
        "empty columns": "empty_columns",
        "saturation": "saturations",
        "write-back saturation": "writeback_saturations",
    }
    met = Counter()
    for name in CONFIGS:
        for case, result in zip(suite(name), results(name, "golden"), strict=True):
            witness = Witness()
            run_golden(case.job, observe=witness)
            met.update(witness.seen)
            met.update(event for event, counter in counters.items() if np.sum(result.counters[counter]) > 0)
    print(f"cases of {sum(len(suite(name)) for name in CONFIGS)} that met: {dict(met)}")
    for event in (*counters, "bypass at distance 1", "bypass at distance 2", "a full queue"):
        assert met[event] > 0, event


@pytest.mark.parametrize("bus_registers", [0, 1, 3])
def test_a_declared_delay_moves_law_golden_fast_and_rtl_together(bus_registers):
    # A short queue lets the delay show between columns, too: A + B cycles from a broadcast to its credit.
    cfg = CONFIGS["four"].replace(bus_registers=bus_registers, queue_depth=1)
    layer = CompressedLayer.from_codes(np.ones((4, 6), np.uint8), np.arange(16))
    job = Job.create(layer, np.arange(1, 7), cfg)
    k = constants(cfg)
    assert (2 + bus_registers, 1, 4) == (k.A, k.B, k.C)
    expected = k.T0 + 6 * (k.A + k.B) - k.B + 1 + k.C  # each column waits for the credit of the one before
    assert schedule(job.interleaved.lengths, cfg).cycles == expected
    # The suite above holds Verilator to the law on buses of 0, 1 and 2 registers.
    for engine in ("golden", "fast", "icarus"):
        assert simulate_many([job], engine)[0].cycles == expected, engine


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", CONFIGS)
def test_lockstep_of_every_register_in_every_cycle(name, simulator):
    jobs = [case.job for case in suite(name)]
    report = lockstep(jobs, simulator, seed=SEED, read_back=True)
    report.require_agreement()
    cfg = CONFIGS[name]
    assert report.signals == cfg.n_pe * len(pe_probe(cfg)) + len(ccu_probe(cfg))
    assert report.cycles > sum(result.cycles for result in report.results)
    assert len(report.results) == len(jobs)
    for result, plain in zip(report.results, results(name, simulator), strict=True):
        # The probes may not change what they observe.
        assert np.array_equal(result.y, plain.y)
        assert result.cycles == plain.cycles


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_images_and_port_loads_give_the_same(simulator):
    case = suite("four")[0]
    other = Job.create(case.layer, case.x[::-1].copy(), case.cfg)
    from_images = run_rtl([case.job, other], simulator)
    assert from_images[0].weight_load_cycles is None
    through_port = results("four", simulator)[0]
    assert through_port.weight_load_cycles == len(case.job.weight_writes())
    assert np.array_equal(from_images[0].y, through_port.y)
    assert from_images[0].cycles == through_port.cycles
    golden = simulate(case.layer, other.x, case.cfg, "golden")
    assert np.array_equal(from_images[1].y, golden.y)
    report = lockstep([case.job, other], simulator)
    report.require_agreement()


@on_icarus
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_lockstep_of_random_layers(simulator, data):
    name = data.draw(st.sampled_from(sorted(CONFIGS)))
    drawn = data.draw(st.lists(cases([CONFIGS[name]]), min_size=4, max_size=10))
    lockstep([case.job for case in drawn], simulator).require_agreement()


# ---- faults that lockstep has to find at their first cycle ------------------------------------------------------


def _edit(file: str, pattern: str, replacement: str):
    def transform(sources):
        text, count = re.subn(pattern, replacement, sources[file], count=1)
        assert count == 1, f"nothing like {pattern!r} in {file}"
        return {**sources, file: text}

    return transform


FAULTS = {
    "inverted": _edit("eie_pe.v", r"assign forward1 = ([^;]+);", r"assign forward1 = ~(\1);"),
    "late": _edit(
        "eie_pe.v",
        r"else s4_write <= s3_write;",
        "else s4_write <= late;\n  reg late = 0;\n  always @(posedge clk) late <= s3_write;\n",
    ),
    "one PE": _edit(
        "eie_array.v", r"(eie_pe pe002 \([^;]*?)\.product_shift\([^)]*\)", r"\1.product_shift(5'h1f)"
    ),
}


@pytest.fixture(scope="module")
def fault_job() -> Job:
    rng = np.random.default_rng(SEED)
    codes = ((rng.random((40, 14)) < 0.5) * rng.integers(1, 16, (40, 14))).astype(np.uint8)
    layer = CompressedLayer.from_codes(codes, np.arange(16) * 500, product_shift=6, name="fault")
    return Job.create(layer, rng.integers(1, 50, 14), CONFIGS["four"])


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_broken_rtl_is_caught_at_its_first_cycle(simulator, fault_job, tmp_path):
    lengths = fault_job.interleaved.lengths[fault_job.active]
    law = schedule(lengths, fault_job.cfg)
    issued = np.where(lengths > 0, law.start, 1 << 30)
    # fault -> compute cycle of the first difference (None: before compute mode), signal, PE
    expected = {
        "inverted": (None, "arithm_unit.forward1", 0),
        "late": (int(issued.min()) + 4, "arithm_unit.s4_write", int(np.argmin(issued.min(axis=0)))),
    }
    if simulator == "verilator":
        del expected["inverted"]  # one build is enough to show that its reports are the same
    for fault, (cycle, signal, pe) in expected.items():
        wave = tmp_path / f"{fault}.vcd"
        report = lockstep(
            [fault_job], simulator, transform=FAULTS[fault], divergence_wave=wave, replay="eie cosim --seed 1"
        )
        divergence = report.divergence
        assert divergence is not None
        assert (divergence.signal, divergence.pe) == (signal, pe)
        if cycle is None:
            assert divergence.cycle == 0
        else:
            assert divergence.compute_cycle == cycle
        assert {divergence.golden, divergence.rtl} == {0, 1}
        text = report.describe()
        assert f"PE {pe}, {signal}: golden {divergence.golden}, RTL {divergence.rtl}" in text
        assert "replay: eie cosim --seed 1" in text
        assert str(wave) in text
        assert "$scope module golden $end" in wave.read_text()
        with pytest.raises(MismatchError):
            report.require_agreement()


def test_a_fault_in_one_pe_names_that_pe(fault_job):
    report = lockstep([fault_job], "icarus", transform=FAULTS["one PE"])
    assert report.divergence is not None
    assert report.divergence.pe == 2
    # The plain engine shows it in the values, without golden and without probes.
    broken = run_rtl([fault_job], "icarus", transform=FAULTS["one PE"])[0]
    sound = run_rtl([fault_job], "icarus")[0]
    differs = np.flatnonzero(broken.y != sound.y)
    assert differs.size
    assert set(differs % 4) == {2}


def test_an_output_that_no_probe_holds_is_compared_as_well(fault_job):
    fault = _edit("eie_array.v", r"\.cycles\(cycles\),", ".cycles(),")
    report = lockstep([fault_job], "icarus", transform=fault)
    assert report.divergence is not None
    assert report.divergence.signal == "array.cycles"
    with pytest.raises(MismatchError, match=r"array\.cycles: golden \d+, RTL [zZ]+"):
        report.require_agreement()


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_difference_in_the_last_word_that_is_read_is_told(simulator, fault_job):
    # No cycles follow that a waveform could show: 40 rows on 4 PEs end with row 9 of PE 3.
    last = "(io_read && io_pe == 3 && io_addr == 9)"
    told = f"wire [{fault_job.cfg.io_data_bits - 1}:0] told;\n  assign io_rdata = told ^ {last};"
    fault = _edit(
        "eie_array.v", r"(eie_ccu ccu \([^;]*?)\.io_rdata\(io_rdata\)", rf"{told}\n  \1.io_rdata(told)"
    )
    report = lockstep([fault_job], simulator, transform=fault)
    assert report.divergence is not None
    assert report.divergence.signal == "array.io_rdata"
    assert report.cycles - report.divergence.cycle < 8


def test_reading_back_finds_a_memory_that_changed_by_itself(fault_job):
    fault = _edit(
        "eie_sram.v",
        r"(always @\(posedge clk\))",
        r"always @(posedge clk) if (en & !we & addr == 2) mem[0] <= 0;\n  \1",
    )
    assert lockstep([fault_job], "icarus", transform=fault).divergence is None  # nobody read the word again
    report = lockstep([fault_job], "icarus", transform=fault, read_back=True)
    assert report.divergence is not None
    with pytest.raises(MismatchError, match=r"^icarus: input 0: (SPMAT|PTR) of PE 0 at 0 holds 0x0, but 0x"):
        run_rtl([fault_job], "icarus", transform=fault, read_back=True)


def test_an_rtl_that_never_ends_is_given_up(fault_job):
    fault = _edit("eie_ccu.v", r"done <= 1'h1", "done <= 1'h0")
    with pytest.raises(
        MismatchError, match=r"^icarus: input 0: the RTL was not done \d+ cycles after start$"
    ):
        run_rtl([fault_job], "icarus", transform=fault)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_rtl_engines_never_import_golden(simulator, tmp_path):
    # The blocker is on the path of this process's child, and so of the simulator that it starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('eie.golden'):\n"
        "            raise ImportError('golden is not to be had')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    program = (
        "import numpy as np, eie\n"
        "layer = eie.CompressedLayer.from_codes([[1, 2], [3, 0]], range(16))\n"
        f"cfg = eie.ArchConfig(n_pe=4, **{MEMORIES})\n"
        "try:\n    eie.simulate(layer, [5, 6], cfg, engine='golden')\n"
        "except ImportError:\n    print('blocked')\n"
        f"print(eie.simulate(layer, [5, 6], cfg, engine='{simulator}').y.tolist())\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["blocked", "[17, 15]"], done.stderr


def test_a_build_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EIE_CACHE", str(tmp_path / "file"))
    job = suite("four")[0].job
    with pytest.raises(
        OutputError, match=r"/file cannot be written \(File exists\): set EIE_CACHE to a folder that can"
    ):
        run_rtl([job], "icarus")


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_a_cached_build_outlives_the_installation_that_made_it(monkeypatch, tmp_path, simulator):
    # Clones share the cache, and the one that compiled a design may have been removed.
    if (runtime := cache_folder() / "runtime").is_dir():  # Verilator's own, which takes longest
        shutil.copytree(runtime, tmp_path / "cache" / "runtime")
    monkeypatch.setenv("EIE_CACHE", str(tmp_path / "cache"))
    job = suite("four")[0].job
    other = tmp_path / "libs"
    shutil.copytree(cocotb_tools.config.libs_dir, other)
    with monkeypatch.context() as patch:
        patch.setattr(cocotb_tools.config, "libs_dir", other)
        first = run_rtl([job], simulator, read_back=True)
    shutil.rmtree(other)
    again = run_rtl([job], simulator, read_back=True)
    assert [result.y.tolist() for result in again] == [result.y.tolist() for result in first]
    assert len(list((tmp_path / "cache" / "builds").iterdir())) == 1


def test_lockstep_layer_by_layer_runs_each_from_its_images():
    jobs = [case.job for case in suite("four")[:4]]
    seen = []
    report = lockstep_by_layer(jobs, "icarus", progress=seen.append)
    report.require_agreement()
    assert report.cycles == expected_cycles(jobs)
    whole = lockstep_by_layer(jobs[:2], "icarus", read_back=True)
    assert whole.cycles == expected_cycles(jobs[:2], read_back=True)
    assert [result.cycles for result in report.results] == [r.cycles for r in results("four", "icarus")[:4]]
    assert all(0 < cycles <= report.cycles for cycles in seen)
    broken = lockstep_by_layer(jobs, "icarus", transform=FAULTS["inverted"])
    assert broken.mismatches == 1
    assert broken.results == []


def test_names_and_mixed_configurations_are_refused():
    job = suite("four")[0].job
    with pytest.raises(
        ConfigError,
        match=r"^no engine named 'magic': use one of reference, golden, fast, icarus, verilator, cpu$",
    ):
        simulate_many([job], "magic")
    with pytest.raises(ConfigError, match=r"^cfg must be an ArchConfig, not 64$"):
        simulate(job.layer, job.x, 64)
    other = Job.create(job.layer, job.x, job.cfg.replace(queue_depth=4))
    with pytest.raises(ConfigError, match=r"^jobs of one simulator run must share one configuration$"):
        run_rtl([job, other], "icarus")


def test_simulate_takes_the_default_configuration():
    layer = published_layer()
    result = simulate(layer, np.arange(8), engine="golden")
    assert result.cfg == ArchConfig()
    assert result.cycles == schedule(interleave(layer, 64).lengths[1:], ArchConfig()).cycles
    assert result.microseconds == result.cycles / 800
