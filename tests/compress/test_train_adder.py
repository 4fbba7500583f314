"""Layers that add: outputs and gradients beside torch's own arithmetic; what is refused."""

import math

import pytest
import torch
from torch.nn import functional

from eie.compress import train
from eie.errors import ModelError


def gradients(x, weight, gradient):
    """The published rules, in whole tensors: of the inputs, and of the weights before their length is set."""
    apart = x[:, None] - weight
    return -(apart.clamp(-1, 1) * gradient[:, :, None]).sum(1), (apart * gradient[:, :, None]).sum(0)


def test_outputs_and_gradients_of_a_matrix():
    torch.manual_seed(1)
    layer = train.Adder(7, 5)
    x = torch.randn(11, 7) * (torch.rand(11, 7) < 0.6)
    x.requires_grad_()
    y = layer(x)
    assert torch.allclose(y, -torch.cdist(x, layer.weight, p=1), atol=1e-5)
    gradient = torch.randn(11, 5)
    y.backward(gradient)
    dx, dw = gradients(x.detach(), layer.weight.detach(), gradient)
    assert torch.allclose(x.grad, dx, atol=1e-5)
    # As the released code sets it: the length is root(elements) / 5.
    assert torch.allclose(layer.weight.grad, dw / dw.norm() * math.sqrt(dw.numel()) / 5, atol=1e-5)


def test_a_convolution_is_the_matrix_at_each_position():
    torch.manual_seed(2)
    layer = train.AdderConv2d(3, 4, (3, 2), stride=2, padding=1, bias=True)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(4))
    x = torch.randn(2, 3, 9, 6, requires_grad=True)
    y = layer(x)
    assert y.shape == functional.conv2d(x, layer.weight, stride=2, padding=1).shape
    padded = functional.pad(x, (1, 1, 1, 1))
    window = padded[1, :, 4:7, 2:4]
    assert torch.allclose(y[1, :, 2, 1], layer.bias - (window - layer.weight).abs().sum((1, 2, 3)), atol=1e-5)
    y.backward(torch.ones_like(y))
    vectors = functional.unfold(x.detach(), (3, 2), padding=1, stride=2).transpose(1, 2).reshape(-1, 18)
    dx, _ = gradients(vectors, layer.weight.detach().reshape(4, -1), torch.ones(len(vectors), 4))
    folded = functional.fold(dx.reshape(2, -1, 18).transpose(1, 2), (9, 6), (3, 2), padding=1, stride=2)
    assert torch.allclose(x.grad, folded, atol=1e-4)


def test_what_is_refused():
    with pytest.raises(ModelError, match=r"an Adder of 3 inputs does not take \[2, 4\]"):
        train.Adder(3, 1)(torch.zeros(2, 4))
    with pytest.raises(ModelError, match=r"takes float32 on the processor, not torch\.float64"):
        train.Adder(3, 1).double()(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"an AdderConv2d of 1 channels does not take \[1, 2, 4, 4\]"):
        train.AdderConv2d(1, 1, 3)(torch.zeros(1, 2, 4, 4))
