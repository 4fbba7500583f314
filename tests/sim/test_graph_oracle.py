"""Drawn graphs, whole: the float run is onnxruntime's, and what that refuses is refused.

EIE_REGRESS_READERS says how many are drawn; `make regress` draws ten thousand.
"""

import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from eie.compress.pipeline import Settings, compress_each
from eie.errors import EieError, ModelError
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import Trained
from eie.sim.networks.run import GraphNetwork
from tests.support.graph_draws import whole_graphs
from tests.support.onnxruntime_runs import agrees, theirs

DRAWN = int(os.environ.get("EIE_REGRESS_READERS", "250"))


def drawing(count):
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},
        report_multiple_bugs=False,
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "net.onnx"


def refusal(path, feeds):
    """What we make of a graph that onnxruntime refuses, which is an error."""
    graph = read_graph(path)
    return graph.evaluate(feeds, Trained(graph))


def is_close(values):
    """Whether the largest of some numbers is a matter of rounding."""
    top = np.sort(values, axis=0)[-2:]
    return len(top) == 2 and bool((np.abs(top[1] - top[0]) < 1e-4 * np.abs(top[1]) + 1e-4).any())


@drawing(DRAWN)
@given(drawn=whole_graphs())
def test_whole_graphs(path, drawn):
    model, feeds, outputs = drawn
    path.write_bytes(model.SerializeToString())
    want = theirs(path, feeds)
    if want is None:
        event("refused by both")
        with pytest.raises(ModelError):
            print(refusal(path, feeds), onnx.printer.to_text(model))
        return
    graph = read_graph(path)
    found = graph.evaluate(feeds, Trained(graph))
    event(f"{min(len(graph.layers), 4)} matrices")
    for name, right in zip(dict.fromkeys(outputs), want, strict=True):
        agrees(found[name], right)
        if right.dtype.kind == "i" and not is_close(want[0]):
            assert np.array_equal(found[name], right)


@drawing(DRAWN // 2)
@given(drawn=whole_graphs(spoiled=True))
def test_what_onnxruntime_refuses_is_refused(path, drawn):
    model, feeds, _ = drawn
    path.write_bytes(model.SerializeToString())
    want = theirs(path, feeds)
    try:
        graph = read_graph(path)
        graph.evaluate(feeds, Trained(graph))
    except EieError as error:
        line = str(error)
    else:
        line = ""
    event("refused" if line else "accepted")
    assert "\n" not in line
    assert line or want is not None


@drawing(DRAWN // 5)
@given(drawn=whole_graphs())
def test_compressed_graphs_are_the_same_on_every_engine(path, drawn):
    """Compressed at 8 bits: fast, and the reference, which shares nothing with it; shapes as in the float run."""
    model, feeds, _ = drawn
    path.write_bytes(model.SerializeToString())
    if theirs(path, feeds) is None:
        return
    graph = read_graph(path)
    met = graph.met_by_each(feeds)
    try:
        vectors = [met.get(name) for name in graph.layers]
        layers = compress_each(graph.trained, vectors, Settings(weight_bits=8)) if vectors else []
    except ModelError as error:  # numbers that no fixed point holds
        event(str(error)[:40])
        return
    network = GraphNetwork(graph, layers, "drawn")
    runs = [network.run(feeds, engine=engine) for engine in ("fast", "reference")]
    exact = network.run_float(feeds)
    for name, y in runs[0].named.items():
        assert np.array_equal(y, runs[1].named[name], equal_nan=True)
        assert y.shape == exact[name].shape
