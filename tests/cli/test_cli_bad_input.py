"""Bad input through the command line: one line on stderr that says what is wrong and where, and status 2."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import eie
from eie.cli.commands.demo import demo
from eie.cli.main import main
from eie.sim.cosim import toolchain
from eie.sim.workloads import example
from eie.sim.workloads.random import random_layer
from tests.support import ROOT
from tests.support.command import refused

EXAMPLE = ROOT / "examples" / "lenet_300_100"
DIGITS = EXAMPLE / "mnist_test_1000.npz"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def network(here: Path) -> Path:
    """Two layers, 70 x 40 and 9 x 70, that follow one another."""
    one = random_layer(70, 40, 0.2, seed=1, name="fc1")
    two = random_layer(9, 70, 0.2, seed=2, name="fc2")
    object.__setattr__(two, "x_frac", one.y_frac)
    eie.save("net.eie", [one, two])
    np.save("x.npy", np.arange(40))
    return Path("net.eie")


def test_a_model_without_weights(here: Path) -> None:
    save_file({"bias": np.zeros(3, np.float32)}, "model.safetensors")
    assert refused("compress", "model.safetensors", "-o", "net.eie") == (
        "model.safetensors: no layer to compress, only bias float32[3] (a vector that is not a bias of any layer)"
    )
    assert not Path("net.eie").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(here: Path, value: float) -> None:
    weight = np.ones((4, 3), np.float32)
    weight[2, 1] = value
    save_file({"fc1.weight": weight}, "model.safetensors")
    assert refused("compress", "model.safetensors", "-o", "net.eie") == (
        f"model.safetensors: layer 'fc1': weight[2, 1] is {value}, not a finite number"
    )


def test_a_layer_that_does_not_fit(network: Path) -> None:
    assert refused("run", network, "--input", "x.npy", "--pe", 1) == (
        "layer 'fc1' (70 x 40) does not fit 1 PE; per PE: 70 accumulators needed, 64 available "
        "(more PEs, --sized or eie.sized_for(cfg, layer), or passes: eie plan)"
    )


def test_input_vectors(network: Path) -> None:
    np.save("short.npy", np.arange(39))
    assert refused("run", network, "--input", "short.npy") == (
        "short.npy: no numbers [n, 40] or [40], only short int64[39]"
    )
    np.save("text.npy", np.full(40, "a"))
    assert refused("run", network, "--input", "text.npy") == (
        "text.npy: no numbers [n, 40] or [40], only text <U1[40]"
    )
    np.save("large.npy", np.full(40, 32768))
    assert refused("run", network, "--input", "large.npy") == (
        "input of layer 'fc1': 32768 at index 0 does not fit 16 bits"
    )
    assert refused("run", network, "--input", "x.npy", "--index", 1) == (
        "x.npy holds 1 input vectors: there is no number 1"
    )
    Path("junk.npz").write_bytes(b"junk")
    assert refused("run", network, "--input", "junk.npz").startswith(
        "junk.npz: cannot be read as .npz or .npy: "
    )
    assert refused("run", network, "--input", "absent.npy") == (
        "absent.npy: cannot be read as .npz or .npy: No such file or directory"
    )
    np.save("nan.npy", np.full((1, 40), np.nan))
    assert refused("run", network, "--input", "nan.npy") == "nan.npy[0, 0] is nan, not a finite number"


def test_a_file_that_claims_more_than_there_is_memory_for(network: Path) -> None:
    with Path("huge.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 784)}
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile("huge.npz", "w") as archive:
        archive.write("huge.npy", "fc1.weight.npy")
    why = "Unable to allocate 5.57 PiB for an array with shape (784000000000000,) and data type float64"
    assert refused("run", network, "--input", "huge.npy") == (
        f"huge.npy: cannot be read as .npz or .npy: {why}"
    )
    assert refused(
        "compress", EXAMPLE / "lenet_300_100.safetensors", "-o", "a.eie", "--calibrate", "huge.npy"
    ) == (f"huge.npy: cannot be read as .npz or .npy: {why}")
    # Of a model the header alone shows it.
    assert refused("compress", "huge.npz", "-o", "a.eie") == (
        "huge.npz: no layer to compress, only fc1.weight float64[1000000000000, 784] "
        "(6,272,000,000,000,000 bytes, of which the file holds 128)"
    )
    with Path("large.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**7)}
        np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile("large.npz", "w") as archive:
        archive.write("large.npy", "fc1.weight.npy")
    assert refused("compress", "large.npz", "-o", "a.eie") == (
        "large.npz: no layer to compress, only fc1.weight float64[10000000, 10000000] "
        "(800,000,000,000,000 bytes, of which the file holds 128)"
    )


def test_random_layers_of_no_possible_size(here: Path) -> None:
    assert refused("cosim", "--rows", 100_000_000_000, "--density", 0) == (
        "a random layer needs 1 to 16777216 rows and columns, not 100000000000 x 64"
    )
    assert refused("sweep", "--random", "700000x700000", "--density", 1, "--pe", 256).startswith(
        "not enough memory: Unable to allocate 3.57 TiB"
    )
    assert refused("sweep", "--random", "10000000x10000000", "--pe", 4) == (
        "no 4 PEs can hold a 10000000 x 10000000 layer: entries must be from 1 to 2147483648, not 2475000000000"
    )


def test_seeds(here: Path) -> None:
    assert refused("cosim", "--seed", -1) == (
        "invalid value for '--seed': -1 is not in the range x>=0 (see eie cosim --help)"
    )
    assert refused("fpga", "x.eie", "--part", "LFE5U-25F-6BG256C", "-o", "f", "--seed", 2**31) == (
        "invalid value for '--seed': 2147483648 is not in the range 0<=x<=2147483647 (see eie fpga --help)"
    )
    assert refused("sweep", "--random", "8x8", "--seed", -3) == (
        "invalid value for '--seed': -3 is not in the range x>=0 (see eie sweep --help)"
    )


def test_waveforms_that_an_engine_does_not_write(network: Path) -> None:
    def run(engine: str, wave: str) -> str:
        return refused("run", network, "--input", "x.npy", "--engine", engine, "--wave", wave)

    assert run("reference", "r.vcd") == (
        "r.vcd: engine reference does not step through cycles and writes no waveform: use golden, icarus, verilator"
    )
    assert run("golden", "g.fst") == "g.fst: engine golden writes waveforms as .vcd"
    assert run("icarus", "i.vcd") == "i.vcd: engine icarus writes waveforms as .fst"
    assert refused("cosim", "--wave", "c.vcd") == "c.vcd: engine icarus writes waveforms as .fst"


def test_the_demo_without_a_clone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "EXAMPLE", here / "site-packages" / "examples")
    option = next(param for param in demo.params if param.name == "example")
    monkeypatch.setattr(option, "default", example.EXAMPLE)
    assert refused("demo", "--out", "out") == (
        "the demo needs the folder examples/lenet_300_100 of a clone, which an installed package lacks: run it in a "
        "clone, or name a copy with --example FOLDER"
    )
    assert not Path("out").exists()


def test_layer_names(network: Path) -> None:
    assert refused("run", network, "--input", "x.npy", "--layer", "fc3") == (
        "no layer 'fc3': the file has 0 (fc1), 1 (fc2)"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "net.eie", "--input", "x.npy", "--pe", 12),
        ("cosim", "--pe", 12),
        ("sweep", "--random", "4x4", "--pe", "12"),
    ],
)
def test_pe_counts(network: Path, arguments: tuple[object, ...]) -> None:
    assert (
        refused(*arguments).removeprefix("eie sweep: ") == "n_pe must be a power of two from 1 to 256, not 12"
    )


def test_files(network: Path) -> None:
    data = network.read_bytes()
    for command in (("info",), ("run", "--input", "x.npy"), ("sweep",), ("cosim",)):
        Path("cut.eie").write_bytes(data[:-1])
        assert refused(command[0], "cut.eie", *command[1:]).startswith("cut.eie: ")
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        Path("flipped.eie").write_bytes(flipped)
        assert refused(command[0], "flipped.eie", *command[1:]).startswith("flipped.eie: ")
    assert refused("info", "absent.eie") == "absent.eie: cannot be read: No such file or directory"


def test_a_missing_simulator(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr(sys, "prefix", str(here / "venv"))
    toolchain._run.cache_clear()
    try:
        for simulator in ("icarus", "verilator"):
            line = refused("cosim", "--sim", simulator, "--json")
            assert line.startswith(f"{simulator} not found, ")
            assert line.endswith(toolchain.install_line(simulator))
        assert refused("demo", "--out", "out").startswith("icarus not found, ")
    finally:
        toolchain._run.cache_clear()


def test_outputs_that_cannot_be_written(network: Path) -> None:
    # Root may write anywhere, so the folders here are files, or not there.
    blocked = Path("blocked")
    blocked.write_text("")
    assert refused("demo", "--out", blocked / "out").startswith(f"cannot create {blocked / 'out'}: ")
    assert refused("compress", EXAMPLE / "lenet_300_100.safetensors", "-o", "absent/net.eie") == (
        "cannot write into absent: No such file or directory"
    )
    assert refused("run", network, "--input", "x.npy", "-o", "absent/y.npy") == (
        "cannot write into absent: No such file or directory"
    )
    assert refused("cosim", "--wave", "absent/w.fst") == "cannot write into absent: No such file or directory"
    assert refused("sweep", "--random", "4x4", "-o", "absent/s.csv") == (
        "cannot write into absent: No such file or directory"
    )
    assert refused("sweep", "--random", "4x4", "-o", "s.txt") == (
        "s.txt: a sweep is written as .sqlite, .csv or .json"
    )
    CliRunner().invoke(main, ["sweep", "--random", "4x4", "--pe", "1", "-o", "s.sqlite"])
    assert refused("plot", "s.sqlite", "-o", blocked / "pictures").startswith(
        f"cannot create {blocked / 'pictures'}: "
    )
    line = refused("export", "-o", blocked / "verilog")
    assert line.startswith("cannot create ")
    assert "blocked" in line


def test_outputs_without_a_name(network: Path) -> None:
    """An empty -o, or one that is a folder."""
    np.savez("net.npz", w=np.ones((4, 4), np.float32))
    before = sorted(os.listdir())
    for command in (
        "compress net.npz",
        "run net.eie --input x.npy",
        "sweep --random 4x4",
        "export net.eie --layer fc1",
        "plot s.sqlite",
        "train lenet-300-100",
    ):
        assert "Traceback" not in refused(*command.split(), "-o", "")
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("text", ["a=" + "[" * 20000, "a=" + "{a=" * 20000, "[" * 3000, "a." * 20000 + "b=1"])
def test_toml_that_is_nested_deeply(network: Path, text: str) -> None:
    Path("deep.toml").write_text(text)
    np.savez("net.npz", w=np.ones((4, 4), np.float32))
    for command in (
        "sweep deep.toml -o s.sqlite",
        "compress net.npz -o n.eie --settings deep.toml",
        "run deep.toml --input x.npy",
        "plan deep.toml",
    ):
        assert "deep.toml" in refused(*command.split())
    assert not Path("s.sqlite").exists()
    assert not Path("n.eie").exists()


def test_usage(network: Path) -> None:
    assert refused("sweep") == (
        "give a .toml grid, a .eie file, or --random ROWSxCOLS (see eie sweep --help)"
    )
    assert refused("sweep", "--random", "4by4").startswith(
        "invalid value for '--random': '4by4' is not a size"
    )
    assert refused("sweep", "--random", "4x4", "--pe", "1;2").endswith(
        "'1;2' is not a list of whole numbers: write it as 1,2,4 (see eie sweep --help)"
    )
    assert refused("run").startswith("missing argument 'NETWORK'")
    assert refused("nonsense").startswith("no such command 'nonsense'")
    assert refused("--nonsense").startswith("no such option")
    assert refused(
        "compress", EXAMPLE / "lenet_300_100.safetensors", "-o", "a.eie", "--density", "0.1,0.2"
    ) == ("2 densities for 3 layers: give 1 or 3")
    shutil.copy(DIGITS, "digits.npz")
    assert refused(
        "compress", EXAMPLE / "lenet_300_100.safetensors", "-o", "a.eie", "--calibrate", "x.npy"
    ) == ("x.npy: no numbers [n, 784] or [784], only x int64[40]")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("cosim --layer fc1", "--layer has no effect without a .eie file (see eie cosim --help)"),
        ("cosim net.eie --rows 7", "--rows has no effect with a .eie file (see eie cosim --help)"),
        ("cosim net.eie --index 5", "--index has no effect without --input (see eie cosim --help)"),
        ("sweep net.eie --density 0.5", "--density has no effect with a .eie file (see eie sweep --help)"),
        ("sweep --random 9x9 --layer 0", "--layer has no effect without a .eie file (see eie sweep --help)"),
        ("sweep net.eie --input x.npy --inputs 2", "eie sweep: x.npy holds 1 input vectors, not 2 (inputs)"),
        (
            "sweep g.toml --pe 4 --seed 2",
            "--seed and --pe have no effect with a .toml grid: it has keys for them (see eie sweep --help)",
        ),
        (
            "sweep net.eie --workers 2 --scheduler tcp://127.0.0.1:9",
            "--workers has no effect with --scheduler (see eie sweep --help)",
        ),
        ("plot s.sqlite --x n_pe", "--x and --y go together (see eie plot --help)"),
        (
            "plot s.sqlite --by n_pe",
            "--by and --log have no effect without --x and --y (see eie plot --help)",
        ),
        (
            "plot s.sqlite --pareto --x n_pe --y cycles",
            "--pareto has its own axes: leave out --x and --y (see eie plot --help)",
        ),
    ],
)
def test_options_that_can_do_nothing(network: Path, arguments: str, text: str) -> None:
    assert refused(*arguments.split()) == text


def test_sweeps_and_stores(here: Path) -> None:
    Path("g.toml").write_text("rows = 4\ncols = 4\nqueue_dept = 8")
    assert refused("sweep", "g.toml").startswith(
        "g.toml: there is no field 'queue_dept': did you mean queue_depth"
    )
    assert not Path("g.sqlite").exists()
    Path("g.toml").write_text("rows = 4\ncols = 4\nacc_bits = [8, 9]")
    CliRunner().invoke(main, ["sweep", "g.toml", "--workers", "1"])
    assert refused("sweep", "--random", "300x20000", "--memories", "own", "--pe", "1,2").startswith(
        "none of the 2 points has a figure; the first: layer 'random 300 x 20000' (300 x 20000) does not fit 1 PE"
    )
    assert refused("plot", "g.sqlite", "--where", "1) OR (1=1", "--pareto") == (
        "nothing to plot: no point has figures"
    )
    Path("text.sqlite").write_text("no store " * 100)
    line = "text.sqlite is not the store of a sweep: file is not a database"
    assert refused("sweep", "--random", "4x4", "-o", "text.sqlite") == line
    assert refused("plot", "text.sqlite") == line
    assert refused("plot", "absent.sqlite") == "cannot read absent.sqlite: no such file"
    assert refused("plot", here) == (
        f"cannot read {here}: it is a folder, and not the .sqlite file of a sweep"
    )
    assert refused("sweep", "--random", "4x4", "-o", "a.sqlite", "-o", "b.sqlite") == (
        "b.sqlite: a sweep has only one store"
    )
    assert refused("sweep", "--random", "4x4", "--scheduler", "here") == (
        "'here' is not the address of a scheduler, such as tcp://10.0.0.1:8786"
    )
    CliRunner().invoke(main, ["sweep", "--random", "4x4", "--pe", "1", "-o", "s.sqlite"])
    assert refused("plot", "s.sqlite", "--x", "n_pe", "--y", "cycle").startswith(
        "there is no column 'cycle': did you mean cycles"
    )
    assert refused("plot", "s.sqlite", "--where", "n_pe >") == (
        "cannot read s.sqlite with the condition 'n_pe >': near \")\": syntax error"
    )
    assert refused("plot", "s.sqlite", "--where", "n_pe > 1") == (
        "nothing to plot: no point meets --where 'n_pe > 1'"
    )
    database = sqlite3.connect("s.sqlite")
    database.execute("PRAGMA user_version = 9")
    assert re.fullmatch(
        r"s.sqlite has store format 9, and this eie \(.+\) knows formats up to 4: use the newer eie that wrote it, "
        "or another file",
        refused("plot", "s.sqlite"),
    )


def test_a_full_disk_under_a_sweep(here: Path) -> None:
    # The system refuses to let the store grow, as it does on a full disk; what is in it can still be read.
    Path("g.toml").write_text(f"rows = 30\ncols = 30\nn_pe = 64\nseed = {list(range(200))}")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "from eie.cli.main import main; main(['sweep', 'g.toml', '--workers', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(
        r"eie: error: cannot write or read g.sqlite: .*\(what was finished before is kept\)\n", done.stderr
    )
    again = CliRunner().invoke(main, ["sweep", "g.toml", "--workers", "1"])
    assert again.exit_code == 0
    there = int(re.search(r"200 points, (\d+) there before", again.stdout)[1])
    assert 0 < there < 200


def test_layers_take_no_sound_and_write_no_sound(network: Path) -> None:
    Path("s.wav").write_bytes(b"RIFF")
    assert refused("run", network, "--input", "s.wav") == (
        f"s.wav: the layers of {network} take no sound, but a picture or an array [40]"
    )
    assert refused("run", network, "--input", "x.npy", "-o", "y.wav") == (
        "y.wav: the outputs of layers are written as .npy"
    )
    assert not Path("y.wav").exists()
