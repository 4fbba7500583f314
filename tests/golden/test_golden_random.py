"""The golden model on random and directed cases: values against the reference, cycles against the timing law."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from eie.golden.run import run
from eie.sim.engines.reference import run as run_reference
from eie.timing import schedule
from tests.support.cases import KINDS, Case, cases
from tests.support.witness import Witness

CASES = 600

EVENTS = (
    "fillers",
    "broadcast stalls",
    "empty columns",
    "bypass at distance 1",
    "bypass at distance 2",
    "saturation",
    "write-back saturation",
    "a full queue",
    "runs over 15",
    "runs over 31",
)


def longest_run(case: Case) -> int:
    """The longest run of zeros before an entry, on one PE in one column."""
    n = case.cfg.n_pe
    return max(
        (
            int(np.diff(np.flatnonzero(local), prepend=-1).max()) - 1
            for k in range(n)
            for local in case.layer.dense_codes()[k::n].T
            if local.any()
        ),
        default=0,
    )


def words_and_bypasses(case: Case, start: npt.NDArray[np.int64], k: int) -> tuple[int, int]:
    """spmat_reads and bypasses of PE k, from its entries and from the cycles in which its columns start."""
    _, z, pointers = case.job.interleaved.pe(k)
    words, when = [], {}
    for m, j in enumerate(case.job.active):
        row = -1
        for i, e in enumerate(range(pointers[j], pointers[j + 1])):
            row += int(z[e]) + 1
            words.append(e // case.cfg.entries_per_word)
            when[int(start[m, k]) + i] = row
    reads = sum(a != b for a, b in zip(words, [None, *words], strict=False))
    return reads, sum(row in (when.get(t - 1), when.get(t - 2)) for t, row in when.items())


def check(case: Case) -> set[str]:
    """Compare one case with reference, law and what follows from the matrix; what happened in it."""
    witness = Witness()
    golden = run(case.job, observe=witness)
    reference = run_reference(case.job)
    np.testing.assert_array_equal(golden.y, reference.y)
    for name in ("macs", "saturations", "writeback_saturations"):
        np.testing.assert_array_equal(golden.counters[name], reference.counters[name], err_msg=name)
    lengths = case.job.interleaved.lengths[case.job.active]
    law = schedule(lengths, case.cfg)
    assert (golden.cycles, golden.counters["broadcast_stalls"]) == (law.cycles, law.broadcast_stalls)
    np.testing.assert_array_equal(golden.counters["entries"], lengths.sum(axis=0))
    np.testing.assert_array_equal(golden.counters["empty_columns"], (lengths == 0).sum(axis=0))
    np.testing.assert_array_equal(golden.counters["ptr_reads"], len(lengths))
    expected = np.array([words_and_bypasses(case, law.start, k) for k in range(case.cfg.n_pe)])
    np.testing.assert_array_equal(golden.counters["spmat_reads"], expected[:, 0])
    np.testing.assert_array_equal(golden.counters["bypasses"], expected[:, 1])
    assert golden.load_cycles == load_cycles(case)
    assert golden.writeback_cycles == -(-case.layer.rows // case.cfg.n_pe) + 1
    counted = ("fillers", "broadcast_stalls", "empty_columns", "saturations", "writeback_saturations")
    names = dict(zip(counted, (*EVENTS[:3], *EVENTS[5:7]), strict=True))
    seen = witness.seen | {names[counter] for counter in counted if golden.total(counter)}
    run_length = longest_run(case)
    return seen | {f"runs over {limit}" for limit in (15, 31) if run_length > limit}


def load_cycles(case: Case) -> int:
    """The formula of docs/timing.md, "Phases of a layer"."""
    n = case.cfg.n_pe
    return 13 + 2**case.cfg.weight_bits + n * (-(-case.layer.rows // n) + -(-case.layer.cols // n))


def test_random_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """Golden = reference = law on every case, and the cases have in them what the machine has to cope with."""
    kinds = [f"kind {kind!r}" for kind in KINDS]
    happened: Counter[str] = Counter(dict.fromkeys((*EVENTS, *kinds), 0))

    @settings(max_examples=CASES)
    @given(cases())
    def every(case: Case) -> None:
        happened.update(check(case))
        happened[f"kind {case.kind!r}"] += 1

    every()
    with capsys.disabled():
        print("\nrandom cases with " + ", ".join(f"{name}: {happened[name]}" for name in (*EVENTS, *kinds)))
    assert all(happened.values()), happened


@pytest.mark.parametrize("kind", KINDS)
def test_directed_cases(kind: str) -> None:
    """Each kind by itself."""

    @settings(max_examples=10)
    @given(cases(kind=kind))
    def every(case: Case) -> None:
        check(case)

    every()
