"""Golden as machine code and as text: the same values of every probed signal in every cycle, and a switch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eie import compiled
from tests.support import ROOT

SEEDS = (40, 52)


def trace(golden: str) -> list[str]:
    """What golden_trace prints; golden : `EIE_GOLDEN` of its process."""
    command = [sys.executable, "-m", "tests.support.golden_trace", *map(str, SEEDS)]
    environment = os.environ | {compiled.VARIABLE: golden}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Golden's machine code; `make setup` has compiled it, or this does."""
    if importlib.util.find_spec("mypyc") is None:
        pytest.skip("mypyc is not installed")
    assert compiled.compile_golden() == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EIE_COVERAGE", raising=False)
        patch.delenv(compiled.VARIABLE, raising=False)
        return compiled.environment()[compiled.VARIABLE]


def test_machine_code_and_text_agree_in_every_cycle(folder: str) -> None:
    machine, text = trace(folder), trace(compiled.PYTHON)
    assert Path(text[0]).suffix == ".py"
    assert Path(machine[0]).suffix == ".so"
    assert machine[0].startswith(folder)
    assert len(text) > 1 + SEEDS[1] - SEEDS[0]
    for one, other in zip(machine[1:], text[1:], strict=True):
        assert one == other


def test_the_switch_and_coverage_take_the_text(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.VARIABLE, compiled.PYTHON)
    assert compiled.environment() == {compiled.VARIABLE: compiled.PYTHON}
    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.setenv("EIE_COVERAGE", "somewhere")
    assert compiled.environment() == {compiled.VARIABLE: compiled.PYTHON}


def test_other_text_never_takes_old_machine_code(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A changed line of any module is another folder, which is not there yet."""
    monkeypatch.delenv("EIE_COVERAGE", raising=False)
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    for name in ("schema.py", "config.py", "fixed.py"):
        (tmp_path / name).write_bytes((compiled.PACKAGE / name).read_bytes())
    (tmp_path / "golden").mkdir()
    for text in (compiled.PACKAGE / "golden").glob("*.py"):
        (tmp_path / "golden" / text.name).write_bytes(text.read_bytes())
    monkeypatch.setattr(compiled, "PACKAGE", tmp_path)
    assert compiled.environment() == {compiled.VARIABLE: folder}
    with (tmp_path / "golden" / "pe.py").open("a") as pe:
        pe.write("# another line\n")
    assert compiled.environment() == {compiled.VARIABLE: compiled.PYTHON}


def test_the_cache_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if importlib.util.find_spec("mypyc") is None:
        pytest.skip("mypyc is not installed")
    monkeypatch.setenv("EIE_CACHE", str(tmp_path))
    monkeypatch.delenv("EIE_COVERAGE", raising=False)
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    # An extension of one line stands for golden's: what is compiled does not matter here.
    monkeypatch.setattr(compiled, "_SETUP", "import pathlib; pathlib.Path('library').mkdir()")
    monkeypatch.setattr(compiled, "KEPT", 2)
    cache, folders = tmp_path / "golden", []
    for number in range(3):
        monkeypatch.setattr(compiled, "_SETTINGS", f"# {number}")
        assert compiled.compile_golden() == ""
        folders.append(Path(compiled.environment()[compiled.VARIABLE]))
        os.utime(folders[-1], (number, number))
        if number == 1:  # the first one is used again, and the second one goes
            monkeypatch.setattr(compiled, "_SETTINGS", "# 0")
            compiled.environment()
    assert sorted(cache.iterdir()) == sorted([folders[0], folders[2]])


def test_what_cannot_be_compiled_stays_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler: said in one line, nothing left behind."""
    if importlib.util.find_spec("mypyc") is None:
        pytest.skip("mypyc is not installed")
    monkeypatch.setenv("EIE_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "_SETUP", "import sys; sys.exit('no compiler here')")
    assert compiled.compile_golden() == "mypyc or the C compiler failed: no compiler here"
    assert list((tmp_path / "golden").iterdir()) == []
