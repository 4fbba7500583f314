"""Some thousand files that no writer writes; `make regress` reads a million."""

import random

import pytest

from eie.compress.format.file import from_bytes, to_bytes
from eie.errors import FormatError, LayerError
from eie.layer import CompressedLayer
from tests.support import eie_decoder, eie_files, eie_fuzz

SEED, FILES = 1, 3000
# The second decoder takes its time.
DECODED = 400


def test_no_file_does_more_than_be_refused():
    figures = eie_fuzz.campaign(SEED, FILES)
    print(figures)
    # Both ways are gone often enough to mean something.
    assert figures.refused > FILES / 4
    assert figures.accepted > FILES / 15


def test_a_file_follows_from_the_seed_and_its_number_alone(monkeypatch):
    drawn = []

    class Recorded(random.Random):
        def __init__(self, seed):
            drawn.append(seed)
            super().__init__(seed)

    monkeypatch.setattr(eie_fuzz.random, "Random", Recorded)
    assert eie_fuzz.both_decoders(SEED, 12)
    assert drawn == [f"{SEED} {i}" for i in range(12)]


def test_both_decoders_refuse_the_same_files_and_read_the_same_numbers():
    accepted = eie_fuzz.both_decoders(SEED, DECODED)
    assert DECODED / 8 < accepted < DECODED / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"fracs": (1001, 0)},
        {"fracs": (0, -1001)},
        {"shifts": (32, 0)},
        *(
            {"flags": 0b001111, "geometry": [*pairs]}
            for pairs in (
                [(0, 1), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0)],
                [(1, 1), (0, 1), (0, 0), (1, 1), (1, 1), (0, 0)],
                [(1, 1), (1, 1), (0, 0), (1, 1), (0, 1), (0, 0)],
                [(2, 1), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0)],
                [(1, 1), (1, 1), (0, 0), (3, 1), (1, 1), (2, 2)],
                [(1, 1), (1, 1), (65537, 0), (1, 1), (1, 1), (0, 0)],
            )
        ),
    ],
)
def test_both_decoders_refuse_scales_and_geometry_out_of_range(changes):
    data = eie_files.file(eie_files.layer(**changes))
    with pytest.raises(FormatError):
        from_bytes(data)
    with pytest.raises(eie_decoder.Refused):
        eie_decoder.decode(data)


def test_so_many_layers_and_no_more(monkeypatch):
    monkeypatch.setattr("eie.compress.format.file.MAX_LAYERS", 16)
    layer = CompressedLayer.from_codes([[1]], [0, 5], name="")
    assert len(from_bytes(to_bytes([layer] * 16))) == 16
    with pytest.raises(LayerError, match="at most 16 layers"):
        to_bytes([layer] * 17)
    one = to_bytes([layer])[12:]
    with pytest.raises(FormatError, match="more than 16 layers"):
        from_bytes(eie_files.file(*[one] * 17))
