"""A million files that no writer writes, mutated ones and random ones of the right structure (FUZZ=...)."""

from pathlib import Path

import pytest
from tqdm import tqdm

from tests.support import eie_fuzz, reader_fuzz


def test_no_file_does_more_than_be_refused(seed: int, fuzz_files: int) -> None:
    count = fuzz_files // 2
    refused, accepted = eie_fuzz.campaign(seed, count, progress=lambda files: tqdm(files, unit=" files"))
    print(f"\n{refused:,} .eie files refused, {accepted:,} valid")
    assert refused > count / 4
    assert accepted > count / 15


@pytest.mark.filterwarnings("ignore")
def test_no_model_does_more_than_be_refused(seed: int, fuzz_files: int, tmp_path: Path) -> None:
    count = fuzz_files - fuzz_files // 2
    figures = reader_fuzz.campaign(tmp_path, seed, count, progress=lambda files: tqdm(files, unit=" files"))
    print(f"\n{figures}")
    assert min(figures.layers, figures.refused) > count / 20
