"""From a trained network to a compressed one: pruning, weight sharing, fixed point, coding, files.

`eie.compress` is this package, and a function as well: `eie.compress(model, ...)` is `eie.sim.api.compress`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Function(ModuleType):
    """A module that can be called. The name is the package's already when its first module is imported."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        # By name, as `eie` itself hands it out: the compressor does not import what runs networks.
        return importlib.import_module("eie.sim.api").compress(*args, **options)


sys.modules[__name__].__class__ = _Function
