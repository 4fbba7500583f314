"""What the chip's mutants run: scripts that together reach every part of the host interface, and the pace of each."""

from __future__ import annotations

import numpy as np

from eie.axi import block_packet, read_packet, run_packet, write_packet
from eie.layer import CompressedLayer
from eie.program import Job
from eie.registers import Reg, pass_table_offset
from eie.schema import ConfigReg, IoSpace, config_registers, pe_counters
from eie.sim.cosim.chip.script import (
    Pauses,
    Read,
    Reset,
    Send,
    SendPart,
    Settle,
    Step,
    Together,
    UntilBusy,
    UntilInterrupt,
    Write,
)
from tests.support.cases import seeded_case
from tests.support.chip_scripts import CFG, DEPTH, GOOD, MALFORMED, control, random_script

# Accumulators beyond the activations, so that write-back can clip, queues that are soon full, and fillers. It has as
# many words of matrix as `CFG`.
CHIP = CFG.replace(acc_bits=24, queue_depth=3, index_bits=2, entries=640)
# Random scripts, and layers.
SCRIPTS = 6
JOBS = 5
_ONE_PE = (IoSpace.CONFIG, IoSpace.CONTROL, IoSpace.CODEBOOK)


def chip_stimulus(seed: int) -> list[tuple[list[Step], Pauses]]:
    """The scripts, each with its pauses; one after the other on the same chip."""
    quick, slow = Pauses(), Pauses(seed=seed, idle=0.3, back_pressure=0.5)
    jobs = [seeded_case(seed * 100 + number, [CHIP]).job for number in range(JOBS)]
    scripts = [
        (registers(seed), slow),
        (words(seed), slow),
        (limits(), quick),
        *((layer(job), (quick, slow)[number % 2]) for number, job in enumerate(jobs)),
        (layer(clipped(seed)), quick),
        (both_ways(), quick),
        (malformed(), quick),
        (given_up(jobs[0]), slow),
        (given_up_in_step(), quick),
        (busy(jobs[1]), quick),
        (by_register(jobs[2]), slow),
        (without_columns(), quick),
        *((random_script(seed * 100 + number), Pauses(number, 0.2, 0.2)) for number in range(SCRIPTS)),
        (resets(jobs[3]), quick),
    ]
    # Each begins without an error, also behind a fault that the one before left.
    return [([*script, Settle(), control("CLEAR_ERROR"), Settle()], pauses) for script, pauses in scripts]


def without_columns() -> list[Step]:
    """Pointers and pass table of zeros: with others, a run of random passes may have columns of any length."""
    pointers = [0] * DEPTH[IoSpace.PTR]
    script: list[Step] = [Send(write_packet(IoSpace.PTR, pointers, pe=pe)) for pe in range(CFG.n_pe)]
    return [*script, Send(write_packet(IoSpace.CONFIG, [0] * DEPTH[IoSpace.CONFIG])), Settle()]


def load(job: Job) -> list[Step]:
    """The packets that load a layer."""
    return [Send(block_packet(block)) for block in [*job.program.setup, *job.blocks]]


def layer(job: Job) -> list[Step]:
    """A layer loaded, run and read back, with all that it counted."""
    counters = read_packet(IoSpace.COUNTER, CFG.n_pe * len(pe_counters(CFG)), spread=True)
    results = read_packet(IoSpace.ACC, job.rows_per_pe * CFG.n_pe, spread=True)
    script = [*load(job), Send(run_packet(0)), Send(results), Send(counters), Settle()]
    return [*script, *(Read(reg.offset) for reg in Reg), Send(run_packet(0, quiet=True)), Settle()]


def clipped(seed: int) -> Job:
    """A layer that clips everything both ways, and keeps a queue full: one PE has nearly all of the work."""
    rng = np.random.default_rng((seed, 3))
    rows, cols = 8 * CFG.n_pe, 8 * CFG.n_pe
    codes = rng.integers(1, 16, (rows, cols)) * (rng.random((rows, cols)) < 0.1)
    codes[1 :: CFG.n_pe] = rng.integers(1, 16, (8, cols))
    codebook = [0, 32767, -32768, *rng.integers(-32768, 32768, 13)]
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), codebook, None, relu=False, product_shift=3)
    return Job.create(layer, rng.integers(-32768, 32768, cols), CHIP)


