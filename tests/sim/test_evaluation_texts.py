"""The texts of the evaluation's page: each block of a template is shown, and each text that is asked for is there."""

import re

import pytest
from jinja2 import UndefinedError

from eie.sim.evaluation.parts import PARTS
from eie.sim.evaluation.prose import prose, text_of
from tests.support import ROOT

FOLDER = ROOT / "sim" / "evaluation"
# A part of `eie reproduce learn` shows these four of its template.
LEARN = ("title", "text", "table", "note")


def test_every_block_is_shown_and_every_text_is_there():
    there = {
        (path.stem, block)
        for path in (FOLDER / "templates").glob("*.md")
        for block in re.findall(r"{% block (\w+) %}", path.read_text())
    }
    asked = {
        (template, block or "text")
        for path in FOLDER.glob("*.py")
        for template, block in re.findall(
            r'\b(?:text_of|prose)\(\s*"([\w-]+)"(?:,\s*"(\w+)")?', path.read_text()
        )
    }
    learn = {template for template, _ in there if template.startswith("learn-")}
    assert there == asked | {(template, block) for template in learn for block in LEARN}
    # LeNet-5's parts have the words of LeNet-300-100's.
    assert learn == {part.key for part in PARTS if "learn" in part.also} - {
        "learn-exits-5",
        "learn-compared-5",
    }


def test_paragraphs_become_lines_and_a_missing_value_is_an_error():
    caption = text_of("fig12", "caption", depth=8)
    assert caption.splitlines()[0].startswith("Queue depth 8; cycles by the timing law. Seeded random layers")
    assert len(caption.splitlines()) == 2
    assert len(prose("measured", environment="here")) == 2
    with pytest.raises(UndefinedError, match="'depth' is undefined"):
        text_of("fig12", "caption")
