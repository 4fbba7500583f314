"""Interleaved CSC: the published examples word for word, round trips, hostile entries, SRAM words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.capacity import demand
from eie.config import ArchConfig
from eie.csc import Interleaved, interleave
from eie.errors import LayerError
from eie.layer import CompressedLayer
from eie.memory import hex_image, images_of, pack_words, weight_blocks
from eie.program import Job
from tests.support.deinterleave import deinterleave
from tests.support.published_example import published_layer

PE0_Z = [0, 1, 0, 1, 0, 2, 0, 0, 0, 2, 0, 2, 0]
PE0_POINTERS = [0, 3, 4, 6, 6, 8, 10, 11, 13]


def test_the_published_16_by_8_example():
    v, z, pointers = interleave(published_layer(), 4).pe(0)
    assert v.tolist() == list(range(1, 14))
    assert z.tolist() == PE0_Z
    assert pointers.tolist() == PE0_POINTERS


def test_the_published_run_of_eighteen_zeros():
    column = [0, 0, 1, 2, *[0] * 18, 3]
    layer = CompressedLayer.from_codes(np.array([column]).T, [0, 7, 8, 9])
    inter = interleave(layer, 1)
    assert inter.v.tolist() == [1, 2, 0, 3]
    assert inter.z.tolist() == [2, 0, 15, 2]


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 16, 64]), st.integers(1, 8))
def test_round_trip(seed, n_pe, index_bits):
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(1, 70, 2)
    codes = (rng.random((rows, cols)) < rng.random()) * rng.integers(1, 256, (rows, cols))
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), np.arange(256))
    inter = interleave(layer, n_pe, index_bits)
    assert np.array_equal(deinterleave(inter, rows, index_bits), codes)
    need = demand(layer, ArchConfig(n_pe=n_pe, index_bits=index_bits))
    assert need["entries"] == inter.pointers[:, -1].max()
    # Nothing that a filler could have been spared for: fillers are exactly the whole runs.
    assert ((inter.v == 0) <= (inter.z == (1 << index_bits) - 1)).all()


def broken(v, z, pointers) -> Interleaved:
    return Interleaved(np.array(v, np.uint8), np.array(z, np.uint8), np.array([pointers], np.int64))


@pytest.mark.parametrize(
    ("inter", "text"),
    [
        (broken([1, 1], [0, 0], [0, 2, 1, 2]), "PE 0: pointers must start at 0 and never fall"),
        (broken([1], [0], [1, 1]), "PE 0: pointers must start at 0 and never fall"),
        (broken([1], [4], [0, 1]), "PE 0, column 0: row 4 is past the last row 3"),
        (broken([0, 1], [3, 0], [0, 2]), "PE 0, column 0: a stored v = 0 must have z = 15"),
        (broken([1, 0], [0, 15], [0, 2]), "PE 0, column 0: a filler after the last non-zero"),
    ],
)
def test_hostile_entries_are_refused(inter, text):
    with pytest.raises(LayerError) as caught:
        deinterleave(inter, rows=4)
    assert str(caught.value) == text


def test_words_hold_entry_e_at_bits_8e():
    v, z, _ = interleave(published_layer(), 4).pe(0)
    words = pack_words(v, z, ArchConfig(n_pe=4))
    for number, (code, run) in enumerate(zip(v.tolist(), z.tolist(), strict=True)):
        entry = words[number // 8] >> (8 * (number % 8)) & 0xFF
        assert (entry & 0xF, entry >> 4) == (code, run)


@pytest.mark.parametrize(
    ("weight_bits", "index_bits", "word_bits"), [(4, 5, 64), (3, 2, 16), (8, 8, 512), (2, 7, 32)]
)
def test_words_of_other_widths(weight_bits, index_bits, word_bits):
    cfg = ArchConfig(weight_bits=weight_bits, index_bits=index_bits, word_bits=word_bits)
    rng = np.random.default_rng(word_bits)
    v = rng.integers(0, 1 << weight_bits, 100).astype(np.uint8)
    z = rng.integers(0, 1 << index_bits, 100).astype(np.uint8)
    words = pack_words(v, z, cfg)
    assert max(words) < 1 << word_bits
    for number in range(100):
        word, place = divmod(number, cfg.entries_per_word)
        entry = words[word] >> (cfg.entry_bits * place) & ((1 << cfg.entry_bits) - 1)
        assert entry == int(v[number]) | int(z[number]) << weight_bits


def test_pointer_banks_and_hex_images():
    cfg = ArchConfig(n_pe=4)
    image = images_of(weight_blocks(interleave(published_layer(), 4), cfg), cfg)[0]
    assert image.pointers[0] == PE0_POINTERS[0::2]
    assert image.pointers[1] == PE0_POINTERS[1::2]
    assert hex_image([0xAB, 5], bits=12, depth=3) == "0ab\n005\n000\n"
    with pytest.raises(LayerError, match=r"^an image of 4 words does not fit a memory of 3$"):
        hex_image([1, 2, 3, 4], bits=4, depth=3)


def test_a_job_loads_every_accumulator_and_activation_of_its_layer():
    layer = CompressedLayer.from_codes(np.ones((5, 7), np.uint8), [0, -3], bias=[-1, 2, 3, 4, 5])
    job = Job.create(layer, [0, 1, 2, 3, 4, 5, -6], ArchConfig(n_pe=4, weight_bits=1))
    writes = job.load_writes()
    # 13 configuration registers, 2 codes, 4 PEs x (2 accumulators + 2 activations)
    assert len(writes) == 13 + 2 + 4 * (2 + 2)
    acc = {(w.pe, w.addr): w.data for w in writes if w.space.name == "ACC"}
    assert acc == {
        (0, 0): 0xFFFF,
        (1, 0): 2,
        (2, 0): 3,
        (3, 0): 4,
        (0, 1): 5,
        (1, 1): 0,
        (2, 1): 0,
        (3, 1): 0,
    }
    act = {(w.pe, w.addr): w.data for w in writes if w.space.name == "ACT"}
    assert act[2, 1] == 0xFFFA
    assert act[3, 1] == 0
    pointers = [w for w in job.weight_writes() if w.space.name == "PTR"]
    assert len(pointers) == 4 * 8
