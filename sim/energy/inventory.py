"""What the blocks consist of, for any configuration: flip-flops, small arrays, gates, SRAMs; and what loads a register.

Flip-flops are those of `eie.schema`, which the RTL is built from: a test compares their number with the exported
Verilog. Arrays are the RTL's small memories; gates are counted from the operations of each block, by these formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

from eie.config import ArchConfig, bits_for
from eie.schema import CCU_COUNTERS, SHIFT_BITS, PeCounter, config_fields, fields

# The RTL counts events in registers that the published machine has no word of.
COUNTERS = frozenset(counter.name.lower() for counter in PeCounter) | {*CCU_COUNTERS, "cycle"}

# What loads each register in compute mode: a column that starts, an entry, a word read from the matrix memory, a
# broadcast. A loaded register changes half of its bits. None: not in compute mode, or a bit or two now and then.
LOADED: dict[str, dict[str, str | None]] = {
    "act_queue": {"wr_ptr": "column", "rd_ptr": "column", "count": "column", "occupancy": "column"},
    "ptr_read": {"valid": "column", "value": "column", "odd": "column"},
    "spmat_read": {
        "active": None,
        "current": "entry",
        "stop": "column",
        "value": "column",
        "held_valid": None,
        "held_addr": "word",
        "tok_valid": None,
        "tok_empty": None,
        "tok_first": "column",
        "tok_value": "column",
        "tok_sel": "entry",
    },
    "arithm_unit": {
        "s2_valid": None,
        "s2_write": None,
        "s2_code": "entry",
        "s2_value": "column",
        "s2_row": "entry",
        "s3_valid": None,
        "s3_write": None,
        "s3_product": "entry",
        "s3_operand": "entry",
        "s3_forwarded": None,
        "s3_row": "entry",
        "s4_valid": None,
        "s4_write": None,
        "s4_row": "entry",
        "s4_sum": "entry",
    },
    "act_rw": dict.fromkeys(("pending", "y_valid", "y_row", "y_acc", "rf_valid", "rf_to_src", "rf_at")),
}
# Counting up changes two bits on the average, whatever the width.
COUNTS_UP = frozenset({"current", "wr_ptr", "rd_ptr", "count", "occupancy"})


@dataclass(frozen=True)
class Array:
    """A memory, `words` x `bits`: a small one of latches, or an SRAM."""

    name: str
    words: int
    bits: int


@dataclass(frozen=True)
class Gates:
    """Cells of the combinational logic: two-input multiplexers, one-bit adders, two-input gates."""

    mux2: int = 0
    adder: int = 0
    and2: int = 0


def flip_flops(block: str, cfg: ArchConfig, *, counters: bool = False) -> dict[str, int]:
    """Bits of each register of a block; the performance counters only on request, and where there are any."""
    registers = {
        field.name: field.width
        for field in fields(block, cfg)
        if field.kind.is_register and ((counters and cfg.counters) or field.name not in COUNTERS)
    }
    if block == "arithm_unit" and not cfg.counters:
        del registers["s3_forwarded"]  # only a counter reads it
    if block == "spmat_read":
        # No pointer names a word beyond these bits: synthesis takes the others away.
        registers["held_addr"] = min(registers["held_addr"], cfg.pointer_bits - cfg.sel_bits)
    return registers


def arrays(block: str, cfg: ArchConfig) -> tuple[Array, ...]:
    """The small memories of a block."""
    return {
        "act_queue": (Array("fifo", cfg.queue_depth, cfg.col_bits + cfg.act_bits),),
        "arithm_unit": (Array("codes", cfg.codebooks * cfg.n_codes, cfg.code_bits),),
        "act_rw": (Array("src", cfg.src_depth, cfg.act_bits), Array("acc", cfg.acc_depth, cfg.acc_bits)),
        "ccu": tuple(Array(f"table_{field.name}", cfg.passes, field.width) for field in config_fields(cfg)),
    }.get(block, ())


def macros(block: str, cfg: ArchConfig) -> tuple[Array, ...]:
    """The SRAMs of a block."""
    bank = cfg.ptr_bank_depth
    return {
        "ptr_read": (Array("even", bank, cfg.pointer_bits), Array("odd", bank, cfg.pointer_bits)),
        "spmat_read": (Array("spmat", cfg.spmat_words, cfg.word_bits),),
        "act_rw": (Array("act", cfg.act_words, cfg.acc_bits),),
    }.get(block, ())


def gates(block: str, cfg: ArchConfig) -> Gates:
    """Cells of a block's operations, the read multiplexers of its arrays included."""
    reading = sum(array.bits * (array.words - 1) for array in arrays(block, cfg))
    if block == "ptr_read":  # which bank holds p_j
        return Gates(mux2=2 * cfg.pointer_bits)
    if block == "spmat_read":  # entry of the word; next entry; base; is it the last one; is its word held
        return Gates(
            mux2=cfg.entry_bits * (cfg.entries_per_word - 1),
            adder=cfg.pointer_bits + cfg.word_addr_bits,
            and2=cfg.pointer_bits + cfg.word_addr_bits,
        )
    if block == "arithm_unit":  # product; row; rounding; sum; shift; bypasses and saturation
        return Gates(
            mux2=reading + SHIFT_BITS * cfg.product_bits + 3 * cfg.acc_bits,
            adder=(cfg.code_bits - 1) * cfg.act_bits + cfg.acc_addr_bits + cfg.product_bits + cfg.acc_bits,
            and2=cfg.code_bits * cfg.act_bits + 2 * cfg.acc_addr_bits,
        )
    if block == "act_rw":
        # The leaf's find-first (a chain, an encoder); write-back: rounding, shift, saturation; who writes each memory.
        source, sums = cfg.src_addr_bits + cfg.act_bits, cfg.acc_addr_bits + cfg.acc_bits
        writing = 2 * source + 3 * sums + 2 * cfg.act_sram_addr_bits + cfg.acc_bits
        return Gates(
            mux2=reading + SHIFT_BITS * cfg.acc_bits + 2 * cfg.acc_bits + writing,
            adder=cfg.acc_bits,
            and2=cfg.src_depth * (2 + bits_for(cfg.src_depth - 1) // 2),
        )
    if block == "ccu":  # column number, counters and addresses of refill and write-back, who may broadcast
        counting = cfg.acc_addr_bits + 1 + cfg.file_addr_bits + 1 + 2 * cfg.act_sram_addr_bits
        return Gates(mux2=reading, adder=cfg.col_bits + counting, and2=3 * cfg.n_pe)
    return Gates(mux2=reading)
