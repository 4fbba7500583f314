"""What shows only outside the clone or when something is wrong: the wheel, the teeth of the checks, lean imports."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {
    package: ROOT / folder for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
}  # "eie.golden": .../golden
# Those with code; the examples are data.
FOLDERS = {package: folder for package, folder in PACKAGES.items() if not package.startswith("eie.examples.")}
HEAVY = {"amaranth", "cocotb", "matplotlib", "numba", "onnx", "torch"}


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


def installed_files() -> set[str]:
    """Every file of the packages, under the name it has when installed."""
    return {
        f"{package.replace('.', '/')}/{path.relative_to(folder)}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "machine_code"} & set(path.parts)
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone: nothing built, and room to plant errors."""
    there = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(ROOT / name, there)
    for folder in (*PACKAGES.values(), ROOT / "scripts"):
        shutil.copytree(
            folder,
            there / folder.relative_to(ROOT),
            symlinks=True,  # those of eie/, to the other packages
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,  # a package inside another comes with it
        )
    return there


@pytest.fixture(scope="module")
def wheel(copy: Path) -> Path:
    """Built from the archive of the sources, which so has all that a wheel needs."""
    archive = "import setuptools.build_meta as build; print(build.build_sdist('dist'))"
    done = run(sys.executable, "-c", archive, cwd=copy)
    assert done.returncode == 0, done.stderr
    done = run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", "dist", f"dist/{done.stdout.split()[-1]}"),
        cwd=copy,
    )
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_import_eie_is_lean() -> None:
    done = run(sys.executable, "-c", "import eie, json, sys; print(json.dumps(list(sys.modules)))", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stdout))
    assert "eie" in modules
    assert not HEAVY & modules


def test_every_package_is_declared() -> None:
    found = {
        name.removesuffix("/__init__.py").replace("/", ".")
        for name in installed_files()
        if "__init__" in name
    }
    assert found == set(FOLDERS)
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == set(PACKAGES)


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == installed_files()
    assert "eie/py.typed" in packaged
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_has_its_bill_of_materials(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        (name,) = (name for name in held.namelist() if ".dist-info/sboms/" in name)
        bill = json.loads(held.read(name))
        (record,) = (one for one in held.namelist() if one.endswith(".dist-info/RECORD"))
        assert f"{name},sha256=" in held.read(record).decode()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    about = bill["metadata"]["component"]
    assert [about[key] for key in ("name", "version")] == [
        PROJECT["project"][key] for key in ("name", "version")
    ]
    wanted = {one["properties"][0]["value"]: one["purl"] for one in bill["components"]}
    assert list(wanted) == PROJECT["project"]["dependencies"]
    assert wanted["amaranth[builtin-yosys]>=0.5.4,<0.6"] == "pkg:pypi/amaranth"
    # Every file that NOTICE names is there, and every data file of somebody else's is named.
    named = {
        path for one in about["components"] for text in one["name"].split(", ") for path in ROOT.glob(text)
    }
    assert all(any(ROOT.glob(text)) for one in about["components"] for text in one["name"].split(", "))
    tracked = run(
        "git", "ls-files", "*.npz", "*.safetensors", "*.eie", "*/data/*.toml", cwd=ROOT
    ).stdout.split()
    assert named >= {ROOT / path for path in tracked if not path.startswith("tests/")}
    assert {one["licenses"][0]["license"]["id"] for one in about["components"]} == {
        "Apache-2.0",
        "CC-BY-SA-3.0",
    }


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home)
    done = run(
        *(sys.executable, "-m", "pip", "--python", home / "bin" / "python"),
        *("install", "--quiet", "--no-deps", wheel),
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    # The dependencies are those of this environment; its own .pth files, the editable install among them, are not read.
    (site_of(home) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def site_of(home: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(home)}))


