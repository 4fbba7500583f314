"""Wires, registers and blocks of the golden model."""

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import LayerError
from eie.golden.array import Array
from eie.golden.base import Block, Reg, Wire
from eie.golden.blocks import BLOCKS
from eie.golden.run import Host, feed, run_job
from eie.golden.sram import Sram
from eie.schema import BLOCK_NAMES, block_probe, fields, probe_width, unpack_probe
from tests.support.cases import seeded_case
from tests.support.chip_programs import chip_program, random_inputs

CFG = ArchConfig(n_pe=4, bus_registers=1)


@pytest.mark.parametrize("signal", [Wire(1), Reg(1)])
def test_a_signal_is_not_a_condition(signal: Wire) -> None:
    """A forgotten `.value` cannot pass as true."""
    with pytest.raises(TypeError, match=r"is neither true nor false: compare its \.value"):
        bool(signal)


def test_every_block_of_the_schema() -> None:
    """One class for each name, with the schema's fields as attributes, registers where it says so."""
    assert set(BLOCKS) == set(BLOCK_NAMES)
    for name, kind in BLOCKS.items():
        block = kind(CFG)
        for field in fields(name, CFG):
            assert isinstance(getattr(block, field.name), Wire), field
            if name not in ("pe", "array"):
                assert isinstance(getattr(block, field.name), Reg) == field.kind.is_register, field


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_declared_attributes_are_the_schema(name: str) -> None:
    """What a class lists for its readers is what the schema declares (numbered fields apart)."""
    numbered = ("child0_", "child1_", "child2_", "child3_", "bus0_")
    listed = set(BLOCKS[name].__annotations__)
    assert listed == {f.name for f in fields(name, CFG) if not f.name.startswith(numbered)}


def test_connect_refuses_what_is_no_input() -> None:
    with pytest.raises(AttributeError, match="block act_queue has no input 'credit'"):
        BLOCKS["act_queue"](CFG).connect(credit=Wire())


@pytest.mark.parametrize("name", [name for name in BLOCK_NAMES if name not in ("pe", "array")])
def test_block_probe(name: str) -> None:
    """The packed word holds each probed signal at its place, two's complement where it is negative."""
    rng = np.random.default_rng(7)
    block: Block = BLOCKS[name](CFG)
    places = block_probe(name, CFG)
    for place in places:
        value = int.from_bytes(rng.bytes(128), "little") & ((1 << place.field.width) - 1)
        if place.field.signed:
            value -= 1 << (place.field.width - 1)
        block.signal(place.field.name).value = value
    word = block.probe()
    assert word < 1 << probe_width(places)
    assert {p.name: v for p, v in unpack_probe(places, word)} == {
        p.name: block.signal(p.field.name).value for p in places
    }


def everything(array: Array) -> list[object]:
    """All state: registers and memories."""
    state: list[object] = [register.value for register in array.registers]
    state += [list(column.words) for column in array.ccu.table]
    for pe in array.pes:
        srams = (pe.even_sram, pe.odd_sram, pe.spmat_sram, pe.act_sram)
        state += [list(m) for m in (pe.act_queue.fifo, pe.arithm_unit.codes, pe.act_rw.src, pe.act_rw.acc)]
        state += [list(sram.memory) for sram in srams]
    return state


def test_state_changes_in_update_alone() -> None:
    """In every cycle of a whole run, propagate leaves every register and every memory as it is."""
    array = Array((case := seeded_case(2, kind="bypass")).cfg)
    state = everything(array)
    changes = 0

    class Checked(Host):
        def cycle(self) -> None:
            nonlocal state, changes
            assert everything(self.array) == state
            self.array.propagate()
            assert everything(self.array) == state
            self.array.update()
            changes += (now := everything(self.array)) != state
            state = now

    run_job(Checked(array), case.job, weights=True)
    assert changes > 50
    program = chip_program("on the chip")
    array = Array(program.cfg)
    state, changes = everything(array), 0
    feed(Checked(array), program, random_inputs(2, 30, 1))
    assert changes > 500


def test_sram() -> None:
    """A read takes a cycle and stays; a write leaves the output; an address past the depth reads 0."""
    sram = Sram(3)
    en, we, addr, wdata = (Wire() for _ in range(4))
    sram.connect(en=en, we=we, addr=addr, wdata=wdata)
    sram.load([10, 11])
    found = []
    for en.value, we.value, addr.value, wdata.value in [
        (1, 0, 1, 0),
        (0, 0, 0, 0),
        (1, 1, 0, 77),
        (0, 1, 0, 88),
        (1, 0, 0, 0),
        (1, 1, 3, 5),
        (1, 0, 3, 0),
    ]:
        sram.next_state()
        sram.write_memory()
        sram.rdata.value = sram.rdata.next
        found.append(sram.rdata.value)
    assert found == [11, 11, 11, 11, 77, 77, 0]
    assert sram.memory == [77, 11, 0]
    with pytest.raises(LayerError, match="an image of 4 words does not fit a memory of 3"):
        sram.load([0] * 4)


def test_registers_wrap_at_their_width() -> None:
    """A sum that leaves its register's width is cut, as in hardware."""
    queue = BLOCKS["act_queue"](CFG)
    queue.signal("start").value = 1
    queue.step()
    assert queue.signal("occupancy").value == 15
    ccu = BLOCKS["ccu"](CFG)
    for name, value in (
        ("mode", 1),
        ("cycle", 2**32 - 1),
        ("root_valid", 1),
        ("broadcast_stalls", 2**32 - 1),
    ):
        ccu.signal(name).value = value
    ccu.step()
    assert (ccu.signal("cycle").value, ccu.signal("broadcast_stalls").value) == (0, 0)
