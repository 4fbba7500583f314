"""The smallest machine on which a network stays: weights, pointers and biases once, everything in one run."""

from __future__ import annotations

from collections.abc import Sequence

from eie.capacity import sized_for
from eie.config import ArchConfig, bits_for
from eie.errors import CapacityError
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan
from eie.plan_program import plan_program
from eie.program import Program

# While sizes are looked for: what no network that an FPGA holds reaches.
_LARGE = {"entries": 1 << 17, "pointers": 1 << 15, "pointer_bits": 18, "act_words": 1 << 14}


def fitted(layers: Sequence[CompressedLayer], cfg: ArchConfig, *, exits: bool = False) -> ArchConfig:
    """`cfg` with memories as large as the chain of layers needs to be computed in one run, with the weights in place.

    exits : the layers may have early exits among them; each stage is a run.

    Raises
    ------
    CapacityError : it needs more than any machine has.
    """
    # A power of two of passes and codebooks needs no check of an address in the chip.
    number = 1 << (len(layers) - 1).bit_length()
    large = sized_for(cfg, *layers).replace(**_LARGE, codebooks=min(256, number), passes=min(256, number))
    plan = make_plan(layers, large, exits=exits)
    stages = 1 + sum(layer.exit for layer in layers)
    if not plan.resident or len(plan.runs) > stages or not plan.keeps_table:
        raise CapacityError(f"{len(layers)} layers do not stay on {cfg.n_pe} PEs: use more PEs")
    images = plan_program(plan).images
    words = max(len(image.spmat) for image in images)
    # None of an index-free machine, which computes them.
    pointers = max((len(bank) for image in images for bank in image.pointers), default=1)
    entries = max(1, words * large.entries_per_word)
    return large.replace(
        entries=entries,
        pointers=2 * pointers,  # of two banks, or of one with a word for two columns
        pointer_bits=max(4, large.sel_bits + 1, bits_for(large.pack_pointer(entries))),
        act_words=max(2, *(len(image.act) for image in images)),
    )


def resident_program(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> Program:
    """The program of a chain of layers whose weights stay on the chip.

    Raises
    ------
    CapacityError : they do not stay.
    """
    plan: Plan = make_plan(layers, cfg)
    if not plan.resident or not plan.keeps_table or not plan.keeps_biases:
        raise CapacityError(
            f"the weights of {len(layers)} layers do not stay on {cfg.n_pe} PEs of these sizes: leave sizes out "
            "(--set), so that they follow from the network"
        )
    return plan_program(plan)
