"""CCU: central control, with the I/O port, the mode, the pass table, the broadcast and the counts."""

from __future__ import annotations

from typing import NamedTuple

from eie import schema
from eie.config import CONFIG_BITS, ArchConfig
from eie.schema import ControlReg, IoSpace, Mode, Wire, config_registers

# As numbers: an enumeration's own member takes as long to look up as the rest of a comparison.
IO, COMPUTE, WRITEBACK, REFILL = int(Mode.IO), int(Mode.COMPUTE), int(Mode.WRITEBACK), int(Mode.REFILL)
CONFIG, CONTROL, CODEBOOK = int(IoSpace.CONFIG), int(IoSpace.CONTROL), int(IoSpace.CODEBOOK)


class Column(NamedTuple):
    """A register of the pass table: its output, its words (to the power of two that the address reaches), its mask."""

    output: Wire
    words: list[int]
    mask: int


class Ccu(schema.Ccu):
    """Runs passes; broadcasts in the cycle in which the root offers and every PE has credit; reads come a cycle later.

    Each segment of a broadcast in segments has its root, its PEs and its bit of what the CCU says of the broadcast.

    Members: table, a `Column` for each of `config_registers`.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.all_pes = (1 << cfg.n_pe) - 1
        self.segments, self.segment_pes = cfg.segments, cfg.segment_pes
        self.leaves, self.group = cfg.leaves, cfg.group
        self.index_free, self.adder = cfg.index_free, cfg.adder
        self.of_segment = (1 << cfg.segment_pes) - 1
        self.all_segments = (1 << cfg.segments) - 1
        self.data_mask = self.io_rdata.mask
        self.count_mask = self.cycle.mask
        self.col_mask = self.push_col.mask
        self.pass_mask = self.current_pass.mask
        self.sram_mask = self.rf_addr.mask
        self.sum_mask = self.sum_x.mask
        self.table = [
            Column(output, [0] * (self.pass_mask + 1), output.mask)
            for output in (self.signal(register.name.lower()) for register in config_registers(cfg))
        ]

    def outputs(self) -> None:
        """Mode, the pass's configuration, broadcast, the strobes of the I/O port, write-back and refill."""
        mode = self.mode.value
        io_mode = mode == IO
        self.look_up()
        self.clear.value = clear = self.start.value and io_mode
        self.compute.value = compute = mode == COMPUTE
        self.bcast.value = self._broadcasts() if compute else 0
        if self.index_free:
            self.bcast.value &= self.nearby.value
        elif self.bus:
            last = self.bus[-1]
            self.push.value, self.push_col.value = last.valid.value, last.col.value
            self.push_value.value, self.push_value1.value = last.value.value, last.value1.value
        else:
            self.push.value, self.push_col.value = self.bcast.value, self._root_col()
            self.push_value.value = self.root.value.value
            self.push_value1.value = self.root.value1.value
        one = 1 << self.io_pe.value & self.all_pes
        space = self.io_space.value
        written = self.all_pes if space == CODEBOOK else one
        self.pe_write.value = written if self.io_write.value and io_mode else 0
        self.pe_read.value = one if self.io_read.value and io_mode else 0
        self.wb_en.value = mode == WRITEBACK and self.wb_row.value < self.wb_rows.value
        self.busy.value = not io_mode
        refill, row, src = mode == REFILL, self.rf_row.value, self.rf_src.value
        self.rf_en.value = rf_en = refill and row < (self.src_rows.value if src else self.acc_rows.value)
        base = self.src_base.value if src else self.acc_base.value
        self.rf_addr.value = (base + row) & self.sram_mask
        self.scale_addr.value = (self.wb_base.value + self.wb_row.value) & self.sram_mask
        nothing_to_refill = self.acc_rows.value == 0 and self.src_rows.value == 0
        self.begin_pass.value = (clear and nothing_to_refill) or (refill and src and not rf_en)

    def _broadcasts(self) -> int:
        """A bit for each segment whose root offers and whose PEs all have credit."""
        ready, credits = 0, self.credits.value
        for s in range(self.segments):
            ready |= (credits >> s * self.segment_pes & self.of_segment == self.of_segment) << s
        return ready & self.root.valid.value

    def look_up(self) -> None:
        """The table's outputs: the present pass's registers."""
        number = self.current_pass.value
        for output, words, _ in self.table:
            output.value = words[number]

    def _root_col(self) -> int:
        leaf = self.root.row.value * self.leaves + self.root.pe.value
        column = leaf * self.group + self.ptr_base.value
        return column & self.col_mask

    def next_state(self) -> None:
        """Mode and pass, refill and write-back, counts, bus registers, read data."""
        clear, compute = self.clear.value, self.compute.value
        exhausted = self.root.exhausted.value == self.all_segments
        drained = compute and exhausted and self.busy_pes.value == 0
        written = self.mode.value == WRITEBACK and not self.wb_en.value
        last = self.current_pass.value == self.last_pass.value
        self._next_mode(drained, written, last)
        self._next_rows(written)
        if self.adder:
            self._next_sum(written)
        self._next_counts(drained)
        self.done.next = False if clear else (written and last) or self.done.value
        if self.bus:
            self._next_bus()
        self.io_rdata.next = self._read_data()

    def _next_bus(self) -> None:
        source = (self.bcast.value, self._root_col(), self.root.value.value, self.root.value1.value)
        for stage in self.bus:
            stage.valid.next, stage.col.next, stage.value.next, stage.value1.next = source
            source = (stage.valid.value, stage.col.value, stage.value.value, stage.value1.value)

    def _next_mode(self, drained: int, written: int, last: int) -> None:
        mode, clear, begin = self.mode.value, self.clear.value, self.begin_pass.value
        if clear:
            self.mode.next = COMPUTE if begin else REFILL
        elif begin:
            self.mode.next = COMPUTE
        elif drained:
            self.mode.next = WRITEBACK
        elif written:
            self.mode.next = IO if last else REFILL
        else:
            self.mode.next = mode
        self.first_pass.next, self.last_pass.next = self.first_pass.value, self.last_pass.value
        self.current_pass.next = self.current_pass.value
        if written:
            after = self.first_pass.value if last else self.current_pass.value + 1
            self.current_pass.next = after & self.pass_mask
        if self.io_write.value and mode == IO and self.io_space.value == CONTROL:
            number = self.io_data.value & self.pass_mask
            if self.io_addr.value == ControlReg.FIRST_PASS:
                self.first_pass.next = self.current_pass.next = number
            elif self.io_addr.value == ControlReg.LAST_PASS:
                self.last_pass.next = number

    def _next_rows(self, written: int) -> None:
        clear, wb_en, rf_en = self.clear.value, self.wb_en.value, self.rf_en.value
        refill = self.mode.value == REFILL
        restart = clear or written
        self.rf_src.next = False if restart else (refill and not rf_en) or self.rf_src.value
        if restart or (refill and not rf_en):
            self.rf_row.next = 0
        else:
            self.rf_row.next = self.rf_row.value + rf_en
        self.wb_row.next = 0 if self.begin_pass.value else self.wb_row.value + wb_en
        base = self.wb_base.value + self.wb_row.value
        self.wb_addr.next = base & self.sram_mask if wb_en else self.wb_addr.value

    def _next_sum(self, written: int) -> None:
        """The inputs' magnitudes, from the first batch of a tile of rows to the write-back of the tile."""
        root = self.root
        if written and self.wb_rows.value:
            self.sum_x.next = 0
        elif self.bcast.value:
            self.sum_x.next = (
                self.sum_x.value + abs(root.value.value) + abs(root.value1.value) & self.sum_mask
            )
        else:
            self.sum_x.next = self.sum_x.value

    def _next_counts(self, drained: int) -> None:
        compute, mode, mask = self.compute.value, self.mode.value, self.count_mask
        if self.clear.value:
            for count in (
                self.cycle,
                self.cycles,
                self.broadcast_stalls,
                self.refill_cycles,
                self.writeback_cycles,
            ):
                count.next = 0
            return
        self.cycle.next = self.cycles.value if drained else (self.cycle.value + compute) & mask
        retired = compute and self.retires.value
        self.cycles.next = (self.cycle.value + 1) & mask if retired else self.cycles.value
        stalled = (self.root.valid.value & ~self.bcast.value).bit_count() if compute else 0
        self.broadcast_stalls.next = (self.broadcast_stalls.value + stalled) & mask
        self.refill_cycles.next = (self.refill_cycles.value + (mode == REFILL)) & mask
        self.writeback_cycles.next = (self.writeback_cycles.value + (mode == WRITEBACK)) & mask

    def _read_data(self) -> int:
        space, addr = self.io_space.value, self.io_addr.value
        if space == CONFIG:
            register = addr & ((1 << CONFIG_BITS) - 1)
            entry = addr >> CONFIG_BITS & self.pass_mask
            return self.table[register].words[entry] if register < len(self.table) else 0
        if space == CONTROL:
            registers = {ControlReg.FIRST_PASS: self.first_pass, ControlReg.LAST_PASS: self.last_pass}
            return registers[ControlReg(addr)].value if addr in registers else 0
        if self.index_free and space == IoSpace.PTR:
            segment = (self.io_pe.value & self.cfg.n_pe - 1) // self.segment_pes
            return self.block_rdata.value >> segment * self.cfg.io_data_bits & self.data_mask
        return self.pe_rdata.value >> (self.io_pe.value * self.cfg.io_data_bits) & self.data_mask

    def write_memories(self) -> None:
        """Write a register of the pass table, from the I/O port."""
        if self.io_write.value and self.mode.value == IO and self.io_space.value == CONFIG:
            self._write_table(self.io_addr.value, self.io_data.value)

    def _write_table(self, addr: int, data: int) -> None:
        register, entry = addr & ((1 << CONFIG_BITS) - 1), addr >> CONFIG_BITS & self.pass_mask
        if register < len(self.table) and entry < self.cfg.passes:
            _, words, mask = self.table[register]
            words[entry] = data & mask

    def load(self, space: IoSpace, addr: int, data: int) -> None:
        """Do what a write to CONFIG or CONTROL through the I/O port does, between two cycles."""
        number = data & self.pass_mask
        if space == CONFIG:
            self._write_table(addr, data)
        elif addr == ControlReg.FIRST_PASS:
            self.first_pass.value = self.current_pass.value = number
        elif addr == ControlReg.LAST_PASS:
            self.last_pass.value = number
