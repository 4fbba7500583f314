"""What a simulation returns, whatever the engine."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.schema import CCU_COUNTERS, PeCounter
from eie.shown import counted, frame, optional, table

# Names of the counters that every engine fills in the same way: int64[n_pe] each, but for broadcast_stalls (int).
COUNTERS = (
    "entries",
    "fillers",
    "macs",
    "empty_columns",
    "starved",
    "broadcast_stalls",
    "ptr_reads",
    "spmat_reads",
    "bypasses",
    "saturations",
    "writeback_saturations",
)

Counter = npt.NDArray[np.int64] | int | None


@dataclass(frozen=True, eq=False)
class Count:
    """The hardware's counters of a pass or a run; per_pe : int64[PeCounter, n_pe] (None: hardware without them).

    busy_cycles : from start to done. Hardware without counters gives 0 for all but these.
    """

    cycles: int
    broadcast_stalls: int
    refill_cycles: int
    writeback_cycles: int
    busy_cycles: int
    per_pe: npt.NDArray[np.int64] | None

    @property
    def counters(self) -> dict[str, Counter]:
        """As in a `Result`: adds macs and starved, in the order of `COUNTERS`; empty for hardware without counters."""
        if self.per_pe is None:
            return {}
        counters: dict[str, Counter] = {counter.name.lower(): self.per_pe[counter] for counter in PeCounter}
        counters["macs"] = self.per_pe[PeCounter.ENTRIES] - self.per_pe[PeCounter.FILLERS]
        counters["starved"] = self.cycles - self.per_pe[PeCounter.ISSUE_CYCLES]
        counters["broadcast_stalls"] = self.broadcast_stalls
        return {name: counters[name] for name in COUNTERS}


def complete(per_pe: npt.NDArray[np.int64], cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """The counters that the hardware has, int64[pe_counters(cfg), n_pe], with ISSUE_CYCLES where it has none.

    With one entry a cycle each entry takes one, and so does a column without an entry that gets into the queue.
    """
    if len(per_pe) > PeCounter.ISSUE_CYCLES:
        return per_pe
    issues = per_pe[PeCounter.ENTRIES] + (0 if cfg.filter_empty else per_pe[PeCounter.EMPTY_COLUMNS])
    return np.vstack([per_pe, issues])


def total(counts: Sequence[Count]) -> Count:
    """The sum of passes or runs."""
    if len(counts) == 1:
        return counts[0]

    def of(name: str) -> int:
        return sum(getattr(one, name) for one in counts)

    per_pe = [one.per_pe for one in counts if one.per_pe is not None]
    return Count(
        of("cycles"),
        of("broadcast_stalls"),
        of("refill_cycles"),
        of("writeback_cycles"),
        of("busy_cycles"),
        np.sum(per_pe, axis=0) if len(per_pe) == len(counts) else None,
    )


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine gave for one input of a layer, or of a program of many passes.

    Two results are equal if every field is, arrays by their elements; a result has no hash.

    Parameters
    ----------
    y : int16[rows], raw fixed-point activations (of a batch int16[batch, rows]). `outputs` has them as real numbers.
    cycles : compute mode, by the timing law (None for the reference, which has no clock, and for many passes on
        hardware without counters).
    counters : the names in `COUNTERS`; int64[n_pe] each, but for broadcast_stalls (int); None where an engine has no
        such counter.
    engine : what computed it.
    cfg : the machine.
    load_cycles : words that the host writes through the I/O port for this input (of a layer: biases, codebook,
        activations and configuration).
    weight_load_cycles : those that are loaded once, where they went through the port (of a layer: pointers and
        entries).
    writeback_cycles : ReLU write-back.
    store_cycles : in which the host reads results (None: not measured).
    runs : a `Count` for each start (none from the reference).
    passes : for each pass, from the fast engine on a plan only, because hardware counts runs.
    y_frac : fraction bits of `y` (None: not known, where a program ran without its layers).
    minima : whether it is of an adder layer, which takes minima in place of products (docs/adder.md).

    Examples
    --------
    >>> import eie
    >>> layer = eie.CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30], relu=False)
    >>> result = eie.simulate(layer, [1, 3], eie.ArchConfig(n_pe=2))
    >>> result
    Result(golden, 2 PEs: y int16[2], 9 cycles, 0.011 µs, load balance 22.2 %, utilization 11.1 %)
    >>> result.y.tolist(), result.total("macs")
    ([30, -20], 2)
    """

    y: npt.NDArray[np.int16]
    cycles: int | None
    counters: Mapping[str, Counter]
    engine: str
    cfg: ArchConfig
    load_cycles: int | None = None
    weight_load_cycles: int | None = None
    writeback_cycles: int | None = None
    store_cycles: int | None = None
    runs: tuple[Count, ...] = ()
    passes: tuple[Count, ...] = ()
    y_frac: int | None = None
    minima: bool = False

    @classmethod
    def uncounted(cls, y: npt.NDArray[np.int16], engine: str, cfg: ArchConfig) -> Result:
        """Outputs of an engine that has neither cycles nor counters."""
        return cls(y, None, dict.fromkeys(COUNTERS), engine, cfg)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return all(_same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))

    __hash__ = None  # type: ignore[assignment]  # its arrays have none

    def __repr__(self) -> str:
        found = [f"y int16{list(self.y.shape)}"]
        if self.cycles is not None:
            found += [f"{self.cycles:,} cycles", f"{self.microseconds:,.3f} µs"]
        if self.balance is not None:
            found += [f"load balance {optional(self.balance, '.1%')}"]
        if self.utilization is not None:
            found += [f"utilization {optional(self.utilization, '.1%')}"]
        return f"Result({self.engine}, {counted(self.cfg.n_pe, 'PE')}: {', '.join(found)})"

    def _repr_html_(self) -> str:
        return table(f"Result of engine {self.engine}", self._figures())

    def _figures(self) -> list[tuple[str, str]]:
        counters = [(name, self.counters.get(name)) for name in COUNTERS]
        return [
            ("PEs", str(self.cfg.n_pe)),
            ("outputs", f"int16{list(self.y.shape)}"),
            ("cycles", optional(self.cycles, ",")),
            ("µs", optional(self.microseconds, ",.3f")),
            ("load balance", optional(self.balance, ".1%")),
            ("utilization", optional(self.utilization, ".1%")),
            *(
                (name, optional(None if value is None else int(np.sum(value)), ","))
                for name, value in counters
            ),
        ]

    @property
    def outputs(self) -> npt.NDArray[np.float64]:
        """The activations as real numbers, float64, of the shape of `y`.

        Raises
        ------
        ConfigError : `y_frac` is not known.

        Examples
        --------
        >>> import eie
        >>> layer = eie.CompressedLayer.from_dense([[0.5, 0], [0, -1]], relu=False)
        >>> eie.simulate(layer, [1.0, 0.5], eie.ArchConfig(n_pe=2)).outputs.tolist()
        [0.5, -0.5]
        """
        if self.y_frac is None:
            raise ConfigError(
                "the scale of y is not known here: use np.ldexp(y.astype(float), -layer.y_frac)"
            )
        return np.ldexp(self.y.astype(np.float64), -self.y_frac)

    @property
    def count(self) -> Count:
        """The sum of the runs."""
        return total(self.runs)

    @property
    def microseconds(self) -> float | None:
        """Compute time at the configuration's clock."""
        return None if self.cycles is None else self.cycles / self.cfg.clock_hz * 1e6

    @property
    def balance(self) -> float | None:
        """Load-balance efficiency: 1 - mean over PEs of starved / cycles (1.0 when there is nothing to do).

        A column of which a PE holds no entry counts as work here, because it takes the PE a cycle; see `utilization`.
        """
        starved = self.counters["starved"]
        if self.cycles is None or starved is None:
            return None
        return 1.0 - float(np.mean(starved)) / self.cycles if self.cycles else 1.0

    @property
    def utilization(self) -> float | None:
        """Useful work: multiply-accumulates / (PEs x entries a cycle x cycles); 1.0 when there is nothing to do.

        Fillers and empty columns are no useful work. None for an engine without a clock, or a machine without counters.
        """
        macs = self.counters["macs"]
        if self.cycles is None or macs is None:
            return None
        peak = self.cfg.n_pe * self.cfg.issue * self.cycles
        return float(np.sum(macs)) / peak if self.cycles else 1.0

    def total(self, counter: str) -> int:
        """Sum of a counter over the PEs.

        Parameters
        ----------
        counter : a name in `COUNTERS`.

        Raises
        ------
        ConfigError : no such counter; or the engine, or a machine without counters, does not count it.
        """
        if counter not in self.counters:
            raise ConfigError(f"there is no counter {counter!r}: use one of {', '.join(COUNTERS)}")
        value = self.counters[counter]
        if value is None:
            why = "" if self.cfg.counters else " of a machine with counters=0"
            raise ConfigError(f"the engine {self.engine} gives no counter {counter!r}{why}")
        return int(np.sum(value))

    def to_frame(self) -> Any:
        """The counters of each PE as a pandas DataFrame: a row for each PE, a column for each counter.

        Raises
        ------
        ConfigError : pandas is not installed; the engine has no counters.

        Examples
        --------
        >>> import eie
        >>> layer = eie.CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
        >>> eie.simulate(layer, [1, 3], eie.ArchConfig(n_pe=2)).to_frame()["macs"].tolist()
        [1, 1]
        """
        columns = {name: value for name, value in self.counters.items() if isinstance(value, np.ndarray)}
        if not columns:
            raise ConfigError(f"the engine {self.engine} gives no counters of PEs")
        return frame({"pe": np.arange(self.cfg.n_pe), **columns}, "pe")

    def plot_work(self) -> Any:
        """What each PE did with its cycles, as a matplotlib Figure: multiply-accumulates, fillers, empty columns, none.

        Raises
        ------
        ConfigError : the engine has no cycles or no counters.

        Examples
        --------
        >>> import eie
        >>> layer = eie.CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
        >>> eie.simulate(layer, [1, 3], eie.ArchConfig(n_pe=2)).plot_work().savefig("work.png")  # doctest: +SKIP
        """
        return importlib.import_module("eie.sim.plots.work").picture([("", self)])


