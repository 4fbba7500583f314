"""What `eie` hands out beside `load`, `save` and the types: compress, simulate, lockstep, sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.compress.float_layers import Model, check_finite
from eie.compress.format import file
from eie.compress.low_rank import low_rank
from eie.compress.matrix import plain
from eie.compress.pipeline import Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.readers.arrays import FileArray
from eie.compress.readers.files import read_model
from eie.compress.readers.named import Choice, from_arrays
from eie.config import ArchConfig
from eie.errors import ConfigError, LayerError, ModelError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result
from eie.sim.chain import Chain, single_vectors
from eie.sim.networks.network import Inputs, Network, NetworkRun
from eie.sim.simulate import simulate as simulate_layer
from eie.sim.sweep.grid import expand, read
from eie.sim.sweep.run import rows_of, run
from eie.sim.sweep.store import IN_MEMORY, Store
from eie.sim.sweep.table import SweepTable
from eie.sim.sweep.workers import workers as group_of
from eie.sim.workloads.inputs import in_fixed_point

if TYPE_CHECKING:
    from eie.sim.cosim.lockstep import LockstepReport


def compress(
    model: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    density: float | Sequence[float] = (),
    threshold: float | Sequence[float] = (),
    weight_bits: int | None = 4,
    rank: float | Mapping[str, float] | None = None,
    energy: float | Mapping[str, float] | None = None,
    calibration: npt.ArrayLike | None = None,
    acc_bits: int = 16,
    key: str = "",
    transpose: Sequence[str] = (),
) -> Chain:
    """Compress a trained network in one shot: prune, share weights, choose fixed-point scales.

    Parameters
    ----------
    model : a file (.safetensors, .npz, .onnx, .pt, ...), a PyTorch module, or a dictionary of arrays [outputs, inputs]
        by name, as `state_dict()` gives it.
    out : also write the network to this `.eie` file.
    density : share of the weights to keep, 0 to 1: one number for all layers, or one for each.
    threshold : instead of a density, keep the weights larger than this many standard deviations of their layer.
    weight_bits : bits of the index of a shared weight, 1 to 8; None takes the fewest that move the weights by at most
        5 %.
    rank : replace matrices by two of this rank, such as {"fc1": 32}: for all layers, or by glob pattern.
    energy : or by the least rank that keeps this share of a matrix's squared norm, where that makes it smaller; see
        `eie.compress.low_rank`.
    calibration : inputs of the first layer, real numbers [n, inputs], to choose the fixed-point scales from; random
        numbers from 0 to 1 if not given.
    acc_bits : bits of the accumulators that the scales must suit, 16 or 32.
    key, transpose : the dictionary of a file that holds the network, and the arrays that are [inputs, outputs]; see
        `eie compress --help`.

    Returns
    -------
    Chain : a network that runs, and a sequence of its `CompressedLayer`; `report` says what became of each layer.

    Raises
    ------
    ModelError : the model cannot be read, or the settings do not fit it.
    OutputError : `out` cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(1).normal(size=(8, 16))
    >>> net = compress({"fc1.weight": weights}, density=0.25)
    >>> net[0].name, net[0].shape, net[0].nnz
    ('fc1', (8, 16), 32)
    >>> net.run(np.ones((3, 16)) / 2).outputs.shape
    (3, 8)
    """
    read_in = _model(model, key, tuple(transpose))
    settings = Settings(
        _each(density, "density"), _each(threshold, "threshold"), weight_bits, Widths(acc_bits=acc_bits)
    )
    each = settings.for_each(len(read_in.layers))
    if rank is not None or energy is not None:
        read_in, places = low_rank(read_in, rank, energy)
        each = [each[place] for place in places]
    layers, report = compress_network(read_in.layers, each, calibration)
    if out is not None:
        file.save(out, layers)
    return Chain(layers, str(out) if out is not None else "network", report)


def _each(values: float | Sequence[float], what: str) -> tuple[float, ...]:
    several = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
    given: list[Any] = [*values] if several else [values]  # type: ignore[misc]
    if not all(isinstance(value, Real) for value in given):
        raise ModelError(f"{what} must be a number, or one for each layer, not {values!r}")
    return tuple(map(float, given))


def _model(model: Any, key: str, transpose: tuple[str, ...]) -> Model:
    """What `compress` takes, read."""
    if isinstance(model, str | os.PathLike):
        return read_model(model, key=key, transpose=transpose)
    if hasattr(model, "state_dict"):
        model = model.state_dict()
    if not isinstance(model, Mapping):
        raise ModelError(
            f"a model is a file, a PyTorch module, or a dictionary of arrays, not {type(model).__name__}"
        )
    arrays = {}
    for name, value in model.items():
        found = plain(value, str(name))
        arrays[str(name)] = FileArray(str(found.dtype), found.shape, lambda found=found: found)  # type: ignore[misc]
    read_in = from_arrays(arrays, Choice(key, transpose))
    if not read_in.layers:
        raise ModelError(f"no layer to compress, only {', '.join(map(str, read_in.unused)) or 'no arrays'}")
    return read_in


@overload
def simulate(
    layer: CompressedLayer,
    x: npt.ArrayLike,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    balance: bool | None = None,
    waveform: Path | None = None,
) -> Result: ...
@overload
def simulate(
    layer: Network,
    x: Inputs,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    balance: bool | None = None,
) -> NetworkRun: ...
def simulate(
    layer: CompressedLayer | Network,
    x: Any,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    balance: bool | None = None,
    waveform: Path | None = None,
) -> Result | NetworkRun:
    """Run a layer on one input vector, or a network on inputs, on any engine.

    Parameters
    ----------
    layer : the layer, or the network, to run; a network runs as by its method `run`.
    x : for a layer [cols]: real numbers, which are quantised with the layer's `x_frac`, or integers, which are fixed
        point already. For a network [batch, inputs] or [inputs].
    cfg : the machine (default: `ArchConfig()`; for a network, with memories as large as its layers need).
    engine : "golden" (cycle-accurate Python), "fast" (the same figures by the timing law, compiled), "icarus" or
        "verilator" (the RTL), "reference" (arithmetic only, independent of all others).
    balance : place the rows so that the PEs have equal work (docs/balance.md); outputs stay in their order. None: where
        a PE takes several entries a cycle, as of preset eie2.
    waveform : for a layer: the file to write the waveform of the run to, VCD from golden, FST from the simulators.

    Returns
    -------
    Result : values, cycles and counters; for a network, a `NetworkRun`.

    Raises
    ------
    CapacityError, LayerError, ConfigError : something does not fit the machine.
    SimulatorMissing, SimulationError, MismatchError : the RTL does not run, or is wrong.

    Examples
    --------
    >>> layer = CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30], relu=False)
    >>> result = simulate(layer, [1, 3], ArchConfig(n_pe=2))
    >>> result.y.tolist(), result.cycles
    ([30, -20], 9)
    """
    if isinstance(layer, Network):
        if waveform is not None:
            raise ConfigError("a waveform shows one layer: use eie.simulate(net[0], x, waveform=...)")
        return layer.run(x, cfg, engine, balance=balance)
    if not isinstance(layer, CompressedLayer):
        raise LayerError(f"give a CompressedLayer or a network, not {type(layer).__name__}")
    activations = _activations(layer, x, cfg)
    return simulate_layer(layer, activations, cfg, engine, balance=balance, waveform=waveform)


def _activations(layer: CompressedLayer, x: npt.ArrayLike, cfg: ArchConfig | None) -> Any:
    """Real numbers quantised; anything else as it is, for the checks that every input passes."""
    try:
        given = np.asarray(x)
    except ValueError:
        return x
    if given.dtype.kind != "f":
        return x
    check_finite(given, f"input of layer {layer.name!r}")
    return layer.quantize(given, (cfg or ArchConfig()).act_bits)


def lockstep(
    layer: CompressedLayer | Chain,
    x: npt.ArrayLike,
    cfg: ArchConfig | None = None,
    simulator: str = "icarus",
    *,
    waveform: Path | None = None,
) -> LockstepReport:
    """Step the golden model and the RTL together, and compare every register and hand-shake in every cycle.

    Parameters
    ----------
    layer : a layer, or a chain of layers, each of which takes what the one before it gives.
    x : one input, [inputs]: real numbers, or integers in fixed point.
    cfg : the machine (default: 4 PEs with memories as large as the layers need).
    simulator : "icarus" or "verilator".
    waveform : the file to write the waveform of the RTL's whole run to (FST).

    Returns
    -------
    LockstepReport : `mismatches` is 0 if both agree; `divergence` says where they first differ.

    Raises
    ------
    CapacityError, LayerError : something does not fit the machine.
    SimulatorMissing, SimulationError : the RTL does not run.

    Examples
    --------
    >>> layer = CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
    >>> report = lockstep(layer, [1, 3], ArchConfig(n_pe=1))  # doctest: +SKIP
    >>> report.mismatches, report.results[0].y.tolist()  # doctest: +SKIP
    (0, [30, 0])
    """
    layers = (
        [layer] if isinstance(layer, CompressedLayer) else list(layer) if isinstance(layer, Sequence) else []
    )
    if not layers or not all(isinstance(one, CompressedLayer) for one in layers):
        raise LayerError(f"give a CompressedLayer or a chain of layers, not {layer!r}")
    cfg = cfg or sized_for(ArchConfig(n_pe=4, weight_bits=max(one.weight_bits for one in layers)), *layers)
    fixed, _ = in_fixed_point(np.atleast_2d(np.asarray(x)), layers[0], cfg.act_bits)
    if len(fixed) != 1:
        raise LayerError(f"lockstep takes one input, not {len(fixed)}")
    vectors: list[IntArray] = single_vectors(layers, fixed[0], cfg.acc_bits)
    jobs = [Job.create(one, vector, cfg) for one, vector in zip(layers, vectors, strict=True)]
    from eie.sim.cosim.lockstep import lockstep_by_layer  # numba, for the cycles that it will take

    report = lockstep_by_layer(jobs, simulator, waveform=waveform)
    # A run that diverged has fewer results.
    pairs = zip(jobs, report.results, strict=False)
    results = [replace(result, y_frac=job.layer.y_frac) for job, result in pairs]
    return replace(report, results=results)


def sweep(
    grid: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    **keys: Any,
) -> SweepTable:
    """Run layers over configurations: every combination of the values of the keys that you give.

    Parameters
    ----------
    grid : a dictionary of keys, a list of such dictionaries, or a .toml file (docs/sweeps.md lists the keys).
    store : a .sqlite file that keeps every finished point; the same call goes on from there.
    workers : how many processes to use. A script that asks for several must start behind
        `if __name__ == "__main__":`, as multiprocessing demands.
    scheduler : the address of a Dask cluster to use instead, such as "tcp://10.0.0.1:8786".
    **keys : the keys of one grid by name, instead of `grid`: a value or a list of values each.

    Returns
    -------
    SweepTable : a sequence of rows, a dictionary for each point, with the methods `to_frame`, `plot` and `pareto`.

    Raises
    ------
    ConfigError : an unknown key, or a value out of range.
    EieError : a file cannot be read or written.

    Examples
    --------
    >>> table = sweep(rows=32, cols=64, density=0.2, n_pe=[1, 4])
    >>> [(row["n_pe"], row["status"]) for row in table]
    [(1, 'ok'), (4, 'ok')]
    >>> table[0]["cycles"] > table[1]["cycles"]
    True
    """
    if (grid is None) == (not keys):
        raise ConfigError("give a grid, or its keys by name: eie.sweep(rows=512, cols=512, n_pe=[1, 2, 4])")
    if isinstance(grid, str | os.PathLike):
        points = read(Path(grid)).points
    else:
        several = [keys] if grid is None else [grid] if isinstance(grid, Mapping) else grid
        if not isinstance(several, Sequence) or not all(isinstance(one, Mapping) for one in several):
            raise ConfigError(f"a grid is a dictionary, a list of them or a .toml file, not {grid!r}")
        given = [{name: _listed(value) for name, value in one.items()} for one in several]
        points = expand(given, "eie.sweep").points
    with Store(IN_MEMORY if store is None else Path(store)) as held:
        run(points, held, group_of(scheduler, workers))
        return SweepTable(rows_of(points, held))


def _listed(value: Any) -> Any:
    """A range, a tuple or an array as the list that a grid takes."""
    if isinstance(value, str | list):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, Sequence | range) else value
