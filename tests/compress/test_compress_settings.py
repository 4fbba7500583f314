"""Settings files: patterns, keys, geometry; what is wrong with one is said in one line."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress.float_layers import Model
from eie.compress.format.file import load
from eie.compress.pipeline import Settings
from eie.compress.quantize import Widths
from eie.compress.readers.files import read_model
from eie.compress.settings import Plan, choose
from eie.conv import Conv
from eie.errors import ModelError

SHAPES = {
    "conv1": (4, 1, 3, 3),
    "conv2": (6, 4, 3, 3),
    "fc1": (8, 24),
    "fc2": (3, 8),
}
# 14 x 14 -> 12 x 12 -> 6 x 6 -> 4 x 4 -> 2 x 2: 24 numbers
LENET_LIKE = """
input = [1, 14, 14]
density = 0.25
weight_bits = 3

[layers."conv*"]
relu = false
pool = 2
density = 0.5

[layers."*1"]
weight_bits = 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    arrays = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    np.savez("net.npz", **arrays, steps=np.arange(3))
    return tmp_path


def applied(text: str) -> tuple[Model, list[Settings]]:
    Path("s.toml").write_text(text)
    return Plan.read(Path("s.toml")).apply(read_model("net.npz"), Widths())


def refused(text: str) -> str:
    with pytest.raises(ModelError) as caught:
        applied(text)
    (line,) = str(caught.value).splitlines()
    return line


def test_the_last_pattern_that_matches_wins_key_by_key(here: Path) -> None:
    model, settings = applied(LENET_LIKE)
    assert [one.density for one in settings] == [(0.5,), (0.5,), (0.25,), (0.25,)]
    assert [one.weight_bits for one in settings] == [5, 3, 5, 3]
    sources = model.layers.sources
    assert [source.relu for source in sources] == [False, False, True, False]
    pooling = {"pool": (2, 2), "pool_stride": (2, 2)}
    assert [source.conv for source in sources] == [
        Conv((3, 3), size=(14, 14), **pooling),
        Conv((3, 3), size=(6, 6), **pooling),
        None,
        None,
    ]
    assert [source.inputs for source in sources] == [196, 144, 24, 8]


def test_density_and_threshold_replace_one_another(here: Path) -> None:
    _, settings = applied('density = 0.5\n[layers."fc*"]\nthreshold = 1\n[layers.fc2]\ndensity = 1')
    assert [(one.density, one.threshold) for one in settings] == [
        ((0.5,), ()),
        ((0.5,), ()),
        ((), (1.0,)),
        ((1.0,), ()),
    ]


def test_automatic_bits_and_nothing_at_all(here: Path) -> None:
    _, settings = applied('weight_bits = "auto"\nsharing_error = 0.1\n[layers.fc1]\nweight_bits = 8')
    assert [(one.weight_bits, one.sharing_error) for one in settings] == [(None, 0.1)] * 2 + [
        (8, 0.1),
        (None, 0.1),
    ]
    _, settings = applied("")
    assert settings == [Settings()] * 4


def test_skipped_layers_are_listed(here: Path) -> None:
    model, settings = applied('[layers."conv[12]"]\nskip = true\n[layers.conv2]\nskip = false')
    assert [layer.name for layer in model.layers] == ["conv2", "fc1", "fc2"]
    assert len(settings) == 3
    assert [str(one) for one in model.unused] == [
        "steps int64[3] (not floating point)",
        "conv1 (skip in the settings)",
    ]
    assert all(source.follows for source in model.layers.sources)
    model, _ = applied("[layers.conv2]\nskip = true\n[layers.fc2]\nskip = true")
    assert [source.follows for source in model.layers.sources] == [True, False]
    chosen = choose(read_model("net.npz"), ["conv2", "fc[12]"])
    assert [source.follows for source in chosen.layers.sources] == [True, True, True]


