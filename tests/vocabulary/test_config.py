"""ArchConfig: validation texts, derived sizes, fitting and sizing."""

import dataclasses

import numpy as np
import pytest

from eie.capacity import check_fits, sized_for
from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import CapacityError, ConfigError
from eie.layer import CompressedLayer


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_pe": 12}, "n_pe must be a power of two from 1 to 256, not 12"),
        ({"n_pe": 512}, "n_pe must be a power of two from 1 to 256, not 512"),
        ({"n_pe": 0}, "n_pe must be a power of two from 1 to 256, not 0"),
        ({"queue_depth": 0}, "queue_depth must be from 1 to 4096, not 0"),
        ({"queue_depth": 2.5}, "queue_depth must be an integer, not 2.5"),
        ({"queue_depth": True}, "queue_depth must be an integer, not True"),
        ({"word_bits": 48}, "word_bits must be a power of two from 16 to 512, not 48"),
        ({"acc_bits": 12}, "acc_bits (12) must be at least act_bits (16): "
         "an accumulator holds the activation after write-back"),
        ({"word_bits": 512, "weight_bits": 1, "index_bits": 1, "pointer_bits": 8},
         "pointer_bits (8) must be more than the 8 bits that select one of 256 entries in a word"),
    ],
)  # fmt: skip
def test_refused_values_name_the_field_and_the_range(changes, text):
    with pytest.raises(ConfigError) as caught:
        ArchConfig(**changes)
    assert str(caught.value) == text


def test_unknown_names():
    with pytest.raises(
        ConfigError, match=r"^no preset named 'tall': use one of adder, blocks, eie2, paper, wide$"
    ):
        ArchConfig.preset("tall")
    with pytest.raises(ConfigError, match=r"^ArchConfig has no field 'pes': its fields are acc_bits, "):
        ArchConfig().replace(pes=3)


def test_any_integer_type_will_do():
    assert ArchConfig(n_pe=np.int64(4)) == ArchConfig(n_pe=4)
    assert type(ArchConfig(n_pe=np.int64(4)).n_pe) is int


def test_the_published_machine():
    paper = ArchConfig.preset("paper")
    assert (paper.n_pe, paper.queue_depth, paper.clock_hz) == (64, 8, 800_000_000)
    assert paper.spmat_words * paper.word_bits == 128 * 1024 * 8
    assert 2 * paper.ptr_bank_depth * paper.pointer_bits == 32 * 1024 * 8
    assert paper.entries_per_word == 8
    assert paper.reachable_entries == 65_535  # 16-bit pointers
    assert ArchConfig.preset("wide").acc_bits == 32
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.n_pe = 4


@pytest.mark.parametrize(
    ("weight_bits", "index_bits", "word_bits"), [(4, 4, 64), (4, 5, 64), (3, 2, 32), (8, 8, 16)]
)
def test_packed_pointers_are_inverted_and_ascend(weight_bits, index_bits, word_bits):
    cfg = ArchConfig(weight_bits=weight_bits, index_bits=index_bits, word_bits=word_bits)
    packed = [cfg.pack_pointer(entry) for entry in range(200)]
    assert [cfg.unpack_pointer(p) for p in packed] == list(range(200))
    assert packed == sorted(set(packed))
    if cfg.entries_per_word.bit_count() == 1:
        assert packed == list(range(200))


def _layer(rows: int, cols: int) -> CompressedLayer:
    codes = np.zeros((rows, cols), np.uint8)
    codes[:, 0] = 1
    return CompressedLayer.from_codes(codes, range(16), name="fc")


def test_what_does_not_fit_is_refused_with_the_figures():
    cfg = ArchConfig(n_pe=4, src_depth=2, acc_depth=3, pointers=8, entries=2)
    with pytest.raises(CapacityError) as caught:
        check_fits(cfg, _layer(41, 9))
    assert str(caught.value) == (
        "layer 'fc' (41 x 9) does not fit 4 PEs; per PE: 11 entries needed, 8 available; "
        "10 pointers needed, 8 available; 3 source activations needed, 2 available; "
        "11 accumulators needed, 3 available (more PEs, --sized or eie.sized_for(cfg, layer), or passes: eie plan)"
    )


def test_sized_for_is_the_smallest_that_fits():
    rng = np.random.default_rng(3)
    for _ in range(60):
        rows, cols = rng.integers(1, 80, 2)
        codes = (rng.random((rows, cols)) < rng.random()) * rng.integers(1, 16, (rows, cols))
        layer = CompressedLayer.from_codes(codes.astype(np.uint8), range(16))
        base = ArchConfig(n_pe=int(2 ** rng.integers(0, 5)), index_bits=int(rng.integers(1, 6)))
        cfg = sized_for(base, layer)
        check_fits(cfg, layer)
        assert cfg.n_pe == base.n_pe
        fullest = int(interleave(layer, cfg.n_pe, cfg.index_bits).pointers[:, -1].max())
        assert cfg.entries == max(1, fullest)
        assert cfg.src_depth == -(-cols // cfg.n_pe)
        assert cfg.acc_depth == -(-rows // cfg.n_pe)
        if fullest > cfg.entries_per_word:
            with pytest.raises(CapacityError):
                check_fits(cfg.replace(entries=fullest - cfg.entries_per_word), layer)
        if cfg.src_depth > 1:
            with pytest.raises(CapacityError):
                check_fits(cfg.replace(src_depth=cfg.src_depth - 1), layer)
    with pytest.raises(ConfigError, match="at least one layer"):
        sized_for(ArchConfig())


def test_passes_codebooks_and_activation_sram():
    cfg = ArchConfig(act_words=33, codebooks=3, passes=5)
    assert (cfg.act_sram_addr_bits, cfg.codebook_bits, cfg.pass_bits) == (6, 2, 3)
    # Widths are never 0, so that one codebook and one pass have a number, too.
    one = ArchConfig(act_words=2, codebooks=1, passes=1)
    assert (one.act_sram_addr_bits, one.codebook_bits, one.pass_bits) == (1, 1, 1)


def test_io_address_reaches_everything():
    small = ArchConfig(n_pe=1, entries=8, pointers=2, src_depth=1, acc_depth=1, act_words=2)
    assert small.io_addr_bits == 8
    assert small.replace(passes=256).io_addr_bits == 12  # pass and register
    assert small.replace(act_words=5000).io_addr_bits == 13
    assert small.replace(codebooks=256).io_addr_bits == 12  # codebook and code


def test_columns_reach_every_pointer():
    # Passes stand one after the other in the pointer memory, beyond the columns of any one of them.
    assert ArchConfig(n_pe=1, src_depth=1, pointers=100).col_bits == 7
    assert ArchConfig(n_pe=4, src_depth=64, pointers=2).col_bits == 8
