"""Drawn PyTorch modules: layers one after the other, beside each other and around each other, as people write them."""

import torch
from hypothesis import strategies as st
from torch import nn


class Residual(nn.Module):
    def __init__(self, width, hidden, norm):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, x):
        return x + self.outer(torch.relu(self.inner(self.norm(x))))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.all, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.all(x).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return self.out(weights @ v)


class First(nn.Module):
    """The outputs of a recurrent layer without its states."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


class Two(nn.Module):
    """Two inputs, real numbers and tokens, that meet in a sum."""

    def __init__(self, width, body):
        super().__init__()
        self.table, self.body, self.out = nn.Embedding(7, width), body, nn.Linear(width, 3)

    def forward(self, x, tokens):
        return self.out(self.body(x + self.table(tokens)))


def _vectors(draw, width):
    """Layers on [batch, time, width]."""
    kind = draw(st.sampled_from(["residual", "attention", "cell", "linear", "einsum"]))
    if kind == "residual":
        return Residual(width, draw(st.integers(1, 6)), draw(st.booleans()))
    if kind == "attention":
        return Attention(width)
    if kind == "cell":
        cell = draw(st.sampled_from([nn.GRU, nn.LSTM, nn.RNN]))
        both = draw(st.booleans()) and width % 2 == 0
        hidden = width // 2 if both else width
        return First(cell(width, hidden, draw(st.integers(1, 2)), batch_first=True, bidirectional=both))
    if kind == "einsum":
        return nn.Sequential(nn.Linear(width, 5), nn.GELU(), nn.Linear(5, width), nn.Hardtanh())
    return nn.Sequential(nn.Linear(width, width), draw(st.sampled_from([nn.Tanh(), nn.ELU(), nn.Sigmoid()])))


def _images(draw):
    channels = draw(st.integers(1, 3))
    hidden = draw(st.integers(1, 4)) * draw(st.integers(1, 2))
    layers = [nn.Conv2d(channels, hidden, draw(st.integers(1, 3)), padding=draw(st.integers(0, 1)))]
    layers += [nn.BatchNorm2d(hidden)] if draw(st.booleans()) else []
    layers += [draw(st.sampled_from([nn.ReLU(), nn.SiLU(), nn.LeakyReLU()]))]
    if draw(st.booleans()):
        layers += [nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.MaxPool2d(2, padding=1)]
    if draw(st.booleans()):
        layers += [nn.ConvTranspose2d(hidden, 2, 2, stride=2), nn.ReLU()]
    return channels, [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)]


@st.composite
def modules(draw):
    """A module in evaluation mode, and its inputs."""
    torch.manual_seed(draw(st.integers(0, 1 << 20)))
    batch = draw(st.integers(2, 4))
    if draw(st.integers(0, 2)) == 0:
        channels, layers = _images(draw)
        model, inputs = nn.Sequential(*layers), (torch.randn(batch, channels, 7, 8),)
    else:
        width = draw(st.sampled_from([2, 3, 4, 6]))
        body = nn.Sequential(*(_vectors(draw, width) for _ in range(draw(st.integers(1, 3)))))
        x = torch.randn(batch, 5, width)
        if draw(st.booleans()):
            model, inputs = Two(width, body), (x, torch.randint(0, 7, (batch, 5)))
        else:
            model, inputs = body, (x,)
    model(*inputs)  # sizes of lazy layers, and means of norms
    return model.eval(), inputs
