"""SRAM images for the RTL in a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eie.config import ArchConfig
from eie.memory import PeImage, hex_image
from eie.program import Job
from eie.schema import fields

# What the host program reads and writes of `eie_array`.
ARRAY_PORTS = ("clk", "rst", *(field.name for field in fields("array", ArchConfig())), "probe_*")


def write_images(job: Job, folder: Path) -> None:
    """Write a job's SRAM images for $readmemh, under the names that the RTL array reads."""
    write_pe_images(job.images, job.cfg, folder)


def write_pe_images(images: Sequence[PeImage], cfg: ArchConfig, folder: Path) -> None:
    """Write the SRAM images of all PEs for $readmemh, under the names that the RTL array reads."""
    for k, image in enumerate(images):
        for name, words, bits, depth in (
            ("spmat", image.spmat, cfg.word_bits, cfg.spmat_words),
            ("even", image.even, cfg.pointer_bits, cfg.ptr_bank_depth),
            ("odd", image.odd, cfg.pointer_bits, cfg.ptr_bank_depth),
            ("act", image.act, cfg.acc_bits, cfg.act_words),
        ):
            (folder / f"pe{k:03d}_{name}.hex").write_text(hex_image(words, bits, depth))
