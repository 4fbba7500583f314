"""The example of small architectures: what it trains, saves and runs is what torch computes."""

import re

import numpy as np
import torch

import eie
from examples import small_networks
from examples.small_networks import Fire, Separable


def test_a_separable_convolution_is_a_dense_one_of_its_product():
    torch.manual_seed(1)
    pair, x = Separable(3, 5, 3).double(), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    # Its weights: of output o, channel i and place: point[o, i] depth[i, place].
    weight = pair.point.weight * pair.depth.weight.transpose(0, 1)
    bias = pair.point.bias + pair.point.weight[:, :, 0, 0] @ pair.depth.bias
    assert torch.allclose(pair(x), torch.nn.functional.conv2d(x, weight, bias))
    fire = Fire(4, 2, 3)
    assert fire(torch.rand(1, 4, 5, 5)).shape == (1, 6, 5, 5)


def test_the_example_runs_both_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_networks.main(50, 1)
    lines = capsys.readouterr().out.splitlines()
    found = [
        re.fullmatch(r"(\w+): ([\d,]+) bytes, ([\d,]+) cycles a digit; .* at most ([\d.]+) from torch", line)
        for line in lines
    ]
    assert [one[1] for one in found] == ["separable_lenet", "small_squeezenet"]
    assert all(float(one[4]) < 0.05 for one in found)
    assert int(found[0][2].replace(",", "")) == (tmp_path / "separable_lenet.eie").stat().st_size
    # Zeros of a depthwise matrix are no entries; a column of it has one.
    layers = {layer.name: layer for layer in eie.load("separable_lenet.eie").layers}
    depth = layers["conv2.depth"]
    assert (depth.shape, depth.nnz) == ((20, 500), 500)
    assert np.diff(depth.indptr).max() == 1
