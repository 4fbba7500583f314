"""`simulate`: one layer on one input vector, on whichever engine; the same `Result` from each."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from eie.balance import place
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result

# The one place that loads by name: an engine is loaded when it is asked for, so that none needs what another is made of
# (numba, simulators, golden). See docs/decisions.md, "Engines are loaded by name".
_MODULES = {
    "reference": "eie.sim.engines.reference",
    "golden": "eie.golden.run",
    "fast": "eie.sim.engines.fast",
    "icarus": "eie.sim.cosim.launch",
    "verilator": "eie.sim.cosim.launch",
    "cpu": "eie.sim.engines.cpu",
}
ENGINES = tuple(_MODULES)
# They have no clock: values alone.
TIMELESS = ("reference", "cpu")
# They step through cycles, and run what a `Program` says.
STEPPING = ("golden", "icarus", "verilator")


def engine_module(engine: str, among: Sequence[str] = ENGINES) -> Any:
    """The module of an engine.

    Raises
    ------
    ConfigError : no such engine.
    """
    if engine not in among:
        raise ConfigError(f"no engine named {engine!r}: use one of {', '.join(among)}")
    return importlib.import_module(_MODULES[engine])


def simulate(
    layer: CompressedLayer,
    x: npt.ArrayLike,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    balance: bool | None = None,
    waveform: Path | None = None,
) -> Result:
    """Run `layer` on the input vector `x` (integers, [cols]) on the accelerator `cfg` (default: `ArchConfig()`).

    Parameters
    ----------
    engine : "reference" (arithmetic only, independent of all others), "golden" (cycle-accurate Python), "fast"
        (the same figures by the timing law, compiled), "icarus" or "verilator" (the RTL; from its ports), "cpu" (the
        values alone, as fast as this processor can; of `cfg` only the widths of accumulators and activations count).
    balance : place the rows so that the PEs have equal work (`eie.balance`); y stays in the layer's order. None: where
        a PE takes several entries a cycle, as of preset eie2.
    waveform : write the run's waveform there: VCD from golden, FST from the simulators.

    Raises
    ------
    CapacityError, LayerError, ConfigError, SimulatorMissing, SimulationError, MismatchError
    """
    if not isinstance(cfg, ArchConfig | None):
        raise ConfigError(f"cfg must be an ArchConfig, not {cfg!r}")
    cfg = cfg or ArchConfig()
    if engine == "cpu" and waveform is None:
        alone: Result = engine_module(engine).simulate(layer, x, cfg)
        return alone
    (placed,) = place([layer], cfg, balance=balance)
    (result,) = simulate_many([Job.create(placed.layer, x, cfg)], engine, waveform=waveform)
    return replace(result, y=placed.restored(result.y))


def simulate_many(jobs: Sequence[Job], engine: str, *, waveform: Path | None = None) -> list[Result]:
    """Run several jobs of one configuration; on the RTL one after the other in one simulator process.

    The engines fast, cpu, icarus and verilator take several jobs of one layer in less time than one by one.
    """
    module = engine_module(engine)
    if waveform is not None and engine not in STEPPING:
        raise ConfigError(
            f"engine {engine} writes no waveform: use {', '.join(STEPPING[:-1])} or {STEPPING[-1]}"
        )
    results: list[Result]
    if engine in ("fast", "cpu"):
        results = module.run(jobs)
    elif engine == "reference":
        results = [module.run(job) for job in jobs]
    elif engine == "golden":
        results = [module.run(job, waveform=waveform) for job in jobs]
    else:
        results = module.run_rtl(jobs, engine, waveform=waveform)
    return [
        result
        if result.y_frac is not None
        else replace(result, y_frac=job.layer.y_frac, minima=job.layer.adder)
        for job, result in zip(jobs, results, strict=True)
    ]
