"""ActRW: source file with its leaf of the LNZD tree, accumulator file, refill and ReLU write-back."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned

from eie.config import SCALE_BITS
from eie.rtl.block import (
    Block,
    add,
    any_of,
    is_inside,
    left_by,
    more_reads,
    more_writes,
    register_file,
    resize,
    saturate,
    shifted,
    varies,
)
from eie.schema import WbTarget

_GROUP = 64  # bits at most in a decoder, a power of two
_NEAR = 8  # bits that a search looks at together, a power of two
_NEAR_BITS = 4  # of a row that is written: those of its place in a group of rows


class ActRW(Block):
    """Offers the non-zero source activations in ascending order, keeps the accumulators, writes activations back.

    Latency: the leaf's offer and acc_rdata are combinational; a row of write-back is read in one cycle and written in
    the next, and so is a row of a refill.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counter.
    leaf_valid, leaf_row, leaf_value, leaf_pop : the leaf's offer to the LNZD tree, and its taking.
    compute : compute mode, in which activations are taken, and none is written.
    s2_valid, s2_row, acc_rdata : stage 2 of ArithmUnit reads an accumulator.
    s4_write, s4_row, s4_sum : stage 4 writes one.
    lane<l>_s2_valid, _s2_row, _acc_rdata, _s4_write, _s4_row, _s4_sum : a further lane reads and writes one.
    wb_en, wb_row, relu, output_shift, y_value : write-back of a row.
    arithmetic, sum_x, scale_addr : of an adder machine: what write-back does (`eie.schema.Arithmetic`), what it
        subtracts, and the word of the activation SRAM with the row's scale.
    wb_target, wb_addr : where its activation goes besides (`eie.schema.WbTarget`), and to which word of the SRAM.
    rf_en, rf_src, rf_row, rf_addr : refill of a row of the source file or else the accumulator file.
    act_* : the activation SRAM.
    io_write_acc, io_write_act, io_write_sram, io_read_sram, io_addr, io_data : the I/O port, for the spaces ACC, ACT
        and ACT_SRAM.
    writeback_saturations : counter.
    """

    name = "act_rw"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        exact = self._scaled(m)
        rectified = Signal(signed(len(exact)))
        # One adder, and no wider than it must be.
        kept, half = shifted(m, rectified, self.output_shift, "shifted")
        # Whether that is other than 0. It is 0 if the bits that are kept and the one behind them are all 0, or all 1
        # (-1 + 1); clipping makes nothing 0.
        bits = Cat(Const(0, 1), exact[:-1])
        left = left_by(self.output_shift, len(bits))
        self.nonzero = ~(self.relu & exact[-1]) & varies(bits, exact[-1], left)
        self._leaf(m)
        self._accumulators(m)
        self._sram(m)
        rounded = Signal(signed(len(kept) + 1), name="rounded")
        m.d.comb += rounded.eq(add(kept, half, len(rounded)))
        value, clipped = saturate(rounded, self.cfg.act_bits)
        m.d.comb += [
            rectified.eq(Mux(self.relu & exact[-1], 0, exact)),
            self.y_value.eq(value),
        ]
        m.d.sync += self.y_valid.eq(self.wb_en)
        with m.If(self.wb_en):
            m.d.sync += [self.y_row.eq(self.wb_row), self.y_acc.eq(self._read_sum(m))]
        self.late_counter(m, "writeback_saturations", self.y_valid & clipped)
        return m

    def _read_sum(self, m: Module) -> Value:
        """The accumulator that is read; in an adder pass less the sum of the inputs' magnitudes."""
        if not self.cfg.adder:
            return self.acc_rdata
        width = self.cfg.y_acc_bits
        less = Signal(len(self.sum_x))
        m.d.comb += less.eq(Mux(self.arithmetic[0], self.sum_x, 0))  # Arithmetic.MIN
        # a - b = ~(~a + b)
        return (~add(~resize(self.acc_rdata, width), less, width)).as_signed()

    def _scaled(self, m: Module) -> Value:
        """What write-back rounds: the sum, or its product with the row's scale, which the activation SRAM gives."""
        if not self.cfg.adder:
            return self.y_acc
        scale = self.act_rdata[:SCALE_BITS].as_signed()
        exact = Signal(signed(len(self.y_acc) + SCALE_BITS))
        m.d.comb += exact.eq(Mux(self.arithmetic[1], self.y_acc * scale, self.y_acc))  # Arithmetic.SCALE
        return exact

    def _leaf(self, m: Module) -> None:
        cfg = self.cfg
        write, read = register_file(m, "src", cfg.act_bits, cfg.src_depth)
        put, value = self._source_write(m)
        self._next_row(m, put)
        # The tree compares rows: what the host asks for is not among them.
        row, read_row = self.written.row, Signal(len(self.leaf_row), name="src_read_row")
        m.d.comb += [
            read_row.eq(Mux(self.leaf_valid, self.leaf_row, self.io_addr[: len(read_row)])),
            write.en.eq(put & self.written.inside),
            write.addr.eq(row),
            write.data.eq(value),
            read.addr.eq(read_row),
            self.leaf_value.eq(Mux(is_inside(read_row, cfg.src_depth), read.data, 0)),
        ]

    def _next_row(self, m: Module, put: Value) -> None:
        """The rows still to offer: the first of them in a register, the others in another, one bit each.

        The search for the row behind the first begins with a register. A row is taken in compute mode, and written in
        the others, so that nothing waits for `leaf_pop` and `put` but whether the registers load.
        """
        depth, written = self.cfg.src_depth, self.written
        some = Signal()  # whether there is a first row
        rest = Signal(depth)  # the rows behind it
        after = Signal(depth)  # the first of them
        behind = Signal(len(written.row))
        offered = Signal(depth)
        m.d.comb += [
            self.leaf_valid.eq(some),
            offered.eq(Mux(some, decode(self.leaf_row, depth), 0)),
            self.pending.eq(rest | offered),
            Cat(after, behind).eq(Cat(*first(rest))),
        ]
        # After a write of 0, and of another value: each without a look at the value, which comes late.
        lower, gone = Signal(), Signal()  # the row that is written comes first; it is the first
        below = Signal()
        zero_rest, other_rest = Signal(depth), Signal(depth)
        far_behind = Mux(some & written.behind, written.far, 0)
        m.d.comb += [
            below.eq(~some | written.before),
            lower.eq(below & written.inside),
            gone.eq(some & written.equal),
            # To clear the first row among the others does nothing.
            zero_rest.eq(rest & ~_rows(written.far, written.near, depth) & ~Mux(gone, after, 0)),
            other_rest.eq(rest | _rows(far_behind, written.near, depth) | Mux(below, offered, 0)),
        ]

        def chosen(taken: Value, zero: Value, other: Value) -> Value:
            return Mux(self.compute, taken, Mux(written.nonzero, other, zero))

        # No choice is the register itself, which synthesis would turn into an enable behind the pop.
        zero_row = Mux(gone, behind, 0) | Mux(gone, 0, self.leaf_row)
        other_row = Mux(lower, written.row, 0) | Mux(lower, 0, self.leaf_row)
        left = rest.any()
        with m.If(put | self.leaf_pop):
            m.d.sync += [
                rest.eq(chosen(rest & ~after, zero_rest, other_rest)),
                some.eq(chosen(left, (gone & left) | (~gone & some), some | lower)),
                self.leaf_row.eq(chosen(behind, zero_row, other_row)),
            ]

    def _source_write(self, m: Module) -> tuple[Value, Value]:
        """Whether the source file is written, and with what; where, and what else of it counts, in `written`.

        Each of the three rows is compared and decoded by itself, so that neither waits for the choice among them.

        A refill or write-back writes, or the host does: in I/O mode, which is over or to come when the others write.
        Row and value so do not wait for the host's strobe.
        """
        refill = self.rf_valid & self.rf_to_src
        handed_on = self.y_valid & (self.wb_target & Const(WbTarget.SRC, 2)).any()
        value = Signal(self.cfg.act_bits, name="src_value")
        written = self.written = _Written(self.cfg.src_addr_bits, self.cfg.src_depth)

        def at(source: Value, word: Value, nonzero: Value) -> None:
            number = resize(source, len(written.row))
            near, far = number[:_NEAR_BITS], number[_NEAR_BITS:]
            m.d.comb += [
                written.row.eq(number),
                written.before.eq(number < self.leaf_row),
                written.equal.eq(number == self.leaf_row),
                written.behind.eq(self.leaf_row < number),
                written.inside.eq(is_inside(number, self.cfg.src_depth)),
                written.near.eq(decode(near, len(written.near))),
                written.far.eq(decode(far, len(written.far)) if len(far) else 1),
                written.nonzero.eq(nonzero),
                value.eq(word),
            ]

        with m.If(self.y_valid):
            at(self.y_row, self.y_value, self.nonzero)
        with m.Elif(self.rf_valid):
            at(self.rf_at, self.act_rdata, self.act_rdata[: len(value)].any())
        with m.Else():
            at(self.io_addr, self.io_data, self.io_data[: len(value)].any())
        return self.io_write_act | refill | handed_on, value

    def _accumulators(self, m: Module) -> None:
        cfg = self.cfg
        io_row = self.io_addr[: cfg.acc_addr_bits]
        write, read = register_file(m, "acc", cfg.acc_bits, cfg.acc_depth)
        refill = self.rf_valid & ~self.rf_to_src
        with m.If(self.s4_write):
            m.d.comb += [write.addr.eq(self.s4_row), write.data.eq(self.s4_sum)]
        with m.Elif(self.y_valid):
            m.d.comb += [write.addr.eq(self.y_row), write.data.eq(self.y_value)]
        with m.Elif(refill):
            m.d.comb += [write.addr.eq(self.rf_at), write.data.eq(self.act_rdata)]
        with m.Else():
            m.d.comb += [write.addr.eq(io_row), write.data.eq(self.io_data[: cfg.acc_bits])]
        written = self.s4_write | self.y_valid | refill | self.io_write_acc
        m.d.comb += [
            write.en.eq(written & is_inside(write.addr, cfg.acc_depth)),
            read.addr.eq(Mux(self.s2_valid, self.s2_row, Mux(self.wb_en, self.wb_row, io_row))),
            self.acc_rdata.eq(Mux(is_inside(read.addr, cfg.acc_depth), read.data, 0)),
        ]
        for lane in range(1, cfg.issue):
            self._lane(m, f"lane{lane}_")

    def _lane(self, m: Module, prefix: str) -> None:
        """A further lane's ports of the accumulator file."""
        depth, row = self.cfg.acc_depth, getattr(self, f"{prefix}s4_row")
        write, read = more_writes(m, "acc"), more_reads(m, "acc")
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(getattr(self, f"{prefix}s4_sum")),
            write.en.eq(getattr(self, f"{prefix}s4_write") & is_inside(row, depth)),
            # Quiet while the lane has no entry.
            read.addr.eq(Mux(getattr(self, f"{prefix}s2_valid"), getattr(self, f"{prefix}s2_row"), 0)),
            getattr(self, f"{prefix}acc_rdata").eq(Mux(is_inside(read.addr, depth), read.data, 0)),
        ]

    def _sram(self, m: Module) -> None:
        stored = self.y_valid & (self.wb_target & Const(WbTarget.ACT_SRAM, 2)).any()
        io_addr: Value = self.io_addr[: len(self.act_addr)]
        reads: Value = self.io_read_sram
        if self.cfg.adder:  # the scale of the row that is written back in the next cycle
            scales = self.wb_en & self.arithmetic[1]  # Arithmetic.SCALE
            reads = reads | scales
            io_addr = Mux(scales, self.scale_addr, io_addr)
        m.d.comb += [
            self.act_en.eq(self.rf_en | stored | self.io_write_sram | reads),
            self.act_we.eq(stored | self.io_write_sram),
            self.act_addr.eq(Mux(self.rf_en, self.rf_addr, Mux(stored, self.wb_addr, io_addr))),
            self.act_wdata.eq(Mux(stored, resize(self.y_value, len(self.act_wdata)), self.io_data)),
        ]
        m.d.sync += self.rf_valid.eq(self.rf_en)
        with m.If(self.rf_en):
            m.d.sync += [self.rf_to_src.eq(self.rf_src), self.rf_at.eq(self.rf_row)]


