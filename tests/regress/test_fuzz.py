"""A hundred thousand files that no writer writes, mutated ones and random ones of the right structure (FUZZ=...)."""

from tqdm import tqdm

from tests.support import eie_fuzz


def test_no_file_does_more_than_be_refused(seed: int, fuzz_files: int) -> None:
    refused, accepted = eie_fuzz.campaign(seed, fuzz_files, progress=lambda files: tqdm(files, unit=" files"))
    print(f"\n{refused:,} files refused, {accepted:,} valid")
    assert refused > fuzz_files / 4
    assert accepted > fuzz_files / 15
