"""Wrap the prose of pages at 120 characters: `python scripts/wrap_pages.py PAGE...` (all pages without arguments).
With --check it only names the pages that it would change, and ends with status 1 if there are any.

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
        if fence or code or not line.strip() or line.startswith(_KEPT) or line.lstrip().startswith("|"):
            flush()
            out.append(line)
        else:
            if _ITEM.match(line):
                flush()
            held.append(line)
        code ^= fence
    flush()
    return "\n".join(out)


def main() -> int:
    """Wrap the pages that are named, or all."""
    check = "--check" in sys.argv[1:]
    changed = 0
    for page in [Path(name) for name in sys.argv[1:] if name != "--check"] or PAGES:
        before = page.read_text(encoding="utf-8")
        after = wrapped(before)
        if after != before:
            changed += 1
            print(f"{page}: run scripts/wrap_pages.py" if check else page)
            if not check:
                page.write_text(after, encoding="utf-8")
    return int(check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
