"""Every command of the pages that show what they print, run in order: it must do so ("..." stands for anything)."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# The pages, and how many commands they have at least.
PAGES = {"tutorial.md": 7, "sweeps.md": 5}


def commands(page: str) -> list[tuple[str, str]]:
    """The commands of the console blocks, each with what it prints."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [tuple(re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL).groups())
            for block in blocks for part in block.split("$ ")[1:]]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_the_page_prints_what_it_says(tmp_path: Path, page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = commands(text)
    assert len(found) >= PAGES[page]
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
    for snippet in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) > 5
