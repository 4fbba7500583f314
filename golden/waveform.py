"""Waveforms (VCD) of any run of the golden model, every signal of every block under the schema's names and widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from vcd import VCDWriter

from eie.errors import OutputError
from eie.golden.array import Array
from eie.golden.base import Block
from eie.schema import Wire


def scopes(array: Array) -> Iterator[tuple[str, Block]]:
    """Each block of the array with its place in the hierarchy, the array first."""
    yield "array", array
    yield "array.ccu", array.ccu
    for level, nodes in enumerate(array.nodes):
        for i, node in enumerate(nodes):
            yield f"array.lnzd_{level}_{i}", node
    for i, pair in enumerate(array.pairs):
        yield f"array.leaf_pair_{i}", pair
    for k, pe in enumerate(array.pes):
        yield f"array.pe[{k}]", pe
        for name, block in pe.blocks.items():
            yield f"array.pe[{k}].{name}", block


class Waveform:
    """Records an array cycle by cycle into a VCD file, value changes only. A context manager.

    The file appears under its name when the run ends well; cycles are spaced by the configuration's clock.

    Raises
    ------
    OutputError : the file cannot be written.
    """

    def __init__(self, path: Path, array: Array) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.period = max(2, round(1e12 / array.cfg.clock_hz))
        try:
            self.file = self.part.open("w")
        except OSError as error:
            raise OutputError(f"cannot write the waveform {self.path}: {error.strerror}") from None
        self.writer = VCDWriter(self.file, timescale="1 ps", version="EIE golden model")
        self.clock = self.writer.register_var("array", "clk", "wire", size=1, init=0)
        self.time = 0
        self.signals: list[tuple[Wire, Any]] = []
        for scope, block in scopes(array):
            for field, signal in zip(block.fields, block.signals().values(), strict=True):
                kind = "reg" if field.kind.is_register else "wire"
                variable = self.writer.register_var(scope, field.name, kind, size=field.width, init=0)
                self.signals.append((signal, variable))
        self.last = [0] * len(self.signals)

    def record(self, array: Array) -> None:
        """Record a cycle; call it between propagate and update."""
        writer, time, last = self.writer, self.time, self.last
        writer.change(self.clock, time, 1)
        for number, (signal, variable) in enumerate(self.signals):
            value = signal.value
            if value != last[number]:
                writer.change(variable, time, int(value))
                last[number] = value
        writer.change(self.clock, time + self.period // 2, 0)
        self.time = time + self.period

    def __enter__(self) -> Waveform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close(self.time)
        self.file.close()
        if kind is None:
            self.part.replace(self.path)
        else:
            self.part.unlink()
