"""What happened in a run, where no counter tells it."""

from eie.golden.array import Array


class Witness:
    """Watches a run for what shows in the signals only."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, array: Array) -> None:
        if not array.ccu.compute.value:
            return
        for pe in array.pes:
            unit = pe.arithm_unit
            if unit.forward1.value:
                self.seen.add("bypass at distance 1")
            elif unit.s3_write.value and unit.s3_forwarded.value:
                self.seen.add("bypass at distance 2")
            if pe.act_queue.occupancy.value == array.cfg.queue_depth:
                self.seen.add("a full queue")
