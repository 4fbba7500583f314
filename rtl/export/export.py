"""Export of the accelerator into a folder: Verilog, a layer's images with a testbench, and what others need of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eie import schema
from eie.config import ArchConfig
from eie.errors import MismatchError, OutputError
from eie.files import beside
from eie.memory import hex_image, srams
from eie.program import Job
from eie.rtl.array import SRAM, image_name
from eie.rtl.block import module_name
from eie.rtl.export.check import CHIP, TOP, WAIVERS, CheckReport, check_verilog, declared_ports
from eie.rtl.export.chip_export import TESTBENCH as CHIP_TESTBENCH
from eie.rtl.export.chip_export import chip_files
from eie.rtl.export.meanings import meaning
from eie.rtl.export.package import (
    LEFT_BEHIND,
    constraints,
    core_name,
    files_of_top,
    filled,
    makefile,
    template,
)
from eie.rtl.export.package import testbench as filled_testbench
from eie.rtl.formal.verilog import with_checkers
from eie.rtl.verilog import array_verilog
from eie.segments import row_places, scattered

MANIFEST = "ports.json"
TESTBENCH = "eie_array_tb.v"
# What the README's commands make in the folder.
COMPILED = "eie.vvp"
_TABLED = ("array", "pe")


@dataclass(frozen=True)
class Expected:
    """What a job gives: the activations y, one a row, and the cycles in compute mode."""

    y: Sequence[int]
    cycles: int


@dataclass(frozen=True)
class ExportReport:
    """Where an export is, the names of its files, and what was checked (None: nothing)."""

    folder: Path
    files: tuple[str, ...]
    check: CheckReport | None


def export(
    cfg: ArchConfig,
    folder: Path,
    job: Job | None = None,
    *,
    expected: Expected | None = None,
    probe: bool = False,
    chip: bool = False,
    words: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[int]] | None = None,
    check: bool = True,
    iverilog: Path | None = None,
    verilator: Path | None = None,
    sta: Path | None = None,
    prefix: str = "",
) -> ExportReport:
    """Write the accelerator's Verilog into `folder`, which appears complete or not at all.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    folder : made, or replaced if it holds nothing but an earlier export.
    job : a layer and its input (of the same `cfg`); adds the memory images and a testbench that runs it.
    expected : what the job gives; the testbench then compares and ends with PASS or FAIL.
    probe : add the probe outputs, which lockstep compares.
    chip : add `eie_chip`, the array behind its host interface, with register map and C header.
    words : files for software that drives the chip, by name; they go along as they are.
    orders : of layers whose rows are placed in another order (`eie.balance`), the row of each output.
    check : check the Verilog with `check_verilog`, in the simulators that are given as well.
    iverilog, verilator, sta : executables, see `check_verilog`.
    prefix : before the name of every module and of its files, so that two exports can live in one design.

    Raises
    ------
    OutputError : `folder` cannot be written, or holds something else; `prefix` does not begin a Verilog name.
    MismatchError : a check failed (nothing is written).
    """
    _refuse_foreign(folder)
    if prefix and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
        raise OutputError(
            f"the prefix {prefix!r} cannot begin a Verilog name: use letters, digits and _, with no digit first"
        )
    images = job is not None
    files = with_checkers(array_verilog(cfg, probe=probe, images=images), cfg)
    around = chip_files(cfg, files, list(image_files(job)) if job else ()) if chip else {}
    report = None
    if check:
        verilog = {name: text for name, text in (files | around).items() if _is_source(name)}
        report = check_verilog(
            verilog,
            cfg,
            probe=probe,
            images=images,
            chip=chip,
            constraints={top: constraints(cfg, module_name(top)) for top in ("array", "chip")[: 1 + chip]},
            iverilog=iverilog,
            verilator=verilator,
            sta=sta,
        )
        if report.problems:
            raise MismatchError(
                f"the exported Verilog failed {len(report.problems)} checks, first: {report.problems[0]}"
            )
    files |= _for_others(cfg, list(files), job, expected)
    files["ports.md"] = _port_tables(cfg, probe)
    files["README.md"] = _readme(cfg, files, job, expected, chip)
    if words:
        files["README.md"] += _WORDS
    files |= {**around, **(words or {})}
    if orders:
        files["README.md"] += _ORDERS
        files["row_order.json"] = json.dumps(orders) + "\n"
    files["Makefile"] = makefile(
        [TOP, CHIP] if chip else [TOP],
        [name for name in files if _is_source(name)],
        COMPILED,
        [name for name in (TESTBENCH, CHIP_TESTBENCH) if name in files],
    )
    files[WAIVERS] = template(WAIVERS)
    files[MANIFEST] = _manifest(cfg, [*files, MANIFEST], probe, chip)
    files = _prefixed(files, cfg, prefix)
    with _replacing(folder) as staging:
        for name, text in files.items():
            (staging / name).write_text(text)
    return ExportReport(folder, tuple(files), report)


def _prefixed(files: dict[str, str], cfg: ArchConfig, prefix: str) -> dict[str, str]:
    """The files with `prefix` before each module's name, in names and texts."""
    if not prefix:
        return files
    modules = (SRAM, *map(module_name, (*schema.block_names(cfg), "array", "host_if", "chip")))
    names = re.compile(rf"({'|'.join(sorted(set(modules), key=len, reverse=True))})(?![a-z0-9])")
    return {names.sub(rf"{prefix}\1", name): names.sub(rf"{prefix}\1", text) for name, text in files.items()}


