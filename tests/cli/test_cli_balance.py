"""Option --balance, preset eie2 and switches by --set: what commands do with them, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.balance import place
from eie.capacity import check_fits
from eie.cli.main import main
from eie.sim.workloads.random import Unevenness, random_layer


def eie_command(*arguments: str, status: int = 0) -> str:
    """What a command prints."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == status, result.output
    return result.stderr if status else result.stdout


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    layers = [
        random_layer(60, 80, 0.3, 1, name="one", uneven=Unevenness(0.6, 0.3)),
        random_layer(20, 60, 0.3, 2, name="two"),
    ]
    eie.save(Path("net.eie"), layers)
    np.save("x.npy", np.arange(80) % 7 * 40)
    return "net.eie"


def test_run_gives_the_same_outputs_sooner(net: str) -> None:
    command = ("run", net, "--input", "x.npy", "--layer", "one", "--pe", "4", "--engine", "fast", "--json")
    plain, placed, better = (
        json.loads(eie_command(*command, *more))[0]
        for more in ((), ("--balance",), ("--balance", "--preset", "eie2"))
    )
    assert plain["y"] == placed["y"] == better["y"]
    assert better["cycles"] < placed["cycles"] < plain["cycles"]
    assert better["counters"]["fillers"] == [0] * 4


def test_several_entries_a_cycle_balance_unless_told_otherwise(net: str) -> None:
    """Preset eie2 balances rows by default, in the command and from Python, and says so; other machines do not."""
    command = ("run", net, "--input", "x.npy", "--layer", "one", "--pe", "4", "--engine", "fast")
    better = (*command, "--preset", "eie2")
    cycles = {
        more: json.loads(eie_command(*better, "--json", *more))[0]["cycles"]
        for more in ((), ("--balance",), ("--no-balance",))
    }
    assert cycles[()] == cycles["--balance",] < cycles["--no-balance",]
    assert "MHz, rows balanced" in eie_command(*better)
    assert "rows balanced" not in eie_command(*better, "--no-balance")
    assert "rows balanced" not in eie_command(*command)
    layer, x = eie.load("net.eie")[0], np.load("x.npy")
    cfg = eie.sized_for(eie.ArchConfig.preset("eie2", n_pe=4), layer)
    for engine in ("fast", "golden"):
        runs = [eie.simulate(layer, x, cfg, engine, balance=balance) for balance in (None, True, False)]
        assert runs[0].cycles == runs[1].cycles == cycles[()]
        assert runs[2].cycles > runs[0].cycles
        assert (runs[0].y == runs[2].y).all()


def test_what_is_sized_for_a_layer_holds_it_balanced(net: str) -> None:
    """Places that pairs leave free depend on the placement: a machine that balances by default has room for both."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        layer = random_layer(int(rng.integers(4, 200)), int(rng.integers(4, 110)), 0.3, seed)
        cfg = eie.sized_for(eie.ArchConfig.preset("eie2", n_pe=4), layer)
        for balance in (True, False):
            (placed,) = place([layer], cfg, balance=balance)
            check_fits(cfg, placed.layer)


def test_plan_and_sweep_follow(net: str) -> None:
    plan = ("plan", net, "--pe", "4", "--json")
    compute = [
        sum(json.loads(eie_command(*plan, *more))[0]["untiled_compute"]) for more in ((), ("--balance",))
    ]
    assert compute[1] < compute[0]
    rows = {}
    for more in ((), ("--balance",)):
        found = json.loads(
            eie_command("sweep", net, "--layer", "one", "--pe", "4", "--json", "--workers", "1", *more)
        )
        rows[found[0]["placement"]] = found[0]
    assert rows["balanced"]["cycles"] < rows["interleaved"]["cycles"]
    assert rows["balanced"]["queue_depth"] == 8
    (row,) = json.loads(
        eie_command(
            "sweep", net, "--layer", "one", "--pe", "4", "--preset", "eie2", "--json", "--workers", "1"
        )
    )
    assert (row["queue_depth"], row["row_format"], row["group"]) == (16, "absolute", 2)


def test_export_says_which_row_each_output_is(net: str) -> None:
    eie_command("export", net, "--layer", "one", "--pe", "4", "--balance", "-o", "verilog", "--no-check")
    order = json.loads(Path("verilog/row_order.json").read_text())
    assert sorted(order["one"]) == list(range(60)) != order["one"]
    assert "row_order.json" in Path("verilog/README.md").read_text()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("run", "net.eie", "--input", "x.npy", "--preset", "eie2", "--set", "window=1"),
         "issue (2) needs window=2 or more, not 1"),
        (("run", "net.eie", "--input", "x.npy", "--set", "row_format=dense"),
         "row_format must be relative or absolute, not 'dense'"),
        (("run", "net.eie", "--input", "x.npy", "--set", "queue_depth=deep"),
         "'queue_depth=deep' is not a setting: write it as pointers=4096"),
        (("export", "--pe", "4", "--balance", "-o", "v"), "--balance has no effect without a .eie file"),
        (("synth", "--balance"), "no such option"),
        (("synth", "--sized"), "no such option"),
        (("run", "net.eie", "--input", "x.npy", "--preset", "eie2", "--trace-table", "t.csv"),
         "--trace-table cannot follow rows that --balance moves: give --no-balance"),
    ],
)  # fmt: skip
def test_refused(net: str, command: tuple[str, ...], text: str) -> None:
    assert text in eie_command(*command, status=2)
