"""Times of short calls on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import scipy.sparse
from threadpoolctl import threadpool_limits


def best_of(function: Callable[[], object], seconds: float = 0.3) -> float:
    """The least time of a call, in seconds, over `seconds` or five calls: other programs only ever slow it down."""
    function()  # compiles, and warms the caches
    times: list[float] = []
    while len(times) < 5 or sum(times) < seconds:
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def best_product(matrix: Any, operand: Any, seconds: float = 0.3) -> float:
    """Seconds of `matrix @ operand` with as many threads as BLAS likes or with one, whichever is faster.

    Several threads wait for the slowest, so that one busy core makes them many times slower than one thread.
    """
    several = best_of(lambda: matrix @ operand, seconds)
    if scipy.sparse.issparse(matrix):  # no BLAS
        return several
    with threadpool_limits(limits=1, user_api="blas"):
        return min(several, best_of(lambda: matrix @ operand, seconds))