def registers(seed: int) -> list[Step]:
    """Every register, and every address beside one; the pass table with random words."""
    rng = np.random.default_rng((seed, 1))
    addresses = [4 * number for number in range(0x34)]
    addresses += [1 << bit for bit in range(2, 15)] + [0x100, 0x3FFC, 0x7FFC, 0x7F00]
    script: list[Step] = [Together([Read(address) for address in addresses])]
    # What are no registers, also one bit beside one; with bit 14, words of the pass table.
    beside = [1 << bit | reg.offset for bit in range(8, 15) for reg in Reg]
    script += [Together([Read(address) for address in beside])]
    script += [Together([Write(address, 0xFFFFFFFF) for address in beside])]
    table = [
        pass_table_offset(entry, register)
        for entry in range(CFG.passes + 1)
        for register in config_registers(CFG)
    ]
    for _ in range(2):
        words = rng.integers(0, 1 << 32, len(table)).tolist()
        script += [Together([Write(address, word) for address, word in zip(table, words, strict=True)])]
        script += [Together([Read(address) for address in table])]
    for strobes in (1, 2, 4, 6, 8, 14, 0):
        script += [Write(Reg.IRQ_ENABLE.offset, 3, strobes), Write(table[1], 1, strobes), Read(table[1])]
    for enabled in (1, 2, 3, 0):
        script += [Write(Reg.IRQ_ENABLE.offset, enabled), Read(Reg.IRQ_ENABLE.offset)]
        script += [Write(Reg.FIRST_PASS.offset, CFG.passes), Write(Reg.LAST_PASS.offset, enabled)]
        script += [Write(Reg.FIRST_PASS.offset, 3 - enabled), control("START"), Read(Reg.ERROR_CODE.offset)]
        script += [Read(Reg.ERROR_INFO.offset), Read(Reg.IRQ_STATUS.offset), control("CLEAR_ERROR"), Settle()]
        script += [Write(Reg.IRQ_STATUS.offset, enabled), Read(Reg.IRQ_STATUS.offset)]
        script += [Write(Reg.IRQ_STATUS.offset, 3), Settle()]
    for bit in range(3, 32):
        script += [Write(Reg.FIRST_PASS.offset, 1 << bit), Write(Reg.LAST_PASS.offset, 1 << bit)]
    return [*script, *(Write(4 * number, 0xFFFFFFFF) for number in range(0x10, 0x34)), Settle()]


def words(seed: int) -> list[Step]:
    """Random words into every memory whole, spread and to each PE, and back, up to the last of each."""
    rng = np.random.default_rng((seed, 2))
    script: list[Step] = []
    for space, depth in DEPTH.items():
        own = space in _ONE_PE
        if space not in (IoSpace.COUNTER, IoSpace.ACT, IoSpace.CONTROL):
            for pe in range(1 if own else CFG.n_pe):
                random = [int.from_bytes(rng.bytes(8), "little") for _ in range(depth)]
                script += [Send(write_packet(space, random, pe=pe))]
        if space in (IoSpace.ACC, IoSpace.ACT, IoSpace.ACT_SRAM):
            random = [int.from_bytes(rng.bytes(8), "little") for _ in range(2 * CFG.n_pe + 3)]
            script += [Send(write_packet(space, random, pe=2, addr=1, spread=True))]
        if space is not IoSpace.SPMAT:
            for pe in range(1 if own else CFG.n_pe):
                script += [Send(read_packet(space, depth, pe=pe))]
        else:
            script += [Send(read_packet(space, 9, pe=3, addr=depth - 9)), Send(read_packet(space, 20))]
        script += [Settle()]
        script += [Send(read_packet(space, 1, addr=depth - 1)), Send(read_packet(space, 2, addr=depth - 2))]
        if not own:
            script += [Send(read_packet(space, 2 * CFG.n_pe + 1, pe=1, addr=1, spread=True))]
            script += [Send(read_packet(space, CFG.n_pe + 1, addr=depth - 2, spread=True))]
        script += [Settle()]
    return [
        *script,
        *without_columns(),
        Read(Reg.WORDS_LOADED.offset),
        Read(Reg.WORDS_STORED.offset),
        Read(Reg.PACKETS.offset),
    ]


def malformed() -> list[Step]:
    """Every malformed packet: told, swallowed, and recovered from."""
    script: list[Step] = []
    told = (Reg.ERROR_CODE, Reg.ERROR_INFO, Reg.ERROR_PACKET, Reg.IRQ_STATUS, Reg.STATUS)
    for packet, _ in MALFORMED.values():
        script += [Send(packet), Send(GOOD), Settle(), *(Read(reg.offset) for reg in told)]
        script += [control("CLEAR_ERROR"), Write(Reg.IRQ_STATUS.offset, 3)]
        script += [Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)), Settle()]
    return script


