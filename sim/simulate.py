"""`simulate`: one layer on one input vector, on whichever engine; the same `Result` from each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result

ENGINES = ("reference", "golden", "fast", "icarus", "verilator")


def simulate(
    layer: CompressedLayer,
    x: npt.ArrayLike,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    waveform: Path | None = None,
) -> Result:
    """Run `layer` on the input vector `x` (integers, [cols]) on the accelerator `cfg` (default: `ArchConfig()`).

    Parameters
    ----------
    engine : "reference" (arithmetic only, independent of all others), "golden" (cycle-accurate Python), "fast"
        (the same figures by the timing law, compiled), "icarus" or "verilator" (the RTL; from its ports).
    waveform : write the run's waveform there: VCD from golden, FST from the simulators.

    Raises
    ------
    CapacityError, LayerError, ConfigError, SimulatorMissing, SimulationError
    """
    if not isinstance(cfg, ArchConfig | None):
        raise ConfigError(f"cfg must be an ArchConfig, not {cfg!r}")
    return simulate_many([Job.create(layer, x, cfg or ArchConfig())], engine, waveform=waveform)[0]


def simulate_many(jobs: Sequence[Job], engine: str, *, waveform: Path | None = None) -> list[Result]:
    """Run several jobs of one configuration; on the RTL one after the other in one simulator process.

    The engines fast, icarus and verilator take several jobs of one layer in less time than one by one.
    """
    if waveform is not None and engine in ("reference", "fast"):
        raise ConfigError(f"engine {engine} writes no waveform: use golden, icarus or verilator")
    if engine == "reference":
        from eie.sim.engines.reference import run as run_reference

        return [run_reference(job) for job in jobs]
    if engine == "golden":
        from eie.golden.run import run as run_golden

        return [run_golden(job, waveform=waveform) for job in jobs]
    if engine == "fast":
        from eie.sim.engines.fast import run as run_fast

        return run_fast(jobs)
    if engine in ("icarus", "verilator"):
        from eie.sim.cosim.launch import run_rtl

        return run_rtl(jobs, engine, waveform=waveform)
    raise ConfigError(f"no engine named {engine!r}: use one of {', '.join(ENGINES)}")
