"""What the scripts that measure share: their command line, tables in Markdown, and the page that holds them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from eie.errors import EieError

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Page:
    """A page of docs/ with a script's tables between two comments."""

    name: str
    begin: str
    end: str

    def arguments(self, about: str | None) -> argparse.ArgumentParser:
        """The script's command line, with --write; about : its docstring."""
        parser = argparse.ArgumentParser(
            description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--write", action="store_true", help=f"put the tables into {self.name} as well")
        return parser

    def write(self, text: str) -> None:
        """Put the tables in place of those that are there."""
        page = ROOT / self.name
        before, _, rest = page.read_text().partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not end:
            fail(f"{page} has no place for the tables ({self.begin} and {self.end})")
        page.write_text(f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}")


def fail(message: str) -> NoReturn:
    """End the script with this line."""
    sys.exit(f"{Path(sys.argv[0]).name}: error: {message}")


@contextmanager
def errors_told() -> Iterator[None]:
    """An error of the project's ends the script with one line."""
    try:
        yield
    except EieError as error:
        fail(str(error))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table in Markdown; texts : how many columns, from the left, are not numbers."""
    rule = ["---"] * texts + ["---:"] * (len(headings) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *rows))
