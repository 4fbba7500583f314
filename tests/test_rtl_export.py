"""The export folder: what is in it, that what its README says works, and what it refuses."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import MismatchError, OutputError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.rtl import export as export_module
from eie.rtl.check import declared_ports
from eie.rtl.export import export
from eie.sim import toolchain

CFG = ArchConfig(n_pe=2, entries=40, pointers=9, src_depth=4, acc_depth=4)


def small_job() -> Job:
    codes = np.array([[1, 0, 0, 2], [0, 0, 3, 0], [0, 1, 0, 0]], np.uint8)
    return Job.create(CompressedLayer.from_codes(codes, [0, 2, 3, -5]), [10, 0, 1, 100], CFG.replace())


def test_readme_runs_the_layer(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "verilog"
    report = export(CFG, folder, small_job(), iverilog=toolchain.require("icarus").path)
    assert report.check is not None
    assert report.check.simulators == ("iverilog",)
    assert sorted(report.files) == sorted(path.name for path in folder.iterdir())
    readme = (folder / "README.md").read_text().splitlines()
    commands = [line for line in readme if line.startswith("    ") and "eie.vvp" in line]
    assert len(commands) == 2
    for command in commands:
        ran = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=True)
        assert ran.stderr == ""
    # By hand: 10 * 2 + 100 * 3, max(-5, 0), 0.
    assert [line for line in ran.stdout.splitlines() if line.startswith("y")] == ["y 0 320", "y 1 0", "y 2 0"]


def test_port_tables(tmp_path: Path) -> None:
    export(CFG, tmp_path / "verilog", probe=True)
    manifest = json.loads((tmp_path / "verilog" / "ports.json").read_text())
    assert ArchConfig(**manifest["config"]) == CFG
    assert manifest["modules"]["eie_array"]["probe_pe1"]["direction"] == "output"
    table = (tmp_path / "verilog" / "ports.md").read_text()
    for name, port in declared_ports("pe", CFG, probe=True).items():
        assert f"| {name} | {port.direction} | {port.width} |" in table


def test_an_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "verilog"
    export(CFG, folder, small_job(), check=False)
    export(CFG, folder, check=False)
    assert not (folder / "load.hex").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError) as caught:
        export(CFG, folder, check=False)
    assert str(caught.value) == (
        f"cannot export into {folder}: it holds notes.txt, which is no part of an export; name another folder"
    )
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["verilog"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot export into .*file: it is not a folder"):
        export(CFG, tmp_path / "file", check=False)
    with pytest.raises(OutputError, match=r"cannot write .*verilog: "):
        export(CFG, tmp_path / "file" / "verilog", check=False)


def test_a_failed_check_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*args: object, **options: object) -> dict[str, str]:
        files = original(*args, **options)
        files["eie_lnzd.v"] = files["eie_lnzd.v"].replace("endmodule", "  assign valid = 1'h0;\nendmodule")
        return files

    original = export_module.array_verilog
    monkeypatch.setattr(export_module, "array_verilog", faulty)
    with pytest.raises(MismatchError, match=r"failed 1 checks, first: eie_lnzd: valid\[0\] is driven by"):
        export(CFG, tmp_path / "verilog")
    assert list(tmp_path.iterdir()) == []


def test_64_pes_take_at_most_five_seconds(tmp_path: Path) -> None:
    # Processor time, children included, so that a busy machine does not matter.
    began = sum(os.times()[:4])
    export(ArchConfig(n_pe=64), tmp_path / "verilog", check=False)
    assert sum(os.times()[:4]) - began < 5
