"""ArithmUnit: codebook lookup, multiply, shift and add, accumulator write, in four stages."""

from __future__ import annotations

from functools import partial

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed

from eie.config import bits_for
from eie.rtl.block import (
    Block,
    add,
    any_of,
    is_inside,
    is_number,
    left_by,
    magnitude,
    more_reads,
    register_file,
    same,
    shifted,
    varies,
)


class ArithmUnit(Block):
    """Adds code * activation to the accumulator of the entry's row, one entry a cycle and lane, without stalls.

    Latency: a token in stage 1 in one cycle is in stage 4, which writes, three cycles later.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    tok_valid, tok_empty, tok_first, tok_value, v, z : the token.
    s1_valid, s1_empty, s1_first, s1_value, s1_v, s1_z : the token in stage 1, a cycle later (`lookup_register`).
    acc_rdata : the accumulator of s2_row.
    product_shift : 0..31, right shift of the product.
    codebook : number of the codebook.
    arithmetic : of an adder machine: whether minima stand for products (`eie.schema.Arithmetic`).
    io_write, io_addr, io_data : the I/O port, for the space CODEBOOK.
    code_rdata : codebook read, for the entry in stage 1. io_code : for the I/O port.
    forward1, forward2 : the operand comes from the entry one, two cycles ahead.
    s2_valid, s2_row, s3_valid : stages 2 and 3.
    s4_valid, s4_write, s4_row, s4_sum : stage 4, the accumulator write.
    fillers, bypasses, saturations : counters.
    lane<l>_... : what a further lane has of these.
    """

    name = "arithm_unit"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        # Lane 0's signals have no prefix.
        self.prefixes = ["", *(f"lane{lane}_" for lane in range(1, self.cfg.issue))]
        if self.cfg.lookup_register:
            for prefix in self.prefixes:
                self._stage_0(m, prefix)
        entries = [self._entry(m, prefix) for prefix in self.prefixes]
        self._lookup(m)
        for prefix, entry in zip(self.prefixes, entries, strict=True):
            self._stage_2(m, prefix, entry)
            self._stage_3(m, prefix)
        clipped = [self._stage_4(m, prefix) for prefix in self.prefixes]

        if self.cfg.relative:
            self.counter(m, "fillers", entries[0] & is_number(self._token("", "v"), 0))
        lanes = [partial(self._of, prefix) for prefix in self.prefixes]
        hits = [of("s3_write") & (of("s3_forwarded") | of("forward1")) for of in lanes]
        clips = [of("s3_write") & clip for of, clip in zip(lanes, clipped, strict=True)]
        # The longest paths do not go on into the counters.
        if self.cfg.issue == 1:
            self.late_counter(m, "bypasses", hits[0])
            self.late_counter(m, "saturations", clips[0])
        else:
            self.tally(m, "bypasses", hits)
            m.d.sync += [of("s4_clipped").eq(clip) for of, clip in zip(lanes, clips, strict=True)]
            self.tally(m, "saturations", [of("s4_clipped") for of in lanes])
        return m

    def _of(self, prefix: str, name: str) -> Signal:
        """A signal of a lane."""
        signal: Signal = getattr(self, f"{prefix}{name}")
        return signal

    def _token(self, prefix: str, name: str) -> Signal:
        """A signal of the token in stage 1 of a lane: as it comes, or from the register in front of the codebook."""
        if self.cfg.lookup_register:
            return self._of(prefix, f"s1_{name}")
        return self._of(prefix, name if name in ("v", "z") else f"tok_{name}")

    def _stage_0(self, m: Module, prefix: str) -> None:
        """The register in front of the codebook."""
        names = ["valid", "value", "v", "z"]
        if not prefix:
            names += ["empty", "first"] if self.cfg.relative else ["empty"]
        for name in names:
            token = self._of(prefix, name if name in ("v", "z") else f"tok_{name}")
            m.d.sync += self._of(prefix, f"s1_{name}").eq(token)

    def _entry(self, m: Module, prefix: str) -> Signal:
        entry = Signal(name=f"{prefix}entry")
        valid = self._token(prefix, "valid")
        m.d.comb += entry.eq(valid if prefix else valid & ~self._token("", "empty"))
        return entry

    def _stage_2(self, m: Module, prefix: str, entry: Signal) -> None:
        """Stage 1 to 2: index accumulate, or the row as it is."""
        of = partial(self._of, prefix)
        valid, z = self._token(prefix, "valid"), self._token(prefix, "z")
        m.d.sync += [of("s2_valid").eq(valid), of("s2_write").eq(entry)]
        with m.If(valid):
            m.d.sync += [of("s2_code").eq(of("code_rdata")), of("s2_value").eq(self._token(prefix, "value"))]
        with m.If(entry):
            if not self.cfg.relative:
                m.d.sync += of("s2_row").eq(z)
            else:
                m.d.sync += self.s2_row.eq(Mux(self._token("", "first"), z, self.s2_row + 1 + z))

    def _hits(self, needs: Value, row: Value) -> list[Value]:
        """For each lane whether its stage 4 writes the row."""
        return [
            needs & self._of(prefix, "s4_write") & (self._of(prefix, "s4_row") == row)
            for prefix in self.prefixes
        ]

    def _sum(self, hits: list[Value]) -> Value:
        """What is written to the row; no two lanes write the same one."""
        written: Value = self.s4_sum
        for hit, prefix in zip(hits[1:], self.prefixes[1:], strict=True):
            written = Mux(hit, self._of(prefix, "s4_sum"), written)
        return written

    def _stage_3(self, m: Module, prefix: str) -> None:
        """Stage 2 to 3: multiply (or take the minimum), read the accumulator."""
        of = partial(self._of, prefix)
        hits = self._hits(of("s2_valid") & of("s2_write"), of("s2_row"))
        m.d.comb += of("forward2").eq(any_of(hits))
        m.d.sync += [
            of("s3_valid").eq(of("s2_valid")),
            of("s3_write").eq(of("s2_write")),
            of("s3_row").eq(of("s2_row")),
            of("s3_product").eq(self._product(m, prefix)),
            of("s3_operand").eq(Mux(of("forward2"), self._sum(hits), of("acc_rdata"))),
            of("s3_forwarded").eq(of("forward2")),
        ]

    def _operand(self, prefix: str, hits: list[Value]) -> Value:
        """What stage 3 adds to: what a lane's stage 4 writes to the row, or else what was read."""
        row, operand = self._of(prefix, "s3_row"), self._of(prefix, "s3_operand")
        if self.cfg.issue == 1:
            return Mux(self._of(prefix, "forward1"), self._sum(hits), operand)
        # The longest path, so it is short: nobody reads the sum of an entry that does not write.
        chosen: Value = operand
        for hit, lane in zip(self._hits(Const(1, 1), row), self.prefixes, strict=True):
            chosen = Mux(hit, self._of(lane, "s4_sum"), chosen)
        return chosen

    def _product(self, m: Module, prefix: str) -> Value:
        """Code times activation; in an adder pass twice the smaller magnitude where both have one sign, else 0."""
        code, value = self._of(prefix, "s2_code"), self._of(prefix, "s2_value")
        if not self.cfg.adder:
            return code * value
        minimum = self.arithmetic[0]  # Arithmetic.MIN
        factor = Signal(signed(len(code)), name=f"{prefix}factor")
        a, b = Signal(len(code), name=f"{prefix}code_size"), Signal(len(value), name=f"{prefix}value_size")
        smaller = Signal(min(len(code), len(value)), name=f"{prefix}smaller")
        m.d.comb += [
            factor.eq(Mux(minimum, 0, code)),  # the multiplier rests
            a.eq(magnitude(code)),
            b.eq(magnitude(value)),
            smaller.eq(Mux(code[-1] == value[-1], Mux(a < b, a, b), 0)),
        ]
        return Mux(minimum, Cat(Const(0, 1), smaller, Const(0, 1)).as_signed(), factor * value)

    def _stage_4(self, m: Module, prefix: str) -> Value:
        """Stage 3 to 4: shift and add; whether the sum was clipped."""
        of, bits = partial(self._of, prefix), self.cfg.acc_bits
        hits = self._hits(of("s3_write"), of("s3_row"))
        operand = Signal(signed(bits), name=f"{prefix}operand")
        # One adder for both additions: the lowest bits carry what rounding adds.
        shift: Value = self.product_shift
        if self.cfg.issue > 1:  # a gate of its own for each lane shares out the register's load
            shift = Mux(of("s3_write"), shift, 0)
        product, half = shifted(m, of("s3_product"), shift, f"{prefix}shifted")
        # With a product that has more bits than the sum and its sign the sum is clipped, whatever is added to it. The
        # adder so needs no more bits than that, and whether there are more is seen beside it.
        small = product[: bits + 1].as_signed()
        whole = of("s3_product")
        fits = (
            ~varies(whole[bits:-1], whole[-1], left_by(shift, len(whole) - 1 - bits))
            if len(whole) > bits + 1
            else Const(1)
        )
        summands = Cat(Const(1, 1), operand).as_signed(), Cat(half, small).as_signed()
        width = max(len(small), bits) + 1
        total = Signal(signed(width), name=f"{prefix}total")
        m.d.comb += [
            operand.eq(self._operand(prefix, hits)),
            total.eq(add(*summands, width + 1)[1:]),
        ]
        accumulated, clipped = (
            Signal(signed(bits), name=f"{prefix}accumulated"),
            Signal(name=f"{prefix}clipped"),
        )
        limit = Mux(fits, total[-1], whole[-1])
        m.d.comb += [
            clipped.eq(~(fits & same(total[bits - 1 :]))),
            accumulated.eq(Mux(clipped, Cat((~limit).replicate(bits - 1), limit), total[:bits])),
            of("forward1").eq(any_of(hits)),
        ]
        m.d.sync += [
            of("s4_valid").eq(of("s3_valid")),
            of("s4_write").eq(of("s3_write")),
            of("s4_row").eq(of("s3_row")),
        ]
        with m.If(of("s3_write")):
            m.d.sync += of("s4_sum").eq(accumulated)
        return clipped

    def _lookup(self, m: Module) -> None:
        cfg = self.cfg
        codes = cfg.codebooks * cfg.n_codes
        write, read = register_file(m, "codes", cfg.code_bits, codes)
        io_code = self.io_addr[: bits_for(codes - 1)]
        m.d.comb += [
            write.en.eq(self.io_write & is_inside(io_code, codes)),
            write.addr.eq(io_code),
            write.data.eq(self.io_data),
        ]
        # The I/O port has a read port of its own: else what it reads would wait for the matrix SRAM.
        reads = {"io_code": io_code} | {
            f"{prefix}code_rdata": Cat(self._token(prefix, "v"), self.codebook) for prefix in self.prefixes
        }
        # Quiet while there is no token; and a gate stands between the entry and what it drives here.
        reads["code_rdata"] = Mux(self._token("", "valid"), reads["code_rdata"], 0)
        for number, (name, code) in enumerate(reads.items()):
            port = more_reads(m, "codes") if number else read
            m.d.comb += [
                port.addr.eq(code),
                getattr(self, name).eq(Mux(is_inside(port.addr, codes), port.data, 0)),
            ]
