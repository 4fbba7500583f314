"""Functions of the command line stay short: a command hands its work on."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

LINES, PARAMETERS = 60, 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def too_large(source: str) -> list[str]:
    """Functions of more lines (from `def` to the end) or more parameters than there may be."""
    found = []
    for node in functions(source):
        assert node.end_lineno is not None
        lines = node.end_lineno - node.lineno + 1
        arguments = node.args
        count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
        if lines > LINES or count > PARAMETERS:
            found.append(f"{node.name}: {lines} lines, {count} parameters")
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=lambda path: path.stem)
def test_functions_are_short(path: Path) -> None:
    assert not too_large(path.read_text())


def test_long_ones_would_be_found() -> None:
    lines = "\n".join(["def long():", *["    pass"] * LINES])
    many = f"def many({', '.join(f'a{i}' for i in range(PARAMETERS + 1))}): pass"
    assert too_large(f"{lines}\n{many}") == ["long: 61 lines, 0 parameters", "many: 1 lines, 9 parameters"]
    assert not too_large(lines.rpartition("\n")[0])
