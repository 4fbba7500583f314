"""What a part of the evaluation hands over: text, tables and pictures, for whichever page shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Called with what a part is doing, once per finished step of its work.
Progress = Callable[[str], None]
Item = TypeVar("Item")
# Characters of a cell that is text.
_LONG = 40


def each(names: Iterable[str], progress: Progress | None, what: str) -> Iterator[str]:
    """The names one after another; when one is done, `progress` is told `what` and the name."""
    for name in names:
        yield name
        if progress:
            progress(what + name)


@dataclass(frozen=True)
class Table:
    """A table of text cells; `note` stands below it, `total` : its last row is a sum.

    Columns are aligned right but for the first, and for the last where that is `text`.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    total: bool = False

    @classmethod
    def of(
        cls,
        title: str,
        columns: Sequence[tuple[str, Callable[[Item], str]]],
        items: Iterable[Item],
        note: str = "",
    ) -> Self:
        """A row for each item. columns : each one's heading, and its cell of an item."""
        rows = [[cell(item) for _, cell in columns] for item in items]
        return cls(title, [heading for heading, _ in columns], rows, note)

    @property
    def text(self) -> bool:
        """Whether the last column is text that has to be read, and wrapped, rather than compared."""
        return any(len(row[-1]) > _LONG for row in self.rows)


@dataclass(frozen=True)
class Picture:
    """A figure, its file name without suffix, and what somebody who cannot see it has to know."""

    name: str
    figure: Figure
    alt: str


@dataclass(frozen=True)
class Section:
    """One part of the evaluation.

    text : paragraphs in Markdown. data : the numbers behind tables and pictures, for scripts (JSON).
    measured_here : whether it has times measured on the machine at hand, which differ from run to run.
    """

    key: str
    title: str
    text: Sequence[str]
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    measured_here: bool = False
