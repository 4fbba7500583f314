"""The parts of `eie reproduce` about blocks, on small data: they run, keep what they trained, and count right."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress import datasets
from eie.errors import ModelError

torch = pytest.importorskip("torch")
from eie.compress.train.loop import Training  # noqa: E402
from eie.compress.train.recipes import RECIPES  # noqa: E402
from eie.sim.evaluation import mesa, mesa_alpha, mesa_small  # noqa: E402

PACKAGES = """Package: a{n}
Source: src-{n}
Section: {section}
Description: {text} number {n}
Tag: role::program,
 x11::application

Package: a{n}-data
Source: src-{n} (1.0)
Section: {section}
Description: what {n} needs
"""


def package_list(count: int) -> str:
    words = {"games": "A Game of cards", "net": "Server daemon", "libs": "shared library"}
    return "\n".join(
        PACKAGES.format(n=n, section=section, text=words[section])
        for n in range(count)
        for section in [list(words)[n % 3]]
    )


def test_a_package_list_becomes_texts_of_the_first_package_of_each_source() -> None:
    train, test = datasets.texts_of(package_list(240))
    lines = (train + test).splitlines()
    assert len(lines) == 160  # libs is not among the sections
    assert "games\tsrc-0\tA Game of cards number 0" in lines
    assert not any("needs" in line for line in lines)
    tested = [line.split("\t")[1] for line in test.splitlines()]
    assert tested
    assert all(hashlib.sha256(name.encode()).digest()[0] < 51 for name in tested)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small package list in the place of Debian's, from a stand-in for apt."""
    monkeypatch.chdir(tmp_path)
    answers = {"apt-get": "/lists/packages\n", "apt-helper": package_list(240)}
    monkeypatch.setattr(datasets, "_call", lambda command, *_: answers[Path(command[0]).name])
    sha = {
        name: hashlib.sha256(lines.encode()).hexdigest()
        for name, lines in zip(datasets._TEXT_FILES, datasets.texts_of(package_list(240)), strict=True)
    }
    kind = replace(datasets.TEXTS["debian-sections"], sha256=sha)
    monkeypatch.setitem(datasets.TEXTS, "debian-sections", kind)


def test_texts_are_fetched_and_checked(texts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelError, match=r"^build/debian-sections holds no texts: run `eie data debian-sections`"
    ):
        datasets.load_texts("debian-sections")
    done = CliRunner().invoke(main, ["data", "debian-sections"])
    assert done.exit_code == 0, done.output
    learnt, test = datasets.load_texts("debian-sections")
    assert len(learnt.texts) + len(test.texts) == 160
    named = {learnt.classes[label] for label in np.r_[learnt.labels, test.labels]}
    assert named == {"games", "net"}
    path = Path("build/debian-sections/sections_TEST.tsv")
    path.write_text(path.read_text() + "net\tx\ty\n")
    with pytest.raises(ModelError, match=r"sections_TEST.tsv is not the published file"):
        datasets.load_texts("debian-sections")
    monkeypatch.setattr(datasets, "_call", lambda *_: "")
    none = CliRunner().invoke(main, ["data", "debian-sections"])
    assert none.exit_code == 2
    assert (
        "apt has no list of Debian 12's packages for amd64: add main of bookworm to its sources"
        in none.stderr
    )


def test_characters_are_one_of_the_alphabet_or_nothing() -> None:
    x = mesa_small.characters(["aB!", "-" * 100])
    assert x.shape == (2, len(mesa_small.ALPHABET), 1, mesa_small.LENGTH)
    assert x[0].sum() == 2  # ! is not in the alphabet
    assert x[0, mesa_small.ALPHABET.index("b"), 0, 1] == 1
    assert x[1].sum() == mesa_small.LENGTH


ROWS = [row for row in mesa_small.ROWS if row.key in ("deepc", "mesa", "k2")]


def test_part_text(texts: None) -> None:
    assert CliRunner().invoke(main, ["data", "debian-sections"]).exit_code == 0
    made = mesa_small.text(1, rows=ROWS, epochs=(1, 1, 1))
    found = made.data["networks"]["c-cnn"]["rows"]
    assert found["k2"]["mesa_ratio"] > 3 * found["deepc"]["mesa_ratio"]
    assert found["deepc"]["delta_bits"] == 0 < found["mesa"]["delta_bits"] < mesa_small.BITS
    kept = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.pt")}
    assert mesa_small.text(1, rows=ROWS, epochs=(1, 1, 1)) == made
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.pt")} == kept


def test_part_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    some = datasets.Series(tuple(rng.normal(size=(5, 4)) for _ in range(18)), np.arange(18) % 9)
    monkeypatch.setattr(datasets, "load_series", lambda name: (some, some))
    made = mesa_small.series(1, rows=ROWS, epochs=(1, 1, 1), hidden=24)
    assert [table.title.split(":")[0] for table in made.tables] == ["gru", "lstm"]
    for kind in ("gru", "lstm"):
        found = made.data["networks"][kind]["rows"]
        assert found["k2"]["nbytes"] < found["mesa"]["nbytes"] < found["deepc"]["nbytes"]


def test_part_alpha(small: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    datasets.fetch("mnist", "build/mnist")
    short = replace(RECIPES["lenet-5"], batch=32, dense=Training(epochs=2, lr=3e-3))
    made = mesa_alpha.section(1, alphas=(0.0, 10.0), network=short, held_out=32, epochs=20)
    free, alike = made.data["points"]
    assert alike["bits"] < free["bits"]
    assert alike["ratio"] > free["ratio"]
    assert [picture.name for picture in made.pictures] == ["mesa_alpha"]
    # The dense network is that of the part mesa.
    assert (mesa.FOLDER / "mnist-seed-1" / "checkpoints" / "fit.pt").exists()
