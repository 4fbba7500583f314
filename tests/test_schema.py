"""The probe schema: layouts that do not overlap, and names that Verilog can have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.config import ArchConfig
from eie.schema import BLOCK_NAMES, ccu_probe, fields, lnzd_nodes, pe_probe, probe_width, unpack_probe

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
