"""ActRW: source activations with their leaf of the LNZD tree, accumulators, refill and ReLU write-back."""

from __future__ import annotations

from eie import schema
from eie.config import SCALE_BITS, ArchConfig
from eie.fixed import limits, round_shift
from eie.golden.base import sign_extend
from eie.schema import Arithmetic, WbTarget

SCALE_MASK = (1 << SCALE_BITS) - 1
# As numbers: a flag's own `&` takes as long as ten of these.
MIN, SCALE = int(Arithmetic.MIN), int(Arithmetic.SCALE)
TO_SRC, TO_SRAM = int(WbTarget.SRC), int(WbTarget.ACT_SRAM)


class ActRW(schema.ActRW):
    """Offers the next non-zero source activation and reads accumulators in the same cycle; writes at the clock edge.

    Refills both files from the activation SRAM beside it, and writes activations back there or to the source file.

    Members: src, src_depth signed activations; acc, acc_depth signed accumulators. Both lists reach to the power of
    two that the address reaches; the words past the depth are 0 for good.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.src = [0] * (1 << cfg.src_addr_bits)
        self.acc = [0] * (1 << cfg.acc_addr_bits)
        self.src_mask = self.leaf_row.mask
        self.acc_mask = self.y_row.mask
        self.act_mask = self.leaf_value.mask
        self.sram_mask = self.act_port.addr.mask
        self.word_mask = self.act_port.wdata.mask
        self.count_mask = self.writeback_saturations.mask
        self.low, self.high = limits(cfg.act_bits)
        # Whether the present y_value was clipped.
        self.clipped = False
        # Row and data of this cycle's write to the source file.
        self.written: tuple[int, int] | None = None

    def outputs(self) -> None:
        """The leaf's offer, the accumulator's read port, the activation that is written back, the SRAM's port."""
        pending, io_addr = self.pending.value, self.io_addr.value
        self.leaf_valid.value = pending != 0
        row = (pending & -pending).bit_length() - 1 if pending else 0
        self.leaf_row.value = row
        self.leaf_value.value = self.src[row if pending else io_addr & self.src_mask]
        if self.s2_valid.value:
            self.acc_rdata.value = self.acc[self.s2_row.value]
        elif self.wb_en.value:
            self.acc_rdata.value = self.acc[self.wb_row.value]
        else:
            self.acc_rdata.value = self.acc[io_addr & self.acc_mask]
        for lane in self.lanes:
            lane.acc_rdata.value = self.acc[lane.s2_row.value if lane.s2_valid.value else 0]
        y_acc, scaled = self.y_acc.value, self.arithmetic.value & SCALE
        if scaled:
            y_acc *= sign_extend(self.act_port.rdata.value & SCALE_MASK, SCALE_BITS)
        exact = round_shift(0 if self.relu.value and y_acc < 0 else y_acc, self.output_shift.value)
        y = self.low if exact < self.low else self.high if exact > self.high else exact
        self.clipped = y != exact
        self.y_value.value = y
        rf_en, io_write = self.rf_en.value, self.io_write_sram.value
        wb_sram = self.y_valid.value and self.wb_target.value & TO_SRAM != 0
        port = self.act_port
        scales = self.wb_en.value and scaled != 0
        port.en.value = rf_en or wb_sram or scales or io_write or self.io_read_sram.value
        port.we.value = wb_sram or io_write
        if rf_en:
            port.addr.value = self.rf_addr.value
        elif wb_sram:
            port.addr.value = self.wb_addr.value
        else:
            port.addr.value = self.scale_addr.value if scales else io_addr & self.sram_mask
        port.wdata.value = (y if wb_sram else self.io_data.value) & self.word_mask

    def next_state(self) -> None:
        """Activations still to take, the refill's registers and the write-back's."""
        pending = self.pending.value
        if self.leaf_pop.value:
            pending &= ~(1 << self.leaf_row.value)
        self.written = written = self._source_write()
        self.pending.next = pending if written is None else self._mark(pending, *written)
        rf_en, wb_en = self.rf_en.value, self.wb_en.value
        self.rf_valid.next = rf_en
        self.rf_to_src.next = self.rf_src.value if rf_en else self.rf_to_src.value
        self.rf_at.next = self.rf_row.value if rf_en else self.rf_at.value
        self.y_valid.next = wb_en
        self.y_row.next = self.wb_row.value if wb_en else self.y_row.value
        less = self.sum_x.value if self.arithmetic.value & MIN else 0
        self.y_acc.next = self.acc_rdata.value - less if wb_en else self.y_acc.value
        clipped = self.y_valid.value and self.clipped
        count = (self.writeback_saturations.value + clipped) & self.count_mask
        self.writeback_saturations.next = 0 if self.clear.value else count

    def _source_write(self) -> tuple[int, int] | None:
        """Row and data of this cycle's write to the source file: I/O port, refill or write-back, in this order."""
        if self.io_write_act.value:
            return self.io_addr.value, self.io_data.value
        if self.rf_valid.value and self.rf_to_src.value:
            return self.rf_at.value, self.act_port.rdata.value
        if self.y_valid.value and self.wb_target.value & TO_SRC:
            return self.y_row.value, self.y_value.value
        return None

    def _mark(self, pending: int, addr: int, data: int) -> int:
        """`pending` with the bit of source row `addr` telling whether `data` is not zero."""
        row = addr & self.src_mask
        if row >= self.cfg.src_depth:
            return pending
        nonzero = data & self.act_mask != 0
        return pending & ~(1 << row) | nonzero << row

    def write_memories(self) -> None:
        """Write a source activation, and an accumulator: from stage 4, write-back, refill or the I/O port."""
        if self.written is not None:
            self._write_src(*self.written)
        if self.s4_write.value:
            self._put(self.s4_row.value, self.s4_sum.value)
        elif self.y_valid.value:
            self._put(self.y_row.value, self.y_value.value)
        elif self.rf_valid.value and not self.rf_to_src.value:
            self.write_acc(self.rf_at.value, self.act_port.rdata.value)
        elif self.io_write_acc.value:
            self.write_acc(self.io_addr.value, self.io_data.value)
        for lane in self.lanes:
            if lane.s4_write.value:
                self._put(lane.s4_row.value, lane.s4_sum.value)

    def _write_src(self, addr: int, data: int) -> None:
        row = addr & self.src_mask
        if row < self.cfg.src_depth:
            self.src[row] = sign_extend(data, self.cfg.act_bits)

    def write_acc(self, addr: int, data: int) -> None:
        """Write the bit pattern `data` to an accumulator."""
        self._put(addr & self.acc_mask, sign_extend(data, self.cfg.acc_bits))

    def _put(self, row: int, value: int) -> None:
        if row < self.cfg.acc_depth:
            self.acc[row] = value

    def load_act(self, addr: int, data: int) -> None:
        """Put the bit pattern `data` into the source file between two cycles, as if the I/O port had written it."""
        self.pending.value = self._mark(self.pending.value, addr, data)
        self._write_src(addr, data)