class _Written:
    """A row of the source file that is written, and whether with other than 0.

    before, equal, behind : it comes before the row that is offered, it is that one, it comes behind it. inside : there
    is such a row. near, far : the row's place in its group of rows, and the group, a bit for each.
    """

    def __init__(self, bits: int, depth: int) -> None:
        self.row = Signal(bits, name="src_row")
        self.before, self.equal = Signal(name="src_before"), Signal(name="src_equal")
        self.behind, self.inside = Signal(name="src_behind"), Signal(name="src_inside")
        self.near = Signal(min(depth, 1 << _NEAR_BITS), name="src_near")
        self.far = Signal(-(-depth >> _NEAR_BITS), name="src_far")
        self.nonzero = Signal(name="src_nonzero")


def _rows(far: Value, near: Value, depth: int) -> Value:
    """A bit for each row: that of its group, and that of its place in a group."""
    return Cat(Mux(group, near, 0) for group in far)[:depth]


def first(bits: Value) -> tuple[Value, Value]:
    """`bits` with nothing but the lowest set one, and its number (0 if there is none).

    In two levels: which group has it and which of a group's bits is the lowest are found side by side.
    """
    groups = [bits[at : at + _NEAR] for at in range(0, len(bits), _NEAR)]
    lowest = [group & (-group)[: len(group)] for group in groups]
    if len(groups) == 1:
        return lowest[0], encode(lowest[0])
    chosen, number = first(Cat(group.any() for group in groups))
    within = any_of(Mux(chosen[i], encode(each), 0) for i, each in enumerate(lowest))
    return Cat(Mux(chosen[i], each, 0) for i, each in enumerate(lowest)), Cat(within, number)


def decode(number: Value, width: int) -> Value:
    """`width` bits of which only the one that `number` names is set."""
    if width <= _GROUP:
        return (Const(1, 1) << number)[:width]
    bits = (_GROUP - 1).bit_length()
    group = decode(number[:bits], _GROUP)
    chosen = decode(number[bits:], -(-width // _GROUP))
    return Cat(Mux(bit, group, 0) for bit in chosen)[:width]


def encode(one_hot: Value) -> Value:
    """Number of the one bit that is set in `one_hot`."""
    width = len(one_hot)
    masks = [sum(1 << i for i in range(width) if i >> bit & 1) for bit in range((width - 1).bit_length())]
    return Cat((one_hot & Const(mask, unsigned(width))).any() for mask in masks)
