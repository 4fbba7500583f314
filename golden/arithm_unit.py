"""ArithmUnit: codebook lookup, multiply (or take the minimum), shift and add, write: four stages with bypass."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.fixed import limits, round_shift
from eie.golden.base import sign_extend
from eie.schema import Arithmetic, ArithmLane

# A lane: the unit's own signals are the first one's.
Lane = ArithmLane | schema.ArithmUnit


class ArithmUnit(schema.ArithmUnit):
    """Takes an entry a cycle in every lane and never stalls; stage 4 writes, three cycles after stage 1.

    An entry takes its operand from the one in stage 4, one or two cycles ahead of it, when that has the same row.

    Members: codes, `codebooks` times n_codes signed codes, up to the power of two that the address reaches; the words
    past the last codebook are 0 for good.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.n_codes = cfg.n_codes
        self.depth = cfg.codebooks * cfg.n_codes
        self.code_mask = (1 << bits_for(self.depth - 1)) - 1
        self.codes = [0] * (self.code_mask + 1)
        self.row_mask = self.s2_row.mask
        self.count_mask = self.bypasses.mask
        self.low, self.high = limits(cfg.acc_bits)
        self.relative, self.registered = cfg.relative, bool(cfg.lookup_register)
        self.all_lanes: list[Lane] = [self, *self.lanes]

    def outputs(self) -> None:
        """Codebook lookup, and whether stage 4 holds the accumulator that stage 2 or stage 3 needs."""
        self.io_code.value = self.codes[self.io_addr.value & self.code_mask]
        for lane in self.all_lanes:
            index = self.codebook.value * self.n_codes + self._v(lane)
            quiet = lane is self and not self._valid(self)
            lane.code_rdata.value = self.codes[0 if quiet else index & self.code_mask]
        written = {lane.s4_row.value for lane in self.all_lanes if lane.s4_write.value}
        for lane in self.all_lanes:
            needs = lane.s2_valid.value and lane.s2_write.value
            lane.forward2.value = needs and lane.s2_row.value in written
            lane.forward1.value = lane.s3_write.value and lane.s3_row.value in written

    def next_state(self) -> None:
        """Stage after stage in every lane, then the counters."""
        clear, bypasses, clips = self.clear.value, 0, 0
        # What stage 4 writes, by its row: no two lanes have the same.
        sums = {lane.s4_row.value: lane.s4_sum.value for lane in self.all_lanes if lane.s4_write.value}
        for lane in self.all_lanes:
            if self.registered:
                self._stage_0(lane)
            self._stage_2(lane)
            self._stage_3(lane, sums)
            now = self._stage_4(lane, sums)
            # With several lanes a register stands between the sums and their count.
            clips += lane.s4_clipped.value if self.lanes else now
            lane.s4_clipped.next = now
            bypasses += bool(lane.s3_write.value and (lane.s3_forwarded.value or lane.forward1.value))
        filler = self.relative and self._valid(self) and not self._empty(self) and self._v(self) == 0
        self.fillers.next = 0 if clear else (self.fillers.value + filler) & self.count_mask
        self.bypasses.next = 0 if clear else (self.bypasses.value + bypasses) & self.count_mask
        self.saturations.next = 0 if clear else (self.saturations.value + clips) & self.count_mask

    # ---- the token in stage 1: as it comes, or from the register in front of the codebook ---------------------

    def _valid(self, lane: Lane) -> int:
        return lane.s1_valid.value if self.registered else lane.tok_valid.value

    def _empty(self, lane: Lane) -> int:
        return lane.s1_empty.value if self.registered else lane.tok_empty.value

    def _v(self, lane: Lane) -> int:
        return lane.s1_v.value if self.registered else lane.v.value

    def _stage_0(self, lane: Lane) -> None:
        """The register in front of the codebook."""
        lane.s1_valid.next = lane.tok_valid.value
        lane.s1_empty.next = lane.tok_empty.value
        lane.s1_first.next = lane.tok_first.value
        lane.s1_value.next = lane.tok_value.value
        lane.s1_v.next = lane.v.value
        lane.s1_z.next = lane.z.value & self.row_mask

    # ---- stages 2 to 4 ----------------------------------------------------------------------------------------

    def _stage_2(self, lane: Lane) -> None:
        """The code, the activation, and the row: an absolute one, or one from the zeros since the entry before."""
        valid, row = self._valid(lane), lane.s2_row.value
        z = lane.s1_z.value if self.registered else lane.z.value
        first = lane.s1_first.value if self.registered else lane.tok_first.value
        value = lane.s1_value.value if self.registered else lane.tok_value.value
        write = valid and not self._empty(lane)
        lane.s2_valid.next = valid
        lane.s2_write.next = write
        lane.s2_code.next = lane.code_rdata.value if valid else lane.s2_code.value
        lane.s2_value.next = value if valid else lane.s2_value.value
        if not write:
            lane.s2_row.next = row
        elif not self.relative or first:
            lane.s2_row.next = z & self.row_mask
        else:
            lane.s2_row.next = (row + 1 + z) & self.row_mask

    def _stage_3(self, lane: Lane, sums: dict[int, int]) -> None:
        """The product, or of an adder pass what stands for it, and the accumulator or what is written to it."""
        forward2 = lane.forward2.value
        lane.s3_valid.next = lane.s2_valid.value
        lane.s3_write.next = lane.s2_write.value
        lane.s3_row.next = lane.s2_row.value
        code, value = lane.s2_code.value, lane.s2_value.value
        if self.arithmetic.value & Arithmetic.MIN:
            lane.s3_product.next = 2 * min(abs(code), abs(value)) if (code < 0) == (value < 0) else 0
        else:
            lane.s3_product.next = code * value
        lane.s3_operand.next = sums.get(lane.s2_row.value, 0) if forward2 else lane.acc_rdata.value
        lane.s3_forwarded.next = forward2

    def _stage_4(self, lane: Lane, sums: dict[int, int]) -> bool:
        """The sum; whether it was clipped."""
        write = lane.s3_write.value
        lane.s4_valid.next = lane.s3_valid.value
        lane.s4_write.next = write
        lane.s4_row.next = lane.s3_row.value
        if not write:
            lane.s4_sum.next = lane.s4_sum.value
            return False
        operand = sums.get(lane.s3_row.value, 0) if lane.forward1.value else lane.s3_operand.value
        exact = operand + round_shift(lane.s3_product.value, self.product_shift.value)
        lane.s4_sum.next = total = min(max(exact, self.low), self.high)
        return total != exact

    def write_memories(self) -> None:
        """Write the codebook, from the I/O port."""
        if self.io_write.value:
            self.write_code(self.io_addr.value, self.io_data.value)

    def write_code(self, addr: int, data: int) -> None:
        """Write the bit pattern `data` to the codebooks."""
        index = addr & self.code_mask
        if index < self.depth:
            self.codes[index] = sign_extend(data, self.cfg.code_bits)