def _is_source(name: str) -> bool:
    """Whether a file is Verilog, and no testbench."""
    return name.endswith(".v") and name not in (TESTBENCH, CHIP_TESTBENCH)


def _for_others(
    cfg: ArchConfig, sources: list[str], job: Job | None, expected: Expected | None
) -> dict[str, str]:
    """Core, constraints and smoke test of the array; with a job, its images and testbench."""
    data, bench = {}, None
    if job is not None:
        data = {"load.hex": load_image(job), **image_files(job)}
        if expected is not None:
            data["expected.hex"] = expected_image(job, expected)
        bench = {TESTBENCH: testbench(job, expected)}
    name = TESTBENCH if bench else None
    return {**files_of_top(cfg, TOP, sources, name, list(data)), **(bench or {}), **data}


def image_files(job: Job) -> dict[str, str]:
    """Memory images of every PE, by file name."""
    sizes = srams(job.cfg)
    return {
        image_name(k, sram): hex_image(words, sizes[sram].width, sizes[sram].depth)
        for k, image in enumerate(job.images)
        for sram, words in image.srams(job.cfg).items()
    }


def load_image(job: Job, *, weights: bool = False) -> str:
    """The writes that load a job, for the testbench: space, PE, address and data side by side.

    With `weights`, those of pointers and entries as well.
    """
    cfg = job.cfg
    writes = job.load_writes() + (job.weight_writes() if weights else [])
    pe, addr, data = cfg.pe_bits, cfg.io_addr_bits, cfg.io_data_bits
    words = [((w.space << pe | w.pe) << addr | w.addr) << data | w.data for w in writes]
    return hex_image(words, schema.IO_SPACE_BITS + pe + addr + data, len(words))


def expected_image(job: Job, expected: Expected) -> str:
    """The expected activations for the testbench, in the order of their places; 0 where a place has none."""
    bits, rows = job.cfg.act_bits, job.layer.rows
    if len(expected.y) != rows:
        raise ValueError(f"{len(expected.y)} expected activations for a layer of {rows} rows")
    words = scattered(np.array(expected.y), row_places(job.layer, job.cfg))
    return hex_image([int(y) & ((1 << bits) - 1) for y in words], bits, len(words))


def testbench(job: Job, expected: Expected | None) -> str:
    """A plain Verilog testbench that loads a job from load.hex, runs it, and prints what came out.

    With `expected` it compares activations (from expected.hex) and cycles, too.
    """
    cfg = job.cfg
    parameters = {
        "N_PE": cfg.n_pe,
        "COUNTERS": len(schema.pe_counters(cfg)),
        "PE_BITS": cfg.pe_bits,
        "ADDR_BITS": cfg.io_addr_bits,
        "DATA_BITS": cfg.io_data_bits,
        "ACT_BITS": cfg.act_bits,
        "ROWS": int(row_places(job.layer, job.cfg).max()) + 1,
        "WRITES": len(job.load_writes()),
        "COMPARE": int(expected is not None),
        "EXPECTED_CYCLES": expected.cycles if expected else 0,
    }
    return filled_testbench(TESTBENCH, parameters)


# ---- tables --------------------------------------------------------------------------------------------------


def _port_tables(cfg: ArchConfig, probe: bool) -> str:
    text = "# Ports\n"
    for block in _TABLED:
        signed = {field.name: " (signed)" for field in schema.fields(block, cfg) if field.signed}
        rows = (
            f"| {name} | {port.direction} | {port.width} | {meaning(block, name)}{signed.get(name, '')} |"
            for name, port in declared_ports(block, cfg, probe=probe).items()
        )
        heading = f"\n## {module_name(block)}\n\n| port | direction | bits | meaning |\n|---|---|---|---|\n"
        text += heading + "\n".join(rows) + "\n"
    rows = (f"| {sram} | {depth} x {width} |" for sram, (width, depth, _) in srams(cfg).items())
    text += "\n## eie_sram, beside each PE\n\n| memory | words x bits |\n|---|---|\n" + "\n".join(rows) + "\n"
    return text


