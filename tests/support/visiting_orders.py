"""Golden's array visited in any order, again and again until no signal changes."""

from collections.abc import Sequence

from eie.golden.array import Array


def all_values(array: Array) -> list[int]:
    """Every signal of every block, and what every register takes next."""
    nodes = [node for level in array.nodes for node in level]
    of_pes = [block for pe in array.pes for block in pe.blocks.values()]
    blocks = [array, array.ccu, *nodes, *array.pairs, *array.tables, *array.pes, *of_pes]
    values = [signal.value for block in blocks for signal in block.signals().values()]
    return values + [register.next for register in array.registers]


def propagate_until_stable(array: Array, order: Sequence[int]) -> int:
    """Visit in any `order` (a permutation of range(len(array.visits))); the number of rounds that it took."""
    settled: list[int] = []
    for rounds in range(1, len(array.visits) + 2):
        for number in order:
            array.visits[number]()
        values = all_values(array)
        if values == settled:
            return rounds
        settled = values
    raise RuntimeError("the signals do not settle: there is a combinational loop")
