"""How the tests are arranged: what several files need is in tests/support, and none takes anything from another."""

import ast
from pathlib import Path

from tests.support import ROOT


def imported(text: str) -> set[str]:
    """Modules that Python source imports, wherever in it; of `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module, *(f"{module}.{name.name}" for name in node.names)}
    return found


def from_test_files(text: str) -> list[str]:
    return sorted(module for module in imported(text) if _is_test_file(module))


def _is_test_file(module: str) -> bool:
    parts = module.strip(".").split(".")
    inside = parts[0] == "tests" or module.startswith(".")
    return inside and any(part.startswith("test_") or part == "conftest" for part in parts)


def python_files() -> list[Path]:
    return [path for folder in ("tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]


def test_nothing_is_imported_from_a_test_file() -> None:
    files = python_files()
    assert len(files) > 100
    wrong = {str(path.relative_to(ROOT)): from_test_files(path.read_text()) for path in files}
    assert {path: modules for path, modules in wrong.items() if modules} == {}, "move it to tests/support/"


def test_the_rule_can_fail() -> None:
    text = (
        "import tests.sim.test_fast\nfrom tests.cosim import test_chip\ndef f():\n    from .test_a import b\n"
    )
    assert from_test_files(text) == [
        ".test_a", ".test_a.b", "tests.cosim.test_chip", "tests.sim.test_fast"
    ]  # fmt: skip
    assert from_test_files("from tests.support.cases import cases\nfrom a.test_b import c") == []
