"""PE: one processing element, five blocks wired together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eie import schema
from eie.config import ArchConfig
from eie.golden.act_queue import ActQueue
from eie.golden.act_rw import ActRW
from eie.golden.arithm_unit import ArithmUnit
from eie.golden.base import Block, sign_extend
from eie.golden.ptr_read import PtrRead
from eie.golden.run_queue import RunQueue
from eie.golden.run_read import RunRead
from eie.golden.run_rows import RunRows
from eie.golden.spmat_read import SpmatRead
from eie.golden.window import Window
from eie.schema import PE_BLOCKS, IoSpace, Kind, Piece, Reg, Wire, pe_counters, pe_probe, pieces_of

Visit = Callable[[], None]

# How the names of the I/O port's strobes begin.
STROBES = ("io_write", "io_read")
# As numbers: an enumeration's own member takes as long to look up as the rest of a comparison.
CONFIG, SPMAT, PTR, CODEBOOK = (
    int(space) for space in (IoSpace.CONFIG, IoSpace.SPMAT, IoSpace.PTR, IoSpace.CODEBOOK)
)
ACC, ACT, ACT_SRAM, COUNTER = int(IoSpace.ACC), int(IoSpace.ACT), int(IoSpace.ACT_SRAM), int(IoSpace.COUNTER)
# Spaces whose words come from an SRAM.
SRAMS = (SPMAT, PTR, ACT_SRAM)
# Of the pass's configuration, what the blocks get a cycle later.
LATE = ("product_shift", "relu", "output_shift", "wb_target")


class PE(schema.PE):
    """Takes a broadcast column to its accumulators. The SRAMs are beside it.

    first : the PE of the array whose registers of configuration are this one's, too.

    Members: act_queue, ptr_read, spmat_read, arithm_unit, act_rw, and `blocks`, all five by name.
    """

    def __init__(
        self, cfg: ArchConfig, inputs: Mapping[str, Wire] | None = None, first: PE | None = None
    ) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        if inputs is not None:
            self.connect(inputs)
        self.act_queue = RunQueue(cfg) if cfg.filter_empty else ActQueue(cfg)
        self.ptr_read = RunRows(cfg) if cfg.index_free else PtrRead(cfg) if cfg.walks else RunRead(cfg)
        self.spmat_read = SpmatRead(cfg) if cfg.walks else Window(cfg)
        self.arithm_unit = ArithmUnit(cfg)
        self.act_rw = ActRW(cfg)
        self.blocks: dict[str, Block] = {name: getattr(self, name) for name in PE_BLOCKS}
        # What has a register in the PE itself: configuration that comes a cycle later, and the word for the I/O port.
        # All PEs of an array have the same configuration: the first one's registers stand for all.
        self.late: list[tuple[Reg, Wire]] = (
            [] if first else [(Reg(wire.width), wire) for wire in (self.signal(name) for name in LATE)]
        )
        self.configuration: list[Reg] = (
            first.configuration if first else [register for register, _ in self.late]
        )
        self.io_word = Reg(self.io_rdata.width)
        self._connect()
        self.data_mask = self.io_rdata.mask
        registers = self.block_signals(Kind.OUT_REG)
        # A machine without relative rows has no fillers to count.
        self.counters = [registers.get(counter.name.lower(), Reg(0)) for counter in pe_counters(cfg)]
        self.counter_mask = 15 if cfg.issue > 1 else 7
        act_rw = self.act_rw
        self.words = {ACC: act_rw.acc_rdata, ACT: act_rw.leaf_value, CODEBOOK: self.arithm_unit.io_code}
        # Whether the blocks' strobes may be other than 0.
        self.strobed = True
        # A fixed order in which nothing reads an output before it is computed. The credit comes first: the CCU
        # broadcasts by it, and everything else may depend on the broadcast.
        self.credit_visits: list[Visit] = [self.act_queue.outputs]
        self.output_visits: list[Visit] = [
            self.strobes,
            self.act_rw.outputs,
            self.ptr_read.pointers,
            self.spmat_read.outputs,
            self.ptr_read.ports if isinstance(self.ptr_read, PtrRead) else self.ptr_read.outputs,
            self.arithm_unit.outputs,
            self.status,
        ]
        self.state_visits: list[Visit] = [block.next_state for block in self.blocks.values()]
        self.state_visits.append(self.keep)
        self.memory_visits: list[Visit] = [
            self.act_queue.write_memories,
            self.arithm_unit.write_memories,
            self.act_rw.write_memories,
        ]
        self.registers = [register for block in self.blocks.values() for register in block.registers]
        self.registers += [self.io_word, *(register for register, _ in self.late)]

    def _connect(self) -> None:
        """Connect every input of a block, and every output of the PE, to the signal of the same name."""
        signals = self.signals() | self.block_signals(Kind.OUT, Kind.OUT_REG)
        signals |= dict(zip(LATE, self.configuration, strict=True))
        if not isinstance(self.ptr_read, RunRows):
            signals |= {"ptr_valid": self.ptr_read.valid, "ptr_value": self.ptr_read.value}
        # The run that the window takes: the queue's head, or what was read for it.
        for part in ("valid", "start", "count", "count1", "row", "value", "value1"):
            read = f"p_{part}" if part.startswith(("start", "count")) else part
            source = f"head_{part}" if self.cfg.filter_empty else read
            if source in signals:
                signals[f"run_{part}"] = signals[source]
        for block in self.blocks.values():
            # A block's strobes stay its own: `strobes` drives them.
            own = {name: wire for name, wire in block.signals(Kind.IN).items() if name.startswith(STROBES)}
            block.connect(signals | own)
        self.connect(signals, Kind.OUT)

    def block_signals(self, *kinds: Kind) -> dict[str, Wire]:
        """What `signals` gives for all five blocks together; of two with one name the later block's."""
        blocks = self.blocks.values()
        return {name: signal for block in blocks for name, signal in block.signals(*kinds).items()}

    def strobes(self) -> None:
        """Hand the I/O port's strobes to the block that holds the address space."""
        write, read = self.io_write.value, self.io_read.value
        strobed, self.strobed = self.strobed, bool(write or read)
        if not (strobed or self.strobed):
            return
        space = self.io_space.value
        spmat, ptr, sram = space == SPMAT, space == PTR, space == ACT_SRAM
        self.spmat_read.io_write.value = write and spmat
        self.spmat_read.io_read.value = read and spmat
        if not isinstance(self.ptr_read, RunRows):
            self.ptr_read.io_write.value = write and ptr
            self.ptr_read.io_read.value = read and ptr
        self.arithm_unit.io_write.value = write and space == CODEBOOK
        self.act_rw.io_write_acc.value = write and space == ACC
        self.act_rw.io_write_act.value = write and space == ACT
        self.act_rw.io_write_sram.value = write and sram
        self.act_rw.io_read_sram.value = read and sram

    def status(self) -> None:
        """Busy, and the word for the I/O port."""
        arithm, spmat = self.arithm_unit, self.spmat_read
        if isinstance(spmat, Window):
            reading = spmat.unfinished.value
        else:
            reading = spmat.active.value or spmat.tok_valid.value
        # The other lanes have nothing when the first has none.
        self.busy.value = (
            self.act_queue.occupancy.value != 0
            or reading
            or arithm.s1_valid.value
            or arithm.s2_valid.value
            or arithm.s3_valid.value
            or arithm.s4_valid.value
        )
        dropped = not isinstance(self.ptr_read, PtrRead) and self.ptr_read.drop.value
        self.retire.value = arithm.s4_valid.value or dropped
        # Of an SRAM its output, else what was read in the cycle before.
        space = self.io_space.value
        word = self._sram_word(space) if space in SRAMS else self.io_word.value
        self.io_rdata.value = word & self.data_mask

    def keep(self) -> None:
        """The PE's own registers."""
        for register, wire in self.late:
            register.next = wire.value
        space = self.io_space.value
        # The CCU's registers are not the PE's.
        self.io_word.next = self._register_word(space) & self.data_mask if space != CONFIG else 0

    def _sram_word(self, space: int) -> int:
        """The word at the output of the SRAM that the I/O port names."""
        if space == SPMAT:
            return self.spmat_port.rdata.value
        if space == ACT_SRAM:
            return sign_extend(self.act_port.rdata.value, self.cfg.acc_bits)
        if self.cfg.index_free:
            return self.io_word.value
        return self.ptr_ports[self.io_addr.value % len(self.ptr_ports)].rdata.value

    def _register_word(self, space: int) -> int:
        """The register that the I/O port names, or the word of a register file."""
        if space in self.words:
            return self.words[space].value
        if space == COUNTER and self.cfg.counters:
            number = self.io_addr.value & self.counter_mask
            return self.counters[number].value if number < len(self.counters) else 0
        return 0

    def outputs(self) -> None:
        """All five blocks' outputs, in dependency order."""
        for visit in self.credit_visits:
            visit()
        for visit in self.output_visits:
            visit()

    def next_state(self) -> None:
        """All five blocks' next states."""
        for visit in self.state_visits:
            visit()

    def write_memories(self) -> None:
        """All five blocks' memories."""
        for visit in self.memory_visits:
            visit()

    def layout(self) -> list[Piece]:
        """Where the fields of all five blocks go in the PE's probe."""
        return pieces_of(pe_probe(self.cfg), self.blocks)