def test_geometry_of_two_different_sides(here: Path) -> None:
    model, _ = applied(
        'input = [1, 6, 9]\n[layers."conv*"]\npadding = [1, 0]\npool = [2, 1]\npool_stride = 1\n'
        "[layers.conv1]\nstride = [1, 2]\n[layers.fc1]\nskip = true\n[layers.fc2]\nskip = true"
    )
    first, second = (source.conv for source in model.layers.sources)
    assert first == Conv((3, 3), (1, 2), (1, 0), (2, 1), (1, 1), (6, 9))
    assert second == Conv((3, 3), (1, 1), (1, 0), (2, 1), (1, 1), (5, 4))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("densty = 1", "s.toml: there is no key 'densty': did you mean density?"),
        (
            "[layers.fc1]\nq = 1",
            "s.toml: layers.\"fc1\": there is no key 'q': use density, threshold, weight_bits, sharing_error, "
            "blocks, skip, relu, stride, padding, pool, pool_stride",
        ),
        ("[layers.fc1]\ninput = [1, 2, 3]", "s.toml: layers.\"fc1\": there is no key 'input'"),
        ("density = 0", "s.toml: density must be a number above 0 and at most 1, not 0"),
        ("density = true", "s.toml: density must be a number above 0 and at most 1, not True"),
        ("density = nan", "s.toml: density must be a number above 0 and at most 1, not nan"),
        ("threshold = inf", "s.toml: threshold must be a number of at least 0, not inf"),
        ("weight_bits = 9", 's.toml: weight_bits must be from 1 to 8, or "auto", not 9'),
        ("relu = 1", "s.toml: relu must be true or false, not 1"),
        ("pool = 0", "s.toml: pool must be a size from 1, or [height, width], not 0"),
        ("stride = [1, 2, 3]", "s.toml: stride must be a size from 1, or [height, width], not [1, 2, 3]"),
        ("input = [28, 28]", "s.toml: input must be [channels, height, width], not [28, 28]"),
        ("layers = 3", 's.toml: layers must be a table for each pattern, such as [layers."conv*"], not 3'),
        ("[layers]\nfc1 = 3", 's.toml: layers."fc1" must be a table of keys, not 3'),
        ("density = 1\nthreshold = 1", "s.toml: give density or threshold, not both"),
        (
            '[layers."dense*"]\ndensity = 1',
            's.toml: layers."dense*" matches no layer (there are conv1, conv2, fc1, fc2)',
        ),
        ("[layers.fc1]\npool = 2", "s.toml: layer 'fc1' is not a convolution: it has no pool"),
        ('[layers."*"]\nskip = true', "s.toml: every layer is skipped"),
        (
            "sharing_error = 0.1\nweight_bits = 4",
            's.toml: sharing_error is for weight_bits = "auto", which no layer has',
        ),
        (
            "input = [3, 14, 14]",
            "s.toml: layer 'conv1' takes 1 channels, but with this input it would get 3 x 14 x 14",
        ),
        (
            "input = [1, 14, 14]",
            "s.toml: layer 'fc1' takes 24 inputs, but with this input (and strides, paddings, pooling) it would get "
            "6 x 10 x 10",
        ),
        (
            "input = [1, 4, 4]",
            "s.toml: layer 'conv2': the window of a convolution does not fit its image of 2 x 2",
        ),
        (
            "stride = 70000",
            "s.toml: layer 'conv1': stride of a convolution must be two sizes from 1 to 65536, not (70000, 70000)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(here: Path, text: str, line: str) -> None:
    assert refused(text).startswith(line)


def test_files_that_are_none(here: Path) -> None:
    assert refused("density = ").startswith("s.toml is not TOML: Invalid value (at ")
    with pytest.raises(ModelError, match=r"^absent.toml: cannot be read: No such file or directory$"):
        Plan.read(Path("absent.toml"))
    Path("b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"^b.toml is not TOML: not UTF-8$"):
        Plan.read(Path("b.toml"))


def test_chosen_layers_stay_in_order(here: Path) -> None:
    model = choose(read_model("net.npz"), ["fc*", "conv1"])
    assert [layer.name for layer in model.layers] == ["conv1", "fc1", "fc2"]
    assert str(model.unused[-1]) == "conv2 (not chosen)"
    with pytest.raises(ModelError) as caught:
        choose(read_model("net.npz"), ["fc*", "FC*"])
    assert str(caught.value) == "--layer FC* matches no layer (there are conv1, conv2, fc1, fc2)"


# ---- through the command line ------------------------------------------------------------------------------


def eie(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_compress_with_settings_runs_whole(here: Path) -> None:
    Path("s.toml").write_text(LENET_LIKE)
    np.save("x.npy", np.random.default_rng(2).integers(0, 256, (9, 14, 14)).astype(np.uint8))
    status, out, error = eie(
        "compress", "net.npz", "--settings", "s.toml", "--calibrate", "x.npy", "-o", "net.eie"
    )
    assert (status, error) == (0, "")
    assert "\nnot used, not floating point: steps int64[3]; 24 bytes\n" in out
    layers = load("net.eie")
    assert [layer.conv and layer.conv.size for layer in layers] == [(14, 14), (6, 6), None, None]
    assert [len(layer.codebook) for layer in layers] == [32, 8, 32, 8]
    assert [round(layer.density * layer.rows * layer.cols) for layer in layers] == [18, 108, 48, 6]
    outputs = []
    for engine in ("reference", "golden"):
        arguments = (
            "run",
            "net.eie",
            "--input",
            "x.npy",
            "--index",
            "8",
            "--engine",
            engine,
            "--pe",
            "2",
            "--sized",
        )
        status, out, error = eie(*arguments, "--preset", "wide", "-o", f"{engine}.npy")
        assert (status, error) == (
            2,
            "eie: error: layer 'conv1': 5-bit code indices do not fit weight_bits = 4\n",
        )
    Path("s.toml").write_text(LENET_LIKE.replace("weight_bits = 5", "weight_bits = 4"))
    eie("compress", "net.npz", "--settings", "s.toml", "--calibrate", "x.npy", "-o", "net.eie")
    for engine in ("reference", "golden", "fast"):
        status, out, error = eie(*arguments[:6], "--engine", engine, *arguments[8:], "-o", f"{engine}.npy")
        assert (status, error) == (0, "")
        assert "y: 3 activations" in out
        outputs.append(np.load(f"{engine}.npy"))
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])
    assert outputs[0].any()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--settings", "s.toml", "--density", "0.1"),
            "--density has no effect beside --settings: give it there (see eie compress --help)",
        ),
        (("--settings", "s.toml"), "s.toml: there is no key 'bits': use density"),
        (("--layer", "x*"), "--layer x* matches no layer (there are conv1, conv2, fc1, fc2)"),
        (
            ("--calibrate", "net.npz"),
            "layer 'conv1' is a convolution over images of unknown size: "
            "compress it with a settings file that gives the size as `input`",
        ),
    ],
)
def test_bad_options_are_one_line_and_status_2(here: Path, arguments: tuple[str, ...], line: str) -> None:
    Path("s.toml").write_text("bits = 3")
    status, out, error = eie("compress", "net.npz", "-o", "net.eie", *arguments)
    assert (status, out) == (2, "")
    assert error.startswith(f"eie: error: {line}")
    assert len(error.splitlines()) == 1
    assert not Path("net.eie").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["net.npz", "-o", "net.npz"], "net.npz is read and would be lost"),
        (["net.npz", "-o", "link.eie"], "link.eie is read and would be lost"),
        (["net.npz", "--settings", "s.toml", "-o", "s.toml"], "s.toml is read and would be lost"),
        (["net.npz", "--calibrate", "x.npz", "-o", "x.npz"], "x.npz is read and would be lost"),
        (["net.npz", "-o", "new.safetensors"], "new.safetensors: .safetensors is a model's ending"),
    ],
)
def test_what_is_read_is_never_written_over(here: Path, arguments: list[str], text: str) -> None:
    Path("s.toml").write_text("density = 0.5")
    np.savez("x.npz", x=np.ones((2, 9)))
    Path("link.eie").symlink_to("net.npz")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    result = CliRunner().invoke(main, ["compress", *arguments])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"eie: error: {text}")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_layer_of_which_nothing_is_left_is_named(here: Path) -> None:
    rng = np.random.default_rng(2)
    weights = {"fc1.weight": rng.normal(size=(20, 30)), "fc2.weight": 1e-30 * rng.normal(size=(3, 20))}
    np.savez("net.npz", **weights)
    result = CliRunner().invoke(main, ["compress", "net.npz", "-o", "net.eie"])
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if " is lost" in line]
    assert lines == ["layer 'fc2' is lost: its weights are too small for fixed point"]
