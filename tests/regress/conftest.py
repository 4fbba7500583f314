"""Settings of the long runs: `make regress` sets the variables, and their values are in pytest's header."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

# The simulator's process finds `mutant_host` and what it imports by name; pytest's import mode puts nothing there.
sys.path.insert(0, str(Path(__file__).parent))

SIGNED = Path(__file__).parents[2] / "build" / "signoff"
DEFAULTS = {
    "SEED": 1,
    "CYCLES": 1_000_000,
    "MUTANTS": 300,
    "CASES": 10_000,
    "FUZZ": 1_000_000,
    "READERS": 10_000,
    "KILLS": 25,
    "MACHINES": 200,
}


def _setting(name: str) -> int:
    return int(os.environ.get(f"EIE_REGRESS_{name}", DEFAULTS[name]))


@pytest.fixture(scope="session")
def seed() -> int:
    return _setting("SEED")


@pytest.fixture(scope="session")
def cycles() -> int:
    return _setting("CYCLES")


@pytest.fixture(scope="session")
def mutant_count() -> int:
    return _setting("MUTANTS")


@pytest.fixture(scope="session")
def fast_cases() -> int:
    return _setting("CASES")


@pytest.fixture(scope="session")
def better_machines() -> int:
    """How many random machines of docs/beyond.md are built."""
    return _setting("MACHINES")


@pytest.fixture(scope="session")
def fuzz_files() -> int:
    return _setting("FUZZ")


@pytest.fixture(scope="session")
def kills() -> int:
    """How often each command is killed by each signal."""
    return _setting("KILLS")


@pytest.fixture(scope="session")
def signed(seed: int) -> Callable[[str, dict[str, Any]], None]:
    """Keep what a campaign found, for the sign-off page (scripts/signoff.py)."""

    def keep(name: str, found: dict[str, Any]) -> None:
        SIGNED.mkdir(parents=True, exist_ok=True)
        (SIGNED / f"{name}.json").write_text(json.dumps({"seed": seed, **found}, indent=1) + "\n")

    return keep


@contextmanager
def _following(path: Path, total: int, what: str) -> Iterator[None]:
    finished = threading.Event()
    with tqdm(total=total, desc=what, unit=" mutants") as bar:

        def follow() -> None:
            while not finished.wait(0.5):
                text = path.read_text() if path.exists() else ""
                bar.update(int(text or bar.n) - bar.n)

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()


@pytest.fixture
def following() -> Callable[[Path, int, str], AbstractContextManager[None]]:
    """A progress bar that shows the number which another process keeps in a file."""
    return _following
