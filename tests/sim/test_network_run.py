"""`eie run` and `eie compress` for graphs and descriptions: arrays, pictures, sound, and what cannot run."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.io import wavfile

import eie
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.errors import ModelError
from eie.sim.networks.accelerator import Accelerator, check_weights
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import Trained
from eie.sim.workloads.sound import Sound
from tests.support import ROOT
from tests.support import onnx_networks as nets
from tests.support.command import invoke, refused
from tests.support.json_schemas import check

EXAMPLES = ROOT / "examples"
SOUND = Sound(rate=8000, window=12, hop=8, fft=16)
DESCRIPTION = """graph = "net.onnx"
weights = "net.eie"

[sound]
rate = 8000
window = 12
hop = 8
fft = 16
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a denoiser of 9 frequencies, its description, sound of 30 frames and weights that fit both."""
    monkeypatch.chdir(tmp_path)
    nets.denoiser(Path("net.onnx"))
    Path("net.toml").write_text(DESCRIPTION)
    samples = np.random.default_rng(1).normal(size=12 + 29 * 8) * np.linspace(100, 9000, 12 + 29 * 8)
    wavfile.write("sound.wav", 8000, samples.astype(np.int16))
    invoke("compress", "net.toml", "--calibrate", "sound.wav", "--weight-bits", 6, "-o", "net.eie")
    return tmp_path


def expected(frames, engine="fast", n_pe=4):
    """Outputs by the API, and cycles of each layer."""
    network = read_graph(Path("net.onnx"))
    layers = check_weights(network, eie.load("net.eie"), "net.eie")
    cfg = sized_for(ArchConfig(n_pe=n_pe, weight_bits=6), *layers.values())
    accelerator = Accelerator(layers, cfg, engine)
    x = SOUND.features(SOUND.spectra(SOUND.read(Path("sound.wav"))))[None, frames]
    return (
        network.evaluate({"x": x}, accelerator)["y"],
        network.evaluate({"x": x}, Trained(network))["y"],
        {name: record.cycles for name, record in accelerator.records.items()},
    )


def test_compressing_for_a_graph_takes_the_scales_from_what_each_matrix_meets(here):
    layers = eie.load("net.eie")
    assert [layer.name for layer in layers] == ["MatMul_a0", "w.W", "w.R", "Gemm_g0"]
    assert [layer.relu for layer in layers] == [True, False, False, False]
    # Log powers reach from -12 to a few; the state never leaves -1 to 1.
    assert layers[0].x_frac <= 11
    assert layers[2].x_frac >= 13
    text = invoke("compress", "net.onnx", "-o", "other.eie").stdout
    assert "64 random vectors" in text
    text = invoke("compress", "net.toml", "--calibrate", "sound.wav", "--layer", "w.*", "-o", "w.eie").stdout
    assert "Scales from up to 30 vectors that each matrix met." in text
    assert [layer.name for layer in eie.load("w.eie")] == ["w.W", "w.R"]


@pytest.mark.parametrize("engine", ["reference", "golden", "fast"])
def test_sound_in_and_out(here, engine):
    options = ("--input", "sound.wav", "--engine", engine, "--pe", 4, "--frames", "20:24")
    text = invoke("run", "net.toml", *options, "-o", "y.npy").stdout
    y, trained, cycles = expected(slice(20, 24), engine)
    assert np.array_equal(np.load("y.npy"), y)
    assert "weights from net.eie\n4 frames\n" in text
    # Two matrices of 12 x 9 and 9 x 10, and those of the GRU: three gates of 10, on 12 inputs and on 10.
    assert (
        "4 matrices, 100.0 % of all multiply-accumulates on the accelerator: 3,432, and 0 on the host" in text
    )
    for operator in ("gates of recurrent cells", "Sigmoid", "Transpose"):
        assert re.search(rf"^{operator} +\d", text, re.MULTILINE)
    ratio = 20 * np.log10(np.linalg.norm(trained) / np.linalg.norm(trained - y))
    assert f"against the float run: output {ratio:.1f} dB, sound " in text
    if engine != "reference":
        total = sum(map(sum, cycles.values()))
        assert f"\na frame: {total / 4:,.0f} cycles, {total / 4 / 800:,.1f} µs, " in text
        assert " % of its 1,000 µs; the slowest " in text
    invoke("run", "net.toml", *options, "-o", "clean.wav")
    rate, clean = wavfile.read("clean.wav")
    assert (rate, clean.dtype, len(clean)) == (8000, np.int16, 3 * 8 + 12)
    spectra = SOUND.spectra(SOUND.read(Path("sound.wav")))[20:24]
    assert np.array_equal(clean, np.round(SOUND.resynthesis(spectra * y[0]) * 32768).astype(np.int16))


def test_json_of_a_graph(here):
    options = ("--input", "sound.wav", "--engine", "fast", "--pe", 4, "--json")
    found = check("run", invoke("run", "net.toml", *options).stdout)
    _, _, cycles = expected(slice(None))
    assert (found["engine"], found["n_pe"], found["frames"]) == ("fast", 4, 30)
    assert {layer["layer"]: layer["cycles"] for layer in found["layers"]} == cycles
    assert found["cycles"] == sum(map(sum, cycles.values()))
    assert found["energy_uj"] == pytest.approx(sum(layer["energy_uj"] for layer in found["layers"]))
    assert found["snr_db"].keys() == {"output", "sound"}


def test_a_graph_alone_compresses_on_its_way(here):
    x = np.random.default_rng(3).normal(size=(5, 9)).astype(np.float32)
    np.save("x.npy", x)
    text = invoke("run", "net.onnx", "--input", "x.npy", "--engine", "fast", "-o", "y.npy").stdout
    assert "weights compressed for this run: all kept, 4-bit codes, scales from this input" in text
    assert "64 PEs" in text
    assert np.load("y.npy").shape == (1, 5, 9)
    # The same with a batch in front, and with weights.
    np.save("x.npy", x[None])
    invoke("run", "net.onnx", "--input", "x.npy", "--engine", "fast", "-o", "z.npy")
    assert np.array_equal(np.load("y.npy"), np.load("z.npy"))
    text = invoke("run", "net.onnx", "--input", "x.npy", "--engine", "fast", "--weights", "net.eie").stdout
    assert "weights from net.eie" in text


def test_calibration_of_a_layer_that_no_output_needs(here):
    model = onnx.load("net.onnx")
    model.graph.node.append(nets.node("MatMul", ["x", "fc"], ["nobody"]))
    onnx.save(model, "more.onnx")
    np.save("x.npy", np.ones((1, 3, 9), np.float32))
    options = ("--calibrate", "x.npy", "-o", "more.eie")
    assert refused("compress", "more.onnx", *options) == (
        "more.onnx: layer 'MatMul_nobody' meets no inputs, because no output needs it: choose others (--layer)"
    )
    invoke("compress", "more.onnx", *options, "--layer", "w.*")
    assert [layer.name for layer in eie.load("more.eie")] == ["w.W", "w.R"]


def test_resynthesis_gives_back_what_went_in():
    samples = np.random.default_rng(1).normal(size=12 + 29 * 8)
    back = SOUND.resynthesis(SOUND.spectra(samples))
    np.testing.assert_allclose(back[4:-4], samples[4:-4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_samples_of_every_kind(here, dtype):
    values = np.array([-1, -0.5, 0, 0.25] * 4)
    scaled = {
        "uint8": values * 128 + 128,
        "int16": values * 2**15,
        "int32": values * 2**31,
        "float32": values,
    }
    stereo = np.stack([scaled[dtype], np.zeros(16)], axis=1).astype(dtype)
    wavfile.write("s.wav", 8000, stereo)
    assert SOUND.read(Path("s.wav")).tolist() == values.tolist()


# ---- pictures ----------------------------------------------------------------------------------------------


def test_a_picture_is_the_array_of_its_pixels(here):
    nets.pictures(Path("p.onnx"))
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12), np.uint8)
    Image.fromarray(pixels).save("p.png")
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save("colours.png")
    np.save("p.npy", (pixels / 255)[None, None])
    np.save("flat.npy", pixels.reshape(1, -1))
    outputs = []
    for name in ("p.png", "colours.png", "p.npy", "flat.npy"):
        text = invoke("run", "p.onnx", "--input", name, "--engine", "fast", "--pe", 4, "-o", "y.npy").stdout
        outputs.append(np.load("y.npy").tolist())
        assert f"the largest is number {int(np.argmax(outputs[0]))}" in text
    assert outputs == [outputs[0]] * 4


def test_the_example_digit_runs_on_both_examples(here):
    with np.load(EXAMPLES / "lenet_300_100" / "mnist_test_1000.npz") as arrays:
        digit, label = arrays["images"][3], arrays["labels"][3]
    with Image.open(EXAMPLES / "networks" / "digit.png") as image:
        assert np.array_equal(np.asarray(image).reshape(digit.shape), digit)
    for name in ("lenet-5", "lenet-300-100"):
        file = EXAMPLES / "trained" / f"{name}.eie"
        options = ("--engine", "fast", "--sized")
        text = invoke("run", file, "--input", EXAMPLES / "networks" / "digit.png", *options).stdout
        assert f"the largest is number {label}" in text
        digits = EXAMPLES / "lenet_300_100" / "mnist_test_1000.npz"
        assert text == invoke("run", file, "--input", digits, "--index", 3, *options).stdout


# ---- what cannot run ---------------------------------------------------------------------------------------


def test_sound_that_the_network_does_not_take(here):
    wavfile.write("slow.wav", 44100, np.zeros(99, np.int16))
    assert refused("run", "net.toml", "--input", "slow.wav") == (
        "slow.wav has 44100 samples a second, but the network takes 8000: resample it, for example: "
        "sox slow.wav -r 8000 OUT.wav"
    )
    wavfile.write("short.wav", 8000, np.zeros(11, np.int16))
    assert (
        refused("run", "net.toml", "--input", "short.wav") == "short.wav has 11 samples: one frame needs 12"
    )
    wavfile.write("nan.wav", 8000, np.full(20, np.nan, np.float32))
    assert (
        refused("run", "net.toml", "--input", "nan.wav")
        == "nan.wav holds samples that are not finite numbers"
    )
    for content in (b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt ", Path("sound.wav").read_bytes()[:30]):
        Path("bad.wav").write_bytes(content)
        assert refused("run", "net.toml", "--input", "bad.wav").startswith(
            "bad.wav: cannot be read as .wav: "
        )
    assert (
        refused("run", "net.toml", "--input", "no.wav")
        == "no.wav: cannot be read as .wav: No such file or directory"
    )
    assert refused("run", "net.toml", "--input", "sound.wav", "--frames", "28:31") == (
        "sound.wav has the frames 0:30: there is no 28:31"
    )
    assert refused("run", "net.toml", "--input", "sound.wav", "--frames", "9").startswith(
        "invalid value for '--frames': '9' is not a range of frames: write it as 10:20"
    )
    assert refused("run", "net.onnx", "--input", "sound.wav") == (
        "sound.wav: net.onnx does not say which sound it takes: run a description (.toml) with its graph and a table "
        "[sound], see docs/networks.md"
    )
    assert refused("run", "net.toml", "--input", "sound.wav", "-o", "y.mp3") == (
        "y.mp3: outputs are written as .npy, or as .wav where the network makes sound"
    )
    np.save("x.npy", np.zeros((5, 9)))
    assert refused("run", "net.toml", "--input", "x.npy", "-o", "y.wav") == (
        "y.wav: the network makes sound only from sound, and x.npy is not sound: write a .npy"
    )
    assert refused("run", "net.toml", "--input", "x.npy", "--frames", "1:2") == (
        "--frames chooses frames of a sound (.wav), and x.npy is not one"
    )


def test_pictures_that_the_network_does_not_take(here):
    nets.pictures(Path("p.onnx"))
    Image.fromarray(np.zeros((10, 12), np.uint8)).save("p.png")
    Image.fromarray(np.zeros((12, 12), np.uint16)).save("deep.png")
    Path("bad.png").write_bytes(b"\x89PNG\r\n")
    assert (
        refused("run", "p.onnx", "--input", "p.png")
        == "p.png is 12 x 10: the network takes 12 x 12 (width x height)"
    )
    assert refused("run", "p.onnx", "--input", "deep.png") == (
        "deep.png has pixels of the kind I;16: 8 bits a channel (gray or colours) would be right"
    )
    assert (
        refused("run", "p.onnx", "--input", "bad.png")
        == "bad.png: cannot be read: not a picture, or a broken one"
    )
    assert (
        refused("run", "p.onnx", "--input", "no.png") == "no.png: cannot be read: No such file or directory"
    )
    assert refused("run", "net.onnx", "--input", "p.png") == (
        "p.png: the network takes no picture, but x [any, any, 9]"
    )
    lenet, flat = EXAMPLES / "trained" / "lenet-5.eie", EXAMPLES / "trained" / "lenet-300-100.eie"
    assert (
        refused("run", lenet, "--input", "p.png")
        == "p.png is 12 x 10: the network takes 28 x 28 (width x height)"
    )
    assert refused("run", flat, "--input", "p.png") == (
        "p.png is 12 x 10: the network takes 784 pixels, such as 28 x 28 (width x height)"
    )
    assert refused("run", flat, "--input", "p.png", "--index", 1).startswith(
        "--index has no effect for a picture"
    )


def test_arrays_and_options_that_do_not_fit(here):
    np.savez("x.npz", a=np.zeros((5, 8)), b=np.zeros(3))
    assert refused("run", "net.onnx", "--input", "x.npz") == (
        "x.npz: no array for input x [any, any, 9], only a float64[5, 8], b float64[3]"
    )
    np.save("x.npy", np.zeros((5, 9), np.int16))
    assert refused("run", "net.onnx", "--input", "x.npy") == (
        "x.npy: input x must be real numbers, or uint8 pixels (0..255 becomes 0..1), not int16"
    )
    np.save("x.npy", np.full((5, 9), np.inf))
    assert refused("run", "net.onnx", "--input", "x.npy") == "x.npy: x[0, 0, 0] is inf, not a finite number"
    assert refused("run", "net.onnx", "--input", "x.txt").startswith(
        "x.txt: an input must end in .npy, .npz, .png,"
    )
    for option in (("--layer", "0"), ("--wave", "w.vcd")):
        assert refused("run", "net.onnx", "--input", "x.npy", *option).startswith(
            f"{option[0]} has no effect for net.onnx: it is a graph"
        )
    assert refused("run", "net.eie", "--input", "x.npy", "--frames", "0:1").startswith(
        "--frames has no effect for net.eie: it holds layers, not a graph"
    )
    assert refused("run", "net.onnx", "--input", "sound.wav", "--weights", "no.eie").startswith(
        "sound.wav: net.onnx does not say"
    )
    eie.save("one.eie", eie.load("net.eie")[:1])
    assert refused("run", "net.toml", "--input", "sound.wav", "--weights", "one.eie") == (
        "one.eie has no layer 'w.W', which net.onnx needs: it has MatMul_a0"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 'a description needs a graph, such as graph = "network.onnx"'),
        ("graph = 3", "graph must be the name of a file, not 3"),
        ('graph = "net.eie"', "graph must be an .onnx file, not 'net.eie'"),
        ('graph = "net.onnx"\nwidth = 3', "there is no key 'width': use graph, weights, sound"),
        ("graph = ", "bad.toml is not TOML: Invalid value (at end of document)"),
        ('graph = "net.onnx"\nsound = 3', "sound must be a table with rate, window, hop, fft, floor"),
        ('graph = "net.onnx"\n[sound]\nrate = 8000', "sound: window is missing"),
        (DESCRIPTION.replace("8000", "0"), "sound: rate must be a whole number from 1 to 1048576, not 0"),
        (
            DESCRIPTION.replace("hop = 8", "hop = 13"),
            "sound: hop (13), window (12) and fft (16) must be in ascending order",
        ),
        (
            DESCRIPTION.replace("fft = 16", "fft = 32"),
            "sound gives frames [1, any, 17] (fft / 2 + 1 frequencies), but the graph takes x [any, any, 9]",
        ),
        (DESCRIPTION + "floor = 2", "sound: floor must be a number between 0 and 1, not 2"),
    ],
)
def test_descriptions_that_are_none(here, text, line):
    Path("bad.toml").write_text(text)
    assert refused("run", "bad.toml", "--input", "sound.wav") == (
        line if line.startswith("bad.toml") else f"bad.toml: {line}"
    )


def test_files_that_are_not_there(here):
    assert (
        refused("run", "no.toml", "--input", "sound.wav")
        == "no.toml: cannot be read: No such file or directory"
    )
    assert (
        refused("run", "no.onnx", "--input", "sound.wav")
        == "no.onnx: cannot be read: No such file or directory"
    )
    Path("net.onnx").unlink()
    assert (
        refused("run", "net.toml", "--input", "sound.wav")
        == "net.onnx: cannot be read: No such file or directory"
    )


def test_a_sound_is_checked_before_it_is_used():
    with pytest.raises(ModelError, match="rate must be a whole number"):
        Sound(rate=True, window=1, hop=1, fft=1)
