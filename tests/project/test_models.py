"""`tests.support.models`: whose a model is, by what changes in the cache beside a test."""

from pathlib import Path

import pytest

from eie.cache import cache_folder
from tests.support import models


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EIE_CACHE", str(tmp_path))
    folder = cache_folder() / "builds"
    folder.mkdir()
    (folder / "icarus-eie_array-broken.log").write_text("")
    return folder


def test_a_model_is_its_builders_and_shared_with_who_uses_it_again(builds: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- models -->\nold\n<!-- end: models -->\nafter\n")
    recorder = models.Recorder(page)
    one, two = (builds / f"icarus-eie_array-{digit * 32}" for digit in "12")

    def ran(name: str, *used: Path) -> None:
        item = type("Item", (), {"nodeid": f"{name}::test"})()
        steps = recorder.pytest_runtest_protocol(item)
        next(steps)
        for folder in used:
            folder.mkdir(exist_ok=True)
            (folder / f"for {name}").write_text("")
        with pytest.raises(StopIteration):
            next(steps)

    ran("a.py", one)
    ran("b.py", one, two)
    ran("c.py")
    recorder.pytest_sessionfinish()
    assert page.read_text().split("\n")[:-1] == [
        "before",
        "<!-- models -->",
        "| tests | simulator | top module | models built | taken from others | others |",
        "|---|---|---|---|---|---|",
        "| `a.py` | icarus | eie_array | 1 | 0 |  |",
        "| `b.py` | icarus | eie_array | 1 | 1 | `a.py` |",
        "<!-- end: models -->",
        "after",
    ]
