"""The C driver of an export, compiled without a warning and run on the chip in Verilator."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.registers import c_header
from eie.rtl.export.chip_export import DRIVER
from eie.rtl.export.package import template
from eie.rtl.verilog import chip_verilog
from eie.sim.cosim import toolchain
from eie.sim.simulate import simulate_many

HERE = Path(__file__).with_name("driver")
CFG = ArchConfig(n_pe=2, entries=256, pointers=64, src_depth=8, acc_depth=8, act_words=16, passes=2)
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-ffreestanding")


def job():
    rng = np.random.default_rng(1)
    codes = (rng.integers(1, 16, (11, 9)) * (rng.random((11, 9)) < 0.5)).astype(np.uint8)
    layer = CompressedLayer.from_codes(codes, [0, *range(-7, 8)], bias=rng.integers(-50, 50, 11))
    return Job.create(layer, rng.integers(0, 40, 9), CFG)


def job_header(job):
    """The layer's packets and what it gives, as C."""
    blocks = [*job.program.setup, *job.blocks]
    words, places = [], []
    for block in blocks:
        data = [int(word) & ((1 << 64) - 1) for word in block.words]
        place = f"{{{int(block.space)}, {int(block.spread)}, {block.pe}, {block.addr}}}"
        places.append(f"    {{{place}, {len(words)}, {len(data)}}},")
        words += data
    y = simulate_many([job], "reference")[0].y.tolist()
    rows = job.rows_per_pe * CFG.n_pe
    lines = [
        f"#define N_PE {CFG.n_pe}u",
        f"#define N_BLOCKS {len(blocks)}",
        f"#define LARGEST {max(len(block.words) for block in blocks)}",
        f"#define OUTPUTS {rows}",
        f"#define CYCLES {simulate_many([job], 'fast')[0].cycles}u",
        "static const struct { struct eie_place to; size_t first; uint32_t count; } blocks[] = {",
        *places,
        "};",
        f"static const uint64_t words[] = {{{', '.join(f'{word}u' for word in words)}}};",
        f"static const int16_t expected[] = {{{', '.join(map(str, y + [0] * (rows - len(y))))}}};",
    ]
    assert any(y)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The driver and its test, compiled as C."""
    folder = tmp_path_factory.mktemp("driver")
    for name in DRIVER:
        (folder / name).write_text(template(name))
    (folder / "eie_regs.h").write_text(c_header(CFG))
    (folder / "job.h").write_text(job_header(job()))
    for source, flags in (
        (folder / "eie_driver.c", STRICT),
        (HERE / "main.c", [flag for flag in STRICT if flag != "-ffreestanding"]),
    ):
        include = ["-I", folder, "-I", HERE]
        done = subprocess.run(
            ["gcc", *flags, *include, "-c", source, "-o", folder / f"{source.stem}.o"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    return folder


def run(objects, sources, folder):
    """The test program on this Verilog: its status, and what it prints."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    verilator = toolchain.require("verilator")
    command = [verilator.path, "--cc", "--exe", "--build", "-Wno-fatal", "--top-module", "eie_chip"]
    command += ["--Mdir", "model", "-CFLAGS", f"-O1 -I{HERE}", "-o", "driver_test"]
    given = [*sources, HERE / "bench.cpp", objects / "main.o", objects / "eie_driver.o"]
    environment = toolchain.environment(verilator)
    built = subprocess.run(
        [*command, *given], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    done = subprocess.run(
        [folder / "model" / "driver_test"], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout


def test_the_driver_on_the_chip(objects, tmp_path):
    assert run(objects, chip_verilog(CFG), tmp_path) == (0, "the driver is right\n")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (r"assign decoder_midst = .*;", "assign decoder_midst = 1'h0;"),  # ABORT swallows nothing
        (r"    cut <= .*;", "    cut <= 1'h0;"),  # rst forgets that a packet was being sent
    ],
    ids=["abort", "reset"],
)
def test_a_chip_that_takes_data_for_commands_is_found(objects, tmp_path, line, wrong):
    sources = chip_verilog(CFG)
    faulty, places = re.subn(line, wrong, sources["eie_host_if.v"])
    assert places == 1
    status, said = run(objects, {**sources, "eie_host_if.v": faulty}, tmp_path)
    assert status == 1
    assert "line " in said
