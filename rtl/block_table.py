"""BlockTable: the blocks of an index-free machine, and where a column's entries stand."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value

from eie.config import BLOCK_FIELD_BITS
from eie.rtl.block import Block, add, any_of, is_inside, is_number, more_reads, register_file, resize
from eie.schema import BlockField, IoSpace, block_fields


class BlockTable(Block):
    """Follows the broadcast from unit to unit: blocks, or turns of one column of each block in a shuffled order.

    Latency: two cycles from a broadcast to its column's run on the bus; each bus register adds one.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    begin_pass, compute, busy, bcast : the pass begins; compute mode; not I/O mode; the CCU broadcasts.
    ptr_base : entry of the table that is the pass's block 0.
    root_valid, root_row, root_pe, root_value : the LNZD tree's root.
    io_write, io_space, io_addr, io_data, block_rdata : the I/O port, for the space PTR.
    nearby : the root's column lies in the present unit or in the next one, and may be broadcast.
    push, push_start, push_low, push_high, push_value : the bus.
    """

    name = "block_table"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        self._memories(m)
        turn = self._field(m, "turn", BlockField.TURN, self.ptr_base)
        shuffled = Signal(name="shuffled")
        column, block, following = (
            Signal(cfg.col_bits, name="column"),
            self._number("block"),
            self._number("following"),
        )
        end, after = Signal(cfg.col_bits + 1, name="end"), Signal(cfg.col_bits + 2, name="after")
        is_next, beyond = Signal(name="is_next"), Signal(name="beyond")
        ends = [
            self._field(m, "end_of_block", BlockField.END, block),
            self._field(m, "end_of_following", BlockField.END, following),
        ]
        m.d.comb += [
            shuffled.eq(turn.any()),
            column.eq((self.root_row << cfg.pe_shift) | self.root_pe),
            block.eq(add(self.ptr_base, self.unit, len(block))),
            following.eq(block + 1),
            end.eq(Mux(shuffled, add(self.first, turn, len(end)), ends[0])),
            after.eq(Mux(shuffled, end + resize(turn, len(end)), ends[1])),
            is_next.eq(resize(column, len(end)) >= end),
            beyond.eq(is_next & (resize(column, len(after)) >= after)),
            self.nearby.eq(~beyond),
        ]
        self._follow(m, end, step=self.compute & self.root_valid & is_next & (self.bcast | beyond))

        unit, at = Signal(cfg.col_bits, name="of_unit"), Signal(cfg.col_bits, name="at")
        m.d.comb += [
            unit.eq(add(self.unit, is_next, len(unit))),
            at.eq(column - Mux(is_next, end, self.first)),
        ]
        m.d.sync += self.at_valid.eq(self.bcast)
        with m.If(self.bcast):
            m.d.sync += [
                self.at_block.eq(add(self.ptr_base, Mux(shuffled, at, unit), cfg.block_bits)),
                self.at_within.eq(Mux(shuffled, unit, at)),
                self.at_value.eq(self.root_value),
            ]
        self._address(m)
        return m

    def _number(self, name: str) -> Signal:
        """The number of an entry."""
        return Signal(self.cfg.block_bits, name=name)

    def _memories(self, m: Module) -> None:
        """A memory for each field, with the host's port."""
        cfg = self.cfg
        number = self.io_addr[:BLOCK_FIELD_BITS]
        block, written = self._number("io_block"), Signal(name="written")
        m.d.comb += [
            block.eq(self.io_addr[BLOCK_FIELD_BITS:][: cfg.block_bits]),
            written.eq(
                self.io_write
                & ~self.busy
                & is_number(self.io_space, IoSpace.PTR)
                & is_inside(block, cfg.blocks)
            ),
        ]
        words = []
        for field, width in block_fields(cfg).items():
            write, read = register_file(m, _memory(field), width, cfg.blocks)
            m.d.comb += [
                write.en.eq(written & is_number(number, field)),
                write.addr.eq(block),
                write.data.eq(self.io_data),
                read.addr.eq(block),
            ]
            word = Mux(is_inside(block, cfg.blocks), read.data, 0)
            words.append(Mux(is_number(number, field), resize(word, len(self.block_rdata)), 0))
        m.d.comb += self.block_rdata.eq(any_of(words))

    def _field(self, m: Module, name: str, field: BlockField, block: Value) -> Signal:
        """A field of an entry, 0 behind the last."""
        cfg = self.cfg
        word = Signal(block_fields(cfg)[field], name=name)
        read = more_reads(m, _memory(field))
        m.d.comb += [
            read.addr.eq(block),
            word.eq(Mux(is_inside(read.addr, cfg.blocks), read.data, 0)),
        ]
        return word

    def _follow(self, m: Module, end: Value, *, step: Value) -> None:
        """From unit to unit."""
        with m.If(self.begin_pass):
            m.d.sync += [self.unit.eq(0), self.first.eq(0)]
        with m.Elif(step):
            m.d.sync += [self.unit.eq(self.unit + 1), self.first.eq(end)]

    def _address(self, m: Module) -> None:
        """The registers behind the table: the place of the column's first entry, a product, and what goes with it."""
        cfg = self.cfg
        bits, per_word, sel = cfg.entry_number_bits, cfg.entries_per_word, cfg.sel_bits
        start, step, low, high = (
            self._field(m, field.name.lower(), field, self.at_block)
            for field in (BlockField.START, BlockField.STEP, BlockField.LOW, BlockField.HIGH)
        )
        entry, pointer = Signal(bits, name="entry"), Signal(cfg.run_bits, name="pointer")
        m.d.comb += entry.eq(add(start, self.at_within * step, bits))
        if per_word == 1 << sel:
            m.d.comb += pointer.eq(entry)
        else:  # entry // per_word by a multiplication, exact for every entry: per_word < 2**sel
            word, within = Signal(max(cfg.word_addr_bits, sel), name="word"), Signal(sel, name="within")
            scale = bits + sel
            m.d.comb += [
                word.eq((entry * Const((1 << scale) // per_word + 1)) >> scale),
                within.eq(entry - word * per_word),
                pointer.eq(Cat(within, word)),
            ]
        stage: tuple[Value, ...] = (self.at_valid, pointer, low, high, self.at_value)
        names = ("valid", "start", "low", "high", "value")
        for i in range(1 + cfg.bus_registers):
            registers = tuple(getattr(self, f"run{i}_{name}") for name in names)
            m.d.sync += [register.eq(source) for register, source in zip(registers, stage, strict=True)]
            stage = registers
        m.d.comb += self.push.eq(stage[0])
        m.d.comb += [
            getattr(self, f"push_{name}").eq(x) for name, x in zip(names[1:], stage[1:], strict=True)
        ]


def _memory(field: BlockField) -> str:
    return f"table_{field.name.lower()}"
