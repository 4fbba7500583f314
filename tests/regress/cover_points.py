"""Functional cover points: what has to happen in a run that tests the chip, as expressions of the RTL's signals."""

from __future__ import annotations

import re
from collections.abc import Mapping

from eie.axi import ErrorCode
from eie.config import ArchConfig
from eie.rtl.host.commands import State
from eie.schema import Mode

# Each hit of an instance writes a line into this file of the run's folder, once.
FILE = "cover.txt"
_MODES = [
    (Mode.IO, Mode.REFILL),
    (Mode.REFILL, Mode.COMPUTE),
    (Mode.COMPUTE, Mode.WRITEBACK),
    (Mode.WRITEBACK, Mode.REFILL),
    (Mode.WRITEBACK, Mode.IO),
]
_STATES = [
    (State.HEADER, State.CHECK),
    *((State.CHECK, after) for after in (State.WRITE, State.READ, State.FIRST, State.SWALLOW, State.HEADER)),
    *((State.WRITE, after) for after in (State.HEADER, State.SWALLOW)),
    (State.READ, State.HEADER),
    (State.FIRST, State.LAST),
    (State.LAST, State.START),
    (State.START, State.HEADER),
    (State.SWALLOW, State.HEADER),
]


def cover_points(cfg: ArchConfig) -> dict[str, dict[str, str]]:
    """By module and name: an expression; `was_x` is register x in the cycle before."""
    acc, act = (1 << cfg.acc_bits - 1) - 1, (1 << cfg.act_bits - 1) - 1
    return {
        "eie_act_queue": {
            "queue full": f"occupancy == {cfg.queue_depth}",
            "in and out of the queue in one cycle": "push && pop",
        },
        "eie_arithm_unit": {
            "bypass of one": "forward1",
            "bypass of two": "forward2 && !forward1",
            "accumulator clipped above": f"s3_write && $signed(total) > 48'sd{acc}",
            "accumulator clipped below": f"s3_write && $signed(total) < -48'sd{acc + 1}",
            "filler": "entry && v == 0",
        },
        "eie_spmat_read": {
            "empty column": "start && p_start == p_end",
            "held word": "issue && !read",
            "word read": "issue && read",
        },
        "eie_act_rw": {
            "activation clipped above": f"y_valid && $signed(rounded) > 48'sd{act}",
            "activation clipped below": f"y_valid && $signed(rounded) < -48'sd{act + 1}",
            "ReLU": "y_valid && relu && y_acc[" + f"{cfg.acc_bits - 1}]",
        },
        "eie_lnzd": {
            "offers one behind the other": "pop && |child_pop",
            "equal rows": "child0_valid && child1_valid && child0_row == child1_row && child_pop[0]",
        },
        "eie_ccu": {
            "broadcast waits for credit": "compute && root_valid && !bcast",
            **{
                f"mode {before.name} to {after.name}": f"was_mode == {before:d} && mode == {after:d}"
                for before, after in _MODES
            },
        },
        "eie_host_if": {
            "result queue full": "results_queue_valid3",
            "no room for a result": "results_free == 0",
            "register access waits in READ": f"registers_op_wait && decoder_state == {State.READ:d}",
            "register access waits in WRITE": f"registers_op_wait && decoder_state == {State.WRITE:d}",
            "register write waits in a run": "registers_op_wait && registers_op_write && arbiter_running",
            "packet cut by a reset": "cut",
            "interrupt": "irq",
            **{
                f"error {code.name}": f"status_values__error_code == {code:d}"
                for code in ErrorCode
                if code is not ErrorCode.NONE
            },
            **{
                f"decoder {before.name} to {after.name}": (
                    f"was_decoder_state == {before:d} && decoder_state == {after:d}"
                )
                for before, after in _STATES
            },
        },
    }


def with_cover_points(sources: Mapping[str, str], cfg: ArchConfig) -> dict[str, str]:
    """The Verilog with a watcher in each module, which writes the points that it sees into `FILE`."""
    points = cover_points(cfg)

    def watched(module: re.Match[str]) -> str:
        mine = points.get(module[1])
        return module[0] + (_watcher(mine) if mine else "")

    whole = re.compile(r"^module (\w+)(?:(?!^endmodule$).)*(?=^endmodule$)", re.MULTILINE | re.DOTALL)
    return {name: whole.sub(watched, text) for name, text in sources.items()}


def _watcher(points: Mapping[str, str]) -> str:
    lines = ["  integer cover_file;"]
    for name in sorted(set(re.findall(r"\bwas_(\w+)", " ".join(points.values())))):
        lines += [f"  reg [2:0] was_{name} = 0;", f"  always @(posedge clk) was_{name} <= {name};"]
    for number, (name, when) in enumerate(points.items()):
        lines += [
            f"  reg covered_{number} = 0;",
            f"  always @(posedge clk) if (!rst && !covered_{number} && ({when})) begin",
            f"    covered_{number} <= 1;",
            f'    cover_file = $fopen("{FILE}", "a");',
            f'    $fdisplay(cover_file, "{name}");',
            "    $fclose(cover_file);",
            "  end",
        ]
    return "\n".join(lines) + "\n"
