"""A million files that no writer writes, mutated ones and random ones of the right structure (FUZZ=...)."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from tqdm import tqdm

from tests.support import eie_fuzz, reader_fuzz


def _bar(files: Iterable[int]) -> Iterable[int]:
    return tqdm(files, unit=" files", mininterval=10)


def test_no_file_does_more_than_be_refused(seed: int, fuzz_files: int) -> None:
    count = fuzz_files // 2
    figures = eie_fuzz.campaign(seed, count, progress=_bar)
    print(f"\n{figures}")
    assert figures.refused > count / 4
    assert figures.accepted > count / 15


def test_both_decoders_agree(seed: int, fuzz_files: int) -> None:
    """The second decoder, which knows docs/formats.md alone, is slow: one file of fifty."""
    count = fuzz_files // 50
    accepted = eie_fuzz.both_decoders(seed, count, progress=_bar)
    print(
        f"\n{count:,} .eie files to both decoders: {accepted:,} read alike, {count - accepted:,} refused by both"
    )
    assert count / 8 < accepted < count / 2


@pytest.mark.filterwarnings("ignore")
def test_no_model_does_more_than_be_refused(seed: int, fuzz_files: int) -> None:
    count = fuzz_files - fuzz_files // 2
    # A file is written for each: in memory, where there is such a folder.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        figures = reader_fuzz.campaign(Path(folder), seed, count, progress=_bar)
    print(f"\n{figures}")
    assert min(figures.layers, figures.refused) > count / 20
