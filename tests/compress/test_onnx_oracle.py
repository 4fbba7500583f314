"""Drawn ONNX graphs, held to onnxruntime: layers with their weights and biases, and whole graphs in floating point.

EIE_REGRESS_READERS says how many are drawn; `make regress` draws ten thousand.
"""

import os

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, Phase, event, given, reject, settings
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from eie.compress.readers.files import read_model
from eie.compress.readers.onnx_graph import load
from eie.compress.readers.onnx_layers import RECURRENT, placed_layers
from eie.errors import ModelError
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import Trained
from tests.support.onnx_draws import graphs

DRAWN = int(os.environ.get("EIE_REGRESS_READERS", "250"))
DRAW = settings(
    max_examples=DRAWN,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
    report_multiple_bugs=False,
)
onnxruntime.set_default_logger_severity(4)


def answers(model, names, x):
    """What onnxruntime makes of the values called `names`; None if it refuses the graph."""
    whole = onnx.ModelProto.FromString(model.SerializeToString())
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "x")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(whole.SerializeToString(), options)
        found = session.run(None, {"x": x})
    except NotImplemented:  # such as an operator of the newest opset: it says nothing
        reject()
    except Exception:  # onnxruntime's errors have no base of their own
        return None
    return {"x": x} | dict(zip((n for n in names if n != "x"), found, strict=True))


def taken(one):
    """The value that a node multiplies."""
    return one.node.input[0 if one.node.input[0] == "x" else 1]


def by_layer(one, layer, x):
    """What a layer makes of its node's input, along the node's axes."""
    if layer.conv is not None:
        size = (1, *x.shape[2:])[-2:]
        assert layer.conv.size == size
        y = layer.forward(x.reshape(len(x), -1))
        channels, pooled = layer.weight.shape[0], layer.conv.pooled_size
        return y.reshape(len(x), channels, *(pooled if x.ndim == 4 else pooled[1:]))
    columns = one.node.op_type == "MatMul" and taken(one) == one.node.input[1] and x.ndim > 1
    rows = np.swapaxes(x, -1, -2) if columns else x
    y = layer.forward(rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:-1], -1)
    return np.swapaxes(y, -1, -2) if columns else y


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn") / "net.onnx"


def inputs_of(model):
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def outcome(path):
    """The layers, or why there are none."""
    try:
        return list(read_model(path).layers), ""
    except ModelError as error:
        return [], str(error)


@DRAW
@given(drawn=graphs())
def test_layers_are_what_onnxruntime_computes(path, drawn):
    model, output = drawn
    path.write_bytes(model.SerializeToString())
    x = inputs_of(model)
    want = answers(model, [output], x)
    if want is None:
        event("refused by onnxruntime")
        with pytest.raises(ModelError):
            list(read_model(path).layers)
        return
    layers, error = outcome(path)
    if "does not fit its image" in error:
        assert not want[output].size  # onnxruntime pools to nothing
        return
    if error:
        # The one refusal of a graph that onnxruntime runs.
        assert "no layer to compress" in error
        event(f"no layer: {error.partition('(')[2][:60]}")
        return
    placed = placed_layers(load(path))
    assert len(placed) == len(layers)
    for one, layer in zip(placed, layers, strict=True):
        event(one.node.op_type)
        if one.node.op_type in RECURRENT:
            continue
        ends = answers(model, [taken(one), one.gives or output], x)
        if one.problems:  # what the layer lacks is listed
            continue
        found = by_layer(one, layer, ends[taken(one)])
        right = ends[one.gives]
        assert found.size == right.size
        assert np.allclose(found.reshape(right.shape), right, rtol=1e-4, atol=1e-4)


@DRAW
@given(drawn=graphs())
def test_whole_graphs_are_what_onnxruntime_computes(path, drawn):
    model, output = drawn
    path.write_bytes(model.SerializeToString())
    x = inputs_of(model)
    want = answers(model, [output], x)
    try:
        graph = read_graph(path)
        found = graph.evaluate({"x": x}, Trained(graph))[output]
    except ModelError as error:
        event(f"refused: {str(error).partition(': ')[2][:40]}" if want else "refused by both")
        return
    assert want is not None
    assert found.shape == want[output].shape
    assert np.allclose(found, want[output], rtol=1e-4, atol=1e-4)


@DRAW
@given(drawn=graphs(spoiled=True))
def test_what_onnxruntime_refuses_is_refused(path, drawn):
    model, output = drawn
    path.write_bytes(model.SerializeToString())
    want = answers(model, [output], inputs_of(model))
    _, error = outcome(path)
    assert "\n" not in error
    event("refused" if error else "accepted")
    assert error or want is not None
