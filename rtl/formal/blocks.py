"""Checker of the block table: each column gets the place and the rows of its own block."""

from __future__ import annotations

from itertools import pairwise

from amaranth import Array, Const, Module, Mux, ResetSignal, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import BLOCK_FIELD_BITS, ArchConfig
from eie.rtl.formal.checker import Checker, Watched
from eie.schema import BlockField, IoSpace, block_fields


class BlockTableChecker(Checker):
    """The reference has no state: it looks for a column's block in the whole table, or divides by a turn's length.

    Aligned, a column is in the first block of the pass that ends behind it. Shuffled, column c is number c div turn of
    block c mod turn.
    """

    block = schema.BlockTable.NAME

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """The whole table."""
        return {
            _word(field, number): Watched(f"table_{field.name.lower()}[{number}]", unsigned(width))
            for field, width in block_fields(cfg).items()
            for number in range(cfg.blocks)
        }

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed entry."""
        return {"entry": unsigned(cfg.block_bits)}

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        self.assume(m, "entry_inside", self.entry < cfg.blocks)
        self._memory(m)
        turn = self._named(m, "columns_a_turn", self._table(BlockField.TURN, self.ptr_base))
        shuffled = turn != 0
        column = self._named(m, "root_column", (self.root_row << cfg.pe_shift) | self.root_pe)
        ends = [getattr(self, _word(BlockField.END, number)) for number in range(cfg.blocks)]
        self._assumptions(m, turn, column, ends)
        # How many blocks of the pass end before the column, and where the last of them does.
        before, begins = Signal(cfg.block_bits + 1, name="blocks_before"), Signal(len(ends[0]), name="begins")
        passed = [(number >= self.ptr_base) & (end <= column) for number, end in enumerate(ends)]
        m.d.comb += [before.eq(sum(passed, start=Const(0, 1))), begins.eq(0)]
        for end, is_passed in zip(ends, passed, strict=True):
            with m.If(is_passed):
                m.d.comb += begins.eq(end)
        quotient, remainder = Signal(cfg.col_bits, name="quotient"), Signal(cfg.col_bits, name="remainder")
        for number in range(1, 1 << len(turn)):
            with m.If(turn == number):
                m.d.comb += [quotient.eq(column // number), remainder.eq(column % number)]
        unit = self._named(m, "unit_of_column", Mux(shuffled, quotient, before))
        block = self._named(m, "block_of_column", self.ptr_base + Mux(shuffled, remainder, before))
        within = self._named(m, "within_block", Mux(shuffled, quotient, column - begins))

        offered = self.compute & self.root_valid
        self._units(m, turn, ends, offered, column, unit)
        self._bus(m, block, within)
        self.reach(m, "second_block", self.bcast & ~shuffled & (block != self.ptr_base) & (within != 0))
        self.reach(m, "passes_over_a_unit", offered & ~self.nearby)
        self.reach(m, "second_turn", self.bcast & shuffled & (quotient != 0) & (remainder != 0))
        return m

    def _table(self, field: BlockField, number: Value) -> Value:
        words = [getattr(self, _word(field, n)) for n in range(self.cfg.blocks)]
        return Array([*words, *[Const(0, len(words[0]))] * ((1 << len(number)) - len(words))])[number]

    def _memory(self, m: Module) -> None:
        """The followed entry is a memory; nobody writes while a run lasts."""
        cfg = self.cfg
        number, block = self.io_addr[:BLOCK_FIELD_BITS], self.io_addr[BLOCK_FIELD_BITS:][: cfg.block_bits]
        here = (self.io_space == IoSpace.PTR) & (block == self.entry)
        for field, width in block_fields(cfg).items():
            word = Signal(width, name=f"kept_{field.name.lower()}", reset_less=True)
            with m.If(self.io_write & ~self.busy & here & (number == field)):
                m.d.sync += word.eq(self.io_data)
            kept = self._table(field, self.entry)
            self.prove(m, f"remembers_{field.name.lower()}", kept == word)
            reads = (block == self.entry) & (number == field)
            self.prove(m, f"reads_{field.name.lower()}", ~reads | (self.block_rdata == word))
        outside = (block >= cfg.blocks) | (number > max(BlockField))
        self.prove(m, "reads_0_behind_the_end", ~outside | (self.block_rdata == 0))

    def _assumptions(self, m: Module, turn: Value, column: Value, ends: list[Signal]) -> None:
        """Of the CCU and the tree (in compute mode), and of layers (`eie.capacity.check_fits`)."""
        cfg = self.cfg
        computed = self.past(m, self.compute, "compute")
        base = self.past(m, self.ptr_base, "ptr_base")
        began = self.past(m, self.begin_pass, "begin_pass")
        self.assume(m, "begins_before", ~self.compute | computed | began)
        self.assume(m, "begins_outside", ~(self.begin_pass & self.compute))
        self.assume(m, "base_stays", ~self.compute | (self.ptr_base == base))
        self.assume(m, "busy_in_compute", ~(self.compute | computed | self.begin_pass) | self.busy)
        offered = self.compute & self.root_valid
        self.assume(m, "broadcasts_what_is_near", ~self.bcast | (offered & self.nearby))
        seen = Signal(cfg.col_bits, name="seen")
        with m.If(self.begin_pass):
            m.d.sync += seen.eq(0)
        with m.Elif(offered):
            m.d.sync += seen.eq(column)
        self.seen = seen
        self.assume(m, "ascends", ~offered | (column >= seen))
        # A layer's ends ascend, and the last block of the pass ends behind the last column.
        within = [(number >= self.ptr_base) & (end > column) for number, end in enumerate(ends)]
        order = [
            (number < self.ptr_base) | (low <= high) for number, (low, high) in enumerate(pairwise(ends))
        ]
        aligned = sum(within, start=Const(0, 3)) != 0
        in_order = sum((~one for one in order), start=Const(0, 3)) == 0
        self.assume(m, "column_in_a_block", ~offered | (turn != 0) | aligned)
        self.assume(m, "ends_ascend", ~self.compute | (turn != 0) | in_order)
        turns = ~self.compute | (turn == 0) | (self.ptr_base + turn <= cfg.blocks)
        self.assume(m, "turn_inside", turns & (~self.compute | (self.ptr_base < cfg.blocks)))

    def _units(
        self, m: Module, turn: Value, ends: list[Signal], offered: Value, column: Value, unit: Value
    ) -> None:
        """From unit to unit: `first` is its first column, and the root's column is never before it."""
        shuffled = turn != 0
        last = self.ptr_base + self.unit - 1
        aligned = Mux(self.unit == 0, 0, self._table(BlockField.END, last[: self.cfg.block_bits + 1]))
        first = Mux(shuffled, self.unit * turn, aligned)
        self.prove(m, "first_column_of_the_unit", ~self.compute | (self.first == first))
        self.prove(m, "unit_was_reached", ~self.compute | (self.first <= self.seen) | (self.unit == 0))
        self.prove(
            m, "unit_in_the_table", ~self.compute | shuffled | (self.ptr_base + self.unit < self.cfg.blocks)
        )
        self.prove(m, "behind_the_first", ~offered | (column >= self.first))
        self.prove(m, "nearby", ~offered | (self.nearby == (unit <= self.unit + 1)))
        far = self.past(m, offered & ~self.nearby, "far")
        was = self.past(m, self.unit, "unit")
        self.prove(m, "comes_nearer", ~(far & self.compute) | (self.unit == was + 1))

    def _bus(self, m: Module, block: Value, within: Value) -> None:
        """Two cycles and the bus registers later: the column's first entry, its block's rows, its activation."""
        cfg = self.cfg
        valid, at, inside = (
            Signal(name="came"),
            Signal(cfg.block_bits, name="came_block"),
            Signal(cfg.col_bits),
        )
        value = Signal(signed(cfg.act_bits), name="came_value")
        m.d.sync += valid.eq(self.bcast)
        with m.If(self.bcast):
            m.d.sync += [at.eq(block), inside.eq(within), value.eq(self.root_value)]
        self.prove(
            m,
            "place_in_the_block",
            (self.at_valid == valid) & (~valid | ((self.at_within == inside) & (self.at_value == value))),
        )
        number = Signal(16, name="entry_number")
        m.d.comb += number.eq(self._table(BlockField.START, at) + inside * self._table(BlockField.STEP, at))
        most = cfg.spmat_words * cfg.entries_per_word
        self.assume(m, "entry_inside_the_memory", ~valid | (number < most))
        low, high = (self._table(field, at) for field in (BlockField.LOW, BlockField.HIGH))
        wanted: list[tuple[Value, ...]] = [(valid, number, low, high, value)]
        names = ("valid", "number", "low", "high", "value")
        for stage in range(1 + cfg.bus_registers):
            kept = tuple(
                Signal(source.shape(), name=f"bus{stage}_{name}")
                for name, source in zip(names, wanted[-1], strict=True)
            )
            m.d.sync += [register.eq(source) for register, source in zip(kept, wanted[-1], strict=True)]
            wanted.append(kept)
        found = [self.push, self.push_start, self.push_low, self.push_high, self.push_value]
        self._same(m, "bus", found, wanted[-1])
        self.reach(m, "arrives", self.push & ~ResetSignal())

    def _same(self, m: Module, what: str, found: list[Signal], wanted: tuple[Value, ...]) -> None:
        valid, start, low, high, value = found
        sel, per_word = self.cfg.sel_bits, self.cfg.entries_per_word
        place = start[:sel] if sel else Const(0, 1)
        number = (start[sel:] * per_word + place == wanted[1]) & (place < per_word)
        right = number & (low == wanted[2]) & (high == wanted[3]) & (value == wanted[4])
        self.prove(m, f"{what}_arrives", valid == wanted[0])
        self.prove(m, f"{what}_is_the_columns", ~wanted[0] | right)


def _word(field: BlockField, number: int) -> str:
    return f"{field.name.lower()}_of_{number}"
