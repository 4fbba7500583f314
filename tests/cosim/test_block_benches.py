"""The benches of tests/cocotb: each block alone and the array, in lockstep with golden, on both simulators.

And that they find faults: Verilog broken on purpose is reported in its first cycle, by block, signal and values.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest
from pywellen import Waveform

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.schema import BLOCK_NAMES, fields
from eie.sim.cosim.benches.block import Setup
from eie.sim.cosim.benches.run import Benches
from tests.support import ROOT

BENCHES = ROOT / "tests" / "cocotb"
# Tests in each bench, counted by hand: one that is no longer found fails here.
TESTS = {
    "act_queue": 5,
    "ptr_read": 6,
    "spmat_read": 8,
    "arithm_unit": 12,
    "act_rw": 13,
    "pe": 5,
    "lnzd": 6,
    "ccu": 14,
    "array": 5,
}
CONFIGS = {
    "act_queue": 3,
    "ptr_read": 1,
    "spmat_read": 2,
    "arithm_unit": 2,
    "act_rw": 2,
    "pe": 3,
    "lnzd": 1,
    "ccu": 2,
    "array": 2,
}


def benches(output, simulator="icarus", n_pe=4, seed=1, folder=BENCHES, transform=None):
    return Benches(simulator, n_pe, seed, folder, output, transform=transform)


@pytest.mark.parametrize("block", BLOCK_NAMES)
def test_icarus(block, tmp_path):
    results = list(benches(tmp_path).run((block,)))
    assert len(results) == CONFIGS[block]
    for result in results:
        assert not result.failures, result
        assert (len(result.tests), result.passed) == (TESTS[block], TESTS[block])
        assert result.cycles > 100


@pytest.mark.parametrize("block", BLOCK_NAMES)
def test_verilator(block, tmp_path):
    # Compiling takes seconds for each configuration: one of them.
    (result,) = benches(tmp_path, "verilator").run((block,), first_config_only=True)
    assert not result.failures, result
    assert (len(result.tests), result.passed) == (TESTS[block], TESTS[block])


@pytest.mark.parametrize("n_pe", [1, 16])
def test_other_pe_counts(n_pe, tmp_path):
    for result in benches(tmp_path, n_pe=n_pe, seed=n_pe).run(
        ("lnzd", "ccu", "array"), first_config_only=True
    ):
        assert result.ok, result


def test_seeds(tmp_path):
    # The same seed gives the same stimulus, another seed another: the random tests differ in length.
    cycles = [
        [result.cycles for result in benches(tmp_path, seed=seed).run(("spmat_read",), "random_columns")]
        for seed in (1, 1, 2)
    ]
    assert cycles[0] == cycles[1] != cycles[2]


# ---- faults are found ---------------------------------------------------------------------------------------


def inverted(signal):
    """Change the Verilog so that `signal` is inverted."""
    return lambda text: re.subn(rf"assign {signal} = (.*);", rf"assign {signal} = ~(\1);", text)


def late(register, width):
    """Change the Verilog so that `register` takes its value one cycle late."""
    return lambda text: re.subn(
        rf"(  always @\(posedge clk\)\n    if \(rst\) {register} <= .*;\n    else {register} <= )(.*);",
        rf"  reg [{width - 1}:0] late = 0;\n  always @(posedge clk) late <= \2;\n\1late;",
        text,
    )


# Block, fault, the test that meets it first, and what that test has to report.
FAULTS = [
    ("act_queue", inverted("credit"), "one_column", "cycle 0: act_queue.credit: golden 1, RTL 0"),
    ("lnzd", inverted("child_pop"), "ties", "cycle 0: lnzd.child_pop: golden 0, RTL 15"),
    # Two codes are written in cycles 0 and 1; the entry is in stage 1 in cycle 2 and in stage 3 in cycle 4.
    ("arithm_unit", late("s3_row", 5), "four_stages", "cycle 4: arithm_unit.s3_row: golden 5, RTL 0"),
    ("ccu", inverted("bcast"), "broadcast", "cycle 0: ccu.bcast: golden 0, RTL 1"),
    # Two accumulators are written in cycles 0 and 1; a row is read in cycle 2, written in cycle 3.
    ("act_rw", late("y_valid", 1), "write_back_timing", "cycle 3: act_rw.y_valid: golden 1, RTL 0"),
]


def breaking(fault):
    def transform(sources):
        ((name, text),) = sources.items()
        broken, places = fault(text)
        assert places == 1
        return {name: broken}

    return transform


@pytest.mark.parametrize(("block", "fault", "test", "report"), FAULTS, ids=[f"{f[0]}-{f[2]}" for f in FAULTS])
def test_fault_is_found_in_its_first_cycle(block, fault, test, report, tmp_path):
    (result,) = benches(tmp_path, transform=breaking(fault)).run((block,), test, first_config_only=True)
    assert not result.ok
    lines = result.failures[test].splitlines()
    assert lines[0] == f"{block}: first divergence in {report}"
    assert (
        lines[-1].strip() == f"replay: make -C tests/cocotb SIM=icarus N=4 SEED=1 BLOCK={block} TEST={test}"
    )


def test_fault_inside_a_pe(tmp_path):
    # A PE is compared block by block: the report names the register, not the output that it spoils later.
    fault = late("s3_row", 5)
    (result,) = benches(tmp_path, transform=breaking(fault)).run(
        ("pe",), "life_of_a_column", first_config_only=True
    )
    report = result.failures["life_of_a_column"].splitlines()[0]
    assert re.fullmatch(r"pe: first divergence in cycle \d+: arithm_unit.s3_row: golden 2, RTL 0", report)


# ---- the command ---------------------------------------------------------------------------------------------


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "eie.sim.cosim.benches.run", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_make(tmp_path):
    done = subprocess.run(
        [
            *("make", "-C", BENCHES, f"PYTHON={sys.executable}", f"OUT={tmp_path}"),
            *("BLOCK=ptr_read", "TEST=even_and_odd", "WAVES=1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "icarus, 4 PEs, seed 1: 1 of 1 tests passed" in done.stdout
    assert (tmp_path / "ptr_read.fst").stat().st_size > 0


USER_BENCH = """
import cocotb
from common import SMALL
from eie.sim.cosim.benches.block import BlockBench
CONFIGS = {"small": SMALL}

