"""EIE: a cycle-accurate simulator of the Efficient Inference Engine, co-verified with its RTL.

import eie
layer = eie.CompressedLayer.from_codes(codes, codebook)
result = eie.simulate(layer, x, eie.ArchConfig(n_pe=64), engine="golden")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.errors import EieError
from eie.layer import CompressedLayer
from eie.result import Result

if TYPE_CHECKING:
    from eie.compress.format.file import save
    from eie.sim.chain import load
    from eie.sim.simulate import simulate

__all__ = ["ArchConfig", "CompressedLayer", "EieError", "Result", "load", "save", "simulate", "sized_for"]

# Handed out on first use, so that `import eie` stays light.
_LAZY = {
    "simulate": "eie.sim.simulate",
    "save": "eie.compress.format.file",
    "load": "eie.sim.chain",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'eie' has no attribute {name!r}")
