"""CCU: central control, with the I/O port, the mode, the broadcast and the cycle count."""

from __future__ import annotations

from eie.config import ArchConfig
from eie.golden.base import Block, Reg, Wire
from eie.schema import ConfigReg, IoSpace, Mode


class Ccu(Block):
    """Broadcasts in the cycle in which the root offers and every PE has credit; reads come back a cycle later."""

    NAME = "ccu"

    start: Wire
    root_valid: Wire
    root_exhausted: Wire
    root_row: Wire
    root_pe: Wire
    root_value: Wire
    credits: Wire
    busy_pes: Wire
    retires: Wire
    io_write: Wire
    io_read: Wire
    io_addr: Wire
    io_data: Wire
    io_space: Wire
    io_pe: Wire
    pe_rdata: Wire
    clear: Wire
    compute: Wire
    bcast: Wire
    push: Wire
    push_col: Wire
    push_value: Wire
    pe_write: Wire
    pe_read: Wire
    wb_en: Wire
    busy: Wire
    mode: Reg
    wb_row: Reg
    done: Reg
    cycles: Reg
    broadcast_stalls: Reg
    product_shift: Reg
    output_shift: Reg
    relu: Reg
    io_rdata: Reg
    cycle: Reg
    wb_rows: Reg

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        super().__init__(cfg, **inputs)
        self.all_pes = (1 << cfg.n_pe) - 1
        self.data_mask = self.mask("io_rdata")
        self.count_mask = self.mask("cycle")
        # The bus registers, first to last: valid, column, value.
        self.bus: list[tuple[Reg, Reg, Reg]] = [
            (getattr(self, f"bus{i}_valid"), getattr(self, f"bus{i}_col"), getattr(self, f"bus{i}_value"))
            for i in range(cfg.bus_registers)
        ]
        self.config: dict[int, tuple[Reg, int]] = {
            ConfigReg.PRODUCT_SHIFT: (self.product_shift, self.mask("product_shift")),
            ConfigReg.OUTPUT_SHIFT: (self.output_shift, self.mask("output_shift")),
            ConfigReg.RELU: (self.relu, 1),
            ConfigReg.WB_ROWS: (self.wb_rows, self.mask("wb_rows")),
        }

    def outputs(self) -> None:
        """Mode, broadcast, the strobes of the I/O port, write-back."""
        mode = self.mode.value
        io_mode = mode == Mode.IO
        self.clear.value = self.start.value and io_mode
        self.compute.value = compute = mode == Mode.COMPUTE
        self.bcast.value = compute and self.root_valid.value and self.credits.value == self.all_pes
        if self.bus:
            valid, col, value = self.bus[-1]
            self.push.value, self.push_col.value, self.push_value.value = valid.value, col.value, value.value
        else:
            self.push.value, self.push_col.value = self.bcast.value, self._root_col()
            self.push_value.value = self.root_value.value
        one = 1 << self.io_pe.value & self.all_pes
        space = self.io_space.value
        written = self.all_pes if space == IoSpace.CODEBOOK else 0 if space == IoSpace.CONFIG else one
        self.pe_write.value = written if self.io_write.value and io_mode else 0
        self.pe_read.value = one if self.io_read.value and io_mode else 0
        self.wb_en.value = mode == Mode.WRITEBACK and self.wb_row.value < self.wb_rows.value
        self.busy.value = not io_mode

    def _root_col(self) -> int:
        return self.root_row.value * self.cfg.n_pe + self.root_pe.value

    def next_state(self) -> None:
        """Mode, counts, bus registers, configuration, read data."""
        mode, clear, compute, wb_en = self.mode.value, self.clear.value, self.compute.value, self.wb_en.value
        drained = compute and self.root_exhausted.value and self.busy_pes.value == 0
        written_back = mode == Mode.WRITEBACK and not wb_en
        self.mode.next = (
            Mode.COMPUTE if clear else Mode.WRITEBACK if drained else Mode.IO if written_back else mode
        )
        self.cycle.next = 0 if clear else (self.cycle.value + compute) & self.count_mask
        if compute and self.retires.value:
            self.cycles.next = (self.cycle.value + 1) & self.count_mask
        else:
            self.cycles.next = 0 if clear else self.cycles.value
        stalled = compute and self.root_valid.value and not self.bcast.value
        stalls = (self.broadcast_stalls.value + stalled) & self.count_mask
        self.broadcast_stalls.next = 0 if clear else stalls
        self.wb_row.next = 0 if clear else self.wb_row.value + wb_en
        self.done.next = False if clear else written_back or self.done.value
        source = (self.bcast.value, self._root_col(), self.root_value.value)
        for valid, col, value in self.bus:
            valid.next, col.next, value.next = source
            source = (valid.value, col.value, value.value)
        configure = self.io_write.value and mode == Mode.IO and self.io_space.value == IoSpace.CONFIG
        for addr, (register, mask) in self.config.items():
            chosen = configure and self.io_addr.value == addr
            register.next = self.io_data.value & mask if chosen else register.value
        word = self.pe_rdata.value >> (self.io_pe.value * self.cfg.io_data_bits)
        self.io_rdata.next = word & self.data_mask

    def load_config(self, addr: int, data: int) -> None:
        """Put `data` into a configuration register between two cycles, as if the I/O port had written it."""
        register, mask = self.config[addr]
        register.value = data & mask
