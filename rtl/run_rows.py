"""RunRows: PtrRead of an index-free PE: which rows of a column's block are this PE's, without a memory."""

from __future__ import annotations

from amaranth import Module, Value

from eie.rtl.block import Block, add


class RunRows(Block):
    """From the rows of a block to those of one PE: row r of a layer is local row r div N of PE r mod N.

    Latency: none, combinational.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    number : of the PE.
    push, push_start, push_low, push_high, push_value : a column arrives, with the pointer to its first entry, its
        block's first row and the one behind its last, and its activation.
    p_start, p_count, p_row, value : the run: its first entry, how many, the first one's row, the activation.
    keep, drop : the run has entries and goes into the queue, it has none and its credit comes back.
    ptr_reads, empty_columns : counters; the first one of columns that arrive, of which no pointer is read.
    """

    name = "ptr_read"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        bits, rows = cfg.length_bits, cfg.acc_addr_bits
        first = self._before(self.push_low, max(bits, rows))
        m.d.comb += [
            self.p_start.eq(self.push_start),
            self.p_row.eq(first[:rows]),
            self.p_count.eq((self._before(self.push_high, bits) - first[:bits])[:bits]),
            self.value.eq(self.push_value),
            self.keep.eq(self.push & self.p_count.any()),
            self.drop.eq(self.push & ~self.p_count.any()),
        ]
        self.counter(m, "ptr_reads", self.push)
        self.counter(m, "empty_columns", self.drop)
        return m

    def _before(self, row: Value, bits: int) -> Value:
        """Rows of this PE before a row of the layer, the low bits."""
        shift = self.cfg.pe_shift
        if not shift:
            return row[:bits]
        return add(row[shift:], row[:shift] > self.number, bits)
