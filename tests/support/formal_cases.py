"""Small machines whose blocks are proved, and faults that the proofs have to find."""

from __future__ import annotations

import re
from collections.abc import Mapping

from eie.config import ArchConfig
from eie.rtl.block import module_name
from eie.rtl.verilog import array_verilog, host_if_verilog

# Small, and no depth a power of two: the solver's time grows with the bits, not what can go wrong.
SMALL = ArchConfig(
    n_pe=4,
    queue_depth=3,
    weight_bits=2,
    index_bits=2,
    code_bits=4,
    act_bits=4,
    acc_bits=8,
    word_bits=16,
    pointer_bits=6,
    pointers=8,
    entries=16,
    src_depth=3,
    acc_depth=3,
    act_words=4,
    passes=3,
)
_LANES = SMALL.replace(issue=2, window=2, filter_empty=1, row_format="absolute", row_bits=4)
# Each machine, and the blocks that it makes differ from those of the others.
MACHINES: dict[str, tuple[ArchConfig, tuple[str, ...]]] = {
    "published": (
        SMALL,
        ("act_queue", "ptr_read", "spmat_read", "arithm_unit", "act_rw", "lnzd", "ccu", "host_if"),
    ),
    "one PE, one column": (
        SMALL.replace(n_pe=1, queue_depth=1, passes=1),
        ("act_queue", "lnzd", "ccu", "host_if"),
    ),
    "bus 1": (SMALL.replace(bus_registers=1), ("act_queue", "ccu")),
    "bus 2, depth 4": (SMALL.replace(bus_registers=2, queue_depth=4), ("act_queue", "ccu")),
    "bus 3, depth 2": (SMALL.replace(bus_registers=3, queue_depth=2), ("act_queue", "ccu")),
    "three in a word": (SMALL.replace(weight_bits=3, entries=12), ("spmat_read",)),
    "one in a word": (SMALL.replace(weight_bits=8, index_bits=8, entries=4, pointer_bits=4), ("spmat_read",)),
    "three codebooks": (SMALL.replace(codebooks=3, acc_bits=9), ("arithm_unit",)),
    "adder": (SMALL.replace(adder=1, acc_bits=16), ("arithm_unit", "act_rw", "ccu")),
    "absolute rows": (
        SMALL.replace(row_format="absolute", row_bits=4, window=2),
        ("act_queue", "ptr_read", "spmat_read", "arithm_unit"),
    ),
    "a register before the lookup": (SMALL.replace(lookup_register=1), ("arithm_unit",)),
    "two lanes and the register": (_LANES.replace(lookup_register=1), ("arithm_unit",)),
    "two lanes": (_LANES, ("act_queue", "ptr_read", "spmat_read", "arithm_unit", "act_rw")),
    "two lanes, pairs": (
        _LANES.replace(group=2, bus_registers=1, queue_depth=4),
        ("act_queue", "ptr_read", "spmat_read", "leaf_pair", "lnzd", "ccu"),
    ),
    "16 leaves": (SMALL.replace(n_pe=16), ("lnzd",)),
    "window of three, pairs": (
        SMALL.replace(group=2, window=3, acc_depth=5, weight_bits=3, entries=24, filter_empty=1),
        ("ptr_read", "spmat_read"),
    ),
    "pairs, relative rows": (SMALL.replace(group=2), ("act_queue", "ptr_read", "spmat_read", "leaf_pair")),
    "four lanes": (
        _LANES.replace(issue=4, window=3, word_bits=32, entries=20),
        ("spmat_read", "arithm_unit"),
    ),
    "index-free, two lanes, two segments": (
        SMALL.replace(
            blocks=3,
            filter_empty=1,
            issue=2,
            window=2,
            segments=2,
            weight_bits=3,
            acc_depth=5,
            n_pe=8,
            codebooks=1,
        ),
        ("ptr_read", "spmat_read", "block_table", "ccu"),
    ),
    "index-free": (
        SMALL.replace(blocks=3, filter_empty=1, bus_registers=1, queue_depth=2),
        ("act_queue", "ptr_read", "spmat_read", "block_table", "arithm_unit", "ccu"),
    ),
}
# Of machines and their blocks: what is wrong, the text in the machine's Verilog, and what stands there instead.
FAULTS: dict[str, dict[str, dict[str, tuple[str, str]]]] = {
    "published": {
        "act_queue": {
            "reads where it writes": (r"= fifo\[rd_ptr\]", "= fifo[wr_ptr]"),
            "one credit too many": (r"(assign credit = occupancy) <", r"\1 <="),
            "never turns around": (r"(assign \w+ =) wr_ptr == 2'h2;", r"\1 1'h0;"),
        },
        "ptr_read": {
            "pointers swapped": (r"(p_end = odd \?) even_rdata : odd_rdata", r"\1 odd_rdata : even_rdata"),
            "pops too early": (r"(assign pop =) .*;", r"\1 head_valid;"),
        },
        "spmat_read": {
            "an entry of an empty column": (r"(assign \w+ =) p_start != p_end;", r"\1 1'h1;"),
            "a word of the pass before": (r"if \(\w+\) (held_valid <= 1'h0;)", r"if (rst) \1"),
            "reads every time": (r"(assign reads_again =) .*;", r"\1 active;"),
        },
        "arithm_unit": {
            "no bypass of one": (r"(assign forward1 =) .*;", r"\1 1'h0;"),
            "no bypass of two": (r"(assign forward2 =) .*;", r"\1 1'h0;"),
            "no rounding": (r"\{ operand\[7\], operand, 1'h1 \}", "{ operand[7], operand, 1'h0 }"),
        },
        "act_rw": {
            "takes all": (r"(assign \w+ =) ~ after;", r"\1 3'h0;"),
            "offers zero": (r"(assign gone =) .*;", r"\1 1'h0;"),
            "value of another row": (r"src\[read__addr\]", "src[src_row]"),
        },
        "lnzd": {
            "the later of equals": (r"child1_row < child0_row", "child1_row <= child0_row"),
            "does not wait": (r"(assign load = \w+ &) \w+;", r"\1 some;"),
            "offers twice": (r"pop \? 1'h0 : valid", "valid"),
        },
        "ccu": {
            "some credit is enough": (r"= & credits;", "= | credits;"),
            "one row too many": (r"(\w+\[2:0\]) != rows", r"\1 <= rows"),
            "never the last pass": (r"(assign last =) .*;", r"\1 1'h0;"),
        },
        "host_if": {
            "a word of the table in a packet": (
                r"(assign arbiter_stream_word =) .*;",
                r"\1 arbiter_read_third;",
            ),
            "answers a write that waits": (
                r"(assign registers_do_write =) .*;",
                r"\1 registers_aw_full & registers_w_full;",
            ),
            "header after ABORT": (r"(assign decoder_forget =) .*;", r"\1 1'h1;"),
            "spread counted as one PE": (
                r"(assign decoder_check_steps =) .*;",
                r"\1 decoder_check_last_word;",
            ),
        },
    },
    "two lanes, pairs": {
        "ptr_read": {
            "lengths of an idle column": (r"(assign p_count1 =) \w+ \? (.*) : 2'h0;", r"\1 \2;"),
            "the first column's place": (r"(assign p_start =) .* \? (\{.*\}) : .*;", r"\1 \2;"),
            "keeps all": (r"(assign keep =) .*;", r"\1 valid;"),
        },
        "spmat_read": {
            "two of a row": (r"(assign lane1_tok_valid = \w+) & \w+;", r"\1;"),
            "a word of the pass before": (r"if \(\w+\) (held_valid <= 1'h0;)", r"if (rst) \1"),
            "activation of the other column": (r"(= lane0_place) >= (slot1_split;)", r"\1 > \2"),
            "a run of two words ends": (r"(assign _\d+_ =) slice_b > \d'h2;", r"\1 1'h0;"),
        },
        "leaf_pair": {
            "the even one first": ("b_row < a_row", "1'h0"),
            "takes both": (r"(assign b_pop = pop &) \w+;", r"\1 b_valid;"),
            "value of a later row": (r"(assign value =) \w+ \? (a_value) : 4'h0;", r"\1 \2;"),
        },
    },
    "two lanes": {
        "ptr_read": {
            "pointers swapped": (r"(p_end = odd \?) even_rdata : odd_rdata", r"\1 odd_rdata : even_rdata")
        },
    },
    "index-free": {
        "ptr_read": {
            "rows of the next PE": ("push_low\\[1:0\\] > number", "push_low[1:0] >= number"),
            "keeps all": (r"(assign keep =) .*;", r"\1 push;"),
        },
        "spmat_read": {
            "row of the next entry": (r"(slot0_row <=) _\d+_;", r"\1 slot0_row;"),
        },
        "block_table": {
            "of the unit before": (r"(of_unit \} = unit \+ \{ 3'h0,) is_next", r"\1 1'h0"),
            "ends of shuffled blocks": (
                "= shuffled \\? _\\d+_ : { 1'h0, end_of_following }",
                "= { 1'h0, end_of_following }",
            ),
            "the host writes in a run": ("= ~ busy;", "= 1'h1;"),
        },
    },
}


def with_fault(
    machine: str, block: str, fault: str, files: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A machine's Verilog, or these files, with a fault in a block."""
    old, new = FAULTS[machine][block][fault]

    def planted(found: re.Match[str]) -> str:
        text, places = re.subn(old, new, found[0])
        assert places == 1, f"{block}: {places} places for the fault {fault!r}"
        return text

    module = re.compile(rf"^module {module_name(block)}\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)
    return {name: module.sub(planted, text) for name, text in (files or verilog(machine)).items()}


def verilog(machine: str) -> dict[str, str]:
    """A machine's Verilog, without probes and images."""
    cfg, blocks = MACHINES[machine]
    return array_verilog(cfg, images=False) | (host_if_verilog(cfg) if "host_if" in blocks else {})
