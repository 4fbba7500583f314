"""`eie reproduce`: what it leaves behind, what it prints, and what stops it."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from eie.cli.commands import reproduce
from eie.cli.main import main
from eie.cli.output import filling
from eie.cli.pages import evaluation_page
from eie.cli.pages.evaluation_page import Made
from eie.cli.pages.report import Picture
from eie.errors import SimulationError
from eie.sim.evaluation.parts import PARTS, Part
from eie.sim.evaluation.section import Section, Table
from eie.sim.workloads import example
from tests.support import ROOT
from tests.support.json_schemas import check


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["reproduce", *map(str, words)])


def refused(*words: str | Path) -> str:
    result = run(*words)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line.removeprefix("eie: error: ")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts from two processes, asked for against their order, beside a file that was there before."""
    folder = tmp_path_factory.mktemp("reproduce") / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    result = run("fig9", "fig8", "--out", folder, "--seed", "2", "--json")
    assert result.exit_code == 0, result.output + repr(result.exception)
    check("reproduce", result.stdout)
    (folder / "stdout.json").write_text(result.stdout)
    return folder


def test_what_is_left_behind(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        *("mine.txt", "stdout.json"),
        *("fig8-fig9.html", "fig8-fig9.md", "fig8-fig9.json"),
        *("fig8_queue_depth.png", "fig9_sram_width.png"),
    }
    assert (out / "fig8-fig9.json").read_text() == (out / "stdout.json").read_text()


def test_the_numbers_are_those_of_the_tables(out: Path) -> None:
    data = json.loads((out / "fig8-fig9.json").read_text())
    assert data["seed"] == 2
    assert list(data["parts"]) == ["fig8", "fig9"]
    page = (out / "fig8-fig9.md").read_text(encoding="utf-8")
    for name, points in data["parts"]["fig8"]["layers"].items():
        cells = " | ".join(f"{100 * point['balance']:.1f} %" for point in points)
        assert f"| {name} | {cells} |\n" in page
    for name, points in data["parts"]["fig9"]["layers"]["the last word is held"].items():
        cells = " | ".join(f"{point['total_nj']:,.0f}" for point in points)
        assert f"| {name} | {cells} |" in page


