"""What is written beside its target, and what killed processes leave there."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from eie.files import beside


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
