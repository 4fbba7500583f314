"""What a simulator gets of the array: its Verilog, and a folder with the SRAMs' images to run in."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from eie.config import ArchConfig
from eie.memory import hex_image, srams
from eie.program import Program
from eie.schema import fields

# What the host writes of `eie_array`, and what it only reads.
ARRAY_PORTS = ("clk", "rst", *(field.name for field in fields("array", ArchConfig())))
ARRAY_PROBES = ("probe_*",)

# Changes the Verilog before it is built, to test that faults are found.
Transform = Callable[[Mapping[str, str]], Mapping[str, str]]


def array_sources(
    cfg: ArchConfig, transform: Transform | None = None, *, probe: bool = False
) -> Mapping[str, str]:
    """Verilog of `eie_array` by file name."""
    from eie.rtl.verilog import array_verilog  # Amaranth

    return (transform or dict)(array_verilog(cfg, probe=probe))


def chip_sources(
    cfg: ArchConfig, transform: Transform | None = None, *, probe: bool = False
) -> Mapping[str, str]:
    """Verilog of `eie_chip` by file name."""
    from eie.rtl.verilog import chip_verilog  # Amaranth

    return (transform or dict)(chip_verilog(cfg, probe=probe))


@contextlib.contextmanager
def run_folder(program: Program | None = None) -> Iterator[tuple[Path, list[str]]]:
    """A folder for one run with the images of what `program` puts into the SRAMs, and the simulator's plusargs.

    Without a program the SRAMs begin with zeros.
    """
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if program is None:
            yield folder, ["+eie_no_images"]
            return
        cfg, sizes = program.cfg, srams(program.cfg)
        for k, image in enumerate(program.images):
            for name, words in image.srams(cfg).items():
                width, depth, _ = sizes[name]
                (folder / f"pe{k:03d}_{name}.hex").write_text(hex_image(words, width, depth))
        yield folder, []
