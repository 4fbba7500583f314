"""Every command of docs/tutorial.md, run in order: it must print what the page says ("..." stands for anything)."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"


def commands(page: str) -> list[tuple[str, str]]:
    """The commands of the console blocks, each with what it prints."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [tuple(re.fullmatch(r"([^\n]*)\n(.*)", part, re.DOTALL).groups())
            for block in blocks for part in block.split("$ ")[1:]]  # fmt: skip


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = commands(PAGE.read_text(encoding="utf-8"))
    assert len(found) >= 7
    for command, says in found:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        # Tables pad their lines with spaces.
        printed = "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
        checker = doctest.OutputChecker()
        if not checker.check_output(says, printed, doctest.ELLIPSIS):
            example = doctest.Example(command, says)
            pytest.fail(f"$ {command}\n" + checker.output_difference(example, printed, doctest.REPORT_NDIFF))
