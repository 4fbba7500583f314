"""RunRead: PtrRead of a window PE: where a group's entries are and how many, in one read."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value

from eie.rtl.block import Block, add


class RunRead(Block):
    """Reads the pointers of a group: of the queue's head, or with `filter_empty` of the one that is broadcast.

    Latency: the run of a group is on p_start and p_count one cycle after its pointers are addressed.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    head_valid, head_col, head_value, head_value1, pop, start : the queue's head and its taking; the window starts the
        run that waits here (without `filter_empty`).
    push, push_col, push_value, push_value1, load : the broadcast and its taking (with `filter_empty`).
    keep, drop : the run has entries and goes into the queue, it has none and its credit comes back (likewise).
    io_write, io_read, io_addr, io_data : the I/O port, for the space PTR (address: the column, or the pair).
    even_*, odd_* : the SRAMs of even and odd columns (group = 1). ptr_* : that of pairs.
    valid, p_start, p_count, p_count1, value, value1 : the run: its first entry, the columns' lengths, activations.
    ptr_reads, empty_columns : counters.
    """

    name = "ptr_read"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        load, col, values = self._source(m)
        with m.If(load):
            m.d.sync += [getattr(self, name).eq(value) for name, value in values.items()]
            if cfg.group == 1:
                m.d.sync += self.odd.eq(col[0])
        if cfg.group == 2:
            self._pair(m, load, col)
        else:
            self._single(m, load, col)
        if cfg.filter_empty:
            some = self.p_count.any() | (self.p_count1.any() if cfg.group == 2 else 0)
            m.d.comb += [self.keep.eq(self.valid & some), self.drop.eq(self.valid & ~some)]
            self.counter(m, "empty_columns", self.drop)
        self.counter(m, "ptr_reads", load)
        return m

    def _source(self, m: Module) -> tuple[Value, Value, dict[str, Value]]:
        """Whether pointers are read, of which column, and the activations that go with it."""
        names = ("value", "value1")[: self.cfg.group]
        if self.cfg.filter_empty:
            m.d.comb += self.load.eq(self.push)
            m.d.sync += self.valid.eq(self.load)
            return self.load, self.push_col, {name: getattr(self, f"push_{name}") for name in names}
        m.d.comb += self.pop.eq(self.head_valid & (~self.valid | self.start))
        with m.If(self.pop):
            m.d.sync += self.valid.eq(1)
        with m.Elif(self.start):
            m.d.sync += self.valid.eq(0)
        return self.pop, self.head_col, {name: getattr(self, f"head_{name}") for name in names}

    def _single(self, m: Module, load: Value, col: Value) -> None:
        """Two pointers, the column's and the next one's."""
        io_odd, io = self.io_addr[0], self.io_write | self.io_read
        m.d.comb += [
            self.even_en.eq(load | (io & ~io_odd)),
            self.even_we.eq(self.io_write & ~io_odd),
            self.even_addr.eq(Mux(load, (col + 1) >> 1, self.io_addr >> 1)),
            self.even_wdata.eq(self.io_data),
            self.odd_en.eq(load | (io & io_odd)),
            self.odd_we.eq(self.io_write & io_odd),
            self.odd_addr.eq(Mux(load, col >> 1, self.io_addr >> 1)),
            self.odd_wdata.eq(self.io_data),
        ]
        cfg, bits = self.cfg, self.cfg.length_bits
        begin, end = Signal(cfg.pointer_bits, name="p_begin"), Signal(cfg.pointer_bits, name="p_end")
        m.d.comb += [
            begin.eq(Mux(self.odd, self.odd_rdata, self.even_rdata)),
            self.p_start.eq(begin),
            end.eq(Mux(self.odd, self.even_rdata, self.odd_rdata)),
        ]
        if cfg.entries_per_word == 1 << cfg.sel_bits:
            count = end - begin
        else:
            sel = cfg.sel_bits
            words = Signal(bits, name="words")
            m.d.comb += words.eq((end >> sel) - (begin >> sel))
            count = words * cfg.entries_per_word + end[:sel] - begin[:sel]
        m.d.comb += self.p_count.eq(count[:bits])

    def _pair(self, m: Module, load: Value, col: Value) -> None:
        """The pointer to the pair's first entry and both lengths; the odd column may be active alone."""
        m.d.comb += [
            self.ptr_en.eq(load | self.io_write | self.io_read),
            self.ptr_we.eq(self.io_write),
            self.ptr_addr.eq(Mux(load, col >> 1, self.io_addr)),
            self.ptr_wdata.eq(self.io_data),
        ]
        cfg, bits = self.cfg, self.cfg.length_bits
        length, length1 = self.ptr_rdata[:bits], self.ptr_rdata[bits : 2 * bits]
        # A pair begins at an even place.
        even = Const(0, cfg.start_bits - cfg.pointer_bits)
        first = Cat(even, self.ptr_rdata[2 * bits :])[: cfg.run_bits]
        active, active1 = self.value.any(), self.value1.any()
        m.d.comb += [
            self.p_start.eq(Mux(active, first, self._behind(m, first, length))),
            self.p_count.eq(Mux(active, length, 0)),
            self.p_count1.eq(Mux(active1, length1, 0)),
        ]

    def _behind(self, m: Module, first: Value, length: Value) -> Value:
        """The pointer to the entry that is `length` entries behind `first`."""
        per_word, sel = self.cfg.entries_per_word, self.cfg.sel_bits
        if per_word == 1 << sel:
            return add(first, length, len(first))
        place = Signal(max(len(length), sel) + 1, name="place")
        word = Signal(len(place), name="place_word")
        within = Signal(sel, name="place_within")
        # place // per_word by a multiplication, exact for every place: per_word < 2**sel.
        scale = len(place) + sel
        m.d.comb += [
            place.eq(first[:sel] + length),
            word.eq((place * Const((1 << scale) // per_word + 1)) >> scale),
            within.eq(place - word * per_word),
        ]
        return Cat(within, add(first[sel:], word, len(first) - sel))
