"""The Python driver on the golden chip: a layer, interrupts, errors, packets that are given up."""

import numpy as np
import pytest

from eie.axi import ErrorCode, write_packet
from eie.config import ArchConfig
from eie.driver import ChipError, Driver
from eie.errors import SimulationError
from eie.golden.chip import Chip
from eie.registers import Reg
from eie.schema import IoSpace
from eie.sim.simulate import simulate_many
from tests.support.cases import seeded_case

CFG = ArchConfig(
    n_pe=4, entries=512, pointers=128, src_depth=8, acc_depth=8, act_words=40, passes=5, codebooks=3
)
PATIENCE = 20


class GoldenBus:
    """The golden chip's packets and registers as a bus; a run ends while STATUS is polled."""

    def __init__(self, cfg, magic=None):
        self.chip = Chip(cfg)
        self.magic = magic
        self.words = []

    def rd(self, offset):
        if offset == Reg.STATUS.offset and self.chip.open is None:
            self.chip.wait()
        for packet in self.chip.results:
            self.words += packet
        self.chip.results.clear()
        value, _ = self.chip.read(offset)
        if offset == Reg.STATUS.offset and self.words:
            value |= Reg.STATUS.mask("RESULT")
        return self.magic if offset == Reg.ID.offset and self.magic is not None else value

    def wr(self, offset, value):
        self.chip.write(offset, value)

    def send(self, words):
        self.chip.send(words)

    def receive(self, count):
        found, self.words = self.words[:count], self.words[count:]
        assert len(found) == count
        return found


@pytest.fixture
def bus():
    return GoldenBus(CFG)


@pytest.fixture
def driver(bus):
    return Driver(bus, patience=PATIENCE)


def test_a_layer_by_packet_and_by_register(bus, driver):
    job = seeded_case(1, [CFG]).job
    want = simulate_many([job], "reference")[0].y.tolist()
    driver.irq_enable("DONE")
    for start in (driver.run, driver.start):
        for block in [*job.program.setup, *job.blocks]:
            driver.load(block.space, block.words, pe=block.pe, addr=block.addr, spread=block.spread)
        start(0, 0)
        found = driver.read(IoSpace.ACC, job.rows_per_pe * CFG.n_pe, spread=True)
        assert np.array(found, np.uint64).astype(np.int16)[: len(want)].tolist() == want
        assert driver.counters().cycles == simulate_many([job], "fast")[0].cycles
        assert bus.chip.irq
        assert driver.irq_take() == ("DONE",)
        assert not bus.chip.irq


def test_errors(driver):
    driver.load(IoSpace.ACC, [1, 2], addr=1 << 20)
    with pytest.raises(ChipError, match="ADDRESS") as caught:
        driver.wait()
    assert caught.value.code is ErrorCode.ADDRESS
    with pytest.raises(ChipError, match="ADDRESS"):
        driver.read(IoSpace.ACC, 1)
    driver.clear_error()
    with pytest.raises(ChipError, match="PASS"):
        driver.start(1, 0)
    driver.clear_error()
    assert driver.read(IoSpace.ACC, 2) == [0, 0]


def test_a_packet_that_is_given_up(bus, driver):
    begun = write_packet(IoSpace.ACC, [7, 8, 9, 10])
    trap = write_packet(IoSpace.ACC, [91, 92, 93])
    bus.chip.send_part(begun[:3])
    with pytest.raises(TimeoutError):
        driver.abort()
    bus.chip.send(trap)
    driver.abort()  # the rest came: it is over
    assert driver.read(IoSpace.ACC, 4) == [7, 8, 0, 0]
    bus.chip.send_part(begun[:2])
    driver.forget()
    assert driver.read(IoSpace.ACC, 4) == [7, 8, 0, 0]
    driver.abort()
    driver.check()


def test_another_chip():
    with pytest.raises(SimulationError, match="ID 0x00000001"):
        Driver(GoldenBus(CFG, magic=1))
