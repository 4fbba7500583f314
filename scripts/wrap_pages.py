"""Wrap the prose of pages at 120 characters: `python scripts/wrap_pages.py PAGE...` (all pages without arguments).

Tables, code, headings and quotations stay as they are, and so does a paragraph whose lines are short enough.
"""

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
_ITEM = re.compile(r" *(?:[-*] |\d+\. )")
_KEPT = ("|", "#", ">", "<", "    ", "\t")
# What a line must not begin with by accident.
_MARKUP = re.compile(r" *(?:[-*+#>|] |\d+\. |[-=]+$|\|)")


def paragraph(lines: list[str]) -> list[str]:
    """A paragraph or an item of a list, wrapped if a line of it is too long."""
    if max(map(len, lines)) <= WIDTH:
        return lines
    item = _ITEM.match(lines[0])
    lead = item[0] if item else lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    text = " ".join([lines[0][len(lead) :].strip(), *(line.strip() for line in lines[1:])])
    # A little narrower where a line would begin like a list or a heading.
    for width in range(WIDTH, WIDTH - 20, -1):
        found = textwrap.wrap(
            text,
            width,
            initial_indent=lead,
            subsequent_indent=" " * len(lead),
            break_long_words=False,
            break_on_hyphens=False,
        )
        if not any(_MARKUP.match(line) for line in found[1:]):
            return found
    return lines


def wrapped(text: str) -> str:
    """A page with its prose wrapped."""
    out: list[str] = []
    held: list[str] = []
    code = False

    def flush() -> None:
        out.extend(paragraph(held) if held else [])
        held.clear()

    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        if fence or code or not line.strip() or line.startswith(_KEPT):
            flush()
            out.append(line)
        else:
            if _ITEM.match(line):
                flush()
            held.append(line)
        code ^= fence
    flush()
    return "\n".join(out)


def main() -> None:
    """Wrap the pages that are named, or all."""
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        before = page.read_text(encoding="utf-8")
        after = wrapped(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main()
