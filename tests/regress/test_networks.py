"""nsnet2, fetched, on recorded speech: the float run is onnxruntime's, and engines agree on a frame."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from eie.compress.pipeline import Settings, compress_each
from eie.sim.networks.description import read_description
from eie.sim.networks.run import GraphNetwork, decibels, snr
from tests.support import ROOT

MODELS = ROOT / "build" / "models"
SPEECH = MODELS / "Front_Center.wav"


@pytest.fixture(scope="module")
def denoiser():
    fetch = ROOT / "examples" / "models" / "fetch.py"
    if not SPEECH.exists() or not (MODELS / "nsnet2.onnx").exists():
        done = subprocess.run(
            [sys.executable, fetch, "nsnet2", "speech"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return read_description(ROOT / "examples" / "networks" / "nsnet2.toml")


@pytest.fixture(scope="module")
def network(denoiser):
    given = denoiser.given(MODELS / "Side_Left.wav")
    met = denoiser.graph.met_by_each(given.inputs)
    compressed = compress_each(denoiser.graph.trained, list(met.values()), Settings())
    return GraphNetwork(denoiser.graph, compressed, "nsnet2")


def test_the_float_run_is_onnxruntimes(denoiser, network):
    given = denoiser.given(SPEECH)
    session = onnxruntime.InferenceSession(str(MODELS / "nsnet2.onnx"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input": given.inputs["input"].astype(np.float32)})
    ours = network.run_float(given.inputs)["output"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert decibels(theirs, ours) > 90


def test_speech_within_its_hop(denoiser, network):
    given = denoiser.given(SPEECH)
    run = network.run(given.inputs)
    assert given.count == 133
    worst = run.worst(given.count)
    assert worst is not None
    assert worst / run.cfg.clock_hz * 1e6 < 0.02 * denoiser.sound.hop_us
    found = snr(run.outputs, network.run_float(given.inputs)["output"], given.spectra)
    assert found["sound"] > 25
    print(f"\n133 frames: {found}, slowest frame {worst:,} cycles")


@pytest.mark.parametrize("engine", ["golden", "verilator"])
def test_engines_agree_on_a_frame(denoiser, network, engine):
    given = denoiser.given(SPEECH, slice(15, 16))
    fast = network.run(given.inputs)
    run = network.run(given.inputs, engine=engine)
    assert np.array_equal(run.outputs, fast.outputs)
    assert {name: record.cycles for name, record in run.records.items()} == {
        name: record.cycles for name, record in fast.records.items()
    }
