"""The checks of an export: it passes for every kind of configuration, and each planted fault is found."""

import re
from functools import cache

import pytest

from eie import schema
from eie.config import ArchConfig
from eie.rtl.export.check import CheckReport, check_verilog
from eie.rtl.export.netlist import analyse
from eie.rtl.pe import LATE
from eie.rtl.verilog import _array_verilog, array_verilog, block_verilog
from eie.schema import PE_BLOCKS
from eie.sim.cosim import toolchain
from tests.support.machines import CFG, CONFIGS


@cache
def exported() -> dict[str, str]:
    return array_verilog(CFG)


def lint(files: dict[str, str], cfg: ArchConfig, *, probe: bool = False) -> CheckReport:
    return check_verilog(
        files,
        cfg,
        probe=probe,
        iverilog=toolchain.require("icarus").path,
        verilator=toolchain.require("verilator").path,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_export_is_clean(name: str) -> None:
    cfg, probe = CONFIGS[name], name != "32 PEs"
    report = lint(array_verilog(cfg, probe=probe), cfg, probe=probe)
    assert report.problems == ()
    assert report.simulators == ("iverilog", "verilator")
    nodes = sum(schema.lnzd_nodes(cfg))
    assert report.instances == cfg.n_pe * (1 + len(PE_BLOCKS) + 4) + nodes + 1
    assert report.modules == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"n_pe": 2},
        {"n_pe": 1, "issue": 2, "window": 2, "weight_bits": 5},
        {"n_pe": 4, "bus_registers": 1, "blocks": 5, "entries": 700, "src_depth": 12, "acc_depth": 9},
        {"n_pe": 2, "counters": 0},
        {"n_pe": 2, "blocks": 1, "entries": 16, "src_depth": 1, "acc_depth": 1, "window": 2},
        {"n_pe": 8, "segments": 2, "blocks": 5},
        {"n_pe": 4, "segments": 4},
    ],
)
def test_an_index_free_machine_is_clean(changes: dict[str, int]) -> None:
    """Without the two pointer SRAMs of each PE, and with a block table."""
    cfg = ArchConfig.preset("blocks", **changes)
    for probe in (False, True):
        report = lint(array_verilog(cfg, probe=probe), cfg, probe=probe)
        assert report.problems == ()
        nodes = sum(schema.lnzd_nodes(cfg))
        assert report.instances == cfg.n_pe * (1 + len(PE_BLOCKS) + 2) + nodes + cfg.segments + 1


def test_largest_array() -> None:
    cfg = ArchConfig(n_pe=256, entries=64, pointers=16, src_depth=2, acc_depth=2)
    report = check_verilog(array_verilog(cfg), cfg)
    assert (report.problems, report.simulators, report.instances) == ((), (), 256 * 10 + 85 + 1)


@pytest.mark.parametrize("block", [*PE_BLOCKS, "pe", "lnzd", "ccu"])
def test_a_block_alone(block: str) -> None:
    files = block_verilog(block, CFG)
    modules = analyse("\n".join(files.values()))
    assert [problem for module in modules.values() for problem in module.problems] == []
    layout = schema.pe_probe(CFG) if block == "pe" else schema.block_probe(block, CFG)
    assert modules[f"eie_{block}"].ports["probe"].width == schema.probe_width(layout)


def test_text_is_repeatable() -> None:
    text = array_verilog(CFG, probe=True)
    _array_verilog.cache_clear()
    assert array_verilog(CFG, probe=True) == text
    assert array_verilog(CFG, images=False) != array_verilog(CFG)


# ---- planted faults ------------------------------------------------------------------------------------------


def plant(file: str, pattern: str, replacement: str) -> tuple[str, ...]:
    """Problems found after one replacement in one exported file."""
    files = dict(exported())
    files[file], times = re.subn(pattern, replacement, files[file], count=1, flags=re.MULTILINE | re.DOTALL)
    assert times == 1, "the fault was not planted"
    return check_verilog(files, CFG).problems


