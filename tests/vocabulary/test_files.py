"""What is written beside its target, and what killed processes leave there; TOML."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from eie.errors import ConfigError, ModelError
from eie.files import beside, read_toml


@pytest.mark.parametrize("ending", [".tmp", ".png", ".new"])
def test_what_killed_processes_left_goes(tmp_path: Path, ending: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    name = f".out.{socket.gethostname()}"
    (tmp_path / f"{name}.{gone.pid}{ending}").mkdir()
    (tmp_path / f"{name}.{gone.pid}{ending}" / "half").write_text("")
    kept = {
        f"{name}.{os.getppid()}{ending}",
        f".out.elsewhere.{gone.pid}{ending}",
        f"{name}.{gone.pid}.other",
    }
    for other in kept:
        (tmp_path / other).write_text("")
    mine = beside(tmp_path / "out", ending)
    assert mine == tmp_path / f"{name}.{os.getpid()}{ending}"
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert beside(tmp_path / "nowhere" / "out").parent == tmp_path / "nowhere"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"x." * 100_000 + b"y = 1", "nested too deeply"),
        (b"[" + b'x . "' + b'a". b . "' * 100_000 + b'y"]', "nested too deeply"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = '\xff'", "not UTF-8"),
        (b"a = ", "Invalid value"),
    ],
)
def test_toml_that_would_take_long_is_refused_at_once(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "a.toml").write_bytes(text)
    for kind in (ConfigError, ModelError):
        with pytest.raises(kind, match=f"a.toml is not TOML: {why}"):
            read_toml(tmp_path / "a.toml", kind)
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read: No such file or directory$"):
        read_toml(tmp_path / "no.toml")


def test_toml_is_utf_8(tmp_path: Path) -> None:
    numbers = ", ".join(f"{i}.5" for i in range(1000))
    (tmp_path / "a.toml").write_bytes(f"# {'...' * 30}\n'größe' = [{numbers}]\na.b.c = 'é'".encode())
    assert read_toml(tmp_path / "a.toml")["größe"][999] == 999.5
    code = f"from pathlib import Path; from eie.files import read_toml; read_toml(Path({str(tmp_path / 'a.toml')!r}))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | plain)
