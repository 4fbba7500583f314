"""SweepTable: the rows of a sweep, for scripts and notebooks."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from eie.shown import counted, frame, optional, table
from eie.sim.sweep.columns import BY_NAME, Row, varied

# Rows and figures that a notebook shows of a table.
_SHOWN = 20
_FIGURES = ("cycles", "microseconds", "balance", "utilization", "energy_nj", "area_mm2")


class SweepTable(Sequence[Row]):
    """The points of a sweep, a dictionary each by column (docs/sweeps.md lists them). A slice is a table.

    Examples
    --------
    >>> import eie
    >>> points = eie.sweep(rows=16, cols=32, density=0.3, n_pe=[1, 2, 4])
    >>> len(points), points[-1]["n_pe"], len(points[:2])
    (3, 4, 2)
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> SweepTable: ...
    def __getitem__(self, place: int | slice) -> Row | SweepTable:
        return SweepTable(self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __repr__(self) -> str:
        axes = ", ".join(varied(self._rows)) if self._rows else ""
        return f"SweepTable({counted(len(self), 'point')}{' over ' + axes if axes else ''})"

    def _repr_html_(self) -> str:
        axes = ["layer", *varied(self._rows)]
        rows = [
            [*(row[name] for name in axes), *(optional(row[name], ",.4g") for name in _FIGURES)]
            for row in self._rows[:_SHOWN]
        ]
        more = f", the first {_SHOWN}" if len(self) > _SHOWN else ""
        return table(f"{counted(len(self), 'point')}{more}", rows, [*axes, *_FIGURES])

    @property
    def done(self) -> list[Row]:
        """The points that have figures: neither impossible nor failed."""
        return [row for row in self._rows if row["status"] == "ok"]

    def to_frame(self) -> Any:
        """All columns as a pandas DataFrame, a row for each point.

        Raises
        ------
        ConfigError : pandas is not installed.
        """
        return frame({name: [row[name] for row in self._rows] for name in BY_NAME})

    def plot(self, x: str, y: str, by: Sequence[str] = (), *, log: str = "") -> Any:
        """Column `y` against column `x` as a matplotlib Figure; see `eie plot --help`.

        Raises
        ------
        ConfigError : a column that there is not, or that cannot be drawn so.
        """
        return importlib.import_module("eie.sim.plots.columns").against(self.done, x, y, by, log=log)

    def pareto(self, *, loading: bool = False) -> Any:
        """The machines that no other one beats in time, energy and area together: `front`, `beaten`, `fields`.

        loading : count the energy of loading weights and input from DRAM, too.

        Raises
        ------
        ConfigError : no point has figures.
        """
        return importlib.import_module("eie.sim.plots.columns").pareto(self.done, loading=loading)