def limits() -> list[Step]:
    """Counts, addresses and PEs with one bit set: all but the lowest are beyond, and told so one by one.

    Then addresses with many bits set, and the longest READ that there is.
    """
    packets = [read_packet(IoSpace.ACC, 1 + (1 << bit)) for bit in range(24)]
    packets += [read_packet(IoSpace.ACC, 1, addr=1 << bit) for bit in range(24)]
    packets += [read_packet(IoSpace.ACC, 1 + (1 << bit), spread=True) for bit in range(24)]
    packets += [read_packet(IoSpace.ACC, 1, pe=1 << bit) for bit in range(8)]
    packets += [run_packet(1 << bit, 1 << bit) for bit in range(8)]
    packets += [read_packet(IoSpace.ACC, 1, addr=addr) for addr in (0xFFFFFF, 0x555555, 0xAAAAAA)]
    packets += [read_packet(IoSpace.PTR, CFG.n_pe * DEPTH[IoSpace.PTR], spread=True)]
    # A word of the pass table right after ERROR_INFO: upper bits of the read data change.
    told = (Reg.ERROR_CODE.offset, Reg.ERROR_INFO.offset, pass_table_offset(0, ConfigReg.RELU))
    script: list[Step] = []
    for packet in packets:
        script += [Send(packet), Settle(), *map(Read, told), control("CLEAR_ERROR")]
    return script


def both_ways() -> list[Step]:
    """Registers of the pass table while packets write and read."""
    table = [pass_table_offset(entry, ConfigReg.RELU) for entry in range(CFG.passes)]
    script: list[Step] = []
    for bit in (0, 1):
        words = [0x5A5A * (number + 1) for number in range(8 * CFG.n_pe)]
        script += [Send(write_packet(IoSpace.ACC, words, spread=True))]
        writes: list[Write | Read] = [Write(address, bit) for address in table]
        script += [Together([*writes, *[Read(table[0])] * 4]), Settle()]
        script += [Send(read_packet(IoSpace.ACC, 8 * CFG.n_pe, spread=True))]
        reads: list[Write | Read] = [Read(address) for address in table]
        script += [Together([*reads, *writes, *reads]), Settle()]
    return script


def given_up(job: Job) -> list[Step]:
    """ABORT and SOFT_RESET in the midst of packets, READs and runs."""
    begun = write_packet(IoSpace.ACC, [7, 8, 9, 10], pe=2)
    rest = write_packet(IoSpace.ACC, [91, 92, 93], pe=1)
    back = [Send(read_packet(IoSpace.ACC, 4, pe=1)), Send(read_packet(IoSpace.ACC, 4, pe=2)), Settle()]
    script: list[Step] = []
    for first, second in (("ABORT", "ABORT"), ("SOFT_RESET", "ABORT"), ("ABORT", "SOFT_RESET")):
        for length in (1, 2, 3):
            script += [SendPart(begun[:length]), control("START"), control(first), Read(Reg.STATUS.offset)]
            script += [Read(Reg.ERROR_CODE.offset), control(second), Read(Reg.STATUS.offset), Send(rest)]
            script += [Send(GOOD), Settle(), Read(Reg.PACKETS.offset), control("CLEAR_ERROR"), *back]
    for bit in ("SOFT_RESET", "ABORT"):
        script += [Send([0b11]), SendPart(begun[:3]), control("SOFT_RESET"), control("SOFT_RESET"), *back]
        many = read_packet(IoSpace.ACC, 32, spread=True)
        script += [Send(many), Read(Reg.STATUS.offset), control(bit), Send(GOOD), Settle()]
        script += [control("CLEAR_ERROR"), *load(job), Settle(), Send(run_packet(0)), UntilBusy(), Send(rest)]
        script += [control(bit), Read(Reg.ERROR_CODE.offset), Settle(), control("CLEAR_ERROR"), *back]
    return [*script, control("ABORT", "START"), control("CLEAR_ERROR", "START"), Settle()]


