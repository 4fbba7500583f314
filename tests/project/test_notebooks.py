"""The notebooks run from top to bottom, as they are in the clone: without outputs, and with what they promise."""

import asyncio
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
# What a run must show, by notebook: texts, and how many pictures.
SHOWS = {
    "1_load_balance.ipynb": (["Chain(fc1", "% of 20 digits right", "load balance"], 1),
    "2_design_space.ipynb": (["SweepTable(45 points", "machines are on the front", "nJ"], 2),
    "3_own_pytorch_model.ipynb": (["in PyTorch", "on the accelerator", "signals agree", "RTL ["], 0),
}


def test_the_notebooks_are_those_that_the_page_lists() -> None:
    page = (FOLDER / "README.md").read_text()
    assert list(SHOWS) == NOTEBOOKS
    assert all(f"({name})" in page for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    for cell in nbformat.read(FOLDER / name, as_version=4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
        assert max(map(len, cell.source.splitlines())) <= 140


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    before = sorted(os.listdir(FOLDER))
    asyncio.run(client.async_execute())
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    data = [output.get("data", {}) for output in outputs]
    text = "".join(
        [*(output.get("text", "") for output in outputs), *(one.get("text/plain", "") for one in data)]
    )
    texts, pictures = SHOWS[name]
    assert all(words in text for words in texts), text
    assert sum("image/png" in one for one in data) == pictures
    assert sorted(os.listdir(FOLDER)) == before, "a notebook leaves nothing behind"