def _same(one: Any, other: Any) -> bool:
    """Whether two fields are equal, whatever arrays are in them."""
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and set(one) == set(other)
            and all(_same(one[k], other[k]) for k in one)
        )
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Count):
        return isinstance(other, Count) and all(
            _same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
        )
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def summed(results: Sequence[Result]) -> Result:
    """Runs of one layer as one: sums of cycles and counters; the weights are loaded once."""

    def added(values: Sequence[Any]) -> Any:
        return None if values[0] is None else sum(values[1:], start=values[0])

    def of(name: str) -> int | None:
        return added([getattr(result, name) for result in results])

    first, counts = results[0], [run for result in results for run in result.runs]
    sums = {name: added([result.counters[name] for result in results]) for name in first.counters}
    return replace(
        first,
        counters=sums,
        cycles=of("cycles"),
        load_cycles=of("load_cycles"),
        writeback_cycles=of("writeback_cycles"),
        store_cycles=of("store_cycles"),
        runs=(total(counts),) if counts else (),
        passes=(),
    )


def differences(expected: Result, found: Result) -> tuple[int, list[str]]:
    """Compare two engines' results of one input: the numbers compared, and a line for each that differs.

    Activations, and each run's cycles and counters. An engine without a clock, or hardware without counters, is
    compared in what it has.
    """
    compared, lines = 0, []

    def compare(what: str, one: Any, other: Any) -> None:
        """`what` has a place {0} for the position in a vector."""
        nonlocal compared
        want, have = np.atleast_1d(one), np.atleast_1d(other)
        compared += have.size
        for place in np.flatnonzero(want != have):
            lines.append(
                f"{what.format(place)}: {expected.engine} {want[place]}, {found.engine} {have[place]}"
            )

    compare("activation {0}", expected.y, found.y)
    if not found.runs:
        return compared, lines
    for number, (want, have) in enumerate(zip(expected.runs, found.runs, strict=True)):
        names = ("busy_cycles", *CCU_COUNTERS)
        for name in names if have.per_pe is not None else names[:1]:
            compare(f"run {number}, {name}", getattr(want, name), getattr(have, name))
        if want.per_pe is not None and have.per_pe is not None:
            for counter in PeCounter:
                what = f"run {number}, {counter.name.lower()} of PE {{0}}"
                compare(what, want.per_pe[counter], have.per_pe[counter])
    for name in ("load_cycles", "store_cycles"):
        compare(name, getattr(expected, name), getattr(found, name))
    return compared, lines
