"""What quick commands print with --json is what their schemas say; long commands are held to theirs in their tests."""

import copy
from pathlib import Path

import click
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import COMMANDS, main
from tests.support import ROOT
from tests.support.json_schemas import FOLDER, check

# What runs here, in this order in one folder.
RUNS = (
    "compress model.npz --density 0.5 -o net.eie --json",
    "info net.eie --json --model model.npz --pictures pictures",
    "run net.eie --input x.npy --engine fast --pe 4 --sized --json",
    "run net.eie --input x.npy --engine reference --pe 4 --sized --json",
    "run net.eie --input x.npy --engine cpu --json",
    "run net.eie --input x.npy --engine cpu --float --json",
    "bench net.eie --input x.npy --batch 1 --threads 1 --seconds 0.01 --json",
    "accuracy net.eie --input labelled.npz --json",
    "plan net.eie --pe 1 --json",
    "sweep --random 8x9 --pe 1,2 -o s.sqlite --workers 1 --json",
    "plot s.sqlite --pareto --json",
    "cosim net.eie --pe 1 --layer 0 --json",
    "export net.eie --layer 0 --pe 1 --sized --no-check -o verilog --json",
    "doctor --json",
)
ELSEWHERE = {"board", "demo", "fpga", "reproduce", "synth", "train"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("json")
    rng = np.random.default_rng(1)
    np.savez(
        folder / "model.npz",
        **{"fc1.weight": rng.normal(size=(8, 12)), "fc2.weight": rng.normal(size=(4, 8))},
    )
    np.save(folder / "x.npy", rng.uniform(size=12).astype(np.float32))
    np.savez(folder / "labelled.npz", x=rng.uniform(size=(5, 12)).astype(np.float32), y=np.arange(5) % 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = {}
        for line in RUNS:
            result = CliRunner().invoke(main, line.split())
            assert result.exit_code in ((0, 1) if line.startswith("doctor") else (0,)), (line, result.output)
            found[line] = result.stdout
    return found


def test_every_command_with_json_has_a_schema_and_a_line_in_the_page() -> None:
    with_json = {
        name
        for name in COMMANDS
        if any("--json" in param.opts for param in main.get_command(click.Context(main), name).params)
    }
    assert {path.stem for path in FOLDER.glob("*.json")} == with_json
    assert {line.split()[0] for line in RUNS} | ELSEWHERE == with_json
    page = (ROOT / "docs" / "json.md").read_text()
    assert all(f"](schemas/{name}.json)" in page for name in with_json)


@pytest.mark.parametrize("line", RUNS)
def test_what_is_printed_is_what_the_schema_says(line: str, printed: dict[str, str]) -> None:
    assert check(line.split()[0], printed[line])


def test_a_key_more_or_less_is_refused(printed: dict[str, str]) -> None:
    value = check("compress", printed[RUNS[0]])
    more, less = copy.deepcopy(value), copy.deepcopy(value)
    more["layers"][0]["size"]["new"] = 1
    del less["ratio"]
    for wrong in (more, less):
        with pytest.raises(jsonschema.ValidationError):
            check("compress", wrong)


def test_the_folder_has_no_other_files() -> None:
    assert all(path.suffix == ".json" for path in Path(FOLDER).iterdir())
