"""Executable timing tables: a row is a cycle, a column is a signal.

    cycle | push push_col | head_valid head_col
    0     | 1    5        | 0          ?
    1     | .    .        | 1          5

The middle part drives inputs (`.` is 0), the right one holds what the signals are in that cycle (`?` is anything),
registers before the clock edge that ends it. Numbers are Python's (`0x1f`, `-3`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eie.golden.base import Block
from eie.schema import Wire


@dataclass(frozen=True)
class Row:
    """One cycle: the inputs to drive and the values to find."""

    cycle: int
    inputs: dict[str, int]
    expected: dict[str, int]


def parse(text: str) -> list[Row]:
    """The rows of a table; lines that are empty or start with # are left out."""
    lines = [line for line in (line.strip() for line in text.splitlines()) if line and line[0] != "#"]
    (label,), inputs, outputs = _cells(lines[0])
    assert label == "cycle", f"the first column must be 'cycle', not {label!r}"
    rows = []
    for line in lines[1:]:
        (cycle,), driven, found = _cells(line)
        assert len(driven) == len(inputs), f"{len(inputs)} inputs in the heading, not in: {line}"
        assert len(found) == len(outputs), f"{len(outputs)} signals in the heading, not in: {line}"
        assert not rows or int(cycle) == rows[-1].cycle + 1, f"cycle {cycle} does not follow {rows[-1].cycle}"
        values = {name: 0 if cell == "." else int(cell, 0) for name, cell in zip(inputs, driven, strict=True)}
        expected = {name: int(cell, 0) for name, cell in zip(outputs, found, strict=True) if cell != "?"}
        rows.append(Row(int(cycle), values, expected))
    assert rows, "a table without rows checks nothing"
    return rows


def _cells(line: str) -> list[list[str]]:
    parts = [part.split() for part in line.split("|")]
    assert len(parts) == 3, f"a row has three parts, cycle | inputs | signals: {line}"
    return parts


def drive(block: Block, text: str, names: Mapping[str, Wire] | None = None) -> None:
    """Drive `block` through a table and check every cycle.

    A heading is a name in `names`, or one of the block's signals.
    """
    signals = {**block.signals(), **(names or {})}
    rows = parse(text)
    for row in rows:
        for name, value in row.inputs.items():
            signals[name].value = value
        block.propagate()
        for name, value in row.expected.items():
            found = int(signals[name].value)
            assert found == value, f"cycle {row.cycle}: {name} is {found}, not {value}"
        block.update()