def _manifest(cfg: ArchConfig, files: list[str], probe: bool, chip: bool) -> str:
    modules = {block: declared_ports(block, cfg, probe=probe) for block in _TABLED}
    if chip:
        modules["chip"] = declared_ports("chip", cfg)
    ports = {
        module_name(block): {name: dataclasses.asdict(port) for name, port in found.items()}
        for block, found in modules.items()
    }
    manifest = {
        "top": TOP,
        "tops": [TOP, CHIP] if chip else [TOP],
        "config": dataclasses.asdict(cfg),
        "spaces": {space.name: int(space) for space in schema.IoSpace},
        "modules": ports,
        "files": files,
    }
    return json.dumps(manifest, indent=1) + "\n"


_CHIP = """
## The chip

`eie_chip` is `eie_array` behind AXI4-Lite and AXI4-Stream, with `eie_host_if`. `registers.md` lists its ports,
registers and packets, and `eie_regs.h` defines them for C. `eie_chip.core` and `eie_chip.sdc` are its core and
constraints. `make test` runs its cocotb test, too: identification, packets, an error{layer}; `make smoke-eie_chip`
runs it alone. The plain testbench `eie_chip_tb.v` does the same without the layer; its last line is PASS or FAIL.
`make lint` checks both top modules. With FuseSoC:

    fusesoc --cores-root . run --target={target} {core}
"""
_WORDS = """
`chip_words.json` says which packets load a network into the chip and run it. `chip_setup*.hex` and `chip_load*.hex`
hold the packets that are the same for every input, one word of the stream in each line.
"""
_ORDERS = """
Rows are placed so that the PEs have equal work. `row_order.json` lists, for each layer, which row holds which output:
output i is row number i of that list.
"""
_LAYER = ", the layer by WRITE, RUN and READ packets"

_EMPTY = """The memories start at 0. To check that it compiles:

    iverilog -g2005 -Wall -t null {sources}
"""

_RUN = """The memory images (`pe<k>_<memory>.hex`) hold layer {layer!r}, {rows} x {cols}. To run it in this folder:

    iverilog -g2005 -o {compiled} {testbench} {sources}
    vvp -n {compiled}

This prints the cycles, the activations and each PE's counters{verdict}.
"""

_VERDICT = """. The last line is PASS if
activations and cycles are the expected ones (`expected.hex`, `EXPECTED_CYCLES`). Else it is FAIL with the number of
differences, and Icarus exits with status 1"""


def _readme(
    cfg: ArchConfig, files: Iterable[str], job: Job | None, expected: Expected | None, chip: bool
) -> str:
    sources = " ".join(name for name in files if name.endswith(".v") and name != TESTBENCH)
    sizes = "\n".join(f"    {name:14}{value}" for name, value in dataclasses.asdict(cfg).items())
    head = filled(
        "export_readme.md",
        N_PE=str(cfg.n_pe),
        TOP=TOP,
        TOPS=f"the top module is `{TOP}`" + (f", with the host interface `{CHIP}`" if chip else ""),
        MANIFEST=MANIFEST,
        SIZES=sizes,
        TESTS="the cocotb smoke test" if job is None else "the plain testbench and the cocotb smoke test",
        TARGET="lint" if job is None else "sim",
        CORE=core_name(TOP),
    )
    tail = ""
    if chip:
        tail = _CHIP.format(layer=_LAYER if job else "", target="sim", core=core_name(CHIP))
    if job is None:
        return head + _EMPTY.format(sources=sources) + tail
    rows, cols = job.layer.shape
    run = _RUN.format(
        layer=job.layer.name,
        rows=rows,
        cols=cols,
        compiled=COMPILED,
        testbench=TESTBENCH,
        sources=sources,
        verdict=_VERDICT if expected else "",
    )
    return head + run + tail


# ---- the folder ----------------------------------------------------------------------------------------------


def _refuse_foreign(folder: Path) -> None:
    """Raise `OutputError` unless `folder` is absent, empty, or an export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"cannot export into {folder}: it is not a folder")
    held = {path.name for path in folder.iterdir()}
    try:
        ours = {COMPILED, *LEFT_BEHIND, *json.loads((folder / MANIFEST).read_text())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    if held - ours:
        raise OutputError(
            f"cannot export into {folder}: it holds {min(held - ours)}, which does not belong to an export: "
            "name another folder"
        )


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place when the block ends well."""
    staging, old = beside(folder, ".new"), beside(folder, ".old")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        yield staging
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        for left in (staging, old):
            shutil.rmtree(left, ignore_errors=True)
