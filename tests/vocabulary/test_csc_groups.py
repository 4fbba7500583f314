"""Absolute rows and columns in pairs: memory images read back by a decoder of its own, and where pairs begin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.capacity import check_fits, sized_for
from eie.config import ArchConfig
from eie.csc import Interleaved
from eie.encoding import encode
from eie.errors import CapacityError, ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.memory import PeImage, images_of, weight_blocks
from tests.support.deinterleave import deinterleave


def decoded(images: list[PeImage], shape: tuple[int, int], cfg: ArchConfig) -> np.ndarray:
    """Dense code indices, from bits alone: docs/formats.md, "The memories of a PE"."""
    dense = np.zeros(shape, np.uint8)
    width, per_word = cfg.entry_bits, cfg.word_bits // cfg.entry_bits
    select = (per_word - 1).bit_length()

    def entry_of(pointer: int) -> int:
        return (pointer >> select) * per_word + pointer % (1 << select)

    def spans(image: PeImage, u: int) -> list[tuple[int, int, int]]:
        """(column, first place, entries) of pair u, or of column u."""
        if cfg.group == 1:
            both = [image.pointers[0][(u + 1) // 2], image.pointers[1][u // 2]]
            first, behind = (entry_of(p) for p in (both[::-1] if u % 2 else both))
            return [(u, first, behind - first)]
        bits = cfg.acc_depth.bit_length()
        word = image.pointers[0][u]
        one, two = word % (1 << bits), (word >> bits) % (1 << bits)
        start = entry_of(word >> 2 * bits << (select > 0))
        return [(2 * u, start, one), (2 * u + 1, start + one, two)]

    for k, image in enumerate(images):
        for u in range(-(-shape[1] // cfg.group)):
            for col, first, count in spans(image, u):
                row = -1
                for e in range(first, first + count):
                    entry = image.spmat[e // per_word] >> width * (e % per_word) & ((1 << width) - 1)
                    v, place = entry % (1 << cfg.weight_bits), entry >> cfg.weight_bits
                    row = place if cfg.row_format == "absolute" else row + 1 + place
                    if v:
                        dense[row * cfg.n_pe + k, col] = v
    bits = cfg.pointer_bits + (2 * cfg.acc_depth.bit_length() if cfg.group == 2 else 0)
    assert all(word < 1 << bits for image in images for bank in image.pointers for word in bank)
    return dense


MACHINES = [
    {},
    {"row_format": "absolute"},
    {"group": 2},
    {"group": 2, "row_format": "absolute"},
    {"group": 2, "row_format": "absolute", "issue": 2, "window": 2, "filter_empty": 1, "word_bits": 32},
]


@given(st.integers(0, 2**32), st.sampled_from(MACHINES), st.sampled_from([2, 4, 16]), st.integers(1, 4))
def test_what_the_images_hold_is_the_layer(seed, changes, n_pe, weight_bits):
    rng = np.random.default_rng(seed)
    rows, cols = (int(size) for size in rng.integers(1, 60, 2))
    codes = (rng.random((rows, cols)) < rng.random() ** 2) * rng.integers(1, 1 << weight_bits, (rows, cols))
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), np.arange(1 << weight_bits))
    base = ArchConfig(n_pe=n_pe, weight_bits=weight_bits, index_bits=int(rng.integers(1, 6)), **changes)
    cfg = sized_for(base, layer)
    check_fits(cfg, layer)
    inter = encode(layer, cfg)
    assert np.array_equal(deinterleave(inter, rows, 0 if cfg.absolute else cfg.index_bits), codes)
    assert np.array_equal(decoded(images_of(weight_blocks(inter, cfg), cfg), (rows, cols), cfg), codes)
    assert cfg.entries == max(1, inter.slots.max())
    if cfg.entries > cfg.entries_per_word:
        with pytest.raises(CapacityError):
            check_fits(cfg.replace(entries=cfg.entries - cfg.entries_per_word), layer)


@given(st.integers(0, 2**32))
def test_a_pair_touches_no_word_more_than_it_must(seed):
    rng = np.random.default_rng(seed)
    codes = (rng.random((40, 30)) < rng.random()).astype(np.uint8)
    layer = CompressedLayer.from_codes(codes, [0, 1])
    cfg = sized_for(ArchConfig(n_pe=4, group=2, row_format="absolute", word_bits=32), layer)
    inter, per_word = encode(layer, cfg), cfg.entries_per_word
    for k in range(cfg.n_pe):
        lengths = np.add.reduceat(np.diff(inter.pointers[k]), range(0, 30, 2))
        free = 0
        for start, length in zip(inter.starts[k].tolist(), lengths.tolist(), strict=True):
            if length:
                # It is placed at the first even place from the free one on where it touches the fewest words.
                places = [at for at in range(free, free + per_word + 1) if at % per_word % 2 == 0]
                touched = {at: (at + length - 1) // per_word - at // per_word + 1 for at in places}
                assert start == min(at for at in touched if touched[at] == min(touched.values()))
            free = start + length


def broken(v, z, pointers) -> Interleaved:
    return Interleaved(np.array(v, np.uint8), np.array(z, np.uint8), np.array([pointers], np.int64))


@pytest.mark.parametrize(
    ("inter", "text"),
    [
        (broken([0], [2], [0, 1]), "PE 0, column 0: an entry with an absolute row must not have v = 0"),
        (broken([1, 1], [2, 2], [0, 2]), "PE 0, column 0: absolute rows must ascend"),
        (broken([1], [4], [0, 1]), "PE 0, column 0: row 4 is past the last row 3"),
    ],
)
def test_hostile_absolute_rows_are_refused(inter, text):
    with pytest.raises(LayerError) as caught:
        deinterleave(inter, rows=4, index_bits=0)
    assert str(caught.value) == text


def test_pairs_reach_the_whole_memory_in_no_more_bits_than_published():
    cfg = ArchConfig.preset("eie2")
    assert (cfg.spmat_words, cfg.pointer_bits, cfg.ptr_bank_depth, cfg.ptr_word_bits) == (16384, 16, 8192, 30)
    assert (
        cfg.ptr_bank_depth * cfg.ptr_word_bits <= 2 * ArchConfig().ptr_bank_depth * ArchConfig().ptr_word_bits
    )
    assert cfg.reachable_entries == 16384 * 6
    assert ArchConfig().reachable_entries == 65_535


ABSOLUTE = {"row_format": "absolute"}
PAIR = ABSOLUTE | {"filter_empty": True, "group": 2, "issue": 2, "window": 2}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"group": 3}, "group must be from 1 to 2, not 3"),
        ({"issue": 3}, "issue must be a power of two from 1 to 4, not 3"),
        ({"window": 0}, "window must be from 1 to 4, not 0"),
        ({"row_format": "dense"}, "row_format must be relative or absolute, not 'dense'"),
        ({"row_bits": 5}, "row_bits must be 4, 6 or 8, not 5"),
        ({"filter_empty": 2}, "filter_empty must be from 0 to 1, not 2"),
        ({"matrix_banks": 2}, "matrix_banks must be 1 or 4, not 2"),
        ({"group": 2, "n_pe": 1},
         "group (2) needs the two columns on neighbouring PEs: use n_pe=2 or more, or group=1"),
        (ABSOLUTE | {"row_bits": 4}, "row_bits (4) must be enough for the rows of acc_depth (64): use row_bits=6, "
         "or acc_depth=16"),
        (ABSOLUTE | {"acc_depth": 300}, "row_bits (6) must be enough for the rows of acc_depth (300): use "
         "row_format=relative, or acc_depth=256 at most (more PEs, or passes)"),
        ({"issue": 2}, "issue (2) needs row_format=absolute: a relative row is known after the one before it"),
        (ABSOLUTE | {"issue": 2, "window": 2},
         "issue (2) needs filter_empty=1: a column without an entry would take a whole cycle"),
        (PAIR | {"window": 1},
         "issue (2) needs window=2 or more, not 1: entries of a cycle may stand in two words"),
        (PAIR | {"group": 1, "issue": 4, "word_bits": 32}, "issue (4) is more than the 3 entries in a word of "
         "word_bits (32): use word_bits=64 or more, or fewer entries"),
    ],
)  # fmt: skip
def test_switches_that_contradict_are_refused_with_what_would_be_right(changes, text):
    with pytest.raises(ConfigError) as caught:
        ArchConfig(**changes)
    assert str(caught.value) == text


def test_too_many_rows_for_absolute_ones():
    layer = CompressedLayer.from_codes(np.ones((600, 3), np.uint8), [0, 1])
    with pytest.raises(CapacityError) as caught:
        sized_for(ArchConfig(n_pe=2, row_format="absolute"), layer)
    assert str(caught.value) == (
        "300 rows a PE do not fit absolute rows, which reach 256: use more PEs, row_format=relative, "
        "or passes (eie plan)"
    )