FAULTS = {
    "undriven": (
        *("eie_pe.v", r"  assign spmat_we = .*?;\n", ""),
        "eie_spmat_read: spmat_we[0] is read and has no driver",
    ),
    "driven twice": (
        *("eie_ccu.v", r"^endmodule", "  assign rf_en = 1'h0;\nendmodule"),
        "eie_ccu: rf_en[0] is driven by an assignment and an assignment",
    ),
    "driven by a second always block": (
        *("eie_lnzd.v", r"^endmodule", "  always @(posedge clk) row[1] <= pop;\nendmodule"),
        "eie_lnzd: row[1] is driven by the always block of line",
    ),
    "driven by an instance and an assignment": (
        *("eie_array.v", r"^endmodule", "  assign pe003__credit = 1'h1;\nendmodule"),
        "eie_array: pe003__credit[0] is driven by",
    ),
    "port width": (
        *(
            "eie_pe.v",
            r"output \[15:0\] leaf_value;\n  wire \[15:0\]",
            "output [7:0] leaf_value;\n  wire [7:0]",
        ),
        "eie_pe: port leaf_value is Port(direction='output', width=8), not Port(direction='output', width=16)",
    ),
    "port direction": (
        *("eie_lnzd.v", "input begin_pass;", "output begin_pass;"),
        "eie_lnzd: port begin_pass is Port(direction='output', width=1), not Port(direction='input', width=1)",
    ),
    "missing PE": (
        *("eie_array.v", r"  eie_pe pe005 \(.*?\);\n", ""),
        "eie_array: instance pe005 is missing, not Placed(module='eie_pe', parameters={})",
    ),
    "missing node": (
        *("eie_array.v", r"  eie_lnzd lnzd_0_1 \(.*?\);\n", ""),
        "eie_array: instance lnzd_0_1 is missing",
    ),
    "wrong image": (
        *("eie_array.v", r"pe002_odd\.hex", "pe001_odd.hex"),
        "eie_array: instance pe002_odd is",
    ),
    "unconnected port": (
        *("eie_array.v", r"    \.push\([^,]*\),\n", ""),
        "eie_array: instance ccu: port push is not connected",
    ),
    "connection width": (
        *("eie_array.v", r"\.io_addr\(io_addr\)", ".io_addr(io_addr[1:0])"),
        "eie_array: ccu.io_addr has 10 bits and is connected to 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str) -> None:
    file, pattern, replacement, problem = FAULTS[fault]
    problems = plant(file, pattern, replacement)
    assert any(found.startswith(problem) for found in problems), problems


def test_each_simulator_reports() -> None:
    files = dict(exported())
    files["eie_ccu.v"] = files["eie_ccu.v"].replace(
        "endmodule", "wire [3:0] w = io_data;\nnonsense n();\nendmodule"
    )
    icarus, verilator = toolchain.require("icarus").path, toolchain.require("verilator").path
    for tool, paths in (("iverilog", {"iverilog": icarus}), ("verilator", {"verilator": verilator})):
        assert any(p.startswith(tool) for p in check_verilog(files, CFG, **paths).problems)


# ---- flip-flops ----------------------------------------------------------------------------------------------

# Counters that are a register and an event that is still to be counted.
LATE_COUNTERS = (
    ("spmat_read", "entries"),
    ("spmat_read", "empty_columns"),
    ("spmat_read", "spmat_reads"),
    ("arithm_unit", "bypasses"),
    ("arithm_unit", "saturations"),
    ("act_rw", "writeback_saturations"),
)
NOT_PROBED = {
    (
        "act_queue",
        "fifo",
    ): "memory, written with wr_ptr, push_col and push_value, which are compared; read as head_col, head_value",
    (
        "arithm_unit",
        "codes",
    ): "memory, compared at each write (the host's) and at each read (code_rdata, io_code)",
    ("act_rw", "leaf_row"): "an output that is compared (test_leaf_formal)",
    **{("ccu", name): "an output that is compared" for name in ("wb_en", "compute", "busy")},
    **{("ccu", name): "seen in rf_en, which is compared" for name in ("refill_begins", "refills_further")},
    ("ccu", "table_refills"): "memory, seen in rf_en, which is compared",
    ("ccu", "own_word"): "seen as io_rdata, which is compared",
    **{
        (block, f"{counter}_event"): "counted in the output of that counter, which is compared"
        for block, counter in LATE_COUNTERS
    },
    ("act_rw", "leaf_valid"): "an output that is compared (test_leaf_formal)",
    **{
        ("pe", f"{name}_late"): "compared in the CCU a cycle before, and what it does in s4_sum and y_value"
        for name in LATE
    },
    **{
        ("pe", f"io_{source}"): "seen as io_rdata, of which the CCU's register is compared"
        for source in ("codebook", "acc", "act", "counter")
    },
    (
        "act_rw",
        "src",
    ): "memory, compared at each write (host's, act_rdata, y_row, y_value) and read (leaf_value)",
    ("act_rw", "acc"): "memory, compared at each write (s4_row, s4_sum, y_row, y_value) and read (acc_rdata)",
    **{
        (
            "ccu",
            f"table_{register.name.lower()}",
        ): "memory, compared at each write (the host's) and at each read"
        for register in schema.config_registers(CFG)
    },
    ("sram", "mem"): "memory, compared at each write and read",
    ("sram", "rdata"): "probed as the PE's input even_rdata, odd_rdata, spmat_rdata, act_rdata",
}

# The last bus register is the broadcast, and bears its name.
SAME_AS = {"push": "bus0_valid", "push_col": "bus0_col", "push_value": "bus0_value"}
# What is compared is made of a register and one that `NOT_PROBED` has: the rows that wait, what is read, the counters.
MADE_OF = {"rest": "pending", "pe_word": "io_rdata"} | {
    f"{counter}_counted": counter for _, counter in LATE_COUNTERS
}


def flip_flops(cfg: ArchConfig) -> set[tuple[str, str]]:
    modules = analyse("\n".join(array_verilog(cfg).values()))
    return {(name, net) for name, module in modules.items() for net in module.registers}


def test_counters_can_be_left_out() -> None:
    left_out = flip_flops(CFG) - flip_flops(CFG.replace(counters=0))
    names = {counter.name.lower() for counter in schema.pe_counters(CFG)} | {*schema.CCU_COUNTERS, "cycle"}
    for _, counter in LATE_COUNTERS:
        names = names - {counter} | {f"{counter}_counted", f"{counter}_event"}
    # Nothing but the count of bypasses asks whether an operand was forwarded.
    assert {net for _, net in left_out} == names | {"s3_forwarded"}
    assert len(left_out) == len(names) + 1


def test_every_flip_flop_is_probed() -> None:
    modules = analyse("\n".join(exported().values()))
    found = set()
    for name, module in modules.items():
        # A register of which Yosys dropped a constant bit has a number for a name; a copy bears its own.
        named = {source: copy for copy, source in module.copies.items()}
        named |= SAME_AS if name == "eie_ccu" else {}
        named |= MADE_OF
        found |= {(name.removeprefix("eie_"), named.get(net, net)) for net in module.registers}
    declared = {
        (block, field.name)
        for block in schema.BLOCK_NAMES
        for field in schema.fields(block, CFG)
        if field.kind.is_register
    }
    probed = {
        (block, place.field.name)
        for block in (*PE_BLOCKS, "lnzd", "ccu")
        for place in schema.block_probe(block, CFG)
    }
    assert found - NOT_PROBED.keys() == declared
    assert declared <= probed
    assert NOT_PROBED.keys() <= found
