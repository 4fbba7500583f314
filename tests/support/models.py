"""Which tests build which simulator models, and which share them: `pytest -p tests.support.models --models PAGE`.

A build's folder in the cache appears when it is compiled, and its time changes when it is used again, by whatever
process. With an empty cache and one process of pytest, what changes beside a test is therefore the test's. At the end
the table stands in the page, between the comments `models` and `end: models`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from eie.cache import cache_folder

# What a file's tests used: (simulator, top module, hash) -> the file that built it.
Used = dict[str, dict[tuple[str, str, str], str]]
_NAME = re.compile(r"(icarus|verilator)-(\w+)-([0-9a-f]{32})")


def builds(folder: Path) -> dict[tuple[str, str, str], int]:
    """Every model in the cache, and when it was used last."""
    if not folder.is_dir():
        return {}
    found = ((_NAME.fullmatch(entry.name), entry) for entry in os.scandir(folder))
    return {name.groups(): entry.stat().st_mtime_ns for name, entry in found if name}  # type: ignore[misc]


def table(used: Used) -> str:
    """A row for each file, simulator and top module: models that it builds, and that it takes from whom."""
    lines = [
        "| tests | simulator | top module | models built | taken from others | others |",
        "|---|---|---|---|---|---|",
    ]
    for file, models in sorted(used.items()):
        rows: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (simulator, top, _), builder in models.items():
            rows[simulator, top].append(builder)
        for (simulator, top), builders in sorted(rows.items()):
            others = [builder for builder in builders if builder != file]
            names = ", ".join(f"`{name}`" for name in sorted(set(others)))
            lines.append(
                f"| `{file}` | {simulator} | {top} | {len(builders) - len(others)} | {len(others)} | {names} |"
            )
    return "\n".join(lines)


class Recorder:
    """Looks into the cache around each test."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.used: Used = defaultdict(dict)
        self.builder: dict[tuple[str, str, str], str] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What changed while a test ran is what it used."""
        folder, file = cache_folder() / "builds", item.nodeid.split("::")[0]
        before = builds(folder)
        result = yield
        for model, when in builds(folder).items():
            if before.get(model) != when:
                self.used[file][model] = self.builder.setdefault(model, file)
        return result

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        begin, end = "<!-- models -->", "<!-- end: models -->"
        before, rest = self.page.read_text().split(begin)
        after = rest.split(end)[1]
        self.page.write_text(f"{before}{begin}\n{table(self.used)}\n{end}{after}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --models."""
    parser.addoption(
        "--models", type=Path, help="write into this page which tests build which simulator models"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start to record, if asked."""
    if page := config.getoption("--models"):
        config.pluginmanager.register(Recorder(page))
