"""Block-diagonal layers in training: what the weights keep to, what the penalty is, sharing, files, refusals."""

import re
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from eie.compress import train  # noqa: E402
from eie.compress.format import file  # noqa: E402
from eie.compress.forward import fixed_forward, quantize_inputs  # noqa: E402
from eie.compress.train.blocks import BlockWeights  # noqa: E402
from eie.compress.train.weights import find_weights  # noqa: E402
from eie.errors import ModelError  # noqa: E402

ROWS, COLS = 22, 30


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(COLS, ROWS), nn.ReLU(), nn.Linear(ROWS, 4))


def data(count=256):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, COLS, generator=generator)
    return x, (4 * x[:, 0]).long().clamp(max=3)


def loader():
    x, y = data()
    return list(zip(x.split(32), y.split(32), strict=True))


def training(**changes):
    return replace(train.Training(epochs=2, lr=1e-2, progress=False), **changes)


def pruned(blocks, model=None, **changes):
    model = network() if model is None else model
    train.prune(model, loader(), cross_entropy, blocks={"0": blocks}, training=training(**changes))
    return model


def weights_of(model, blocks):
    return BlockWeights(find_weights(model)[0], blocks)


CASES = [
    train.Blocks(4),
    train.Blocks(4, 2),
    train.Blocks(4, alike=0.5),
    train.Blocks(3, 1, "permuted", seed=5),
    train.Blocks(4, 3, "aligned"),
]


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("blocks", CASES, ids=str)
def test_weights_stay_in_their_blocks_and_learn(blocks, momentum):
    model = network()
    before = pruned(blocks, network(), epochs=1, lr=1e-9)
    pruned(blocks, model, momentum=momentum)
    weight = model[0].weight.detach().numpy()
    structure = weights_of(model, blocks).structure
    assert structure.shape == (ROWS, COLS)
    assert not weight[~structure.mask()].any()
    assert np.count_nonzero(weight) == structure.entries
    for b in range(structure.blocks):
        same = b % structure.distinct
        own = weight[np.ix_(structure.rows_of(b), structure.cols_of(b))]
        first = weight[np.ix_(structure.rows_of(same), structure.cols_of(same))]
        assert np.array_equal(own, first[: own.shape[0], : own.shape[1]])
    assert not torch.equal(before[0].weight, model[0].weight)


def test_the_gradient_is_that_of_the_penalty_and_of_shared_weights():
    """Against torch's own derivative of the loss written out, in terms of the distinct weights."""
    for blocks in (train.Blocks(4, alike=0.7), train.Blocks(4, 2), train.Blocks(4, 1, "permuted", seed=3)):
        model = network()
        of = weights_of(model, blocks)
        of.begin()
        x, y = data(64)
        cross_entropy(model(x), y).backward()
        of.before_step()
        free = of.stored().clone().requires_grad_(True)
        matrix = of.spread(free)
        loss = cross_entropy(model[2](torch.relu(x @ matrix.T + model[0].bias)), y)
        s = of.structure
        for b in range(1, s.blocks if blocks.alike else 0):
            own = matrix[s.rows_of(b)][:, s.cols_of(b)]
            before = matrix[s.rows_of(b - 1)][:, s.cols_of(b - 1)][: own.shape[0], : own.shape[1]]
            loss = loss + blocks.alike / (blocks.n - 1) * ((own - before) ** 2).sum()
        loss.backward()
        assert torch.allclose(model[0].weight.grad, of.spread(free.grad), atol=1e-6)


def test_a_stronger_penalty_makes_blocks_more_alike():
    def apart(alike):
        blocks = train.Blocks(4, alike=alike)
        model = pruned(blocks, epochs=6, momentum=0.9, lr=0.02)
        values = weights_of(model, train.Blocks(4, alike=1.0))
        flat = model[0].weight.detach().flatten()
        return float(
            (flat[values.own] - flat[values.before]).square().mean() / flat[values.own].square().mean()
        )

    assert apart(1.0) < 0.5 * apart(0.0)


