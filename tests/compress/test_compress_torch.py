"""State dictionaries and checkpoints of PyTorch."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from eie.compress.readers.files import read_model
from eie.conv import Conv
from eie.errors import ModelError

torch = pytest.importorskip("torch", exc_type=ImportError)
nn = torch.nn


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.rnn = nn.LSTM(4, 5, bidirectional=True)
        self.fc = nn.Linear(10, 2)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Recurrent()


@pytest.mark.parametrize("zipped", [True, False])
def test_layers_of_a_state_dictionary(tmp_path, network, zipped):
    path = tmp_path / "net.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    model = read_model(path)
    shapes = [(layer.name, *layer.weight.shape) for layer in model.layers]
    gates = [
        (f"rnn.{kind}_l0{way}", 20, cols) for way in ("", "_reverse") for kind, cols in (("ih", 4), ("hh", 5))
    ]
    assert shapes == [("cnn.0", 4, 9), *gates, ("fc", 2, 10)]
    held = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    conv, ih, hh = list(model.layers)[:3]
    assert np.array_equal(conv.weight.reshape(4, 1, 3, 3), held["cnn.0.weight"])
    assert conv.conv == Conv((3, 3))
    assert np.array_equal(ih.bias, held["rnn.bias_ih_l0"])
    assert np.array_equal(hh.bias, held["rnn.bias_hh_l0"])
    assert not any(layer.relu for layer in model.layers)
    assert [str(one) for one in model.unused] == [
        "cnn.1.weight float32[4] (a vector that is not a bias of any layer)",
        "cnn.1.bias float32[4] (a vector that is not a bias of any layer)",
        "cnn.1.running_mean float32[4] (a vector that is not a bias of any layer)",
        "cnn.1.running_var float32[4] (a vector that is not a bias of any layer)",
        "cnn.1.num_batches_tracked int64[] (not floating point)",
    ]


def test_a_checkpoint_with_more_than_the_network(tmp_path, network):
    optimizer = torch.optim.Adam(network.parameters())
    network.fc(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    checkpoint = {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "model_state_dict": network.state_dict(),
    }
    torch.save(checkpoint, tmp_path / "c.pt")
    model = read_model(tmp_path / "c.pt")
    # The optimizer's moments have the weights' shapes, and are not taken for them.
    assert len(model.layers) == 6
    assert np.array_equal(model.layers[5].weight, network.fc.weight.detach().numpy())
    assert [str(one) for one in model.unused if one.reason == "not a tensor"] == ["epoch (not a tensor)"]
    others = [one.array for one in model.unused if "another dictionary" in one.reason]
    assert len(others) == 2
    assert all(one.startswith("optimizer.state.") for one in others)
    assert model.notes == (f"the network is model_state_dict ({len(network.state_dict())} tensors)",)


def test_types_of_tensors(tmp_path):
    tensors = {
        "a.weight": torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16),
        "b.weight": torch.tensor([[0.5]], dtype=torch.float64),
        "c.weight": torch.eye(3).to_sparse(),
        "d.weight": torch.ones(2, 2, dtype=torch.int8),
    }
    torch.save(tensors, tmp_path / "a.pt")
    model = read_model(tmp_path / "a.pt")
    tensors["e.weight"] = torch.tensor([[0.5, -448.0]]).to(torch.float8_e4m3fn)
    torch.save(tensors, tmp_path / "a.pt")
    model = read_model(tmp_path / "a.pt")
    assert [layer.weight.tolist() for layer in model.layers] == [
        [[1.0, -2.0]],
        [[0.5]],
        np.eye(3).tolist(),
        [[0.5, -448.0]],
    ]
    assert all(layer.weight.dtype == np.float32 for layer in model.layers)
    assert [str(one) for one in model.unused] == ["d.weight int8[2, 2] (not floating point)"]


def test_what_no_reader_should_run_or_can_use(tmp_path, network):
    def refused(name, write):
        path = tmp_path / name
        write(path)
        with pytest.raises(ModelError) as caught:
            read_model(path)
        (line,) = str(caught.value).splitlines()
        return line.replace(str(path), "FILE")

    objects = (
        "FILE: it holds Python objects other than tensors, or is not a PyTorch file: "
        "save the state dictionary, torch.save(model.state_dict(), FILE)"
    )
    assert refused("module.pt", lambda path: torch.save(network, path)) == objects
    assert refused("text.pt", lambda path: path.write_text("no model")) == objects
    assert refused("list.pt", lambda path: torch.save([1, 2], path)) == (
        "FILE: no state dictionary found (names with tensors, as model.state_dict() gives them)"
    )
    assert refused("cut.pt", lambda path: path.write_bytes(b"PK\3\4 and no more")).startswith(
        "FILE: PyTorch cannot read it: RuntimeError: "
    )
    assert refused("empty.pth", lambda path: path.write_bytes(b"")).startswith(
        "FILE: PyTorch cannot read it: EOFError"
    )


def test_without_pytorch_the_message_names_the_extra(tmp_path):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "net.pt")
    script = (
        "import sys; sys.modules['torch'] = None; from eie.cli.main import main; "
        "main(['compress', 'net.pt', '-o', 'net.eie'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "eie: error: net.pt: PyTorch reads this file: pip install 'eie-sim[train]'\n"


def test_a_tensor_without_numbers_is_named(tmp_path):
    torch.save({"fc.weight": torch.empty(3, 3, device="meta")}, tmp_path / "net.pt")
    with pytest.raises(
        ModelError, match=r"fc.weight float32\[3, 3\] \(a tensor without numbers, of the device meta\)$"
    ):
        read_model(tmp_path / "net.pt")


def test_a_parametrised_bias_is_refused_by_name(tmp_path):
    layer = torch.nn.Linear(3, 3)
    torch.nn.utils.parametrize.register_parametrization(layer, "bias", torch.nn.Softplus(), unsafe=True)
    torch.save(layer.state_dict(), tmp_path / "net.pt")
    with pytest.raises(
        ModelError, match=r"bias is kept as parametrizations.bias.original, by a parametrisation that"
    ):
        read_model(tmp_path / "net.pt").layers[0]


@pytest.mark.parametrize("size", [2, 12])
def test_a_spectral_norm_along_the_second_axis(tmp_path, size):
    """Long vectors show it; short ones may by chance, and a file with them is refused."""
    torch.manual_seed(size)
    layer = torch.nn.Linear(size, size, bias=False)
    torch.nn.utils.spectral_norm(layer, dim=1)
    for _ in range(100):
        layer(torch.zeros(1, size))
    torch.save(layer.eval().state_dict(), tmp_path / "net.pt")
    layers = read_model(tmp_path / "net.pt").layers
    if size < 8:
        with pytest.raises(
            ModelError, match="weight: its spectral norm may be that along the first or the sec"
        ):
            list(layers)
    else:
        layer(torch.zeros(1, size))
        assert np.allclose(layers[0].weight, layer.weight.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 3, 3, 3), (3, 2, 3, 3), (4, 4)])
def test_a_spectral_norm_whose_vectors_are_old(tmp_path, shape):
    """They run along the first axis, whatever else they fit."""
    for seed in range(60):
        torch.manual_seed(seed)
        layer = (
            torch.nn.Conv2d(shape[1], shape[0], 3, bias=False)
            if len(shape) > 2
            else torch.nn.Linear(4, 4, bias=False)
        )
        torch.nn.utils.spectral_norm(layer)
        with torch.no_grad():
            layer.weight_orig += torch.randn(shape)
        layer.eval()
        layer(torch.zeros(1, shape[1], 9, 9) if len(shape) > 2 else torch.zeros(1, 4))
        torch.save(layer.state_dict(), tmp_path / "net.pt")
        found = read_model(tmp_path / "net.pt").layers[0].weight
        assert np.allclose(
            found, layer.weight.detach().numpy().reshape(shape[0], -1), rtol=1e-4, atol=1e-4
        ), seed


def test_attention_with_keys_of_another_size(tmp_path):
    module = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
    nn.init.normal_(module.in_proj_bias)
    torch.save({f"a.{name}": tensor for name, tensor in module.state_dict().items()}, tmp_path / "net.pt")
    layers = {layer.name: layer for layer in read_model(tmp_path / "net.pt").layers}
    assert list(layers) == ["a.q_proj", "a.k_proj", "a.v_proj", "a.out_proj"]
    for place, letter in enumerate("qkv"):
        weight = getattr(module, f"{letter}_proj_weight").detach().numpy()
        assert np.array_equal(layers[f"a.{letter}_proj"].weight, weight)
        assert np.array_equal(
            layers[f"a.{letter}_proj"].bias, module.in_proj_bias.detach().numpy()[4 * place :][:4]
        )


@pytest.mark.parametrize("key", ["masks", "pruning_mask"])
def test_masks_in_a_dictionary_of_their_own(tmp_path, key):
    module = nn.Linear(6, 5)
    kept = (torch.rand(5, 6) < 0.5).float()
    torch.save({"state_dict": module.state_dict(), key: {"weight": kept}}, tmp_path / "net.pt")
    model = read_model(tmp_path / "net.pt")
    assert np.array_equal(model.layers[0].weight, (module.weight * kept).detach().numpy())
    assert "weight is masked: weight, weight_mask" in model.notes


def test_a_text_that_claims_half_a_gigabyte(tmp_path):
    """PyTorch's older format: room is made for what is there, not for what is asked for."""
    path = tmp_path / "net.pth"
    torch.save({"fc.weight": torch.ones(2, 3)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert np.array_equal(read_model(path).layers[0].weight, np.ones((2, 3)))
    for size in (1 << 29, (1 << 31) - 1):
        claim = b"X" + size.to_bytes(4, "little") + b"fc.weight"
        path.write_bytes(whole.replace(b"X\x09\x00\x00\x00fc.weight", claim))
        assert path.read_bytes() != whole
        tracemalloc.start()
        try:
            with pytest.raises(ModelError, match="PyTorch cannot read it"):
                read_model(path)
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()