class Page(HTMLParser):
    """What a page refers to and holds."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        for name, values in (
            ("src", self.sources),
            ("href", self.targets),
            ("id", self.ids),
            ("alt", self.alts),
        ):
            values += [found[name]] if name in found else []


def test_the_html_page_stands_alone(out: Path) -> None:
    text = (out / "fig8-fig9.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert len(page.sources) == len(page.alts) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert page.targets == ["#fig8", "#fig9"]
    assert page.ids == ["fig8", "fig9"]
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "eie reproduce fig9 --seed 2" in text
    assert "<code>spmat_reads</code>" in text


def test_the_markdown_page_shows_its_pictures(out: Path) -> None:
    page = (out / "fig8-fig9.md").read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[.{80,}\]\((.+)\)$", page, re.MULTILINE)
    assert pictures == ["fig8_queue_depth.png", "fig9_sram_width.png"]
    assert all((out / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert re.search(r"^Made by `eie reproduce fig9 fig8 --seed 2` in \d+ s: seed 2, ", page, re.MULTILINE)


def test_one_part_prints_its_tables(tmp_path: Path) -> None:
    result = run("fig9", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "fig9.json").read_text())["parts"]["fig9"]["layers"]
    for name, points in data["each column begins with a read"].items():
        cells = r" +".join(f"{point['total_nj']:,.0f}" for point in points)
        assert re.search(rf"^{name} +{cells} ", result.stdout, re.MULTILINE)
    assert f"open {tmp_path}/fig9.html first" in result.stdout


def test_everything_is_called_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Made(Section("layers", "Title", ["text"], data={"one": 1}), (), 0.0)
    monkeypatch.setattr(reproduce, "compute", lambda parts, *_: [nothing for _ in parts])
    result = run("-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"evaluation.html", "evaluation.md", "data.json"}
    assert (tmp_path / "evaluation.md").read_text().count("## Title") == len(
        [part for part in PARTS if not part.extra]
    )


def test_every_part_is_in_the_help() -> None:
    text = run("--help").output
    for part in PARTS:
        assert re.search(
            rf"^ +{', '.join((part.key, *part.also))} +{re.escape(part.what)}$", text, re.MULTILINE
        )


# ---- pages -------------------------------------------------------------------------------------------------


def test_text_is_shown_as_it_is() -> None:
    table = Table("a <i>", ["x", "a|b"], [["1 < 2", "c|d"]], "`note` <b>")
    made = [Made(Section("fig8", "T <u>", ["**bold** <b>"], [table]), (), 0.0)]
    page = evaluation_page.html(made, "lead", ["command"], "made")
    for shown in (
        "a &lt;i&gt;",
        "1 &lt; 2",
        "T &lt;u&gt;",
        "<strong>bold</strong> &lt;b&gt;",
        "<code>note</code> &lt;b",
    ):
        assert shown in page
    assert "<b>" not in page
    text = evaluation_page.markdown(made, "lead", ["command"], "made")
    assert "| x | a\\|b |\n|---|---:|\n| 1 < 2 | c\\|d |\n" in text


def test_wide_pictures_have_a_row_and_text_of_the_same_size() -> None:
    pictures = [Picture(f"p{inches}", b"", "alt", inches) for inches in (5.4, 7.6)]
    page = evaluation_page.html([Made(Section("fig8", "T", []), tuple(pictures), 0.0)], "", [""], "")
    assert re.findall(r"<figure(.*?)>", page) == [
        ' style="max-width: 31.3rem"',
        ' class="wide" style="max-width: 44.1rem"',
    ]


def test_long_text_in_a_table_wraps() -> None:
    table = Table("t", ["x", "why"], [["1", "because " * 6]])
    assert table.text
    made = [Made(Section("fig8", "T", [], [table]), (), 0.0)]
    assert '<table class="text">' in evaluation_page.html(made, "", [""], "")
    assert "|---|---|\n" in evaluation_page.markdown_table(table)


def test_numpy_becomes_json() -> None:
    import numpy as np

    made = [Made(Section("fig8", "T", [], data={"a": np.arange(2), "b": np.float64(0.5)}), (), 0.0)]
    assert json.loads(evaluation_page.data(made, 3)) == {
        "seed": 3,
        "parts": {"fig8": {"a": [0, 1], "b": 0.5}},
    }
    made = [Made(Section("fig8", "T", [], data={"a": object()}), (), 0.0)]
    with pytest.raises(TypeError, match="object has no form in JSON"):
        evaluation_page.data(made, 3)


# ---- what stops it -----------------------------------------------------------------------------------------


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("fig99", "-o", tmp_path / "out").startswith(
        "the evaluation has no part 'fig99': use one of layers, nine_layers, speedups, fig6, fig7, energy, "
    )
    (tmp_path / "file").write_text("")
    assert refused("fig8", "-o", tmp_path / "file") == f"cannot create {tmp_path / 'file'}: File exists"
    assert "fig8" not in refused("--seed", "-1")
    monkeypatch.setattr(example, "EXAMPLE", tmp_path / "site-packages")
    assert refused("fig10", "-o", tmp_path / "out", "--example", example.EXAMPLE) == (
        "fig10 needs the folder examples/lenet_300_100 of a clone, which an installed package lacks: run it in a "
        "clone, or name a copy with --example FOLDER"
    )
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_in_a_worker_leaves_nothing(tmp_path: Path) -> None:
    empty, folder = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    message = refused("fig9", "fig10", "-o", folder, "--example", empty).splitlines()[-1]
    assert "lenet_300_100.safetensors" in message
    assert not folder.exists()


@dataclass(frozen=True)
class Dying(Part):
    """A part whose process ends in the middle of its work."""

    def run(self, *_):
        os._exit(9)


def test_a_worker_that_dies() -> None:
    parts = [Dying("fig8", "what", "one"), Dying("fig9", "what", "two")]
    with pytest.raises(SimulationError, match="a worker process ended early; is there enough memory for two"):
        reproduce.compute(parts, 1, ROOT, Console(quiet=True))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Made(Section("fig8", "Title", ["text"]), (), 0.0)
    monkeypatch.setattr(reproduce, "compute", lambda *_: [nothing])

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert refused("fig8", "-o", tmp_path) == f"cannot write into {tmp_path}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_is_to_go_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Made(Section("fig8", "Title", ["text"]), (), 0.0)
    monkeypatch.setattr(reproduce, "compute", lambda *_: [nothing])
    mine = tmp_path / "fig8.md" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("kept")
    assert refused("fig8", "-o", tmp_path) == (
        f"{mine.parent} is a folder: move it away, or choose another folder than {tmp_path}"
    )
    assert [*tmp_path.iterdir()] == [mine.parent]
    assert mine.read_text() == "kept"


def test_folders_are_merged_and_what_dead_runs_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.txt").write_text("kept")
    (tmp_path / "sub" / "made.txt").write_text("old")
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid(), os.getppid()):
        (tmp_path / f".partial-{pid}-abc").mkdir()
        (tmp_path / f".partial-{pid}-abc" / "file").write_text("")
    with filling(tmp_path) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "made.txt").write_text("new")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *("sub/mine.txt", "sub/made.txt"),
        f".partial-{os.getppid()}-abc/file",  # of a run that goes on
    }
    assert (tmp_path / "sub" / "made.txt").read_text() == "new"


def test_a_failure_leaves_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in ("made/for/nothing", "there", "there/new"):
        # The file's name is one that no folder takes.
        with pytest.raises(OSError, match="too long"), filling(tmp_path / place) as staging:
            (staging / ("x" * 300)).write_text("")
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]


def belonging(tag: str) -> list[int]:
    """Processes with `tag` in their environment that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if tag.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 130, "eie: interrupted\n"),
        (signal.SIGTERM, 143, ""),
        (signal.SIGKILL, -signal.SIGKILL, None),  # multiprocessing says that it cleans up
    ],
)
def test_no_process_outlives_the_command(tmp_path: Path, number: int, status: int, said: str | None) -> None:
    tag = f"EIE_TEST_TAG={uuid.uuid4()}"
    name, value = tag.split("=")
    command = subprocess.Popen(
        [sys.executable, "-m", "eie", "reproduce", "layers", "fig8", "fig11", "-o", str(tmp_path)],
        env={**os.environ, name: value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    # The command, its two workers and multiprocessing's tracker of semaphores.
    while len(belonging(tag)) < 4:
        assert time.monotonic() < deadline
        assert command.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    command.send_signal(number)
    _, stderr = command.communicate(timeout=30)
    assert command.returncode == status, stderr
    assert said is None or stderr == said
    while belonging(tag):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ([f".partial-{command.pid}-{left[0].split('-')[2]}"] if number == signal.SIGKILL else [])


# ---- the docs ----------------------------------------------------------------------------------------------


def gen_docs():
    spec = importlib.util.spec_from_file_location("gen_docs", ROOT / "scripts" / "gen_docs.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")  # where its neighbours are found when it runs as a script
        spec.loader.exec_module(module)
    return module


def test_what_differs_from_run_to_run_is_not_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, page = gen_docs(), tmp_path / "page.md"
    monkeypatch.setattr(script, "DOCS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gen_docs.py", "--check"])
    page.write_text("<!-- generated: fig8 -->\n<!-- end: fig8 -->\n")
    assert [part.key for part in script.evaluated()] == ["fig8"]
    with page.open("a") as more:
        more.write("<!-- generated: measured text -->\n<!-- end: measured text -->\n")
    with pytest.raises(SystemExit, match="part measured of the evaluation differs from run to run"):
        script.main()


def test_generated_parts_of_a_page() -> None:
    table = Table("Title", ["a", "b"], [["1", "2"]])
    picture = Picture("fig8_name", b"", "what it shows", 7.0)
    made = {"fig8": Made(Section("fig8", "T", ["One.", "Two."], [table, table]), (picture,), 0.0)}
    body = gen_docs().evaluation_body
    assert body("fig8 text", made) == "\nOne.\n\nTwo.\n"
    assert body("fig8 pictures", made) == "\n![what it shows](evaluation/fig8_name.png)\n"
    assert body("fig8", made).count("**Title**\n\n| a | b |") == 2


def test_the_page_has_every_part_that_stays_the_same() -> None:
    text = "".join((ROOT / "docs" / page).read_text() for page in ("evaluation.md", "energy.md", "plan.md"))
    for part in PARTS:
        if not part.alone and not part.extra:
            assert re.search(rf"^<!-- generated: {part.key} -->$", text, re.MULTILINE), part.key
