"""Drawn PyTorch modules, exported at opsets 9 to the newest: the float run is onnxruntime's, and the module's.

EIE_REGRESS_READERS says how many are drawn; `make regress` draws ten thousand by the old exporter, some by the new one.
"""

import contextlib
import logging
import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import Trained
from tests.support.onnxruntime_runs import agrees, theirs

torch = pytest.importorskip("torch", exc_type=ImportError)

from tests.support.module_draws import modules  # noqa: E402  (it needs torch)

DRAWN = int(os.environ.get("EIE_REGRESS_READERS", "60"))
# Of the exporter that came with torch.export, which takes a second for each.
NEW = max(2, DRAWN // 100)
OLD_OPSETS = (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
NEW_OPSETS = (18, 19, 20, 21, 22, 23)
torch.set_num_threads(1)


def drawing(count):
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain, Phase.shrink},
        report_multiple_bugs=False,
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("modules") / "net.onnx"


def exported(path, model, inputs, **about):
    """Whether torch could write the module to a file."""
    log = logging.getLogger("torch.onnx")
    log.setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.suppress(torch.onnx.OnnxExporterError):
        warnings.simplefilter("ignore")
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            torch.onnx.export(model, inputs, str(path), **about)
        return True
    return False


def check(path, model, inputs):
    names = [one.name for one in read_graph(path).inputs]
    feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    (right,) = theirs(path, feeds)
    graph = read_graph(path)
    assert graph.layers
    (found,) = graph.evaluate(feeds, Trained(graph)).values()
    event(f"{min(len(graph.layers), 6)} matrices")
    agrees(found, right)
    with torch.no_grad():
        assert np.allclose(found, model(*inputs).numpy(), rtol=1e-3, atol=1e-3)


@drawing(DRAWN)
@given(drawn=modules(), opset=st.sampled_from(OLD_OPSETS))
def test_modules(path, drawn, opset):
    model, inputs = drawn
    if exported(path, model, inputs, dynamo=False, opset_version=opset):
        check(path, model, inputs)
    else:
        event("torch cannot write it")


@drawing(NEW)
@given(drawn=modules(), opset=st.sampled_from(NEW_OPSETS))
def test_modules_by_the_new_exporter(path, drawn, opset):
    pytest.importorskip("onnxscript")
    model, inputs = drawn
    if exported(path, model, inputs, dynamo=True, opset_version=opset, external_data=False, verbose=False):
        check(path, model, inputs)
    else:
        event("torch cannot write it")
