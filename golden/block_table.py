"""BlockTable: the blocks of an index-free machine, and where a column's entries stand."""

from __future__ import annotations

from typing import NamedTuple

from eie import schema
from eie.config import BLOCK_FIELD_BITS, ArchConfig
from eie.schema import BlockField, IoSpace, block_fields


class Unit(NamedTuple):
    """What the root's column is to the present unit.

    end : column behind the unit. next : the column lies behind it. beyond : it lies behind the next one, too. at : the
    column's place in its unit.
    """

    end: int
    next: bool
    beyond: bool
    at: int


class BlockTable(schema.BlockTable):
    """Follows the broadcast from unit to unit; two cycles after a broadcast its column's run is on the bus.

    A unit is a block, or of a shuffled order a turn of one column of each block.

    Members: table, `blocks` values of each `BlockField`, up to the power of two that the address reaches.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.pe_shift, self.per_word, self.sel_bits = cfg.pe_shift, cfg.entries_per_word, cfg.sel_bits
        self.block_mask = (1 << cfg.block_bits) - 1
        self.col_mask = self.unit.mask
        self.first_mask = self.first.mask
        self.entry_mask = (1 << cfg.entry_number_bits) - 1
        self.start_mask = self.push_start.mask
        self.data_mask = self.block_rdata.mask
        self.masks = {field: (1 << width) - 1 for field, width in block_fields(cfg).items()}
        self.table = {field: [0] * (self.block_mask + 1) for field in BlockField}
        self.at = Unit(0, False, False, 0)

    def outputs(self) -> None:
        """Whether the root's column may be broadcast, the bus, the word for the I/O port."""
        self.at = self._unit()
        self.nearby.value = not self.at.beyond
        last = self.runs[-1]
        self.push.value = last.valid.value
        self.push_start.value = last.start.value
        self.push_low.value, self.push_high.value = last.low.value, last.high.value
        self.push_value.value = last.value.value
        field = self.io_addr.value & (1 << BLOCK_FIELD_BITS) - 1
        block = self.io_addr.value >> BLOCK_FIELD_BITS & self.block_mask
        word = self.table[BlockField(field)][block] if field < len(BlockField) else 0
        self.block_rdata.value = word & self.data_mask

    @property
    def _turn(self) -> int:
        """Blocks of a shuffled order, 0 of an aligned one."""
        return self.table[BlockField.TURN][self.ptr_base.value & self.block_mask]

    def _unit(self) -> Unit:
        column = self.root_row.value << self.pe_shift | self.root_pe.value
        turn, ends = self._turn, self.table[BlockField.END]
        block = self.ptr_base.value + self.unit.value
        end = (self.first.value + turn if turn else ends[block & self.block_mask]) & self.first_mask
        after = end + turn if turn else ends[block + 1 & self.block_mask]
        is_next = column >= end
        beyond = is_next and column >= after
        return Unit(end, is_next, beyond, (column - (end if is_next else self.first.value)) & self.col_mask)

    def next_state(self) -> None:
        """The unit, and the registers behind it."""
        bcast = bool(self.bcast.value)
        step = self.compute.value and self.root_valid.value and self.at.next and (bcast or self.at.beyond)
        if self.begin_pass.value:
            self.unit.next = self.first.next = 0
        else:
            self.unit.next = (self.unit.value + 1) & self.col_mask if step else self.unit.value
            self.first.next = self.at.end if step else self.first.value
        unit = (self.unit.value + self.at.next) & self.col_mask
        block, within = (self.at.at, unit) if self._turn else (unit, self.at.at)
        self.at_valid.next = bcast
        self.at_block.next = (self.ptr_base.value + block) & self.block_mask if bcast else self.at_block.value
        self.at_within.next = within if bcast else self.at_within.value
        self.at_value.next = self.root_value.value if bcast else self.at_value.value
        self._next_runs()

    def _next_runs(self) -> None:
        b, stage = self.at_block.value, self.runs[0]
        of = {field: words[b] for field, words in self.table.items()}
        entry = (of[BlockField.START] + self.at_within.value * of[BlockField.STEP]) & self.entry_mask
        pointer = (entry // self.per_word << self.sel_bits) | entry % self.per_word
        source = (
            self.at_valid.value,
            pointer & self.start_mask,
            of[BlockField.LOW],
            of[BlockField.HIGH],
            self.at_value.value,
        )
        for stage in self.runs:
            registers = (stage.valid, stage.start, stage.low, stage.high, stage.value)
            present = (
                stage.valid.value,
                stage.start.value,
                stage.low.value,
                stage.high.value,
                stage.value.value,
            )
            for register, value in zip(registers, source, strict=True):
                register.next = value
            source = present

    def write_memories(self) -> None:
        """Write a field of the table, from the I/O port."""
        if self.io_write.value and not self.busy.value and self.io_space.value == IoSpace.PTR:
            self.write_field(self.io_addr.value, self.io_data.value)

    def write_field(self, addr: int, data: int) -> None:
        """Write the bit pattern `data` to a field."""
        number, block = addr & (1 << BLOCK_FIELD_BITS) - 1, addr >> BLOCK_FIELD_BITS & self.block_mask
        if number < len(BlockField) and block < self.cfg.blocks:
            field = BlockField(number)
            self.table[field][block] = data & self.masks[field]
