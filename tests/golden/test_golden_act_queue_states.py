"""ActQueue against a plain deque, whatever the order of broadcasts, pops and starts: order, occupancy, credit."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from eie.config import ArchConfig
from eie.golden.act_queue import ActQueue


class QueueMachine(RuleBasedStateMachine):
    """The CCU broadcasts only with credit; a PE pops what is at the head, and starts each column once, after its pop.

    A broadcast is pushed as many cycles later as the bus has registers; it counts as occupancy at once, and until its
    start.
    """

    @initialize(depth=st.integers(1, 9), bus_registers=st.integers(0, 3))
    def reset(self, depth: int, bus_registers: int) -> None:
        self.queue = ActQueue(ArchConfig(n_pe=4, queue_depth=depth, bus_registers=bus_registers))
        self.depth = depth
        self.bus: deque[tuple[int, int] | None] = deque([None] * bus_registers)
        self.waiting: deque[tuple[int, int]] = deque()
        self.popped = 0

    @rule(
        broadcast=st.booleans(),
        pop=st.booleans(),
        start=st.booleans(),
        column=st.integers(0, 63),
        value=st.integers(-100, 100),
    )
    def cycle(self, broadcast: bool, pop: bool, start: bool, column: int, value: int) -> None:
        """One clock cycle: what the neighbours want to do, as far as they may."""
        queue = self.queue
        queue.propagate()
        on_bus = sum(entry is not None for entry in self.bus)
        occupancy = on_bus + len(self.waiting) + self.popped
        assert queue.occupancy.value == occupancy <= self.depth
        assert bool(queue.credit.value) == (occupancy < self.depth)
        assert queue.count.value == len(self.waiting)
        assert bool(queue.head_valid.value) == bool(self.waiting)
        if self.waiting:
            assert (queue.head_col.value, queue.head_value.value) == self.waiting[0]

        broadcast = broadcast and occupancy < self.depth
        pop, start = pop and bool(self.waiting), start and self.popped > 0
        self.bus.append((column, value) if broadcast else None)
        pushed = self.bus.popleft()
        queue.bcast.value, queue.pop.value, queue.start.value = int(broadcast), int(pop), int(start)
        queue.push.value = int(pushed is not None)
        queue.push_col.value, queue.push_value.value = pushed or (0, 0)
        queue.propagate()
        queue.update()
        self.popped += pop - start
        if pop:
            self.waiting.popleft()
        if pushed is not None:
            self.waiting.append(pushed)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=40, stateful_step_count=60)
