"""The probe schema: layouts that do not overlap, and names that Verilog can have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.config import ArchConfig
from eie.schema import (
    BLOCK_NAMES,
    CCU_COUNTERS,
    COUNTER_BITS,
    ccu_probe,
    config_fields,
    config_registers,
    fields,
    lnzd_nodes,
    pe_counters,
    pe_probe,
    probe_width,
    unpack_probe,
)

VERILOG_KEYWORDS = {
    "begin",
    "end",
    "input",
    "output",
    "reg",
    "wire",
    "module",
    "initial",
    "always",
    "case",
    "for",
    "if",
}


@pytest.mark.parametrize("n_pe", [2**i for i in range(9)])
def test_fields_and_probes(n_pe):
    cfg = ArchConfig(n_pe=n_pe, bus_registers=n_pe % 3)
    for block in BLOCK_NAMES:
        names = [field.name for field in fields(block, cfg)]
        assert len(names) == len(set(names)), block
        assert not VERILOG_KEYWORDS & set(names)
        assert all(field.width >= 1 for field in fields(block, cfg))
        # Every register is compared.
        assert all(field.probed for field in fields(block, cfg) if field.kind.is_register)
    for probe in (pe_probe(cfg), ccu_probe(cfg)):
        assert [p.low for p in probe] == np.cumsum([0, *[p.field.width for p in probe]])[:-1].tolist()
        assert len({p.name for p in probe}) == len(probe)
    nodes = lnzd_nodes(cfg)
    assert nodes[-1] == 1
    assert 4 * nodes[0] >= n_pe


def test_without_counters_nothing_but_the_counters_is_not_compared():
    cfg = ArchConfig(n_pe=4, counters=0)
    registers = [field for block in BLOCK_NAMES for field in fields(block, cfg) if field.kind.is_register]
    left_out = {field.name for field in registers if not field.probed}
    assert left_out == {counter.name.lower() for counter in pe_counters(cfg)} | {*CCU_COUNTERS, "cycle"}
    assert all(field.width == COUNTER_BITS for field in registers if not field.probed)


def test_registers_of_a_pass_are_in_the_order_of_their_addresses():
    cfg = ArchConfig(n_pe=2, acc_depth=5, src_depth=9, act_words=33, pointers=20, entries=100, codebooks=3)
    widths = {field.name: field.width for field in config_fields(cfg)}
    assert list(widths) == [register.name.lower() for register in config_registers(cfg)]
    # Rows count up to the depth itself; addresses reach the last word.
    assert (widths["wb_rows"], widths["acc_rows"], widths["src_rows"]) == (4, 4, 5)
    assert {widths[name] for name in ("wb_base", "acc_base", "src_base")} == {6}
    assert (widths["ptr_base"], widths["spmat_base"], widths["codebook"]) == (5, 4, 2)


@given(st.integers(0, 2**32))
def test_unpack(seed):
    probe = pe_probe(ArchConfig(n_pe=4))
    word = int.from_bytes(np.random.default_rng(seed).bytes(probe_width(probe) // 8), "little")
    packed = 0
    for place, value in unpack_probe(probe, word):
        low = -(1 << (place.field.width - 1)) if place.field.signed else 0
        assert low <= value < low + (1 << place.field.width)
        packed |= (value & ((1 << place.field.width) - 1)) << place.low
    assert packed == word
