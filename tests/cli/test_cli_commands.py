"""The commands on good input: what they print, write and return, and that they agree with the library."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import eie
from eie.cli.commands import cosim as cosim_module
from eie.cli.main import COMMANDS, main
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.sim.sweep.store import Store
from eie.sim.workloads.random import random_layer
from tests.support import ROOT
from tests.support.command import invoke

EXAMPLE = ROOT / "examples" / "lenet_300_100"
MODEL = EXAMPLE / "lenet_300_100.safetensors"
DIGITS = EXAMPLE / "mnist_test_1000.npz"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compressed."""
    path = tmp_path_factory.mktemp("network") / "lenet.eie"
    invoke("compress", MODEL, "--density", "0.08,0.09,0.26", "--calibrate", DIGITS, "-o", path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_with_options_that_exist(name: str) -> None:
    text = invoke(name, "--help").stdout
    words = shlex.split(re.search(r"Example:\n? +(eie .*)", text)[1])
    assert words[:2] == ["eie", name]
    command = main.get_command(click.Context(main), name)
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_compress_and_info_agree(network: Path, here: Path) -> None:
    report = json.loads(invoke("compress", MODEL, "--density", 0.1, "-o", "net.eie", "--json").stdout)
    shown = json.loads(invoke("info", "net.eie", "--json").stdout)
    assert shown["total_bytes"] == report["total_bytes"] == Path("net.eie").stat().st_size
    layers = eie.load("net.eie")
    for layer, one, other in zip(layers, report["layers"], shown["layers"], strict=True):
        assert one["nnz"] == other["nnz"] == layer.nnz
        assert abs(layer.density - 0.1) < 0.005
        assert one["bytes"] == other["bytes"]
    text = invoke("info", network).stdout
    assert "checksum ok" in text
    assert [line.split()[0] for line in text.splitlines() if re.match(r"fc\d", line)] == [
        "fc1",
        "fc2",
        "fc3",
    ] * 2


def test_compress_by_threshold_and_width(here: Path) -> None:
    invoke("compress", MODEL, "--threshold", 1.5, "--weight-bits", 3, "--acc-bits", 32, "-o", "net.eie")
    layers = eie.load("net.eie")
    assert {len(layer.codebook) for layer in layers} == {8}
    assert 0 < layers[0].density < 0.2


def test_run_chains_the_layers(network: Path, here: Path) -> None:
    results = json.loads(
        invoke("run", network, "--input", DIGITS, "--index", 3, "-o", "y.npy", "--json").stdout
    )
    layers = eie.load(network)
    with np.load(DIGITS) as arrays:
        pixels, label = arrays["images"][3].reshape(1, -1) / 255, int(arrays["labels"][3])
    y = fixed_forward(layers, quantize_inputs(layers[0], pixels)).y[0]
    assert results[-1]["y"] == y.tolist() == np.load("y.npy").tolist()
    assert int(np.argmax(y)) == label
    assert [result["layer"] for result in results] == ["fc1", "fc2", "fc3"]
    assert len(results[0]["counters"]["entries"]) == 64
    text = invoke("run", network, "--input", DIGITS, "--index", 3).stdout
    assert f"the largest is number {label}" in text
    assert re.search(rf"^cycles +{results[0]['cycles']} +{results[1]['cycles']} ", text, re.MULTILINE)


@pytest.mark.parametrize("engine", ["reference", "golden", "icarus", "verilator"])
def test_run_one_layer_on_every_engine(network: Path, here: Path, engine: str) -> None:
    x = np.zeros(100, np.int64)
    x[::3] = np.arange(34) * 50 - 300
    np.save("x.npy", x)
    options = ("--layer", "fc3", "--input", "x.npy", "--pe", 4, "--sized", "--json")
    (result,) = json.loads(invoke("run", network, *options, "--engine", engine).stdout)
    layer = eie.load(network)[2]
    golden = eie.simulate(layer, x, eie.sized_for(eie.ArchConfig(n_pe=4), layer))
    assert result["engine"] == engine
    assert result["y"] == golden.y.tolist()
    if engine != "reference":
        assert result["cycles"] == golden.cycles
        assert result["counters"]["bypasses"] == golden.counters["bypasses"].tolist()


def test_run_writes_waveforms(network: Path, here: Path) -> None:
    text = invoke("run", network, "--input", DIGITS, "--pe", 4, "--sized", "--wave", "net.vcd").stdout
    written = sorted(path.name for path in here.glob("*.vcd"))
    assert written == ["net.0-fc1.vcd", "net.1-fc2.vcd", "net.2-fc3.vcd"]
    assert f"waveform: {', '.join(written)}" in text
    assert "$enddefinitions" in Path("net.2-fc3.vcd").read_text()


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_cosim(here: Path, simulator: str) -> None:
    options = ("--sim", simulator, "--pe", 2, "--rows", 20, "--cols", 30, "--density", 0.3, "--seed", 5)
    report = json.loads(invoke("cosim", *options, "--json").stdout)
    assert report["mismatches"] == 0
    assert report["divergence"] is None
    assert report["comparisons"] == report["cycles"] * report["signals"] > 10_000
    assert (
        report["replay"] == f"eie cosim --sim {simulator} --seed 5 --pe 2 --rows 20 --cols 30 --density 0.3"
    )
    # The command that it names does the same again.
    again = json.loads(invoke(*shlex.split(report["replay"])[1:], "--json").stdout)
    assert {**again, "seconds": 0} == {**report, "seconds": 0}
    assert re.search(r"agree: [\d,]+ comparisons, 0 mismatches", invoke("cosim", *options).stdout)


def test_cosim_of_a_file(network: Path, here: Path) -> None:
    report = json.loads(invoke("cosim", network, "--input", DIGITS, "--layer", "fc1", "--json").stdout)
    assert report["mismatches"] == 0
    layer = eie.load(network)[0]
    assert report["cycles"] > layer.cols


def broken(files: Mapping[str, str]) -> dict[str, str]:
    """The Verilog with every forwarding path of the arithmetic unit cut."""
    text, count = re.subn(r"(assign forward1 = )[^;]*;", r"\g<1>1'h0;", files["eie_pe.v"])
    assert count == 1, "the Verilog has no assignment to forward1"
    return {**files, "eie_pe.v": text}


def test_a_mismatch_is_status_1_with_its_place_and_replay(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Callable[..., Any] = cosim_module.lockstep_by_layer
    monkeypatch.setattr(cosim_module, "lockstep_by_layer", partial(run, transform=broken))
    options = ("--pe", 2, "--rows", 4, "--cols", 30, "--density", 0.8)
    result = invoke("cosim", *options, status=1)
    assert result.stderr.startswith("eie: error: icarus: first divergence in cycle ")
    assert "arithm_unit.forward1: golden 1, RTL 0" in result.stderr
    assert "replay: eie cosim --seed 1 --pe 2 --rows 4 --cols 30 --density 0.8" in result.stderr
    assert "waveform around it: divergence.vcd" in result.stderr
    assert "$enddefinitions" in Path("divergence.vcd").read_text()
    report = json.loads(invoke("cosim", *options, "--json", status=1).stdout)
    assert report["mismatches"] == 1
    assert report["divergence"]["signal"] == "arithm_unit.forward1"


def test_sweep_and_plot(network: Path, here: Path) -> None:
    options = shlex.split(f"sweep {network} --input {DIGITS} --inputs 2 --pe 1,4 --depth 1,8 --workers 1")
    text = invoke(*options, "-o", "s.sqlite", "-o", "s.csv", "-o", "s.json").stdout
    assert "engine fast; 800 MHz; memories sized for each layer\n" in text
    assert "s.sqlite: 24 points, 0 there before, 24 run now in" in text
    with Store(Path("s.sqlite"), read_only=True) as store:
        held = {row["key"]: row for row in store.rows()}
    rows = json.loads(Path("s.json").read_text())
    assert [held[row["key"]] for row in rows] == rows
    assert len(held) == len(rows) == 24
    assert [line.split(",")[0] for line in Path("s.csv").read_text().splitlines()[1:]] == [
        r["key"] for r in rows
    ]
    assert json.loads(invoke(*options, "-o", "s.sqlite", "--json").stdout) == rows
    assert "s.sqlite: 24 points, 24 there before, none run now" in invoke(*options, "-o", "s.sqlite").stdout
    # A layer's inputs are the outputs of the one before it.
    layers = eie.load(network)
    with np.load(DIGITS) as arrays:
        x = quantize_inputs(layers[0], arrays["images"][:2].reshape(2, -1) / 255)
    hidden = fixed_forward(layers[:1], x).y
    active = {row["input"]: row["active"] for row in rows if row["layer"] == "fc2"}
    assert [active[0], active[1]] == np.count_nonzero(hidden, axis=1).tolist()
    drawn = invoke("plot", "s.sqlite", "-o", "pictures").stdout.split()
    assert drawn == [
        f"pictures/{name}.png"
        for name in ("speedup", "padding", "balance", "utilization", "queue_depth", "work")
    ]
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert json.loads(invoke("plot", "s.sqlite", "-o", "pictures", "--json").stdout) == {"files": drawn}


def test_a_grid_with_impossible_and_failed_points(here: Path) -> None:
    Path("g.toml").write_text(
        "rows = 40\ncols = 50\nn_pe = [4, 1, 16]\nindex_bits = [3, 4]\nmemories = 'own'\nacc_depth = 10"
    )
    result = invoke("sweep", "g.toml", "--workers", 1)
    (note,) = result.stderr.splitlines()
    assert note.startswith(
        "eie: note: impossible, 2 of 6 points: layer 'random 40 x 50' (40 x 50) does not fit 1 PE"
    )
    table = [line.split() for line in result.stdout.splitlines() if line.startswith("random")]
    assert [(line[4], line[6]) for line in table] == [("4", "3"), ("4", "4"), ("16", "3"), ("16", "4")]
    with Store(Path("g.sqlite")) as store:
        rows = store.rows("n_pe = 4")
        store.add([rows[0] | {"status": "failed", "error": "the worker died", "cycles": None}])
    result = invoke("sweep", "g.toml", "--workers", 1, status=1)
    assert "eie: note: failed, 1 of 6 points: the worker died\n" in result.stderr
    assert "failed points are run again with --retry" in result.stderr
    again = invoke("sweep", "g.toml", "--workers", 1, "--retry")
    assert "g.sqlite: 6 points, 5 there before, 1 run now" in again.stdout
    with Store(Path("g.sqlite")) as store:
        (row,) = store.rows(f"key = '{rows[0]['key']}'")
    assert row["cycles"] == rows[0]["cycles"]


def test_plot_any_columns_and_the_front(here: Path) -> None:
    Path("g.toml").write_text("rows = 40\ncols = 50\nn_pe = [4, 16]\nindex_bits = [3, 4]\nseed = [1, 2]")
    invoke("sweep", "g.toml", "--workers", 1)
    options = ("plot", "g.sqlite", "--x", "n_pe", "--y", "energy_nj", "--by", "index_bits", "--log", "xy")
    assert invoke(*options, "--where", "seed = 1").stdout == "energy_nj_against_n_pe.png\n"
    answer = json.loads(invoke("plot", "g.sqlite", "--pareto", "--json").stdout)
    assert answer["files"] == ["pareto.png"]
    assert {one["n_pe"] for one in answer["front"]} == {4, 16}
    text = invoke("plot", "g.sqlite", "--pareto").stdout
    assert text.splitlines()[0].split() == ["n_pe", "index_bits", "µs", "nJ", "mm²"]
    assert len(text.splitlines()) == len(answer["front"]) + 2
    Path("many.toml").write_text(
        "rows = 4\ncols = 5\nn_pe = [1, 2]\nindex_bits = [1, 2, 3, 4]\nacc_bits = [16, 17, 18, 19]"
    )
    invoke("sweep", "many.toml", "--workers", 1)
    result = invoke("plot", "many.sqlite", "-o", "many", status=2)
    assert result.stdout == ""
    assert result.stderr == (
        "eie: error: no standard picture can be drawn: speedup, padding, balance, utilization, queue_depth, work "
        "(it would have 16 "
        "lines, more than 14: choose points with --where); name columns, such as --x n_pe --y energy_nj\n"
    )
    assert not Path("many").exists()
    assert invoke("plot", "many.sqlite", "--where", "acc_bits <= 18").stderr == (
        "eie: note: not drawn: queue_depth (it needs several queue depths); work (it would have 12 panels, more than "
        "9: choose points with --where)\n"
    )


def test_random_sweep_follows_its_seed(here: Path) -> None:
    options = ("sweep", "--random", "40x50", "--density", 0.2, "--pe", "4", "--json", "--workers", 1)
    first, again = (json.loads(invoke(*options, "--seed", 3).stdout) for _ in range(2))
    for row in (*first, *again):
        del row["seconds"]
    assert first == again != json.loads(invoke(*options, "--seed", 4).stdout)


def test_export(network: Path, here: Path) -> None:
    report = json.loads(
        invoke("export", network, "--layer", "fc3", "--pe", 4, "--sized", "-o", "verilog", "--json").stdout
    )
    assert report["check"]["problems"] == []
    assert report["check"]["simulators"] == ["iverilog", "verilator"]
    assert sorted(report["files"]) == sorted(path.name for path in Path("verilog").iterdir())
    assert "pe003_spmat.hex" in report["files"]
    assert "none undriven" in invoke("export", "--pe", 1, "-o", "plain").stdout


def test_layers_that_do_not_follow_one_another_run_alone(here: Path) -> None:
    layers = [random_layer(6, 5, 0.5, seed=1, name="a"), random_layer(7, 4, 0.5, seed=2, name="b")]
    eie.save("two.eie", layers)
    np.save("x.npy", np.arange(4))
    invoke("run", "two.eie", "--layer", "1", "--input", "x.npy")
    np.save("x.npy", np.arange(5))
    result = invoke("run", "two.eie", "--input", "x.npy", status=2)
    assert result.stderr == "eie: error: layer 'b' takes 4 inputs, but 'a' has 6 outputs\n"


def test_clipped_inputs_are_counted(here: Path) -> None:
    layer = random_layer(6, 4, 0.5, seed=1, name="fc1")
    object.__setattr__(layer, "x_frac", 13)
    eie.save("net.eie", [layer, random_layer(3, 6, 0.5, seed=2, name="fc2")])
    np.save("x.npy", [[0.5, 1, 2, 3.9998], [5, 100, -1e30, 1e308], [-4, -4.1, 0, 0]])
    note = "eie: note: x.npy: {} beyond -4..3.99988 clipped (16 bits, x_frac 13)\n"
    options = ("net.eie", "--layer", "fc1", "--input", "x.npy", "--pe", 2)
    for index, count, text in (
        (0, 0, ""),
        (1, 4, note.format("4 inputs")),
        (2, 1, note.format("1 input")),
    ):
        result = invoke("run", *options, "--index", index, "--sized", "--json")
        assert json.loads(result.stdout)[0]["clipped_inputs"] == count
        assert result.stderr == text
    result = invoke("cosim", *options, "--index", 1, "--json")
    assert json.loads(result.stdout)["clipped_inputs"] == 4
    assert result.stderr == note.format("4 inputs")
    result = invoke("export", *options, "--index", 1, "--sized", "--no-check", "--json", "-o", "verilog")
    assert json.loads(result.stdout)["clipped_inputs"] == 4
    assert result.stderr == note.format("4 inputs")
    result = invoke("sweep", *options, "--inputs", 3, "--json")
    assert result.stderr.endswith(note.format("5 inputs"))


def no_constant(name: str) -> None:
    raise AssertionError(f"JSON has no {name}")


def test_what_is_not_compressed_is_listed_with_its_bytes(here: Path) -> None:
    rng = np.random.default_rng(1)
    compressed = {
        "conv.weight": (8, 16, 3),  # along one dimension
        "attn.in_proj_weight": (24, 8),
        "attn.out_proj.weight": (8, 8),
        "fc.weight": (4, 8),
        "fc.bias": (4,),
    }
    left = {
        "embedding.weight": (50, 16),
        "up.weight": (4, 6, 3, 3),
        "up.bias": (6,),
        "deconv1.weight": (4, 6, 3),
        "conv3.weight": (3, 2, 2, 2, 2),
        "norm.weight": (8,),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (compressed | left).items()}
    np.savez("net.npz", **arrays)
    dense = sum(arrays[name].nbytes for name in compressed)
    kept = sum(arrays[name].nbytes for name in left)
    command = ("compress", "net.npz", "-o", "net.eie")
    printed = invoke(*command).stdout
    for text in (
        "not used, an embedding, a table in which rows are looked up: embedding.weight float32[50, 16]; 3,200 bytes",
        "not used, a transposed convolution, as its bias tells: up.weight float32[4, 6, 3, 3]; 864 bytes",
        "not used, a transposed convolution: deconv1.weight float32[4, 6, 3]; 288 bytes",
        "not used, 5 dimensions; layers have 2, convolutions 3 or 4: conv3.weight float32[3, 2, 2, 2, 2]; 192 bytes",
        "not used, a vector that is not a bias of any layer: up.bias float32[6], norm.weight float32[8]; 56 bytes",
    ):
        assert text in printed.splitlines()
    whole = (dense + kept) / (Path("net.eie").stat().st_size + kept)
    line = (
        f"not compressed: {len(left)} arrays of the network, {kept:,} bytes; "
        f"with these, the whole model is {whole:.1f} x smaller"
    )
    assert printed.splitlines()[-1] == line
    report = json.loads(invoke(*command, "--json").stdout)
    assert (report["not_compressed_bytes"], report["whole_ratio"]) == (kept, pytest.approx(whole))
    lines = invoke("info", "net.eie", "--model", "net.npz").stdout.splitlines()
    assert line in lines
    assert (
        "  embedding.weight float32[50, 16] (an embedding, a table in which rows are looked up), 3,200 bytes"
        in lines
    )
    told = json.loads(invoke("info", "net.eie", "--model", "net.npz", "--json").stdout)
    assert told["whole_ratio"] == pytest.approx(whole)
    assert sum(one["nbytes"] for one in told["not_compressed"]) == kept
    # A layer that was not chosen counts, too.
    invoke(*command, "--layer", "fc")
    again = json.loads(invoke("info", "net.eie", "--model", "net.npz", "--json").stdout)
    assert (
        sum(one["nbytes"] for one in again["not_compressed"])
        == dense + kept - arrays["fc.weight"].nbytes - arrays["fc.bias"].nbytes
    )


def test_compress_names_what_it_does_not_use(here: Path) -> None:
    np.savez("net.npz", w=np.eye(4, dtype=np.float32) * 1e30, scale=np.ones(4), step=np.int64(3))
    result = invoke("compress", "net.npz", "-o", "net.eie", "--json")
    assert json.loads(result.stdout, parse_constant=no_constant)["unused"] == [
        {"array": "scale float64[4]", "reason": "a vector that is not a bias of any layer", "nbytes": 32},
        {"array": "step int64[]", "reason": "not floating point", "nbytes": 8},
    ]
    text = invoke("compress", "net.npz", "-o", "net.eie").stdout
    assert "\nnot used, a vector that is not a bias of any layer: scale float64[4]; 32 bytes\n" in text
    assert "\nnot used, not floating point: step int64[]; 8 bytes\n" in text
    np.savez("net.npz", w=np.eye(4), **{f"a{i}": np.ones(1) for i in range(10)})
    text = invoke("compress", "net.npz", "-o", "net.eie").stdout
    assert re.search(
        r"^not used, .*: a0 float64\[1\], .*, a7 float64\[1\] and 2 more; 80 bytes$", text, re.MULTILINE
    )
    assert "not used" not in invoke("compress", MODEL, "-o", "net.eie").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_is_status_130(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 says that two engines disagree."""
    command = main.get_command(click.Context(main), name)
    assert command is not None

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_context", interrupted)
    assert invoke(name, status=130).stderr == "eie: interrupted\n"


@pytest.mark.parametrize("free", [False, True])
def test_a_machine_without_counters_in_cosim(here: Path, *, free: bool) -> None:
    size = ("--pe", 2, "--set", "counters=0", "--set", "passes=2", "--rows", 8, "--cols", 8)
    report = json.loads(invoke("cosim", *size, *(["--free"] if free else []), "--json").stdout)
    assert "--set counters=0 --set passes=2" in report["replay"]
    # Free-running: eight activations, and the cycles in which the machine is busy, loads and stores.
    assert report["compared"] == 11 if free else report["mismatches"] == 0
    again = json.loads(invoke(*shlex.split(report["replay"])[1:], "--json").stdout)
    assert again["cycles"] == report["cycles"]


def test_settings_reach_run_and_export(network: Path, here: Path) -> None:
    run = ("run", network, "--input", DIGITS, "--engine", "fast", "--json")
    shallow, deep = (json.loads(invoke(*run, "--set", f"queue_depth={n}").stdout) for n in (1, 8))
    assert shallow[0]["cycles"] > deep[0]["cycles"]
    assert shallow[-1]["y"] == deep[-1]["y"]
    # What is set by hand counts more than what the layers need.
    refused = invoke(*run, "--sized", "--set", "entries=10", status=2)
    assert "entries" in refused.stderr
    invoke("export", "--chip", "--pe", 2, "--set", "codebooks=3", "--no-check", "-o", "chip")
    assert "#define EIE_CODEBOOKS_VALUE 0x00000003u" in (here / "chip" / "eie_regs.h").read_text()
