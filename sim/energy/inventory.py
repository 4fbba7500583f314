"""What the blocks consist of, for any configuration: flip-flops, small arrays, gates, SRAMs; and what loads a register.

Flip-flops are those of `eie.schema`, which the RTL is built from: a test compares their number, and that of what the
RTL alone has (`derived`), with the exported Verilog. Arrays are the RTL's small memories; gates are counted from the
operations of each block, by these formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from eie.config import SCALE_BITS, SUM_BITS, ArchConfig, bits_for
from eie.schema import CCU_COUNTERS, SHIFT_BITS, PeCounter, block_fields, config_fields, fields, pointer_srams

# The RTL counts events in registers that the published machine has no word of.
COUNTERS = frozenset(counter.name.lower() for counter in PeCounter) | {*CCU_COUNTERS, "cycle"}


def _by_event(**events: str) -> dict[str, str | None]:
    """What loads each register: its event, with the names of those that it loads; `nothing` loads none."""
    return {
        name: None if event == "nothing" else event
        for event, names in events.items()
        for name in names.split()
    }


# What loads each register in compute mode: a column that starts, an entry, a word read from the matrix memory, a
# broadcast. A loaded register changes half of its bits. Nothing: not in compute mode, or a bit or two now and then.
LOADED: dict[str, dict[str, str | None]] = {
    "act_queue": _by_event(column="wr_ptr rd_ptr count occupancy"),
    "ptr_read": _by_event(column="valid value odd"),
    "spmat_read": _by_event(
        column="stop value tok_first tok_value",
        entry="current tok_sel",
        word="held_addr",
        nothing="active held_valid tok_valid tok_empty",
    ),
    "arithm_unit": _by_event(
        column="s2_value",
        entry="s2_code s2_row s3_product s3_operand s3_row s4_row s4_sum",
        nothing="s2_valid s2_write s3_valid s3_write s3_forwarded s4_valid s4_write",
    ),
    "act_rw": _by_event(nothing="pending y_valid y_row y_acc rf_valid rf_to_src rf_at"),
}
# Of the register in front of the codebook (`lookup_register`).
_LOOKUP: dict[str, str | None] = {
    "s1_valid": None,
    "s1_empty": None,
    "s1_first": "column",
    "s1_value": "column",
    "s1_v": "entry",
    "s1_z": "entry",
}
# Of the block table: what a broadcast column loads; `run` stands for every register of the bus.
_TABLE = _by_event(
    column="at_block at_within at_value run_start run_value",
    nothing="unit first at_valid run_valid run_low run_high",
)
# Counting up changes two bits on the average, whatever the width.
COUNTS_UP = frozenset({"current", "wr_ptr", "rd_ptr", "count", "occupancy", "word"})
# What a PE with a window has in the place of some of these: a group that is read, a run (its entries on this PE), a
# cycle that issues entries, an entry in a further lane, a word. `slot` and `lane` stand for every one.
_WINDOW = _by_event(
    word="word left left_all row held_addr slot_end slot_split slot_word",
    issue="slot_pos slot_row",
    run="slot_value slot_value1",
    nothing="more begun held_valid slot_null slot_fresh slot_turn",
)


def derived(block: str, cfg: ArchConfig) -> dict[str, int]:
    """Bits of the registers that the RTL alone has, which say nothing that those of `eie.schema` do not.

    ActRW: the first row of `pending` and whether there is one. CCU: whether a row is written back, and which refill;
    what the mode means; the CCU's own word beside that of the PEs, which `io_rdata` stands for. Events that a counter
    has yet to count. They are there for the clock. The model leaves them out: the published machine is not known to
    have them.
    """
    late = {
        "arithm_unit": () if cfg.issue > 1 else ("bypasses_event", "saturations_event"),
        "act_rw": ("writeback_saturations_event",),
        "spmat_read": ("entries_event", "empty_columns_event", "spmat_reads_event") if cfg.walks else (),
    }
    events = dict.fromkeys(late.get(block, ()) if cfg.counters else (), 1)
    modes = ("wb_en", "compute", "busy", "refill_begins", "refills_further")
    own = {
        "act_rw": {"leaf_valid": 1, "leaf_row": cfg.src_addr_bits},
        "ccu": {**dict.fromkeys(modes, 1), "own_word": cfg.io_data_bits},
    }
    return own.get(block, {}) | events


def derived_arrays(block: str, cfg: ArchConfig) -> tuple[Array, ...]:
    """Likewise, memories: in the CCU whether a pass refills accumulators."""
    return (Array("table_refills", cfg.passes, 1),) if block == "ccu" else ()


def loaded(block: str, cfg: ArchConfig) -> dict[str, str | None]:
    """What loads each register of a block in compute mode, as in `LOADED`, for any PE."""
    if block == "block_table":
        return {name: _TABLE[re.sub(r"^run\d+", "run", name)] for name in flip_flops(block, cfg)}
    if block not in LOADED:
        return {}
    published, names = LOADED[block], flip_flops(block, cfg)
    if block == "arithm_unit" and cfg.lookup_register:
        published = published | _LOOKUP
    if cfg.walks:
        return {name: event for name, event in published.items() if name in names}
    if block == "act_queue":
        return dict.fromkeys(names, "run" if cfg.filter_empty else "column")
    if block == "spmat_read":
        return {name: _WINDOW[re.sub(r"^slot\d+", "slot", name)] for name in names}
    if block == "ptr_read":
        return dict.fromkeys(names, "column")
    if block == "arithm_unit":
        return {name: _of_lane(published[re.sub(r"^lane\d+_", "", name)], name) for name in names}
    return published


def _of_lane(event: str | None, name: str) -> str | None:
    """What loads a lane's register where a walking PE's is loaded by `event`."""
    if event == "entry":
        return "lane" if name.startswith("lane") else "issue"
    return "run" if event == "column" else event


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


def _counts(name: str) -> bool:
    """Whether a register is a performance counter, or one in front of one."""
    return name in COUNTERS or name.endswith("s4_clipped")


def flip_flops(block: str, cfg: ArchConfig, *, counters: bool = False) -> Mapping[str, int]:
    """Bits of each register of a block; the performance counters only on request, and where there are any."""
    return _flip_flops(block, cfg, counters and cfg.counters > 0)


@lru_cache(maxsize=256)
def _flip_flops(block: str, cfg: ArchConfig, counters: bool) -> Mapping[str, int]:
    registers = {
        field.name: field.width
        for field in fields(block, cfg)
        if field.kind.is_register and (counters or not _counts(field.name))
    }
    if block == "arithm_unit":
        # Of a further lane, that it writes says all that its valid bits would: synthesis takes them away.
        away = r"lane\d+_s[34]_valid"
        if not cfg.counters:
            away += r"|.*s3_forwarded$"  # Only a counter reads them.
        registers = {name: bits for name, bits in registers.items() if not re.match(away, name)}
    if block == "spmat_read":
        # No pointer names a word beyond these bits: synthesis takes the others away.
        registers["held_addr"] = min(registers["held_addr"], cfg.start_bits - cfg.sel_bits)
    return registers


def arrays(block: str, cfg: ArchConfig) -> tuple[Array, ...]:
    """The small memories of a block."""
    if block == "act_queue":
        return (_queue(cfg),)
    if block == "arithm_unit":
        return (Array("codes", cfg.codebooks * cfg.n_codes, cfg.code_bits),)
    if block == "act_rw":
        return Array("src", cfg.src_depth, cfg.act_bits), Array("acc", cfg.acc_depth, cfg.acc_bits)
    if block == "ccu":
        return tuple(Array(f"table_{field.name}", cfg.passes, field.width) for field in config_fields(cfg))
    if block == "block_table":
        widths = block_fields(cfg).items()
        return tuple(Array(f"table_{field.name.lower()}", cfg.blocks, width) for field, width in widths)
    return ()


def _queue(cfg: ArchConfig) -> Array:
    """The queue: of columns or groups; or of runs, where they begin and how long they are, whose head is a register."""
    values = cfg.act_bits + cfg.act1_bits
    if not cfg.filter_empty:
        return Array("fifo", cfg.queue_depth, cfg.col_bits + values)
    run = cfg.run_bits + cfg.length_bits + cfg.length1_bits + cfg.acc_addr_bits * cfg.index_free
    return Array("fifo", max(1, cfg.queue_depth - 1), run + values)


def macros(block: str, cfg: ArchConfig) -> tuple[Array, ...]:
    """The SRAMs of a block."""
    matrix = -(-cfg.spmat_words // cfg.matrix_banks)
    return {
        "ptr_read": tuple(Array(name, cfg.ptr_bank_depth, cfg.ptr_word_bits) for name in pointer_srams(cfg)),
        "spmat_read": (Array("spmat", matrix, cfg.word_bits),) * cfg.matrix_banks,
        "act_rw": (Array("act", cfg.act_words, cfg.acc_bits),),
    }.get(block, ())


def gates(block: str, cfg: ArchConfig) -> Gates:
    """Cells of a block's operations, the read multiplexers of its arrays included."""
    reading = sum(array.bits * (array.words - 1) for array in arrays(block, cfg))
    lanes = cfg.issue
    if not cfg.walks and block in ("ptr_read", "spmat_read"):
        return _reading_runs(cfg) if block == "ptr_read" else _windowing(cfg)
    if block == "ptr_read":  # which bank holds p_j
        return Gates(mux2=2 * cfg.pointer_bits)
    if block == "spmat_read":  # entry of the word; next entry; base; is it the last one; is its word held
        return Gates(
            mux2=cfg.entry_bits * (cfg.entries_per_word - 1),
            adder=cfg.pointer_bits + cfg.word_addr_bits,
            and2=cfg.pointer_bits + cfg.word_addr_bits,
        )
    if (
        block == "arithm_unit"
    ):  # product; row; rounding; sum; shift; bypasses (from every lane) and saturation
        row = cfg.acc_addr_bits if cfg.relative else 0
        # Of an adder machine two magnitudes, their comparison, the smaller one, and it or the product.
        smaller = min(cfg.code_bits, cfg.act_bits) * cfg.adder
        sizes = (cfg.code_bits + cfg.act_bits) * cfg.adder
        choosing = smaller + cfg.product_bits * cfg.adder
        return Gates(
            mux2=lanes
            * (reading + SHIFT_BITS * cfg.product_bits + (2 * lanes + 1) * cfg.acc_bits + choosing),
            adder=lanes
            * ((cfg.code_bits - 1) * cfg.act_bits + row + cfg.product_bits + cfg.acc_bits + sizes + smaller),
            and2=lanes
            * (
                cfg.code_bits * cfg.act_bits
                + 2 * lanes * cfg.acc_addr_bits
                + cfg.code_bits * cfg.adder
                + sizes
            ),
        )
    if block == "act_rw":
        # The leaf's find-first (a chain, an encoder); write-back: rounding, shift, saturation; who writes each memory.
        source, sums = cfg.src_addr_bits + cfg.act_bits, cfg.acc_addr_bits + cfg.acc_bits
        writing = 2 * source + 3 * sums + 2 * cfg.act_sram_addr_bits + cfg.acc_bits
        # A further lane reads the accumulators through multiplexers of its own, and writes through one at each bit.
        ports = (lanes - 1) * cfg.acc_bits * (2 * cfg.acc_depth - 1)
        # What is rounded: of an adder machine a sum less that of the inputs, times a scale, or not.
        exact = cfg.y_acc_bits + SCALE_BITS * cfg.adder
        product = cfg.y_acc_bits * SCALE_BITS * cfg.adder
        less = (cfg.y_acc_bits + SUM_BITS) * cfg.adder
        return Gates(
            mux2=reading + ports + SHIFT_BITS * exact + 2 * cfg.acc_bits + writing + exact * cfg.adder,
            adder=exact + product + less,
            and2=cfg.src_depth * (2 + bits_for(cfg.src_depth - 1) // 2) + product,
        )
    if block == "ccu":  # column number, counters and addresses of refill and write-back, who may broadcast
        counting = cfg.acc_addr_bits + 1 + cfg.file_addr_bits + 1 + 2 * cfg.act_sram_addr_bits
        sums = cfg.group * (cfg.act_bits + SUM_BITS) * cfg.adder
        return Gates(mux2=reading, adder=cfg.col_bits + counting + sums, and2=3 * cfg.n_pe)
    if block == "block_table":
        # Is the column in this unit or the next, its place there; the first entry's number; words of the table read
        # once more for the next block, and for the host.
        return Gates(
            mux2=2 * reading + 4 * cfg.col_bits,
            adder=5 * cfg.col_bits
            + 2 * cfg.block_bits
            + cfg.entry_number_bits
            + cfg.col_bits * cfg.length_bits,
            and2=cfg.col_bits * cfg.length_bits + cfg.io_data_bits,
        )
    if block == "act_queue" and cfg.filter_empty:  # the head: what comes next, or what arrives
        return Gates(mux2=reading + _queue(cfg).bits)
    return Gates(mux2=reading)


def _reading_runs(cfg: ArchConfig) -> Gates:
    """PtrRead of a PE with a window: the run's first entry (behind the even column, or not), and its length.

    Index-free the rows before the block and up to its end, by the PE's number, and their difference.
    """
    if cfg.index_free:
        rows = cfg.bound_bits - cfg.pe_shift
        return Gates(adder=3 * rows, and2=2 * (2 * cfg.pe_shift + 1) + cfg.length_bits)
    return Gates(
        mux2=cfg.run_bits + (2 * cfg.pointer_bits if cfg.group == 1 else 0),
        adder=cfg.run_bits + 3 * cfg.length_bits,
        and2=cfg.length_bits + cfg.length1_bits,
    )


def _windowing(cfg: ArchConfig) -> Gates:
    """SpmatRead of a PE with a window.

    Each lane's word and entry of it; compares of the rows; next word, base, what is left; is the word held.
    """
    word = cfg.word_bits * (cfg.window - 1) + cfg.entry_bits * (cfg.entries_per_word - 1)
    pairs_of_lanes = cfg.issue * (cfg.issue - 1) // 2
    # Index-free, rows are counted: of each lane, of each slot, of the next word.
    rows = (cfg.issue + cfg.window + 1) * cfg.acc_addr_bits if cfg.index_free else 0
    return Gates(
        mux2=cfg.issue * word,
        adder=2 * cfg.word_addr_bits + 4 * cfg.length_bits + 3 * cfg.issue * cfg.place_count_bits + rows,
        and2=cfg.word_addr_bits + pairs_of_lanes * 2 * cfg.z_bits,
    )
