"""Machines that are not as one would like them: folders with odd names, homes and caches that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eie
from eie.cache import cache_folder
from eie.errors import OutputError


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (6, 5)).astype(np.uint8)
    path = tmp_path_factory.mktemp("network") / "net.eie"
    eie.save(path, [eie.CompressedLayer.from_codes(codes, [0, 3, -2, 5])])
    return path


def run(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eie", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", ["a b", "ü"])
def test_folders_with_spaces_and_letters_beyond_ascii(network: Path, tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir()
    done = run(
        *("cosim", network, "--layer", "0", "--pe", "1", "--sim", "icarus", "--wave", "w.fst"),
        cwd=folder,
        EIE_CACHE=str(folder / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "0 mismatches" in done.stdout
    assert (folder / "w.fst").stat().st_size > 100
    assert not list((folder / "cache" / "builds").glob(".tmp-*"))


def test_a_home_that_cannot_be_written(network: Path, tmp_path: Path) -> None:
    done = run(
        *("export", network, "--layer", "0", "--pe", "1", "-o", "verilog"),
        cwd=tmp_path,
        HOME="/proc",
        EIE_CACHE="",
        XDG_CACHE_HOME="/proc/nothing",
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "verilog" / "eie_array.v").is_file()
    assert (tmp_path / f"eie-{os.getuid()}").is_dir()


def test_a_cache_that_cannot_be_written(network: Path, tmp_path: Path) -> None:
    done = run("cosim", network, "--pe", "1", "--sim", "icarus", cwd=tmp_path, EIE_CACHE="/proc/nothing")
    assert done.returncode == 2
    assert done.stderr == (
        "eie: error: the cache /proc/nothing cannot be written (No such file or directory): "
        "set EIE_CACHE to a folder that can\n"
    )


def test_a_cache_that_others_may_change_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/proc", "XDG_CACHE_HOME": "", "EIE_CACHE": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"eie-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    with pytest.raises(OutputError, match="other users can change the cache folder"):
        cache_folder()
    planted.chmod(0o700)
    assert cache_folder() == planted


def test_a_bug_has_a_status_of_its_own(tmp_path: Path) -> None:
    script = (
        "import eie.cli.main as m, eie.cli.commands.doctor as d\n"
        "def broken(*_, **__): raise ZeroDivisionError('planted')\n"
        "d.doctor.callback = broken\n"
        "m.main(['doctor'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 70
    assert "ZeroDivisionError: planted" in done.stderr