def given_up_in_step() -> list[Step]:
    """ABORT in every cycle of a WRITE that is longer than its header says, and while words are swallowed."""
    script: list[Step] = []
    for length in range(1, 17):
        packet = write_packet(IoSpace.ACT_SRAM, [1] * length, pe=1)
        # Words are loaded from the header's third cycle on; a read takes a few cycles.
        for reads in range(3):
            wait = [Read(Reg.STATUS.offset)] * reads
            script += [
                Send([*packet, 0, 0, 0]),
                *wait,
                control("ABORT"),
                Read(Reg.ERROR_CODE.offset),
                Settle(),
            ]
            script += [control("CLEAR_ERROR"), Settle()]
    for first in ("ABORT", "SOFT_RESET"):
        for second in ("ABORT", "SOFT_RESET"):
            script += [
                Send([0b11, *[0] * 60]),
                control(first),
                control(second),
                Settle(),
                control("CLEAR_ERROR"),
            ]
    return [*script, Send(GOOD), Settle()]


def busy(job: Job) -> list[Step]:
    """What a chip at work refuses."""
    script = [
        *load(job),
        Settle(),
        control("START"),
        control("START"),
        Write(pass_table_offset(0, ConfigReg.RELU), 1),
    ]
    script += [Read(pass_table_offset(0, ConfigReg.RELU)), Write(Reg.FIRST_PASS.offset, 1)]
    script += [
        Write(Reg.LAST_PASS.offset, 1),
        Read(Reg.FIRST_PASS.offset),
        Read(Reg.STATUS.offset),
        Send(GOOD),
    ]
    script += [Settle(), Read(Reg.ERROR_CODE.offset), control("CLEAR_ERROR"), Settle()]
    script += [Send(run_packet(0)), UntilBusy(), control("START"), control("CLEAR_ERROR"), Settle()]
    return [*script, Read(Reg.ERROR_PACKET.offset), Read(Reg.STATUS.offset)]


def by_register(job: Job) -> list[Step]:
    """Pass after pass by registers, the table too; with and without the interrupt."""
    table = {write.addr: write.data for write in job.load_writes() if write.space is IoSpace.CONFIG}
    script = [
        Send(block_packet(b)) for b in [*job.program.setup, *job.blocks] if b.space is not IoSpace.CONFIG
    ]
    steps: list[Step] = [*script, Settle()]
    for entry, enable in ((2, 1), (4, 0), (0, 3)):
        steps += [Write(Reg.IRQ_ENABLE.offset, enable)]
        steps += [
            Together([Write(pass_table_offset(entry, ConfigReg(r)), value) for r, value in table.items()])
        ]
        steps += [Together([Read(pass_table_offset(entry, ConfigReg(r))) for r in table])]
        steps += [Write(Reg.FIRST_PASS.offset, entry), Write(Reg.LAST_PASS.offset, entry), Settle()]
        steps += [
            control("START"),
            *([UntilInterrupt()] if enable else []),
            Read(Reg.IRQ_STATUS.offset),
            Settle(),
        ]
        steps += [Write(Reg.IRQ_STATUS.offset, 1), Read(Reg.STATUS.offset)]
        steps += [Send(run_packet(entry, quiet=True)), Settle(), Send(run_packet(entry)), Settle()]
        steps += [Write(Reg.IRQ_STATUS.offset, 3), Settle()]
    return steps


def resets(job: Job) -> list[Step]:
    """`rst` in a run, in a packet, in a READ and in an error; everything works afterwards."""
    script: list[Step] = []
    for polls in range(3):
        script += [*load(job), Settle(), Send(run_packet(0)), UntilBusy()]
        script += [*[Read(Reg.STATUS.offset)] * polls, Reset(), Read(Reg.STATUS.offset)]
    # A source that is not reset goes on.
    for cycles in (1, 2, 3):
        rest = [0] * cycles + write_packet(IoSpace.ACC, [91, 92, 93], pe=1)
        script += [SendPart(GOOD[:3]), Reset(rest, cycles), Settle(), Read(Reg.ERROR_CODE.offset)]
        script += [control("CLEAR_ERROR"), Send(read_packet(IoSpace.ACC, 4, pe=1)), Settle()]
    # One that falls silent for long enough was reset as well.
    script += [SendPart(GOOD[:3]), Reset([0, 0], 12, ends=False), Send(GOOD), Settle()]
    script += [
        SendPart(GOOD[:2]),
        Reset(cycles=2),
        Read(Reg.ERROR_CODE.offset),
        Send([0b11]),
        Settle(),
        Reset(),
    ]
    script += [*(Read(reg.offset) for reg in Reg), Write(Reg.IRQ_ENABLE.offset, 3), Reset()]
    return [*script, Read(Reg.IRQ_ENABLE.offset), *layer(job), Send(GOOD), Settle()]
