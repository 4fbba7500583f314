"""docs/beyond.md has the tables that `eie reproduce beyond` prints, and the figures reach their bars."""

from eie.cli.pages.evaluation_page import markdown_table
from eie.sim.evaluation.parts import named
from eie.sim.workloads.example import EXAMPLE
from tests.support import ROOT


def test_the_page_is_what_the_command_prints() -> None:
    (part,) = named(["beyond"])
    section = part.run(1, None, EXAMPLE)
    page = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
    for table in section.tables:
        for line in markdown_table(table).splitlines():
            assert not line.startswith("|") or line in page, line
    flat = " ".join(page.split())
    assert all(text in flat for text in section.text)
    data = section.data
    assert data["even"] >= 2.4
    assert data["uneven"] >= 2.6
    assert data["over_bound"] <= 1.08
    assert data["one_entry"] <= 1.05
    assert data["energy_one"] <= 0.87
    assert data["energy_four"] <= 0.72
