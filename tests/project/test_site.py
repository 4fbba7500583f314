"""The documentation site: it builds without a warning, offline, and holds every page; links of the project's files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import eie
from tests.support import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_in_the_list(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= {path.stem for path in site.glob("*.html")}
    listed = set(re.findall(r"\]\((\w+)\.md\)", (ROOT / "docs" / "index.md").read_text()))
    assert pages == listed
    assert (site / "searchindex.js").stat().st_size > 10_000


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = (site / "api.html").read_text()
    for name in eie.__all__:
        if name not in ("__version__", "EieError"):
            assert re.search(rf'id="eie\.(sim\.api\.)?{name}"', text), name
    assert 'id="eie.errors.EieError"' in text


def test_links_inside_the_site_lead_somewhere(site: Path) -> None:
    checked = 0
    for page in site.glob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', page.read_text()):
            assert (page.parent / target.split("?")[0]).exists(), (page.name, target)
            checked += 1
    assert checked > 500


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == eie.__version__
    assert {"title", "authors", "license", "message"} <= set(cited)


def test_the_notice_names_data_that_is_there() -> None:
    text = (ROOT / "NOTICE").read_text()
    paths = re.findall(r"^((?:examples|sim)/\S+?),?(?: (\S+))?$", text, re.MULTILINE)
    named = [path for pair in paths for path in pair if path]
    assert len(named) >= 6
    assert all(list(ROOT.glob(path)) for path in named), named
