"""`python -m tests.support.golden_trace FROM TO`: every probe of golden in every cycle, one line for each case.

Random cases of the seeds FROM..TO-1, loaded through the I/O port, on the published machine, then every machine of
`better_machines`. The first line says which golden it was.
"""

import hashlib
import sys

import numpy as np

import eie.golden.pe
from eie.golden.array import Array
from eie.golden.run import run
from tests.support.better_machines import SWITCHES, small
from tests.support.cases import Case, random_case, seeded_case


def line(name: str, case: Case) -> str:
    """Cycles, outputs, and a digest of every probe and output port of every cycle."""
    digest = hashlib.sha256()
    cycles = 0

    def observe(array: Array) -> None:
        nonlocal cycles
        cycles += 1
        digest.update(array.probe_all())
        for signal in array.signals().values():
            digest.update(b"%d " % signal.value)

    result = run(case.job, load_weights=True, observe=observe)
    return f"{name}: {cycles} cycles, y {result.y.sum()}, {digest.hexdigest()}"


def main() -> None:
    """Print."""
    print(eie.golden.pe.__file__)
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        print(line(f"seed {seed}", seeded_case(seed)))
    for number, (name, changes) in enumerate(SWITCHES.items()):
        print(line(name, random_case(np.random.default_rng(number), [small(changes)])))


if __name__ == "__main__":
    main()
