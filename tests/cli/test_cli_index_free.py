"""Bad input of an index-free machine through the command line: one line that names what is wrong, and status 2."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.blocks import BlockStructure
from eie.cli.main import main
from eie.sim.workloads.random import random_blocks, random_layer


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of 50 x 80: blocks in turn, blocks in a random order, no blocks; and an input."""
    monkeypatch.chdir(tmp_path)
    eie.save("blocks.eie", [random_blocks(BlockStructure(50, 80, 5, "shuffled"), 1)])
    eie.save("permuted.eie", [random_blocks(BlockStructure(50, 80, 5, "permuted", seed=2), 1)])
    eie.save("plain.eie", [random_layer(50, 80, 0.2, 1)])
    np.save("x.npy", np.arange(80) % 3)


def run(file: str, *more: str) -> tuple[int, str, str]:
    """Status and what is printed."""
    arguments = ["run", file, "--input", "x.npy", "--pe", "4", "--preset", "blocks", *more]
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("plain.eie",), "has no block structure, which an index-free machine (blocks=64) needs"),
        (
            ("permuted.eie",),
            "has its blocks permuted, and an index-free machine finds rows by counting: with indices",
        ),
        (("blocks.eie", "--balance"), "run it without balance, which would permute them"),
        (("blocks.eie", "--set", "group=2"), "blocks (64) needs group=1"),
        (("blocks.eie", "--set", "filter_empty=0"), "blocks (64) needs filter_empty=1"),
        (("blocks.eie", "--set", "segments=8"), "segments (8) must be at most n_pe (4)"),
        (
            ("blocks.eie", "--set", "blocks=0", "--set", "segments=2"),
            "segments (2) needs an index-free machine",
        ),
        (("blocks.eie", "--set", "row_format=absolute"), "blocks (64) contradicts row_format=absolute"),
        (
            ("blocks.eie", "--set", "weight_bits=3"),
            "its blocks have 16 values, which need 4-bit code indices",
        ),
    ],
)
def test_refused(arguments: tuple[str, ...], text: str) -> None:
    status, printed, said = run(*arguments)
    assert (status, printed) == (2, "")
    (line,) = said.splitlines()
    assert text in line


@pytest.mark.usefixtures("files")
def test_a_run() -> None:
    status, printed, _ = run("blocks.eie", "--engine", "golden")
    assert status == 0
    assert "columns that came to a PE; their places are computed, not read" in printed


@pytest.mark.usefixtures("files")
def test_a_run_in_segments() -> None:
    """Every active input is broadcast in one of the two segments: counted once."""
    status, printed, _ = run("blocks.eie", "--engine", "golden", "--set", "segments=2")
    assert status == 0
    (active,) = [line.split()[1] for line in printed.splitlines() if line.startswith("active")]
    assert int(active) == np.count_nonzero(np.arange(80) % 3)
