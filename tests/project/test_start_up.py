"""What commands load before they do anything, and what they compile: modules and files are counted, not seconds."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eie import jit
from eie.cache import cache_folder
from eie.sim.workloads.random import random_layer
from tests.support import ROOT

TRAINED = ROOT / "examples" / "trained" / "lenet-5.eie"
HEAVY = {"amaranth", "cocotb", "matplotlib", "numba", "numpy", "onnx", "rich", "scipy", "torch"}
# A loop, another that calls it, and a constant from a third module.
LOOPS = '''"""Loops."""
from eie.jit import compiled
from eie.planted_constant import STEP
@compiled
def inner(x):
    return x + STEP
@compiled
def outer(x):
    return inner(x) * 2
'''


def modules_of(*command: str, cwd: Path = ROOT) -> list[str]:
    """The modules that a command of `eie` has loaded at its end."""
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
        "from eie.cli.main import main\n"
        "main(sys.argv[1:], prog_name='eie')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=cwd, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_list_of_commands_loads_no_command() -> None:
    modules = modules_of("--help")
    assert not HEAVY & set(modules)
    assert not [name for name in modules if name.startswith("eie.cli.commands.")]
    assert len(modules) < 300


def test_a_command_loads_what_it_needs() -> None:
    modules = modules_of("info", str(TRAINED))
    assert "numba" in modules
    spared = {"amaranth", "coverage", "matplotlib", "onnx", "rich.progress", "scipy.linalg"}
    # What numba loads to compile, and machine code that is kept does without.
    spared |= {"numba.np.npyimpl", "numba.cpython.listobj", "numba.typed.typeddict"}
    assert not (spared | {"eie.compress.readers.files", "eie.width_program"}) & set(modules)
    assert not [name for name in modules if name.startswith("eie.sim")]
    assert len(modules) < 700


def test_numba_still_finds_blas() -> None:
    """`eie.jit` keeps numba from loading scipy only to look for it; what a user compiles has it all the same."""
    script = (
        "import eie.jit, numba.np.arraymath as a, numba.np.linalg as b\n"
        "b.ensure_blas()\n"
        "print(a._HAVE_BLAS, a.ensure_blas is b.ensure_blas)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


@pytest.fixture(scope="module")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new cache after `eie warm`."""
    cache = tmp_path_factory.mktemp("cache")
    # Verilator's runtime is compiled for long: the one that is there will do (tests/cosim/test_build.py).
    (cache_folder() / "runtime").mkdir(parents=True, exist_ok=True)
    (cache / "runtime").symlink_to(cache_folder() / "runtime")
    said = eie("warm", cache=cache)
    assert "loops compiled in" in said
    others = "the golden model stays in Python: EIE_GOLDEN=python\nVerilator's runtime is compiled"
    assert eie("warm", cache=cache) == f"every loop is compiled already\n{others}\n"
    return cache


def eie(*command: object, cache: Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "eie", *map(str, command)],
        # Machine code that is not optimised takes less time to make; test_golden_compiled.py has golden's.
        env=os.environ | {"EIE_CACHE": str(cache), "NUMBA_OPT": "1", "EIE_GOLDEN": "python"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def machine_code(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "numba").rglob("*.nbc"))


def test_first_commands_compile_nothing(warmed: Path, tmp_path: Path) -> None:
    before = machine_code(warmed)
    assert len(before) > 20
    np.savez(tmp_path / "model.npz", **{"fc1.weight": np.random.default_rng(1).normal(size=(20, 30))})
    np.save(tmp_path / "x.npy", np.ones((3, 30), np.float32) / 4)
    for command in (
        "compress model.npz -o net.eie --density 0.3",
        "info net.eie",
        "run net.eie --input x.npy --engine fast --pe 4 --sized",
        "plan net.eie --pe 4",
        "sweep net.eie --input x.npy --pe 1,2 -o s.csv --workers 2",
        "sweep --random 40x50 --pe 1,2 -o r.csv --workers 1",
    ):
        eie(*command.split(), cache=warmed, cwd=tmp_path)
        assert machine_code(warmed) == before, command


def test_machine_code_of_an_installation_serves_all_its_users(
    warmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`eie warm --shared` fills a folder of the package; here a copy of the package has that folder."""
    package = tmp_path / "site" / "eie"
    shutil.copytree(ROOT / "eie", package, ignore=shutil.ignore_patterns("__pycache__", jit.SHARED.name))
    shutil.copytree(warmed / "numba", package / jit.SHARED.name)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    cache = tmp_path / "cache"
    done = eie("info", TRAINED, cache=cache, cwd=tmp_path)
    assert "checksum ok" in done
    assert machine_code(cache) == []


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Path]:
    """A copy of the package with two loops of its own."""
    package = tmp_path / "site" / "eie"
    shutil.copytree(ROOT / "eie", package, ignore=shutil.ignore_patterns("__pycache__", jit.SHARED.name))
    (package / "planted_constant.py").write_text("STEP = 1\n")
    (package / "planted.py").write_text(LOOPS)
    yield package
    shutil.rmtree(tmp_path / "site")


def start(package: Path, cache: Path) -> "subprocess.Popen[str]":
    """A process that calls the outer loop, and prints its answer and the loops that it compiled."""
    script = (
        "from eie import jit\n"
        "names = []\n"
        "jit.listeners.append(names.append)\n"
        "from eie.planted import outer\n"
        "print(outer(3), *names)\n"
    )
    env = os.environ | {"PYTHONPATH": str(package.parent), "EIE_CACHE": str(cache), "NUMBA_OPT": "1"}
    # In the folder of the copy: Python looks into the current one first.
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=package.parent, env=env, stdout=subprocess.PIPE, text=True
    )


def test_one_of_many_workers_compiles(planted: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    workers = [start(planted, cache) for _ in range(3)]
    said = sorted(worker.communicate()[0].split() for worker in workers)
    assert said == [["8"], ["8"], ["8", "outer", "inner"]]


def test_a_constant_of_another_module_counts(planted: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert start(planted, cache).communicate()[0].split() == ["8", "outer", "inner"]
    # Of another length: Python knows its own cached code by the second of the change and the size.
    (planted / "planted_constant.py").write_text("STEP = 2  # was 1\n")
    assert start(planted, cache).communicate()[0].split() == ["10", "outer", "inner"]


def test_random_layers_are_what_warm_meets() -> None:
    """Layers that were made and layers that were read have arrays of one kind, so that they share machine code."""
    layer = random_layer(8, 8, 0.5, seed=1)
    assert not any(array.flags.writeable for array in (layer.indptr, layer.indices, layer.codes, layer.bias))
