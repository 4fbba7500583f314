"""Imports inside functions: only where they put off a slow or optional package of others, never to hide a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.support import ROOT

# Third-party packages that take long to load, or that a user may not have; and safetensors, for which the
# readers of models stand: `eie info` does without them.
SLOW = {
    "amaranth",
    "cocotb",
    "distributed",
    "matplotlib",
    "numba",
    "onnx",
    "onnxruntime",
    "safetensors",
    "torch",
}
FOLDERS = ("eie", "compress", "golden", "rtl", "sim", "cli")


def module_of(path: Path) -> str:
    """The import name of a source."""
    name = path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    return name if name.split(".")[0] == "eie" else f"eie.{name}"


def sources() -> list[Path]:
    """Every source of the packages but for what is exported to run elsewhere, relative to the root."""
    found = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if "templates" not in path.parts)


def inside_functions(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import of ours inside a function."""
    for function in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "eie":
                    for alias in node.names:
                        below = f"{node.module}.{alias.name}"
                        is_module = (ROOT / "eie" / below.removeprefix("eie.").replace(".", "/")).with_suffix(
                            ".py"
                        )
                        yield node.lineno, below if is_module.exists() else str(node.module)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Imports on module level."""
    graph = grimp.build_graph(
        "eie", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    for path in sources():
        inside = {
            node.lineno
            for function in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        importer = module_of(path)
        for imported in graph.find_modules_directly_imported_by(importer):
            lines = {
                one["line_number"] for one in graph.get_import_details(importer=importer, imported=imported)
            }
            if lines <= inside:
                graph.remove_import(importer=importer, imported=imported)
    return graph


def slow(graph: grimp.ImportGraph, module: str) -> set[str]:
    """The slow packages that a module loads, by itself or by what it imports."""
    packages = [".".join(module.split(".")[:n]) for n in range(1, module.count(".") + 2)]
    loaded = {found for each in packages for found in graph.find_upstream_modules(each)}
    return SLOW & loaded


def test_an_import_inside_a_function_puts_off_a_slow_package(graph: grimp.ImportGraph) -> None:
    needless = [
        f"{path}:{line}: {imported} loads nothing slow that {module_of(path)} has not loaded"
        for path in sources()
        for line, imported in inside_functions(path)
        if not slow(graph, imported) - slow(graph, module_of(path))
    ]
    assert not needless, "\n".join(needless)


def test_there_is_no_circle(graph: grimp.ImportGraph) -> None:
    circles = [
        module
        for module in graph.modules
        if module.startswith("eie")
        for imported in graph.find_modules_directly_imported_by(module)
        if module in graph.find_upstream_modules(imported)
    ]
    assert not circles
