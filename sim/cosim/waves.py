"""Waveform (VCD) of a lockstep divergence: both sides' probes around the first cycle that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vcd import VCDWriter

from eie.config import ArchConfig
from eie.schema import ccu_probe, pe_probe, unpack_probe

CYCLE_NS = 2


def write_history(
    path: Path,
    history: Mapping[str, Sequence[tuple[int, Sequence[int]]]],
    cfg: ArchConfig,
    pe: int | None,
) -> None:
    """Write scopes `golden` and `rtl` with the CCU, the tree, and PE `pe` (PE 0 if None) side by side.

    history : {"golden"|"rtl": [(cycle, probe words of each PE, then of the CCU)]}; a word of -1 (unknown bits) is x.
    """
    shown = pe or 0
    probes = ((shown, f"pe{shown}", pe_probe(cfg)), (cfg.n_pe, "control", ccu_probe(cfg)))
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file, VCDWriter(file, timescale="1 ns") as writer:
        variables = {
            (side, word, place.name): writer.register_var(
                f"{side}.{scope}.{place.instance}", place.field.name, "wire", size=place.field.width
            )
            for side in history
            for word, scope, probe in probes
            for place in probe
        }
        first = min(cycle for samples in history.values() for cycle, _ in samples)
        merged = sorted((cycle, side, words) for side, samples in history.items() for cycle, words in samples)
        for cycle, side, words in merged:
            for word, _, probe in probes:
                for place, value in unpack_probe(probe, max(words[word], 0)):
                    mask = (1 << place.field.width) - 1
                    shown_value = "x" * place.field.width if words[word] < 0 else value & mask
                    writer.change(variables[side, word, place.name], (cycle - first) * CYCLE_NS, shown_value)
    temporary.replace(path)
