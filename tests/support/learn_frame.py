"""What tests of networks that run in part share: the small problem in a folder, a refusal, and the page's own code."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torch.nn import functional

from eie.cli.main import main
from eie.compress import train
from tests.support import ROOT
from tests.support.small_networks import problem, quick


def in_folder(folder: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `folder` the current one, with the network as net.eie and the small problem, labelled, as x.npz."""
    monkeypatch.chdir(folder)
    x, y = problem().dataset.tensors
    np.savez("x.npz", x=x.numpy().astype(np.float64), labels=y.numpy())
    Path("net.eie").write_bytes(network.read_bytes())
    return folder


def refused(arguments: list[str], line: str) -> None:
    """Check that the command ends with status 2 and one line that begins so."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, (arguments, result.output)
    assert result.output.splitlines()[-1].startswith(f"eie: error: {line}"), (arguments, result.output)


def run_page(word: str, here: dict[str, str], **names: Any) -> dict[str, Any]:
    """Run the block of docs/learn.md that holds `word`, with some of its text as it is here; returns its names."""
    text = (ROOT / "docs" / "learn.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in one]
    for page, ours in here.items():
        assert page in block, page
        block = block.replace(page, ours)
    x = problem().dataset.tensors[0]
    known = {"train": train, "loader": problem(), "cross_entropy": functional.cross_entropy, "how": quick(1)}
    given = known | {"calibration_batch": x} | names
    exec(compile(block, "docs/learn.md", "exec"), given)
    return given
