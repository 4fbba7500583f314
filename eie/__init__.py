"""EIE: a cycle-accurate simulator of the Efficient Inference Engine, co-verified with its RTL.

import eie
layer = eie.CompressedLayer.from_codes(codes, codebook)
result = eie.simulate(layer, x, eie.ArchConfig(n_pe=64), engine="golden")
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eie.capacity import sized_for
    from eie.compress.format.file import save
    from eie.config import ArchConfig
    from eie.errors import EieError
    from eie.layer import CompressedLayer
    from eie.result import Result
    from eie.sim.chain import load
    from eie.sim.simulate import simulate

    __version__: str

__all__ = [
    "ArchConfig",
    "CompressedLayer",
    "EieError",
    "Result",
    "__version__",
    "load",
    "save",
    "simulate",
    "sized_for",
]

# Handed out on first use, so that `import eie` and `eie --help` load nothing, not even numpy.
_PLACES = {
    "ArchConfig": "eie.config",
    "CompressedLayer": "eie.layer",
    "EieError": "eie.errors",
    "Result": "eie.result",
    "load": "eie.sim.chain",
    "save": "eie.compress.format.file",
    "simulate": "eie.sim.simulate",
    "sized_for": "eie.capacity",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found: Any = importlib.metadata.version("eie-sim")
    elif name in _PLACES:
        found = getattr(importlib.import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module 'eie' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
