"""Some thousand files that no writer writes; `make regress` reads a hundred thousand."""

from tests.support import eie_fuzz

SEED, FILES = 1, 3000


def test_no_file_does_more_than_be_refused():
    refused, accepted = eie_fuzz.campaign(SEED, FILES)
    # Both ways are gone often enough to mean something.
    assert refused > FILES / 4
    assert accepted > FILES / 15