@pytest.mark.parametrize("blocks", CASES, ids=str)
def test_shared_blocks_have_all_codes_as_weights_and_the_file_computes_what_the_model_does(blocks, tmp_path):
    model = pruned(blocks)
    shared = train.share(
        model, loader(), cross_entropy, bits={"0": 2, "*": 4}, blocks={"0": blocks}, training=training()
    )
    one = shared.layers["0"]
    assert one.bits == 2
    assert len(np.unique(model[0].weight.detach().numpy()[one.blocks.mask()])) == 4
    x, _ = data()
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = file.load(tmp_path / "net.eie")
    assert layers[0].blocks == one.blocks
    assert layers[0].block_codes().bits == 2
    run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    found = run.y / 2.0 ** layers[-1].y_frac
    assert np.abs(found - model(x).detach().numpy()).max() < 0.01


def test_a_recurrent_layer_in_blocks(tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.rnn(x)[0][:, -1])

    torch.manual_seed(0)
    model, blocks = Last(), {"rnn.weight_ih_l0": train.Blocks(3, 1), "rnn.weight_hh_l0": train.Blocks(4, 2)}
    x, y = data()
    batches = [(x[:64].view(64, 5, 6), y[:64])]
    train.prune(model, batches, cross_entropy, blocks=blocks, training=training())
    shared = train.share(model, batches, cross_entropy, bits=4, blocks=blocks, training=training())
    train.save(tmp_path / "net.eie", model, shared)
    layers = {layer.name: layer for layer in file.load(tmp_path / "net.eie")}
    assert [str(layers[name].blocks) for name in blocks] == [
        "3 blocks, 1 distinct, shuffled",
        "4 blocks, 2 distinct, shuffled",
    ]


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    class Enough(Exception):
        pass

    def stop(model):
        raise Enough

    blocks = train.Blocks(4, 2)
    right = pruned(blocks, epochs=3)
    calls = []
    for folder, evaluate in (
        (tmp_path, lambda model: calls.append(1) or (len(calls) == 2 and stop(model))),
        (tmp_path, None),
    ):
        model = network()
        try:
            pruned(blocks, model, epochs=3, folder=folder, evaluate=evaluate)
        except Enough:
            continue
    assert torch.equal(model[0].weight, right[0].weight)
    with pytest.raises(ModelError, match="belongs to another run"):
        pruned(train.Blocks(4, 1), epochs=3, folder=tmp_path)


def test_pruning_again_in_the_same_blocks_keeps_the_weights():
    model = pruned(train.Blocks(4, 2))
    before = model[0].weight.detach().clone()
    weights_of(model, train.Blocks(4, 2)).begin()
    assert torch.equal(before, model[0].weight)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: train.Blocks(0), "from 1 to 0 blocks, not 0"),
        (lambda: train.Blocks(4, 5), "from 1 to 4 are distinct, not 5"),
        (lambda: train.Blocks(4, order="mixed"), "order of blocks must be one of"),
        (lambda: train.Blocks(4, alike=-1), "alike must be at least 0"),
        (lambda: train.Blocks(4, alike="1"), "alike must be at least 0"),
        (lambda: train.Blocks(1, alike=0.1), "alike = 0.1 is about neighbour blocks: one block has none"),
        (lambda: train.Blocks(4, 2, alike=0.1), "it needs distinct = 4, not 2"),
        (lambda: pruned(train.Blocks(23)), "layer '0': a 22 x 30 matrix has from 1 to 22 blocks, not 23"),
        (lambda: pruned(train.Blocks(12, 2)), "layer '0': 12 blocks of 22 rows have single rows"),
        (lambda: pruned(train.Blocks(12, alike=1)), "layer '0': 12 blocks of 22 rows have single rows"),
        (lambda: pruned(4), "blocks of '0' must be train.Blocks, not int"),
        (
            lambda: train.prune(network(), loader(), cross_entropy, blocks={"fc": train.Blocks(2)}),
            "no layer is called 'fc' (there are 0, 2)",
        ),
        (lambda: train.prune(network(), loader(), cross_entropy), "give density, quality or blocks"),
        (
            lambda: train.prune(nn.Conv2d(4, 4, 1), [], cross_entropy, blocks={"*": train.Blocks(2)}),
            "is a convolution: blocks are of Linear, LSTM and GRU",
        ),
        (
            lambda: train.share(network(), loader(), cross_entropy, blocks={"0": train.Blocks(2)}),
            "layer '0' does not have these blocks (2 blocks, shuffled): prune it so first",
        ),
        (
            lambda: train.share(
                pruned(train.Blocks(2)), loader(), cross_entropy, bits=8, blocks={"0": train.Blocks(2)}
            ),
            "weights in blocks have at most 7 bits, not 8",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, text):
    with pytest.raises(ModelError, match=re.escape(text)):
        call()
