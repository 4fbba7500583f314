"""Programs of many passes on golden and on the RTL, alone or in lockstep: loaded once, then fed with inputs."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from eie.errors import ConfigError, MismatchError
from eie.program import Program
from eie.result import ProgramResult
from eie.sim.cosim.free import free_program
from eie.sim.cosim.images import ARRAY_PORTS, write_pe_images
from eie.sim.cosim.lockstep import LockstepReport, probed_signals

# They step through the cycles of a program; `eie.sim.plans` has the others.
ENGINES = ("golden", "icarus", "verilator")

Transform = Callable[[Mapping[str, str]], Mapping[str, str]]


def run_program(
    program: Program,
    inputs: Sequence[npt.ArrayLike],
    engine: str,
    *,
    port: bool = False,
    waveform: Path | None = None,
    transform: Transform | None = None,
) -> list[ProgramResult]:
    """Run a program on input vectors (integers, [inputs]), on the RTL in one simulator process.

    Parameters
    ----------
    port : load the SRAMs through the I/O port as well, instead of from images.
    waveform : write the run's waveform there: VCD from golden, FST from the simulators.
    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    LayerError : an input that does not fit. ConfigError : another engine.
    MismatchError : the RTL did not end a run in time. SimulatorMissing, SimulationError, OutputError
    """
    if engine not in ENGINES:
        raise ConfigError(f"no engine named {engine!r} for programs: use one of {', '.join(ENGINES)}")
    vectors = [program.host_vectors(x)[0] for x in inputs]
    if engine == "golden":
        from eie.golden.run import run_program as run_golden

        return run_golden(program, vectors, port=port, waveform=waveform)
    if waveform is None and free_program.can_run(program):
        return free_program.run_program(program, vectors, engine, port=port, transform=transform)
    results = _in_simulator(
        "program_free", program, vectors, engine, port=port, waveform=waveform, transform=transform
    )
    if isinstance(results, str):
        raise MismatchError(f"{engine}: {results}")
    return [replace(result, engine=engine) for result in results]


def lockstep_program(
    program: Program,
    inputs: Sequence[npt.ArrayLike],
    simulator: str,
    *,
    port: bool = False,
    seed: int = 0,
    replay: str = "",
    transform: Transform | None = None,
) -> LockstepReport:
    """Run a program on golden and on the RTL in lockstep: loading, every pass, reading; every probed signal compared.

    The report has the results of the inputs that ended in `programs`; `divergence.job` is the number of an input.
    port, transform : as for `run_program`. replay : the command that repeats this run, shown with a divergence.
    """
    began = time.perf_counter()
    vectors = [program.host_vectors(x)[0] for x in inputs]
    results, cycles, divergence = _in_simulator(
        "program_lockstep", program, vectors, simulator, port=port, seed=seed, transform=transform
    )
    return LockstepReport(
        simulator=simulator,
        cycles=cycles,
        signals=probed_signals(program.cfg),
        divergence=divergence,
        results=[],
        programs=[replace(result, engine=simulator) for result in results],
        seconds=time.perf_counter() - began,
        replay=replay,
    )


def _in_simulator(
    test: str,
    program: Program,
    vectors: Sequence[npt.NDArray[Any]],
    simulator: str,
    *,
    port: bool,
    seed: int = 0,
    waveform: Path | None = None,
    transform: Transform | None = None,
) -> Any:
    from eie.rtl.verilog import array_verilog
    from eie.sim.cosim.build import build, run_test
    from eie.sim.cosim.host import OUTCOME, REQUEST
    from eie.sim.cosim.program_host import ProgramRequest

    sources: Mapping[str, str] = array_verilog(program.cfg, probe=test == "program_lockstep")
    if transform is not None:
        sources = transform(sources)
    built = build(simulator, sources, "eie_array", public=ARRAY_PORTS, waves=waveform is not None)
    images = program.has_images and not port
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if images:
            write_pe_images(program.images, program.cfg, folder)
        (folder / REQUEST).write_bytes(pickle.dumps(ProgramRequest(program, vectors, images)))
        run_test(
            built,
            "eie.sim.cosim.program_host",
            test,
            folder,
            plusargs=[] if images else ["+eie_no_images"],
            seed=seed,
            waves=waveform and waveform.absolute(),
        )
        return pickle.loads((folder / OUTCOME).read_bytes())
