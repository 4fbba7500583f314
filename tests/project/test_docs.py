"""The pages: generated parts up to date, links that lead somewhere, constants as declared, commands that exist."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from eie.cli.main import COMMANDS, main
from tests.support import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import gen_docs
import wrap_pages

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "examples").rglob("*.md"))
# A line of a page that runs something, and one of a table of numbers.
COMMAND = re.compile(r"(?: {4}|\$ )(?:cd|eie|fusesoc|git|gtkwave|iverilog|make|pip|python|source|\.venv)\b")
NUMBERS = re.compile(r"\w+ = \[[-+\d., e]+\]")


@pytest.mark.parametrize("parts", gen_docs.groups(), ids=lambda parts: parts[0].module if parts else "tables")
def test_the_generated_parts_are_up_to_date(parts):
    pages = gen_docs.outdated(gen_docs.evaluate(parts), tables=not parts)
    assert not pages, f"{', '.join(page.name for page in pages)}: run make docs"


def test_every_generated_part_is_compared(tmp_path, monkeypatch):
    """A page whose generated parts are all empty: each group finds its own, and together they write the page again."""
    page = tmp_path / "page.md"
    names = [name for old in sorted(gen_docs.DOCS.glob("*.md")) for name in gen_docs.marked(old)]
    assert {name for name in names if name in gen_docs.TABLES} == set(gen_docs.TABLES)
    page.write_text("\n".join(f"<!-- generated: {name} -->\n<!-- end: {name} -->" for name in names))
    monkeypatch.setattr(gen_docs, "DOCS", tmp_path)
    monkeypatch.setattr(gen_docs, "evaluation_body", lambda name, made: f"part {name}")
    for parts in gen_docs.groups():
        (new,) = gen_docs.outdated({part.key: None for part in parts}, tables=not parts).values()
        page.write_text(new)
    assert not re.findall(r"<!-- generated: (.+) -->\n<!-- end", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_lines_of_prose_wrap() -> None:
    long = {
        str(page.relative_to(ROOT))
        for page in wrap_pages.PAGES
        if wrap_pages.wrapped(page.read_text()) != page.read_text()
    }
    assert not long, "run scripts/wrap_pages.py"
    words = "word " * 40
    assert max(map(len, wrap_pages.wrapped(f"* {words}\n\n{words}").split("\n"))) <= 120
    assert wrap_pages.wrapped(f"| {words} |\n\n    {words}") == f"| {words} |\n\n    {words}"
    # No line begins like a list by accident.
    assert wrap_pages.wrapped("a " * 59 + "- b " + "c " * 20).count("\n- ") == 0


def long_lines(name: str) -> Iterator[str]:
    """Lines of more than 120 characters that a reader meets: not tables, numbers, nor what a command prints."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    code = False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        printed = name.endswith(".md") and (code or line.startswith("    ")) and not COMMAND.match(line)
        if len(line) > 120 and not (line.lstrip().startswith("|") or NUMBERS.fullmatch(line) or printed):
            yield f"{name}: {line[:60]}..."


def test_no_line_of_a_text_is_long() -> None:
    listed = ["git", "ls-files", "Makefile", "*.md", "*.rst", "*.html", "*.ipynb", "*.toml"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {"docs/index.rst", "cli/pages/templates/demo.html", "sim/evaluation/templates/fig8.md"} <= set(
        names
    )
    assert not [line for name in names for line in long_lines(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_in_a_page_exists(page):
    # Lines of shell blocks that call eie: the command, and each of its options, must be in its --help.
    lines = re.findall(r"^(?: {4}|\$ )?(?:\.venv/bin/)?eie ([a-z]+)(.*)$", page.read_text(), re.MULTILINE)
    for command, rest in lines:
        assert command in COMMANDS, f"eie {command}"
        text = CliRunner().invoke(main, [command, "--help"]).output
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest.split("#")[0]):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"eie {command} {option}"


def test_no_page_or_source_names_this_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(tracked) > 100
    # Put together here, so that this file does not name them.
    words = [re.escape("/".join(parts)) for parts in (["", "root", ""], ["", "home", ""], ["..", "shared"])]
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".npz", ".safetensors", ".png", ".eie"} or not path.is_file():
            continue
        for word in words:
            assert not re.search(word, path.read_text()), f"{name} names {word}"


def python_block(page):
    return re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[1]


def first_commands():
    """Those of docs/commands.md, in their order."""
    text = (ROOT / "docs" / "commands.md").read_text()
    block = re.search(r"source .venv/bin/activate\n((?: {4}eie .*\n)+)", text)[1]
    return [line.split("#")[0].strip() for line in block.splitlines()]


@pytest.fixture(scope="module")
def in_folder(tmp_path_factory):
    """Runs a command in a folder of a reader who ran the first one, which makes lenet.eie; what it prints."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(command):
        shell = isinstance(command, str)
        done = subprocess.run(
            command, shell=shell, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    first, *rest = first_commands()
    assert "-o lenet.eie" in first
    run(first)
    assert len(rest) == 5
    return run, folder


@pytest.mark.parametrize("command", first_commands()[1:], ids=lambda command: command.split()[1])
def test_the_first_commands_in_a_shell(in_folder, command):
    run, folder = in_folder
    run(command)
    written = re.search(r"(?:-o|--wave) (\S+)", command)
    # Of several layers each has a waveform, run.1-fc1.vcd and so on.
    assert written is None or list(folder.glob(f"{Path(written[1]).stem}*"))


@pytest.mark.parametrize("page", ["docs/fast.md", "docs/energy.md", "README.md"])
def test_python_of_the_pages(in_folder, page):
    run, _ = in_folder
    printed = run([sys.executable, "-c", python_block(ROOT / page)])
    assert page != "README.md" or int(printed.split()[0]) > 0
