"""Drawn PyTorch modules and checkpoints: layers are the weights that the modules compute with, or refused by name.

EIE_REGRESS_READERS says how many are drawn; `make regress` draws ten thousand.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from eie.compress.readers.files import read_model
from eie.errors import ModelError

torch = pytest.importorskip("torch", exc_type=ImportError)
safetensors = pytest.importorskip("safetensors.torch")

from tests.support.torch_draws import checkpoints, networks  # noqa: E402  (it needs torch)

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
torch.set_num_threads(1)
DRAWN = int(os.environ.get("EIE_REGRESS_READERS", "200"))
DRAW = settings(
    max_examples=DRAWN,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


def check(path, drawn, key, prefix):
    model = read_model(path, key=key)
    sources = {source.name: (source, place) for place, source in enumerate(model.layers.sources)}
    assert set(sources) == {prefix + name for name in drawn.expected}
    for name, (weight, bias) in drawn.expected.items():
        source, place = sources[prefix + name]
        if drawn.untold and name.startswith(drawn.untold) and source.refused:
            assert drawn.untold in source.refused
            event("refused by name")
            continue
        if np.isnan(weight).any():  # a norm of nothing
            with pytest.raises(ModelError, match="is nan, not a finite number"):
                model.layers[place]
            return
        try:
            layer = model.layers[place]
        except ModelError as error:
            # Short vectors of a spectral norm may fit either axis.
            if "first or the second axis" not in str(error) or weight.shape[0] != weight.shape[1]:
                raise
            event("a spectral norm of either axis")
            continue
        assert np.allclose(layer.weight, weight.reshape(len(weight), -1), rtol=1e-4, atol=1e-5), name
        assert (layer.bias is None) == (bias is None)
        assert bias is None or np.allclose(layer.bias, bias, rtol=1e-4, atol=1e-5)
    if drawn.untold:
        names = [name for name in drawn.expected if name.startswith(drawn.untold)]
        assert any(sources[prefix + name][0].refused for name in names)
        with pytest.raises(ModelError, match="by a parametrisation that the file does not tell"):
            list(model.layers)


@DRAW
@given(data=st.data())
def test_checkpoints(folder, data):
    drawn = data.draw(networks())
    held, key, prefix = data.draw(checkpoints(drawn))
    path = folder / data.draw(st.sampled_from(["net.pt", "net.pth", "net.pth.tar", "net.ckpt", "net.bin"]))
    torch.save(held, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    check(path, drawn, key, prefix)


@DRAW
@given(data=st.data())
def test_the_same_in_other_files(folder, data):
    drawn = data.draw(networks())
    state = {name: tensor.detach().clone().contiguous() for name, tensor in drawn.model.state_dict().items()}
    if data.draw(st.booleans()):
        path = folder / "net.npz"
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        path = folder / "net.safetensors"
        safetensors.save_file(state, path)
    check(path, drawn, "", "")
