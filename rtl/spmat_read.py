"""SpmatRead: the walk over a column's entries in the sparse-matrix SRAM, one a cycle."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value

from eie.rtl.block import Block, add, is_next, is_number, word_of


class SpmatRead(Block):
    """Issues one entry address a cycle and reads a word only when it does not hold it already.

    Latency: an entry issued in one cycle is on v and z, with its token, in the next.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    begin_pass : forget the held word.
    spmat_base : word of the SRAM that is the pass's word 0.
    ptr_valid, p_start, p_end, ptr_value : the column that waits in PtrRead.
    io_write, io_read, io_addr, io_data : the I/O port, for the space SPMAT (address: the word).
    spmat_* : the sparse-matrix SRAM.
    start, issue, read : the column starts, an entry is issued, a word is read.
    active : inside a column of more than one entry.
    tok_valid, tok_empty, tok_first, tok_value, v, z : the token and its entry, for ArithmUnit.
    entries, empty_columns, spmat_reads : counters.
    """

    name = "spmat_read"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        address = Signal(cfg.pointer_bits)
        following = Signal(cfg.pointer_bits)
        word = Signal(cfg.word_addr_bits)
        # A word is read inside a column, or where one starts.
        again, begun = Signal(name="reads_again"), Signal(name="reads_first")
        m.d.comb += [
            address.eq(Mux(self.active, self.current, self.p_start)),
            following.eq(self._following(address)),
            word.eq(address >> cfg.sel_bits),
            self.start.eq(~self.active & self.ptr_valid),
            self.issue.eq(self.active | (self.start & (self.p_start != self.p_end))),
            # The pointers come late: each comparison stands beside the others.
            again.eq(self.active & ~self._held(self.current)),
            begun.eq(
                ~self.active & self.ptr_valid & (self.p_start != self.p_end) & ~self._held(self.p_start)
            ),
            self.read.eq(again | begun),
            self.spmat_en.eq((again | self.io_write | self.io_read) | begun),
            self.spmat_we.eq(self.io_write),
            # Whether the word is read is known late; that the host does not read, early.
            self.spmat_addr.eq(
                Mux(self.active | self.ptr_valid, add(word, self.spmat_base, len(word)), self.io_addr)
            ),
            self.spmat_wdata.eq(self.io_data),
            Cat(self.v, self.z).eq(word_of(self.spmat_rdata, self.tok_sel, cfg.entry_bits)),
        ]
        with m.If(self.issue):
            m.d.sync += [
                self.active.eq(
                    ~Mux(
                        self.active,
                        self._ends(self.current, self.stop),
                        self._ends(self.p_start, self.p_end),
                    )
                ),
                self.current.eq(following),
                self.tok_sel.eq(address[: cfg.sel_bits]),
            ]
        with m.If(self.start):
            m.d.sync += [self.stop.eq(self.p_end), self.value.eq(self.ptr_value)]
        with m.If(self.begin_pass):
            m.d.sync += self.held_valid.eq(0)
        with m.Elif(self.read):
            m.d.sync += self.held_valid.eq(1)
        with m.If(self.read):
            m.d.sync += self.held_addr.eq(word)
        empty = self.start & ~self.issue
        m.d.sync += [
            self.tok_valid.eq(self.start | self.active),
            self.tok_empty.eq(empty),
            self.tok_first.eq(self.start),
        ]
        with m.If(self.start):
            m.d.sync += self.tok_value.eq(self.ptr_value)
        with m.Elif(self.active):
            m.d.sync += self.tok_value.eq(self.value)
        self.late_counter(m, "entries", self.issue)
        self.late_counter(m, "empty_columns", empty)
        self.late_counter(m, "spmat_reads", self.read)
        return m

    def _held(self, address: Value) -> Value:
        """Whether the SRAM's output is the word of an entry."""
        return self.held_valid & (self.held_addr == (address >> self.cfg.sel_bits)[: len(self.held_addr)])

    def _ends(self, address: Value, stop: Value) -> Value:
        """Whether the entry at an address is the last one before `stop`."""
        if self.cfg.entries_per_word != 1 << self.cfg.sel_bits:
            return self._following(address)[: len(stop)] == stop
        return is_next(address, stop)

    def _following(self, address: Value) -> Value:
        """The address after `address`: the next word's first entry after a word's last."""
        cfg = self.cfg
        if cfg.entries_per_word == 1 << cfg.sel_bits:
            return address + 1
        select, word = address[: cfg.sel_bits], address[cfg.sel_bits :]
        return Mux(is_number(select, cfg.entries_per_word - 1), (word + 1) << cfg.sel_bits, address + 1)
