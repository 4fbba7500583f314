"""`make reproduce-compression`: every part is run, and what fails or misses its promise is said at the end."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "benchmarks" / "reproduce_compression.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("reproduce_compression", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def python(script, text, broken=str):
    return script.Step((sys.executable, "-c", text), broken)


def run(script, monkeypatch, capsys, parts, *arguments):
    """Status and the lines of the last table."""
    monkeypatch.setattr(script, "parts", lambda out, nncodec: parts)
    monkeypatch.setattr(sys, "argv", ["reproduce_compression.py", *arguments])
    status = script.main()
    lines = capsys.readouterr().out.splitlines()
    return status, [line for line in lines if line.startswith("│ ") and "minutes" not in line]


def test_everything_is_run_and_what_failed_is_named(script, monkeypatch, capsys, tmp_path):
    parts = {
        "one": [python(script, "import sys; sys.exit(3)"), python(script, "")],
        "two": [python(script, f"open({str(tmp_path / 'ran')!r}, 'w')", lambda: "too slow")],
    }
    status, rows = run(script, monkeypatch, capsys, parts)
    assert status == 1
    assert (tmp_path / "ran").exists()
    assert [cell in " ".join(rows) for cell in ("status 3", "done", "too slow")] == [True] * 3
    status, rows = run(script, monkeypatch, capsys, {"one": parts["one"][1:], "two": parts["two"]}, "one")
    assert status == 0
    assert "done" in " ".join(rows)
    with pytest.raises(SystemExit):
        run(script, monkeypatch, capsys, parts, "three")


def test_recipes_begin_from_nothing_unless_they_resume(script, monkeypatch, capsys, tmp_path):
    old = tmp_path / "lenet-5" / "checkpoint"
    for arguments, there in ((["--resume"], True), ([], False)):
        old.parent.mkdir(exist_ok=True)
        old.touch()
        parts = {"recipes": [python(script, "")]}
        run(script, monkeypatch, capsys, parts, "--out", str(tmp_path), *arguments)
        assert old.exists() == there


def test_recipes_are_held_to_their_promises(script, tmp_path):
    def broken(ratio, error, dense_error):
        result = {"ratio": ratio, "error": error, "dense_error": dense_error}
        (tmp_path / "result.json").write_text(json.dumps(result))
        return script.broken_recipe("lenet-5", tmp_path)

    assert broken(39.0, 0.7, 0.7) == ""
    assert broken(38.9, 0.7, 0.7) == "38.9 x smaller, not 39 x"
    assert broken(120, 0.71, 0.7) == "error 0.71 %, dense 0.70 %"


def test_the_commands_are_there(script, tmp_path):
    every = script.parts(tmp_path, "python")
    assert list(every) == ["models", "coders", "speed", "recipes"]
    for steps in every.values():
        for step in steps:
            assert step.command[1] == "-m" or Path(step.command[1]).is_file()
