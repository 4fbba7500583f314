"""`eie reproduce blocks`: what it reaches, and the page that quotes it."""

from eie.cli.pages.evaluation_page import markdown_table
from eie.sim.evaluation.index_free import section
from tests.support import ROOT


def test_what_it_reaches() -> None:
    """Seed 1. Two of the sizes are bound by one column a cycle, so that their bars are those of their draws."""
    made = section(1)
    times, energy = made.data["times"], made.data["energy"]
    assert times["4096 x 4096"]["shuffled"] >= 1.15
    assert times["4096 x 8192"]["aligned"] >= 1.40
    assert times["4096 x 8192"]["shuffled"] >= 1.40
    for order in ("aligned", "shuffled"):
        assert times["LeNet-5 fc1"][order] >= 1.32
        assert times["1024 x 8704"][order] >= 1.50
    # In two segments LeNet-5's blocks leave no PE idle.
    assert made.data["split_times"]["LeNet-5 fc1"] >= 1.35
    assert max(energy.values()) <= 0.7
    (first, *_) = made.data["segments"]
    assert (first["layer"], first["pe"], first["segments"]) == ("1024 x 8704", 256, 4)
    assert first["times"] >= 3.5
    page = " ".join((ROOT / "docs" / "index_free.md").read_text().split())
    for table in made.tables:
        assert " ".join(markdown_table(table).split()) in page, f"docs/index_free.md: {table.title}"
