"""ArithmUnit: codebook lookup, multiply, shift and add, accumulator write, in four stages."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed

from eie.config import bits_for
from eie.rtl.block import Block, add, is_inside, is_number, register_file, round_shift, saturate


class ArithmUnit(Block):
    """Adds code * activation to the accumulator of the entry's row, one entry a cycle, without stalls.

    Latency: a token in stage 1 in one cycle is in stage 4, which writes, three cycles later.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    tok_valid, tok_empty, tok_first, tok_value, v, z : the token in stage 1.
    acc_rdata : the accumulator of s2_row.
    product_shift : 0..31, right shift of the product.
    codebook : number of the codebook.
    io_write, io_addr, io_data : the I/O port, for the space CODEBOOK.
    code_rdata : codebook read.
    forward1, forward2 : the operand comes from the entry one, two cycles ahead.
    s2_valid, s2_row, s3_valid : stages 2 and 3.
    s4_valid, s4_write, s4_row, s4_sum : stage 4, the accumulator write.
    fillers, bypasses, saturations : counters.
    """

    name = "arithm_unit"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        entry = Signal()
        m.d.comb += entry.eq(self.tok_valid & ~self.tok_empty)
        self._lookup(m)

        # Stage 1 to 2: index accumulate.
        m.d.sync += [self.s2_valid.eq(self.tok_valid), self.s2_write.eq(entry)]
        with m.If(self.tok_valid):
            m.d.sync += [self.s2_code.eq(self.code_rdata), self.s2_value.eq(self.tok_value)]
        with m.If(entry):
            m.d.sync += self.s2_row.eq(Mux(self.tok_first, self.z, self.s2_row + 1 + self.z))

        # Stage 2 to 3: multiply, read the accumulator.
        m.d.comb += self.forward2.eq(
            self.s2_valid & self.s2_write & self.s4_write & (self.s4_row == self.s2_row)
        )
        m.d.sync += [
            self.s3_valid.eq(self.s2_valid),
            self.s3_write.eq(self.s2_write),
            self.s3_row.eq(self.s2_row),
            self.s3_product.eq(self.s2_code * self.s2_value),
            self.s3_operand.eq(Mux(self.forward2, self.s4_sum, self.acc_rdata)),
            self.s3_forwarded.eq(self.forward2),
        ]

        # Stage 3 to 4: shift and add.
        rounded = round_shift(m, self.s3_product, self.product_shift, "rounded")
        operand = Signal(signed(cfg.acc_bits))
        total = Signal(signed(len(rounded) + 1))
        m.d.comb += [
            operand.eq(Mux(self.forward1, self.s4_sum, self.s3_operand)),
            total.eq(add(operand, rounded, len(total))),
        ]
        accumulated, clipped = saturate(total, cfg.acc_bits)
        m.d.comb += self.forward1.eq(self.s3_write & self.s4_write & (self.s4_row == self.s3_row))
        m.d.sync += [
            self.s4_valid.eq(self.s3_valid),
            self.s4_write.eq(self.s3_write),
            self.s4_row.eq(self.s3_row),
        ]
        with m.If(self.s3_write):
            m.d.sync += self.s4_sum.eq(accumulated)

        self.counter(m, "fillers", entry & is_number(self.v, 0))
        self.counter(m, "bypasses", self.s3_write & (self.s3_forwarded | self.forward1))
        self.counter(m, "saturations", self.s3_write & clipped)
        return m

    def _lookup(self, m: Module) -> None:
        cfg = self.cfg
        codes = cfg.codebooks * cfg.n_codes
        write, read = register_file(m, "codes", cfg.code_bits, codes)
        io_code = self.io_addr[: bits_for(codes - 1)]
        code = Cat(self.v, self.codebook)[: len(io_code)]
        m.d.comb += [
            write.en.eq(self.io_write & is_inside(io_code, codes)),
            write.addr.eq(io_code),
            write.data.eq(self.io_data),
            read.addr.eq(Mux(self.tok_valid, code, io_code)),
            self.code_rdata.eq(Mux(is_inside(read.addr, codes), read.data, 0)),
        ]
