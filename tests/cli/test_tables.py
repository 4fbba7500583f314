"""Tables on terminals of any width, in pipes and without colour; how far a sweep is, where no terminal shows it."""

import io

import pytest
from rich.console import Console

from eie.cli.commands import sweep
from eie.cli.output import layout, print_table, say

NAME = "encoder.layers.0.attention.output.dense.weight"
HEADINGS = ["layer", "cycles", "energy", "a long heading", "note"]
ROWS = [[NAME, "12,345", "6.7", "1", "what it is, in some words that a narrow terminal has to break"]]


@pytest.mark.parametrize("width", [None, 200, 80, 60, 20])
def test_no_name_and_no_number_is_broken(width: int | None) -> None:
    lines = layout([HEADINGS, *ROWS], width, text_last=True)
    for cell in (*HEADINGS, *ROWS[0][:-1]):
        assert any(cell in line for line in lines), cell
    words = " ".join(" ".join(lines).split())
    assert all(word in words for word in ROWS[0][-1].split())
    if width is None:
        assert len(lines) == 2
    elif width >= 80:
        assert max(map(len, lines)) <= width


def test_a_wide_table_goes_on_below_with_its_names() -> None:
    lines = layout([HEADINGS, *ROWS], 80, text_last=True)
    assert sum(line.startswith(NAME) for line in lines) == lines.count("") + 1 > 1


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_the_lines_of_the_layout(monkeypatch: pytest.MonkeyPatch, no_colour: bool) -> None:
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    shown = io.StringIO()
    print_table(HEADINGS, ROWS, text_last=True, out=Console(file=shown, force_terminal=True, width=80))
    assert shown.getvalue().splitlines() == layout([HEADINGS, *ROWS], 80, text_last=True)
    assert "\x1b" not in shown.getvalue()


def test_a_pipe_gets_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADINGS, ROWS, text_last=True)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["layer", "cycles", "energy"]
    assert row.startswith(NAME)
    assert row.endswith("to break")


def test_sentences_break_between_words_at_a_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Bound: the entropy of codes [and] positions :x:, which are independent\nof each other, as far as we know."
    shown = io.StringIO()
    say(text, out=Console(file=shown, force_terminal=True, width=30))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 30
    assert " ".join(line.strip() for line in lines) == " ".join(text.split())
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_sweep_without_a_terminal_says_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 70.0, 75.0, 200.0])
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(clock))
    log = sweep._Log(100)
    for points in (5, 5, 5, 85):
        log.add(points)
    assert (
        capsys.readouterr().err == "eie: note: 10 of 100 points done, about 10 min left\n"
    )  # 70 s for 10 points