@cocotb.test()
async def good(dut):
    bench = await BlockBench.start(dut)
    await bench.cycle()

@cocotb.test()
async def bad(dut):
    bench = await BlockBench.start(dut)
    await bench.table('''
        push push_col | count
        1    3        | 0
        0    .        | 2
    ''')
"""


@pytest.fixture
def user_bench(tmp_path):
    shutil.copy(BENCHES / "common.py", tmp_path)
    (tmp_path / "test_act_queue.py").write_text(USER_BENCH)
    return ("--block", "act_queue", "--folder", tmp_path, "--output", tmp_path / "out")


def test_failure_is_status_1(user_bench):
    status, out, _ = command(*user_bench, "--seed", 7)
    assert status == 1
    assert "FAILED act_queue small bad: cycle 1, row 1 of the table: count is 1, not 2" in out
    assert "replay: make -C tests/cocotb SIM=icarus N=4 SEED=7 BLOCK=act_queue\n" in out
    assert "1 of 2 tests passed" in out


def test_success_is_status_0(user_bench):
    status, out, _ = command(*user_bench, "--test", "good")
    assert (status, "1 of 1 tests passed" in out) == (0, True)


def test_unexecuted_test_is_status_1(user_bench, tmp_path):
    # cocotb gives parametrized tests other names, so this one is announced and not executed.
    text = USER_BENCH.replace("@cocotb.test()", "@cocotb.test()\n@cocotb.parametrize(n=[1])", 1)
    (tmp_path / "test_act_queue.py").write_text(text.replace("good(dut)", "good(dut, n)"))
    status, out, _ = command(*user_bench, "--test", "good")
    assert (status, "0 of 1 tests passed" in out) == (1, True)


def test_bad_input_is_status_2(user_bench):
    status, _, error = command(*user_bench, "--test", "goood")
    assert (status, error) == (
        2,
        "error: no test 'goood' in the bench of act_queue: use one of good, bad\n",
    )
    status, _, error = command(*user_bench, "--pe", 12)
    assert (status, error) == (2, "error: n_pe must be a power of two from 1 to 256, not 12\n")


def test_missing_bench(tmp_path):
    with pytest.raises(ConfigError, match=r"no bench .*test_lnzd\.py"):
        benches(tmp_path, folder=tmp_path).tests("lnzd")


# ---- small parts -----------------------------------------------------------------------------------------------


def test_setup_round_trip(monkeypatch):
    setup = Setup("ccu", ArchConfig(n_pe=16, bus_registers=1), "make again")
    for name, value in setup.to_environment().items():
        assert json.loads(value)
        monkeypatch.setenv(name, value)
    assert Setup.from_environment() == setup


def saved_view():
    """Signals of the saved view for GTKWave."""
    lines = (BENCHES / "array.gtkw").read_text().splitlines()
    return [line for line in lines if line[0] not in "[@-*"]


def test_saved_view_names_what_the_schema_declares(tmp_path):
    cfg = benches(tmp_path).configs("array")["small"]
    signals = saved_view()
    assert len(signals) == len(set(signals)) > 50
    for signal in signals[1:]:  # after clk
        *_, instance, name = signal.split(".")
        block = re.sub(r"^(eie_)?(array|lnzd).*", r"\2", instance)
        width = {field.name: field.width for field in fields(block, cfg)}[name.partition("[")[0]]
        assert name.partition("[")[1:] == (("", "") if width == 1 else ("[", f"{width - 1}:0]"))


def test_saved_view_names_are_in_the_waveform(tmp_path):
    made = Benches("icarus", 4, 1, BENCHES, tmp_path, waves=True)
    assert all(result.ok for result in made.run(("array",), "one_entry", first_config_only=True))
    variables = Waveform(str(tmp_path / "array.fst")).all_vars()
    names = {v.full_name if v.bitwidth == 1 else f"{v.full_name}[{v.bitwidth - 1}:0]" for v in variables}
    assert set(saved_view()) <= names
