"""ArithmUnit: codebook lookup, multiply, shift and add, write: four stages with bypass."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.fixed import limits, round_shift
from eie.golden.base import Block, sign_extend


class ArithmUnit(Block, schema.ArithmUnit):
    """Takes an entry a cycle and never stalls; the accumulator is written in stage 4, three cycles after stage 1.

    An entry takes its operand from the one in stage 4, one or two cycles ahead of it, when that has the same row.

    Members: codes, `codebooks` times n_codes signed codes, up to the power of two that the address reaches; the words
    past the last codebook are 0 for good.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.n_codes = cfg.n_codes
        self.depth = cfg.codebooks * cfg.n_codes
        self.code_mask = (1 << bits_for(self.depth - 1)) - 1
        self.codes = [0] * (self.code_mask + 1)
        self.row_mask = self.s2_row.mask
        self.count_mask = self.fillers.mask
        self.low, self.high = limits(cfg.acc_bits)

    def outputs(self) -> None:
        """Codebook lookup, and whether stage 4 holds the accumulator that stage 2 or stage 3 needs."""
        if self.tok_valid.value:
            index = self.codebook.value * self.n_codes + self.v.value
        else:
            index = self.io_addr.value
        self.code_rdata.value = self.codes[index & self.code_mask]
        write4, row4 = self.s4_write.value, self.s4_row.value
        self.forward2.value = (
            self.s2_valid.value and self.s2_write.value and write4 and row4 == self.s2_row.value
        )
        self.forward1.value = self.s3_write.value and write4 and row4 == self.s3_row.value

    def next_state(self) -> None:
        """Stage after stage, then the counters."""
        valid, clear = self.tok_valid.value, self.clear.value
        # Stage 1 to 2.
        write = valid and not self.tok_empty.value
        self.s2_valid.next = valid
        self.s2_write.next = write
        self.s2_code.next = self.code_rdata.value if valid else self.s2_code.value
        self.s2_value.next = self.tok_value.value if valid else self.s2_value.value
        row = self.s2_row.value
        if write:
            self.s2_row.next = (
                self.z.value if self.tok_first.value else row + 1 + self.z.value
            ) & self.row_mask
        else:
            self.s2_row.next = row
        # Stage 2 to 3.
        self.s3_valid.next = self.s2_valid.value
        self.s3_write.next = self.s2_write.value
        self.s3_row.next = row
        self.s3_product.next = self.s2_code.value * self.s2_value.value
        forward2 = self.forward2.value
        self.s3_operand.next = self.s4_sum.value if forward2 else self.acc_rdata.value
        self.s3_forwarded.next = forward2
        # Stage 3 to 4.
        write3, forward1, clipped = self.s3_write.value, self.forward1.value, False
        self.s4_valid.next = self.s3_valid.value
        self.s4_write.next = write3
        self.s4_row.next = self.s3_row.value
        if write3:
            operand = self.s4_sum.value if forward1 else self.s3_operand.value
            exact = operand + round_shift(self.s3_product.value, self.product_shift.value)
            total = self.low if exact < self.low else self.high if exact > self.high else exact
            clipped = total != exact
            self.s4_sum.next = total
        else:
            self.s4_sum.next = self.s4_sum.value
        filler = write and self.v.value == 0
        bypass = write3 and (self.s3_forwarded.value or forward1)
        self.fillers.next = 0 if clear else (self.fillers.value + filler) & self.count_mask
        self.bypasses.next = 0 if clear else (self.bypasses.value + bypass) & self.count_mask
        self.saturations.next = 0 if clear else (self.saturations.value + clipped) & self.count_mask

    def write_memories(self) -> None:
        """Write the codebook, from the I/O port."""
        if self.io_write.value:
            self.write_code(self.io_addr.value, self.io_data.value)

    def write_code(self, addr: int, data: int) -> None:
        """Write the bit pattern `data` to the codebooks."""
        index = addr & self.code_mask
        if index < self.depth:
            self.codes[index] = sign_extend(data, self.cfg.code_bits)
