"""Machines from the published one to the ends of what can be set."""

from eie.config import ArchConfig

# Four PEs for whatever one machine is enough for: its simulator models are built once for all files that take it.
MEMORIES = {"src_depth": 16, "acc_depth": 24, "pointers": 60, "entries": 500, "act_words": 6}
FOUR = ArchConfig(n_pe=4, **MEMORIES)

CFG = ArchConfig(n_pe=8, entries=100, pointers=9, src_depth=5, acc_depth=3, queue_depth=3, bus_registers=1)

CONFIGS = {
    "published": ArchConfig(n_pe=4),
    "wide": ArchConfig.preset("wide", n_pe=2),
    "small": CFG,
    "smallest": ArchConfig(
        **{"n_pe": 1, "queue_depth": 1, "weight_bits": 1, "index_bits": 1, "code_bits": 4, "act_bits": 4},
        **{"acc_bits": 8, "word_bits": 16, "pointer_bits": 4, "pointers": 2, "entries": 1, "src_depth": 1},
        acc_depth=1,
    ),
    "largest widths": ArchConfig(
        **{
            "n_pe": 4,
            "queue_depth": 33,
            "bus_registers": 8,
            "weight_bits": 8,
            "index_bits": 8,
            "acc_bits": 32,
        },
        **{"word_bits": 512, "pointer_bits": 32, "entries": 5000, "src_depth": 130, "acc_depth": 300},
    ),
    "odd widths": ArchConfig(
        **{"n_pe": 2, "queue_depth": 6, "weight_bits": 3, "index_bits": 6, "code_bits": 9, "act_bits": 11},
        **{"acc_bits": 19, "word_bits": 128, "pointer_bits": 13, "pointers": 77, "entries": 701},
        **{"src_depth": 39, "acc_depth": 21, "act_words": 77, "codebooks": 3, "passes": 5, "counters": 0},
    ),
    "32 PEs": ArchConfig(n_pe=32, entries=64, pointers=16, src_depth=2, acc_depth=2),
}
