"""One suite on reference, golden, Icarus and Verilator: values, cycles, counters; then golden and RTL in lockstep.

The RTL is built for a few small configurations, so that corners come soon: one PE, depth 1, three-column queues,
entries that are no power of two, bus registers, narrow activations. Golden has its own, larger random suite.
"""

import re
from functools import cache

import numpy as np
import pytest
from cases import KINDS, Case, cases, seeded_case
from hypothesis import given, settings
from hypothesis import strategies as st
from test_csc import published_layer

from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import ConfigError, MismatchError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import COUNTERS
from eie.schema import ccu_probe, pe_probe
from eie.sim.engines import ENGINES, run_rtl, simulate, simulate_many
from eie.sim.lockstep import lockstep
from eie.timing import schedule

SMALL = {"src_depth": 16, "acc_depth": 24, "pointers": 60, "entries": 500}
CONFIGS = {
    "four": ArchConfig(n_pe=4, **SMALL),
    "single": ArchConfig(
        n_pe=1, queue_depth=1, src_depth=24, acc_depth=150, pointers=26, entries=900, pointer_bits=10
    ),
    "pair": ArchConfig(
        n_pe=2,
        queue_depth=3,
        bus_registers=1,
        weight_bits=4,
        index_bits=5,
        acc_bits=32,
        **{**SMALL, "acc_depth": 70},
    ),
    "sixteen": ArchConfig(n_pe=16, queue_depth=4, bus_registers=2, index_bits=2, word_bits=32, **SMALL),
    "narrow": ArchConfig(
        n_pe=4, queue_depth=32, weight_bits=2, act_bits=8, code_bits=8, acc_bits=10, **SMALL
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


@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "reference"])
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
        assert result.load_cycles == 4 + job.cfg.n_codes + n * (rows + -(-job.layer.cols // n))


def test_the_suite_reaches_its_corners():
    counts = dict.fromkeys(("fillers", "broadcast_stalls", "empty_columns", "bypasses"), 0)
    counts |= {"saturations": 0, "writeback_saturations": 0}
    for name in CONFIGS:
        for result in results(name, "golden"):
            for counter in counts:
                counts[counter] += int(np.sum(result.counters[counter]) > 0)
    print(f"cases of {16 * len(CONFIGS) + 1} with: {counts}")
    assert all(count > 0 for count in counts.values()), counts


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


@pytest.mark.parametrize("simulator", SIMULATORS)
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


def test_names_and_mixed_configurations_are_refused():
    job = suite("four")[0].job
    with pytest.raises(
        ConfigError, match=r"^no engine named 'magic': use one of reference, golden, icarus, verilator$"
    ):
        simulate_many([job], "magic")
    other = Job.create(job.layer, job.x, job.cfg.replace(queue_depth=4))
    with pytest.raises(ConfigError, match=r"^jobs of one simulator run must share one configuration$"):
        run_rtl([job, other], "icarus")


def test_simulate_takes_the_default_configuration():
    layer = published_layer()
    result = simulate(layer, np.arange(8), engine="golden")
    assert result.cfg == ArchConfig()
    assert result.cycles == schedule(interleave(layer, 64).lengths[1:], ArchConfig()).cycles
    assert result.microseconds == result.cycles / 800