def test_the_wheel_works_outside_the_clone(installed: Path, tmp_path: Path) -> None:
    python, site = installed / "bin" / "python", site_of(installed)
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in installed_files()
        if name.endswith(".py") and not name.endswith("__main__.py") and not name.startswith("eie/examples/")
    )
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    print(importlib.import_module(name).__file__)\n"
    )
    done = run(python, "-c", script, *modules, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = done.stdout.split()
    assert len(files) == len(modules)
    assert all(Path(file).is_relative_to(site) for file in files)

    done = run(installed / "bin" / "eie", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # What `eie demo` and `eie reproduce` run on is there.
    script = "from eie.sim.workloads.example import *; require(EXAMPLE, ''); print(len(read_digits(EXAMPLE).labels))"
    done = run(python, "-c", script, cwd=tmp_path)
    assert done.stdout == "1000\n", done.stderr


@pytest.mark.parametrize("environment", ["of the clone", "installed wheel"])
def test_types_are_seen_from_outside(
    environment: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """mypy --strict takes the README's snippet, and a wrong use of the same names is an error, not Any."""
    python = Path(sys.executable)
    if environment == "installed wheel":
        python = request.getfixturevalue("installed") / "bin" / "python"
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (tmp_path / "snippet.py").write_text(snippet)
    wrong = "reveal_type(result.cycles)\neie.ArchConfig(n_pe='many')\neie.simulate(layer)\n"
    (tmp_path / "wrong.py").write_text(snippet + wrong)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", "cache"]
    done = run(*mypy, "snippet.py", cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stdout
    done = run(*mypy, "wrong.py", cwd=tmp_path, PYTHONPATH="")
    assert 'Revealed type is "int | None"' in done.stdout.replace("Union[int, None]", "int | None")
    assert "[arg-type]" in done.stdout
    assert "[call-overload]" in done.stdout


PLANTED = '''

def planted() -> int:
    """A wrong type and a wrong example.

    >>> 1 + 1
    3
    """
    return "text"
'''
# Who imports whom although it must not; nothing is above cli.
UPWARD = {
    "eie": "eie.sim",
    "eie.compress": "eie.golden",
    "eie.golden": "eie.rtl",
    "eie.rtl": "eie.sim",
    "eie.sim": "eie.cli",
}


@pytest.fixture(scope="module")
def spoilt(copy: Path, wheel: Path) -> Path:
    """The copy, once the wheel is built from it, with three errors in each package."""
    for package, folder in FOLDERS.items():
        # A new module of eie/ would be refused for not being in the import contract: take one that is.
        module = copy / folder.relative_to(ROOT) / ("errors.py" if package == "eie" else "planted.py")
        before = module.read_text() if module.exists() else '"""Planted."""\n'
        upward = f"\nimport {UPWARD[package]}\n" if package in UPWARD else ""
        module.write_text(before + upward + PLANTED)
    return copy


def spoilt_module(package: str) -> str:
    return "errors" if package == "eie" else "planted"


def test_lint_catches_planted_errors(spoilt: Path) -> None:
    done = run("scripts/lint", cwd=spoilt, VENV=sys.prefix)
    assert done.returncode != 0
    for package, folder in FOLDERS.items():
        place = f"{folder.relative_to(ROOT)}/{spoilt_module(package)}.py:"
        errors = [
            line for line in done.stdout.splitlines() if line.startswith(place) and "[return-value]" in line
        ]
        assert len(errors) == 1, done.stdout
    for package, target in UPWARD.items():
        # import-linter names the importing package, for eie the module.
        source = "eie.errors" if package == "eie" else package
        assert f"{source} is not allowed to import {target}" in done.stdout


def test_failing_doctests_are_caught(spoilt: Path) -> None:
    done = run(sys.executable, "-m", "pytest", "-k", "planted", "eie", cwd=spoilt)
    assert done.returncode == 1
    for package in FOLDERS:
        assert f"{package}.{spoilt_module(package)}.planted" in done.stdout
    assert f"{len(FOLDERS)} failed" in done.stdout
