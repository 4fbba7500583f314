"""PE: one processing element, five blocks wired together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from eie.config import ArchConfig
from eie.golden.act_queue import ActQueue
from eie.golden.act_rw import ActRW
from eie.golden.arithm_unit import ArithmUnit
from eie.golden.base import Block, Place, Wire, places_of, sign_extend
from eie.golden.ptr_read import PtrRead
from eie.golden.spmat_read import SpmatRead
from eie.schema import PE_BLOCKS, IoSpace, PeCounter, pe_probe

Visit = Callable[[], None]


class PE(Block):
    """Takes a broadcast column to its accumulators; no register of its own. The SRAMs are beside it.

    Members: act_queue, ptr_read, spmat_read, arithm_unit, act_rw, and `blocks`, all five by name.
    """

    NAME = "pe"

    bcast: Wire
    push: Wire
    push_col: Wire
    push_value: Wire
    clear: Wire
    begin_pass: Wire
    leaf_pop: Wire
    wb_en: Wire
    wb_row: Wire
    relu: Wire
    product_shift: Wire
    output_shift: Wire
    codebook: Wire
    spmat_base: Wire
    rf_en: Wire
    rf_src: Wire
    rf_row: Wire
    rf_addr: Wire
    wb_target: Wire
    wb_addr: Wire
    io_write: Wire
    io_read: Wire
    io_addr: Wire
    io_data: Wire
    io_space: Wire
    even_en: Wire
    even_we: Wire
    even_addr: Wire
    even_wdata: Wire
    even_rdata: Wire
    odd_en: Wire
    odd_we: Wire
    odd_addr: Wire
    odd_wdata: Wire
    odd_rdata: Wire
    spmat_en: Wire
    spmat_we: Wire
    spmat_addr: Wire
    spmat_wdata: Wire
    spmat_rdata: Wire
    act_en: Wire
    act_we: Wire
    act_addr: Wire
    act_wdata: Wire
    act_rdata: Wire
    leaf_valid: Wire
    leaf_row: Wire
    leaf_value: Wire
    credit: Wire
    busy: Wire
    retire: Wire
    io_rdata: Wire

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        super().__init__(cfg, **inputs)
        self.act_queue = ActQueue(cfg)
        self.ptr_read = PtrRead(cfg)
        self.spmat_read = SpmatRead(cfg)
        self.arithm_unit = ArithmUnit(cfg)
        self.act_rw = ActRW(cfg)
        self.blocks: dict[str, Block] = {name: getattr(self, name) for name in PE_BLOCKS}
        self._wire_columns()
        self._wire_arithmetic()
        self._share_outputs()
        self.data_mask = self.mask("io_rdata")
        counters = {field.name: block for block in self.blocks.values() for field in block.fields}
        self.counters = [counters[counter.name.lower()].signal(counter.name.lower()) for counter in PeCounter]
        # A fixed order in which nothing reads an output before it is computed. The credit comes first: the CCU
        # broadcasts by it, and everything else may depend on the broadcast.
        self.credit_visits: list[Visit] = [self.act_queue.outputs]
        self.output_visits: list[Visit] = [
            self.strobes,
            self.act_rw.outputs,
            self.ptr_read.pointers,
            self.spmat_read.outputs,
            self.ptr_read.outputs,
            self.arithm_unit.outputs,
            self.status,
        ]
        self.state_visits: list[Visit] = [block.next_state for block in self.blocks.values()]
        self.memory_visits: list[Visit] = [
            self.act_queue.write_memories,
            self.arithm_unit.write_memories,
            self.act_rw.write_memories,
        ]
        self.registers = [register for block in self.blocks.values() for register in block.registers]

    def _wire_columns(self) -> None:
        queue, pointers, spmat = self.act_queue, self.ptr_read, self.spmat_read
        queue.connect(
            bcast=self.bcast,
            push=self.push,
            push_col=self.push_col,
            push_value=self.push_value,
            pop=pointers.pop,
            start=spmat.start,
        )
        pointers.connect(
            clear=self.clear,
            head_valid=queue.head_valid,
            head_col=queue.head_col,
            head_value=queue.head_value,
            start=spmat.start,
            io_addr=self.io_addr,
            io_data=self.io_data,
            even_rdata=self.even_rdata,
            odd_rdata=self.odd_rdata,
        )
        spmat.connect(
            clear=self.clear,
            begin_pass=self.begin_pass,
            spmat_base=self.spmat_base,
            ptr_valid=pointers.valid,
            p_start=pointers.p_start,
            p_end=pointers.p_end,
            ptr_value=pointers.value,
            io_addr=self.io_addr,
            io_data=self.io_data,
            spmat_rdata=self.spmat_rdata,
        )

    def _wire_arithmetic(self) -> None:
        spmat, arithm, act_rw = self.spmat_read, self.arithm_unit, self.act_rw
        arithm.connect(
            clear=self.clear,
            tok_valid=spmat.tok_valid,
            tok_empty=spmat.tok_empty,
            tok_first=spmat.tok_first,
            tok_value=spmat.tok_value,
            v=spmat.v,
            z=spmat.z,
            acc_rdata=act_rw.acc_rdata,
            product_shift=self.product_shift,
            codebook=self.codebook,
            io_addr=self.io_addr,
            io_data=self.io_data,
        )
        act_rw.connect(
            clear=self.clear,
            leaf_pop=self.leaf_pop,
            s2_valid=arithm.s2_valid,
            s2_row=arithm.s2_row,
            s4_write=arithm.s4_write,
            s4_row=arithm.s4_row,
            s4_sum=arithm.s4_sum,
            wb_en=self.wb_en,
            wb_row=self.wb_row,
            relu=self.relu,
            output_shift=self.output_shift,
            rf_en=self.rf_en,
            rf_src=self.rf_src,
            rf_row=self.rf_row,
            rf_addr=self.rf_addr,
            wb_target=self.wb_target,
            wb_addr=self.wb_addr,
            io_addr=self.io_addr,
            io_data=self.io_data,
            act_rdata=self.act_rdata,
        )

    def _share_outputs(self) -> None:
        for name in ("en", "we", "addr", "wdata"):
            for bank in ("even", "odd"):
                setattr(self, f"{bank}_{name}", self.ptr_read.signal(f"{bank}_{name}"))
            setattr(self, f"spmat_{name}", self.spmat_read.signal(f"spmat_{name}"))
            setattr(self, f"act_{name}", self.act_rw.signal(f"act_{name}"))
        self.leaf_valid = self.act_rw.leaf_valid
        self.leaf_row = self.act_rw.leaf_row
        self.leaf_value = self.act_rw.leaf_value
        self.credit = self.act_queue.credit
        self.retire = self.arithm_unit.s4_valid

    def strobes(self) -> None:
        """Hand the I/O port's strobes to the block that holds the address space."""
        write, read, space = self.io_write.value, self.io_read.value, self.io_space.value
        spmat, ptr, sram = space == IoSpace.SPMAT, space == IoSpace.PTR, space == IoSpace.ACT_SRAM
        self.spmat_read.io_write.value = write and spmat
        self.spmat_read.io_read.value = read and spmat
        self.ptr_read.io_write.value = write and ptr
        self.ptr_read.io_read.value = read and ptr
        self.arithm_unit.io_write.value = write and space == IoSpace.CODEBOOK
        self.act_rw.io_write_acc.value = write and space == IoSpace.ACC
        self.act_rw.io_write_act.value = write and space == IoSpace.ACT
        self.act_rw.io_write_sram.value = write and sram
        self.act_rw.io_read_sram.value = read and sram

    def status(self) -> None:
        """Busy, and the word for the I/O port."""
        arithm, spmat = self.arithm_unit, self.spmat_read
        self.busy.value = (
            self.act_queue.occupancy.value != 0
            or spmat.active.value
            or spmat.tok_valid.value
            or arithm.s2_valid.value
            or arithm.s3_valid.value
            or arithm.s4_valid.value
        )
        self.io_rdata.value = self._read_data() & self.data_mask

    def _read_data(self) -> int:
        space, addr = self.io_space.value, self.io_addr.value
        if space == IoSpace.ACC:
            return self.act_rw.acc_rdata.value
        if space == IoSpace.ACT:
            return self.act_rw.leaf_value.value
        if space == IoSpace.SPMAT:
            return self.spmat_rdata.value
        if space == IoSpace.PTR:
            return self.odd_rdata.value if addr & 1 else self.even_rdata.value
        if space == IoSpace.CODEBOOK:
            return self.arithm_unit.code_rdata.value
        if space == IoSpace.ACT_SRAM:
            return sign_extend(self.act_rdata.value, self.cfg.acc_bits)
        if space == IoSpace.COUNTER and self.cfg.counters:
            return self.counters[addr & 7].value
        return 0

    def outputs(self) -> None:
        """All five blocks' outputs, in dependency order."""
        for visit in self.credit_visits:
            visit()
        for visit in self.output_visits:
            visit()

    def next_state(self) -> None:
        """All five blocks' next states."""
        for visit in self.state_visits:
            visit()

    def write_memories(self) -> None:
        """All five blocks' memories."""
        for visit in self.memory_visits:
            visit()

    @cached_property
    def _places(self) -> list[Place]:
        return places_of(pe_probe(self.cfg), self.blocks)
