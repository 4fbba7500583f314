"""EIE: a cycle-accurate simulator of the Efficient Inference Engine, co-verified with its RTL.

net = eie.compress("model.safetensors", density=0.1)     # or eie.load("net.eie")
run = net.run(inputs, eie.ArchConfig(n_pe=64))           # real numbers in and out
run.outputs, run.cycles, run.utilization, run.energy_uj
eie.lockstep(net[0], x)                                  # golden model and RTL, every cycle
eie.sweep(file="net.eie", n_pe=[1, 4, 16, 64]).to_frame()
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eie.capacity import sized_for
    from eie.compress.format.file import save
    from eie.config import ArchConfig
    from eie.errors import EieError
    from eie.layer import CompressedLayer
    from eie.plan import Plan, make_plan
    from eie.result import Result
    from eie.sim.api import compress, lockstep, simulate, sweep
    from eie.sim.chain import Chain, load
    from eie.sim.networks.network import Network, NetworkRun
    from eie.sim.sweep.table import SweepTable

    __version__: str

if os.environ.get("EIE_GOLDEN", "python") != "python":
    # A simulator's process: golden is machine code there. See eie/compiled.py.
    from eie import compiled

    compiled.use(os.environ["EIE_GOLDEN"])

# Handed out on first use, so that `import eie` and `eie --help` load nothing, not even numpy.
_PLACES = {
    "ArchConfig": "eie.config",
    "Chain": "eie.sim.chain",
    "CompressedLayer": "eie.layer",
    "EieError": "eie.errors",
    "Network": "eie.sim.networks.network",
    "NetworkRun": "eie.sim.networks.network",
    "Plan": "eie.plan",
    "Result": "eie.result",
    "SweepTable": "eie.sim.sweep.table",
    "load": "eie.sim.chain",
    "lockstep": "eie.sim.api",
    "make_plan": "eie.plan",
    "save": "eie.compress.format.file",
    "simulate": "eie.sim.api",
    "sized_for": "eie.capacity",
    "sweep": "eie.sim.api",
}

__all__ = [
    "ArchConfig",
    "Chain",
    "CompressedLayer",
    "EieError",
    "Network",
    "NetworkRun",
    "Plan",
    "Result",
    "SweepTable",
    "__version__",
    "compress",
    "load",
    "lockstep",
    "make_plan",
    "save",
    "simulate",
    "sized_for",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found: Any = importlib.metadata.version("eie-sim")
    elif name == "compress":
        found = importlib.import_module("eie.compress")  # a package that can be called
    elif name in _PLACES:
        found = getattr(importlib.import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module 'eie' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
