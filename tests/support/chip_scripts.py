"""Scripts of a host that drives the chip over its buses, right and wrong."""

import numpy as np

from eie.axi import (
    Command,
    ErrorCode,
    Header,
    read_packet,
    run_packet,
    space_words,
    write_packet,
)
from eie.config import ArchConfig
from eie.registers import Reg, pass_table_offset
from eie.schema import ConfigReg, IoSpace
from eie.sim.cosim.chip.script import (
    Read,
    Send,
    Settle,
    Write,
)

CFG = ArchConfig(
    n_pe=4, entries=512, pointers=128, src_depth=8, acc_depth=8, act_words=40, passes=5, codebooks=3
)


def control(*bits):
    return Write(Reg.CONTROL.offset, sum(Reg.CONTROL.mask(bit) for bit in bits))


def header(command, space=0, **fields):
    return Header(command, space, **fields).pack()


DEPTH = {space: space_words(space, CFG) for space in IoSpace}
GOOD = write_packet(IoSpace.ACC, [11, 22, 33], pe=1, addr=2)
MALFORMED = {
    "reserved command": ([header(3, IoSpace.ACC, count=2), 1, 2], ErrorCode.COMMAND),
    "reserved bit": ([header(Command.WRITE, IoSpace.ACC, count=1, reserved=1), 1], ErrorCode.COMMAND),
    "no such space": ([header(Command.WRITE, 9, count=1), 1], ErrorCode.SPACE),
    "no such space to read": ([header(Command.READ, 15, count=1)], ErrorCode.SPACE),
    "counters are read only": (write_packet(IoSpace.COUNTER, [1]), ErrorCode.SPACE),
    "spread over the pass table": (write_packet(IoSpace.CONFIG, [1], spread=True), ErrorCode.SPACE),
    "spread over codebooks": (write_packet(IoSpace.CODEBOOK, [1, 2], spread=True), ErrorCode.SPACE),
    "no such PE": (write_packet(IoSpace.ACC, [1, 2], pe=CFG.n_pe), ErrorCode.PE),
    "no such PE to read": (read_packet(IoSpace.ACC, 1, pe=255), ErrorCode.PE),
    "count 0": ([header(Command.WRITE, IoSpace.ACC)], ErrorCode.COUNT),
    "count 0 with data": ([header(Command.WRITE, IoSpace.ACC), 1, 2], ErrorCode.COUNT),
    "count 0 to read": ([header(Command.READ, IoSpace.ACC)], ErrorCode.COUNT),
    "a pass too far": ([header(Command.RUN, addr=CFG.passes << 8)], ErrorCode.PASS),
    "passes in the wrong order": (run_packet(2, 1), ErrorCode.PASS),
    "early TLAST": (write_packet(IoSpace.ACC, [1, 2, 3])[:-1], ErrorCode.TLAST_EARLY),
    "early TLAST, no data": (write_packet(IoSpace.ACC, [1])[:1], ErrorCode.TLAST_EARLY),
    "late TLAST": ([*write_packet(IoSpace.ACC, [1, 2]), 3], ErrorCode.TLAST_LATE),
    "very late TLAST": ([*write_packet(IoSpace.ACC, [1, 2]), *[9] * 40], ErrorCode.TLAST_LATE),
    "READ with data": ([*read_packet(IoSpace.ACC, 1), 5], ErrorCode.TLAST_LATE),
    "RUN with data": ([*run_packet(0), 5], ErrorCode.TLAST_LATE),
}


for _space, _depth in DEPTH.items():
    MALFORMED |= {
        f"{_space.name} beyond": (read_packet(_space, 1, addr=_depth), ErrorCode.ADDRESS),
        f"{_space.name} over the end": (read_packet(_space, 3, addr=_depth - 2), ErrorCode.ADDRESS),
        f"{_space.name} far beyond": (
            read_packet(_space, (1 << 24) - 1, addr=(1 << 24) - 1),
            ErrorCode.ADDRESS,
        ),
    }
MALFORMED |= {
    "vector over the end": (
        read_packet(IoSpace.ACC, CFG.n_pe * 8, pe=1, spread=True),
        ErrorCode.ADDRESS,
    ),
    "write over the end": (
        write_packet(IoSpace.ACC, [1, 2, 3], addr=DEPTH[IoSpace.ACC] - 2),
        ErrorCode.ADDRESS,
    ),
}


def random_script(seed):
    """Good and malformed packets and accesses in any order, with what settles in between."""
    rng = np.random.default_rng(seed)
    malformed = [packet for packet, _ in MALFORMED.values() if len(packet) < 60]

    def number(high):
        return int(rng.integers(high))

    def packet():
        kind = number(8)
        space = IoSpace([*IoSpace][number(9)])
        spread = bool(number(2)) and space not in (IoSpace.CONFIG, IoSpace.CONTROL, IoSpace.CODEBOOK)
        count = 1 + number(DEPTH[space])
        if kind == 0:
            return malformed[number(len(malformed))]
        if kind < 4 and space not in (IoSpace.COUNTER, IoSpace.CONTROL, IoSpace.PTR, IoSpace.CONFIG):
            words = [int.from_bytes(rng.bytes(8), "little") for _ in range(min(count, 20))]
            return write_packet(space, words, pe=number(4), addr=number(2), spread=spread)
        if kind == 4:
            return run_packet(number(2), number(5), quiet=bool(number(2)))
        return read_packet(space, min(count, 9), pe=number(4), addr=number(3), spread=spread)

    script = []
    for _ in range(40):
        kind = number(6)
        if kind < 3:
            script += [Send(packet()) for _ in range(1 + number(3))]
        elif kind == 3:
            script += [Settle(), Read([*Reg][number(len(Reg))].offset), Read(4 * number(1 << 13))]
        elif kind == 4:
            script += [
                Settle(),
                Write(4 * number(64), number(16)),
                Settle(),  # it may have been START
                Write(pass_table_offset(number(7), ConfigReg.RELU), 1),
            ]
        else:
            script += [
                Settle(),
                control(*(["CLEAR_ERROR"] if number(3) else ["CLEAR_ERROR", "START"])),
                Settle(),
            ]
    return [
        *script,
        Settle(),
        control("CLEAR_ERROR"),
        Settle(),
        Send(GOOD),
        Send(read_packet(IoSpace.ACC, 3, pe=1, addr=2)),
        Settle(),
    ]
