"""Block-diagonal layers in the memories of an index-free machine: words and block table, decoded again by hand."""

from dataclasses import replace

import numpy as np
import pytest

from eie.balance import place
from eie.blocks import BlockStructure
from eie.capacity import check_fits, demand, sized_for
from eie.config import ArchConfig
from eie.cuts import cut_layer
from eie.errors import CapacityError, ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job
from eie.registers import Reg
from eie.schema import BlockField, IoSpace
from tests.support.block_cases import random_block_case, random_blocks

CFG = ArchConfig.preset("blocks", n_pe=4)


def decoded(job: Job) -> np.ndarray:
    """The matrix of a job, int64[rows, cols], from nothing but what the host writes, as docs/index_free.md says."""
    cfg, memory = job.cfg, {}
    tables: dict[int, dict[tuple[int, BlockField], int]] = {}
    writes = [*job.weight_writes(), *job.load_writes()]
    codebook = {
        w.addr: w.data - (w.data >> cfg.code_bits - 1 << cfg.code_bits)
        for w in writes
        if w.space is IoSpace.CODEBOOK
    }
    pes = cfg.n_pe // cfg.segments
    for write in writes:
        if write.space is IoSpace.SPMAT:
            memory[write.pe, write.addr] = write.data
        elif write.space is IoSpace.PTR:
            tables.setdefault(write.pe // pes, {})[write.addr >> 3, BlockField(write.addr & 7)] = write.data
    per_word = cfg.word_bits // cfg.weight_bits
    matrix = np.zeros(job.layer.shape, np.int64)
    for s, (rows, cols) in members(job).items():
        table = tables[s]
        blocks = len({block for block, _ in table})
        turn = table[0, BlockField.TURN]
        for j in range(len(cols)):
            if turn:
                block, within = j % turn, j // turn
            else:
                block = next(b for b in range(blocks) if j < table[b, BlockField.END])
                within = j - (table[block - 1, BlockField.END] if block else 0)
            place_of = dict.fromkeys(
                range(pes), table[block, BlockField.START] + within * table[block, BlockField.STEP]
            )
            for row in range(table[block, BlockField.LOW], table[block, BlockField.HIGH]):
                entry = place_of[row % pes]
                place_of[row % pes] += 1
                word = memory[s * pes + row % pes, entry // per_word]
                code = word >> entry % per_word * cfg.weight_bits & (1 << cfg.weight_bits) - 1
                matrix[rows[row], cols[j]] = codebook[code]
    return matrix


def members(job: Job) -> dict[int, tuple[list[int], list[int]]]:
    """Rows and columns of each segment that has any, ascending."""
    structure, found = job.layer.blocks, {}
    assert structure is not None
    for s, blocks in enumerate(np.array_split(np.arange(structure.blocks), job.cfg.segments)):
        if blocks.size:
            rows, cols = (
                sorted(i for b in blocks for i in of(b).tolist())
                for of in (structure.rows_of, structure.cols_of)
            )
            found[s] = rows, cols
    return found


@pytest.mark.parametrize("seed", range(40))
def test_memories_hold_the_matrix(seed: int) -> None:
    case = random_block_case(np.random.default_rng([seed, 41]), seed=seed)
    np.testing.assert_array_equal(decoded(case.job), case.layer.decode(), err_msg=str(case))


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_inputs_and_biases_lie_in_their_segment(segments: int) -> None:
    """Each from the layer's order, by hand; whatever has no element is 0."""
    layer = random_blocks(np.random.default_rng(6), BlockStructure(29, 31, 5, "shuffled"), 4)
    job = Job.create(layer, np.arange(1, 32), CFG.replace(segments=segments))
    written = {(w.space, w.pe, w.addr): w.data for w in job.load_writes()}
    pes = 4 // segments
    for space, values, of in ((IoSpace.ACT, job.x, 1), (IoSpace.ACC, layer.bias, 0)):
        mask = 0xFFFF
        expected = {
            (space, s * pes + i % pes, i // pes): int(values[element]) & mask
            for s, both in members(job).items()
            for i, element in enumerate(both[of])
        }
        others = {place for place in written if place[0] is space} - set(expected)
        assert {place: written[place] for place in expected} == expected
        assert not any(written[place] for place in others)


def test_a_word_of_sixteen_codes() -> None:
    """64 rows of one block on 4 PEs: a column is a word of 16 codes, all of which are weights."""
    layer = random_blocks(np.random.default_rng(1), BlockStructure(64, 3, 1), 4, zeros=False)
    job = Job.create(layer, [1, 0, 0], CFG)
    (words,) = [b.words for b in job.program.setup if b.space is IoSpace.SPMAT and b.pe == 1]
    codes = np.searchsorted(np.unique(layer.codes), layer.dense_codes()[1::4])
    assert list(words) == [sum(int(code) << 4 * i for i, code in enumerate(codes[:, j])) for j in range(3)]
    assert not {IoSpace.PTR} & {b.space for b in job.program.setup_blocks(images=True) if len(b) != 6}


def test_equal_blocks_are_stored_once() -> None:
    """Three distinct of nine blocks: a third of the memory where N divides 3 h, else one for each remainder."""
    rng = np.random.default_rng(2)
    sizes = {}
    for height in (8, 4, 5):
        layer = random_blocks(rng, BlockStructure(9 * height, 27, 9, "aligned", 3), 4)
        inter = Job.create(layer, np.ones(27, int), CFG).interleaved
        (table,) = inter.tables
        sizes[height] = (len({entry.start for entry in table}), demand(layer, CFG)["entries"])
    # Blocks of 5 rows begin at remainders 0, 1, 2, 3 in turn; b and b + 12 would be the first that lie alike.
    assert sizes == {8: (3, 3 * 3 * 2), 4: (3, 3 * 3 * 1), 5: (9, 9 * 3 * 2)}


def test_sizes() -> None:
    layer = random_blocks(np.random.default_rng(3), BlockStructure(70, 33, 3), 4)
    cfg = sized_for(CFG, layer)
    assert (cfg.entries, cfg.blocks, cfg.src_depth, cfg.acc_depth) == (33 * 6, 3, 9, 18)
    check_fits(cfg, layer)
    with pytest.raises(CapacityError, match=r"3 entries of the block table needed, 2 available"):
        check_fits(cfg.replace(blocks=2), layer)
    with pytest.raises(
        CapacityError, match=r"^an index-free machine runs each layer in one pass: layer 'layer' "
    ):
        cut_layer(layer, cfg.replace(entries=100))
    (cut,) = cut_layer(layer, cfg)
    assert (cut.words, cut.first, cut.last) == (-(-198 // 16), True, True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"row_format": "absolute"}, "blocks (8) contradicts row_format=absolute: "),
        ({"filter_empty": 0}, "blocks (8) needs filter_empty=1: "),
        ({"group": 2}, "blocks (8) needs group=1: "),
        ({"blocks": 257}, "blocks must be from 0 to 256, not 257"),
        ({"issue": 2}, "issue (2) needs window=2 or more, not 1: "),
        ({"blocks": 0, "issue": 2}, "issue (2) needs row_format=absolute: "),
        (
            {"blocks": 0, "segments": 2},
            "segments (2) needs an index-free machine, whose blocks are each in one: ",
        ),
        ({"n_pe": 4, "segments": 8}, "segments (8) must be at most n_pe (4): each has a PE"),
        ({"segments": 3}, "segments must be a power of two from 1 to 256, not 3"),
    ],
)
def test_contradicting_switches(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ArchConfig(**{"blocks": 8, "filter_empty": 1, **changes})
    assert str(caught.value).startswith(text)


def test_segments_have_no_plan() -> None:
    layer = random_blocks(np.random.default_rng(7), BlockStructure(12, 12, 3), 4)
    with pytest.raises(
        ConfigError, match=r"^segments \(2\) have no plan: .*use segments=1, or run the layers"
    ):
        make_plan([layer, layer], CFG.replace(segments=2))


def test_refused_layers() -> None:
    rng = np.random.default_rng(4)
    layer = random_blocks(rng, BlockStructure(40, 30, 4), 4)
    with pytest.raises(
        LayerError, match=r"^layer 'layer' has no block structure, which an index-free machine \(blocks="
    ):
        Job.create(replace(layer, blocks=None), np.ones(30, int), CFG)
    permuted = random_blocks(rng, BlockStructure(40, 30, 4, "permuted", seed=3), 4)
    with pytest.raises(
        LayerError, match=r"permuted.* it takes \d+ entries of 8 bits in the fullest PE; .* of 4 bits"
    ):
        Job.create(permuted, np.ones(30, int), CFG)
    many = random_blocks(rng, BlockStructure(40, 30, 4), 5)
    with pytest.raises(
        LayerError, match=r"its blocks have 32 values, which need 5-bit code indices and do not fit"
    ):
        Job.create(many, np.ones(30, int), CFG)
    with pytest.raises(
        ConfigError, match=r"^rows of an index-free machine \(blocks=64\) are found by counting"
    ):
        place([layer], CFG)


def test_what_a_permuted_order_costs() -> None:
    """The figures of the message: the fullest PE's entries with indices, and the places of the same blocks here."""
    structure = BlockStructure(40, 30, 4, "permuted", seed=3)
    layer = random_blocks(np.random.default_rng(5), structure, 4, zeros=False)
    with pytest.raises(LayerError) as caught:
        Job.create(layer, np.ones(30, int), CFG)
    # Rows of a column on a PE, at most 10 apart: no fillers; 10 rows of a block are 3 places on a PE.
    with_indices = max(layer.indptr[-1] and int((layer.indices % 4 == k).sum()) for k in range(4))
    assert f"it takes {with_indices} entries" in str(caught.value)
    assert f"shuffled {30 * 3} of 4 bits" in str(caught.value)


def test_registers_say_so() -> None:
    """Widths that are not there read 0; POINTERS is the size of the block table."""
    assert Reg.POINTERS.reset_value(CFG) == 64
    assert Reg.WIDTHS.field("INDEX_BITS", Reg.WIDTHS.reset_value(CFG)) == 0
    assert Reg.WIDTHS_2.field("POINTER_BITS", Reg.WIDTHS_2.reset_value(CFG)) == 0
    assert Reg.WIDTHS_2.field("POINTER_BITS", Reg.WIDTHS_2.reset_value(ArchConfig())) == 16


def test_weights_outside_their_blocks() -> None:
    codes = np.zeros((4, 4), np.uint8)
    codes[:2, :2] = codes[2:, 2:] = 1
    layer = CompressedLayer.from_codes(codes, [0, 3])
    assert layer.with_blocks(BlockStructure(4, 4, 2)).blocks is not None
    with pytest.raises(LayerError, match="none of the blocks"):
        replace(layer, blocks=BlockStructure(4, 4, 4)).check(full=True)
