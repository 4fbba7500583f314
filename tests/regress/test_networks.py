"""nsnet2, fetched, on recorded speech: the float run is onnxruntime's, and engines agree on a frame."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from eie.compress.pipeline import Settings, compress_each
from eie.config import ArchConfig
from eie.sim.networks.description import met_by_each, read_description, trained_layers
from eie.sim.networks.graph import Trained, check_weights
from eie.sim.networks.run import decibels, machine_for, run_graph, snr
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
def layers(denoiser):
    given = denoiser.given(MODELS / "Side_Left.wav")
    met = met_by_each(denoiser.network, given.inputs)
    compressed = compress_each(trained_layers(denoiser.network), list(met.values()), Settings())
    return check_weights(denoiser.network, compressed, "nsnet2")


def test_the_float_run_is_onnxruntimes(denoiser):
    given = denoiser.given(SPEECH)
    session = onnxruntime.InferenceSession(str(MODELS / "nsnet2.onnx"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input": given.inputs["input"].astype(np.float32)})
    ours = denoiser.network.run(given.inputs, Trained(denoiser.network))["output"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert decibels(theirs, ours) > 90


def test_speech_within_its_hop(denoiser, layers):
    given = denoiser.given(SPEECH)
    cfg = machine_for(list(layers.values()), ArchConfig(), sized=True)
    run = run_graph(denoiser.network, layers, given, cfg, "fast")
    assert given.count == 133
    assert run.worst is not None
    assert run.worst / cfg.clock_hz * 1e6 < 0.02 * denoiser.sound.hop_us
    found = snr(run)
    assert found["sound"] > 25
    print(f"\n133 frames: {found}, slowest frame {run.worst:,} cycles")


@pytest.mark.parametrize("engine", ["golden", "verilator"])
def test_engines_agree_on_a_frame(denoiser, layers, engine):
    given = denoiser.given(SPEECH, slice(15, 16))
    cfg = machine_for(list(layers.values()), ArchConfig(), sized=True)
    fast = run_graph(denoiser.network, layers, given, cfg, "fast")
    run = run_graph(denoiser.network, layers, given, cfg, engine)
    assert np.array_equal(run.output, fast.output)
    assert {name: record.cycles for name, record in run.records.items()} == {
        name: record.cycles for name, record in fast.records.items()
    }
