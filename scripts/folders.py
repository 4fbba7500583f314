"""The table of folders in docs/architecture.md: what each holds, its modules, and the folders that it imports."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: dict[str, str] = {
    package: folder
    for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
    if not package.startswith("eie.examples.")  # data
}


def _place(package: str) -> tuple[tuple[int, ...], str]:
    """Where a package stands in the import contracts, from the bottom up: one number for each level of folders."""
    order = []
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        for container in contract.get("containers", []):
            if package.startswith(f"{container}."):
                name = package.removeprefix(f"{container}.").split(".")[0]
                floors = [
                    set(layer.replace("|", ":").replace(" ", "").split(":")) for layer in contract["layers"]
                ]
                order += [len(floors) - number for number, floor in enumerate(floors) if name in floor]
    return tuple(order), package


def folder_table() -> str:
    """A row for each package, from the one that imports nothing to the commands."""
    graph = grimp.build_graph(
        "eie", exclude_type_checking_imports=True, cache_dir=str(ROOT / "build" / "grimp")
    )
    packages = sorted(FOLDERS, key=_place)

    def home(module: str) -> str:
        return module if module in FOLDERS else module.rpartition(".")[0]

    lines = ["| folder | what it holds | modules | imports from |", "|---|---|---|---|"]
    for package in packages:
        own = {module for module in graph.modules if home(module) == package}
        modules = sorted(own - {package, "eie.__main__"})
        taken = {
            home(found)
            for module in (package, *modules)
            for found in graph.find_modules_directly_imported_by(module)
        }
        what = (importlib.import_module(package).__doc__ or "").partition("\n")[0].rstrip(".")
        names = ", ".join(module.rpartition(".")[2] for module in modules)
        imports = ", ".join(FOLDERS[name] for name in packages if name in taken - {package})
        lines.append(f"| `{FOLDERS[package]}/` | {what} | {names} | {imports or 'nothing'} |")
    return "\n".join(lines)
