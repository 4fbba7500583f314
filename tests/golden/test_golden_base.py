"""Wires, registers and blocks of the golden model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import LayerError
from eie.golden.array import Array
from eie.golden.base import Block
from eie.golden.blocks import block_class
from eie.golden.run import Host, feed
from eie.golden.sram import Sram
from eie.golden.waveform import scopes
from eie.schema import (
    BLOCK_NAMES,
    Field,
    Kind,
    Reg,
    SramPort,
    Wire,
    block_probe,
    fields,
    probe_width,
    unpack_probe,
)
from tests.support import ROOT
from tests.support.better_machines import SWITCHES, small
from tests.support.cases import seeded_case
from tests.support.chip_programs import chip_program, random_inputs

CFG = ArchConfig(n_pe=4, bus_registers=1)


@pytest.mark.parametrize("signal", [Wire(1), Reg(1)])
def test_a_signal_is_not_a_condition(signal: Wire) -> None:
    """A forgotten `.value` cannot pass as true."""
    with pytest.raises(TypeError, match=r"is neither true nor false: compare its \.value"):
        bool(signal)


def test_every_block_of_the_schema() -> None:
    """One class for each name, and its signals are the declared ones: no block puts another in the place of its own."""
    for name in BLOCK_NAMES:
        kind = block_class(name, CFG)
        for field, signal in zip(fields(name, CFG), kind(CFG).signals().values(), strict=True):
            # The outputs of a PE and of the array are those of the blocks inside.
            inside = name in ("pe", "array") and field.kind is Kind.OUT
            declared = Field(field.name, signal.width, signal.kind, signal.signed, signal.probed)
            assert (declared.width, declared.signed) == (field.width, field.signed), field
            assert inside or declared == field
            assert isinstance(signal, Reg) == signal.kind.is_register


@pytest.mark.parametrize("bus_registers", [0, 2])
def test_inside_an_array_every_input_is_as_wide_as_what_drives_it(bus_registers: int) -> None:
    """Connections go by name, and no width tells the simulator what does not fit."""
    cfg = ArchConfig(n_pe=16, bus_registers=bus_registers, acc_bits=32, src_depth=9, acc_depth=5, codebooks=3)
    for scope, block in scopes(Array(cfg)):
        for field in block.fields:
            signal = block.signal(field.name)
            assert (signal.width, signal.signed) == (field.width, field.signed), f"{scope}.{field.name}"


@pytest.mark.parametrize("name", SWITCHES)
def test_inside_a_better_machine_likewise(name: str) -> None:
    """Runs, lanes and pairs are wired by name, too."""
    cfg = small(SWITCHES[name])
    for scope, block in scopes(Array(cfg)):
        for field in block.fields:
            signal = block.signal(field.name)
            assert (signal.width, signal.signed) == (field.width, field.signed), f"{scope}.{field.name}"


def test_connect_wants_a_signal_for_every_input() -> None:
    queue = block_class("act_queue", CFG)(CFG)
    signals = queue.signals(Kind.IN)
    queue.connect(signals | {"credit": Wire()})
    with pytest.raises(KeyError, match="push_col"):
        queue.connect({name: signal for name, signal in signals.items() if name != "push_col"})


# Module, what it says, what it must not say, and mypy's complaint.
MISTAKES = [
    ("act_queue", "self.push.value", "self.psuh.value", '"ActQueue" has no attribute "psuh"'),
    ("act_queue", "self.credit.value", "self.credit.next", '"Wire" has no attribute "next"'),
    ("ptr_read", "even.wdata.value", "even.wdta.value", '"SramPort" has no attribute "wdta"'),
    ("sram", "port.addr", "port.adr", '"SramPort" has no attribute "adr"'),
]


def test_mypy_refuses_a_signal_that_is_not_declared(tmp_path: Path) -> None:
    """A misspelt one, read, written or connected, and the next value of what is no register."""
    texts = {module: (ROOT / "golden" / f"{module}.py").read_text() for module, *_ in MISTAKES}
    expected = set()
    for module, right, wrong, complaint in MISTAKES:
        before, _, after = texts[module].partition(right)
        assert after, f"golden/{module}.py has no {right}"
        texts[module] = before + wrong + after
        line = before.count("\n") + 1
        expected.add(f"eie/golden/{module}.py:{line}: error: {complaint}")
    # Silent about other modules, and without numpy: neither matters here, and it takes a tenth of the time.
    options = ["--no-site-packages", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    options += ["--no-error-summary", "--hide-error-codes"]
    for module, text in texts.items():
        (tmp_path / f"{module}.py").write_text(text)
        options += ["-m", f"eie.golden.{module}"]
        options += ["--shadow-file", f"eie/golden/{module}.py", str(tmp_path / f"{module}.py")]
    command = [sys.executable, "-m", "mypy", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    found = {line.partition("; maybe")[0] for line in run.stdout.splitlines()}
    assert found == expected, run.stderr


@pytest.mark.parametrize("name", [name for name in BLOCK_NAMES if name not in ("pe", "array")])
def test_block_probe(name: str) -> None:
    """The packed word holds each probed signal at its place, two's complement where it is negative."""
    rng = np.random.default_rng(7)
    block: Block = block_class(name, CFG)(CFG)
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
        state += [list(m) for m in (pe.act_queue.fifo, pe.arithm_unit.codes, pe.act_rw.src, pe.act_rw.acc)]
        state += [list(sram.memory) for sram in pe.srams.values()]
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

    feed(Checked(array), case.job.program, [case.job.x])
    assert changes > 50
    program = chip_program("on the chip")
    array = Array(program.cfg)
    state, changes = everything(array), 0
    feed(Checked(array), program, random_inputs(2, 30, 1))
    assert changes > 500


def test_sram() -> None:
    """A read takes a cycle and stays; a write leaves the output; an address past the depth reads 0."""
    sram, port = Sram(3, 8), SramPort("act", 2, 8)
    sram.connect(port)
    sram.load([10, 11])
    found = []
    for port.en.value, port.we.value, port.addr.value, port.wdata.value in [
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
    queue = block_class("act_queue", CFG)(CFG)
    queue.signal("start").value = 1
    queue.step()
    assert queue.signal("occupancy").value == 15
    ccu = block_class("ccu", CFG)(CFG)
    for name, value in (
        ("mode", 1),
        ("cycle", 2**32 - 1),
        ("root_valid", 1),
        ("broadcast_stalls", 2**32 - 1),
    ):
        ccu.signal(name).value = value
    ccu.step()
    assert (ccu.signal("cycle").value, ccu.signal("broadcast_stalls").value) == (0, 0)
