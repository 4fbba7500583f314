"""What the benches share: one small configuration, and how often a random bench is idle or stalls."""

from eie.config import ArchConfig

# Corners come sooner in a small machine. SEED and N come from the command line, N as n_pe.
SMALL = ArchConfig(queue_depth=3, entries=64, pointers=16, src_depth=32, acc_depth=32, act_words=64)

# Each random test runs once for every pair (producer's probability, consumer's probability) of acting in a cycle: an
# idle producer empties what lies between them, a stalled consumer fills it, and 1.0 leaves no cycle unused.
RATES = (0.2, 0.6, 1.0)
CROSSED = [(producer, consumer) for producer in RATES for consumer in RATES]
