"""How many register bits really change, counted on the golden model: the check of the energy model's activity."""

from __future__ import annotations

from dataclasses import dataclass

from eie.config import ArchConfig
from eie.golden.array import Array
from eie.golden.run import run
from eie.program import Job
from eie.schema import PE_BLOCKS, Reg
from eie.sim.energy import inventory
from eie.sim.energy.model import activity_of, register_changes


@dataclass(frozen=True)
class Changes:
    """Register bits of one block that changed in compute mode, all PEs of all runs together; events not counted.

    modelled : what the energy model would say if half of the bits of each loaded register changed. entries : of the
    runs.
    """

    counted: int
    modelled: float
    entries: int

    @property
    def ratio(self) -> float:
        """Counted over modelled."""
        return self.counted / self.modelled


def count_changes(jobs: list[Job]) -> dict[str, Changes]:
    """Run jobs on the golden model and count, by block of the PE; the event counters are left out.

    ActRW is not there: the model lets none of its registers change in compute mode.
    """
    blocks = [block for block in PE_BLOCKS if any(inventory.LOADED[block].values())]
    counted, modelled, entries = dict.fromkeys(blocks, 0), dict.fromkeys(blocks, 0.0), 0
    for job in jobs:
        cfg = job.cfg
        registers: list[tuple[str, Reg, int]] = []

        def observe(
            array: Array, cfg: ArchConfig = cfg, registers: list[tuple[str, Reg, int]] = registers
        ) -> None:
            if not registers:
                registers += _registers(array, cfg, blocks)
            if array.ccu.compute.value:
                for block, register, mask in registers:
                    if register.value != register.next:
                        counted[block] += ((register.value ^ register.next) & mask).bit_count()

        result = run(job, observe=observe)
        activity, _ = activity_of(cfg, result.counters, result.cycles)
        entries += result.total("entries")
        for block in blocks:
            modelled[block] += cfg.n_pe * register_changes(block, cfg, activity, 0.5)
    return {block: Changes(counted[block], modelled[block], entries) for block in blocks}


def _registers(array: Array, cfg: ArchConfig, blocks: list[str]) -> list[tuple[str, Reg, int]]:
    found = []
    for pe in array.pes:
        for name in blocks:
            block = pe.blocks[name]
            for register in inventory.flip_flops(name, cfg):
                signal = block.signal(register)
                if not isinstance(signal, Reg):
                    raise TypeError(f"{name}.{register} is not a register")
                found.append((name, signal, signal.mask))
    return found
