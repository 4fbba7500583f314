"""Layers chained on one machine: the activations that one layer writes back are the next one's input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from eie.balance import Placed, place
from eie.capacity import check_fits
from eie.compress.float_layers import FloatArray, FloatLayer, float_forward
from eie.compress.format import file
from eie.compress.forward import check_network, fixed_layer
from eie.compress.pipeline import CompressionReport
from eie.config import ArchConfig
from eie.conv import from_vectors, to_vectors
from eie.errors import ConfigError, LayerError
from eie.files import file_name
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations
from eie.program import Job
from eie.result import Result, summed
from eie.sim.networks.network import PART, Inputs, Network, NetworkRun
from eie.sim.simulate import simulate_many
from eie.sim.widths import at_width, run_width
from eie.sim.workloads.inputs import Array, Port, in_fixed_point, is_real, real_inputs
from eie.width_program import sized_for_widths

if TYPE_CHECKING:  # onnx takes long to import
    from eie.sim.networks.run import GraphNetwork

# The waveform format that each engine writes; reference and fast do not step through cycles, so they have none.
WAVE_SUFFIX = {"golden": ".vcd", "icarus": ".fst", "verilator": ".fst"}


# Layers that a chain names when it is shown.
_SHOWN = 6


class Chain(Network):
    """A network of compressed layers, one after the other; a sequence of these layers, too.

    Two chains are equal when their layers are (`CompressedLayer.equals`). A slice is a chain.

    Parameters
    ----------
    layers : any layers; that each takes the outputs of the one before it is checked when they run.
    place : the file, for messages.
    report : what became of each layer when it was compressed, where that is known.

    Examples
    --------
    >>> layer = CompressedLayer.from_dense([[0.5, 0], [0, -1]], relu=False, name="fc")
    >>> net = Chain([layer])
    >>> net, len(net), net[0] is layer
    (Chain(fc 2 x 2), 1, True)
    >>> net.run([1.0, 0.5]).outputs.tolist()
    [0.5, -0.5]
    """

    def __init__(
        self,
        layers: Iterable[CompressedLayer],
        place: str = "network",
        report: CompressionReport | None = None,
    ) -> None:
        self._layers = tuple(layers)
        self.place = place
        self.report = report

    @overload
    def __getitem__(self, place: int) -> CompressedLayer: ...
    @overload
    def __getitem__(self, place: slice) -> Chain: ...
    def __getitem__(self, place: int | slice) -> CompressedLayer | Chain:
        return Chain(self._layers[place], self.place) if isinstance(place, slice) else self._layers[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain):
            return NotImplemented
        return len(self) == len(other) and all(one.equals(two) for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # layers have none

    def __repr__(self) -> str:
        shown = [f"{layer.name} {layer.rows} x {layer.cols}" for layer in self._layers[:_SHOWN]]
        more = [f"... {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return f"Chain({', '.join([*shown, *more])})"

    @property
    def layers(self) -> tuple[CompressedLayer, ...]:
        """The layers."""
        return self._layers

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The first layer's."""
        return (Port("input", (None, self[0].inputs)),)

    def loaded(self, cfg: ArchConfig, *, balance: bool | None) -> list[Placed]:
        """The layers as they are loaded: with `balance` a layer's columns follow the rows of the one before it."""
        return place(self, cfg, balance=balance)

    def run(
        self,
        x: Inputs,
        cfg: ArchConfig | None = None,
        engine: str = "fast",
        *,
        balance: bool | None = None,
        width: float | None = None,
    ) -> NetworkRun:
        """Outputs, cycles and counters for inputs [batch, inputs] or [inputs] (images may keep their shape).

        Real numbers are quantised with the first layer's x_frac, uint8 are pixels / 255, other integers are fixed point
        already. Without `cfg` the machine is as large as the layers need (`machine`). balance : rows are placed so that
        the PEs have equal work (`eie.balance`). width : of a network with several widths run this one, such as 0.5,
        from the image of all (docs/learn.md), whose rows are not moved.

        Raises
        ------
        CapacityError, LayerError, ModelError, ConfigError : layers that `cfg` cannot run or that are no chain, inputs
            that do not fit, a width that the network does not have.
        """
        batch, alone = self._batch(x)
        if width is None:
            layers, cfg = self.layers, cfg or self.machine_for(engine, balance=balance)
        else:
            if balance:
                raise ConfigError("rows of the image of all widths are not moved: leave balance out")
            layers, cfg = tuple(at_width(self, width)), cfg or sized_for_widths(self._coded(), self)
        fixed, clipped = in_fixed_point(batch, self[0], cfg.act_bits)
        if width is None:
            results = run_network(self, fixed, cfg, engine, balance=balance)
        else:
            results = run_width(self, fixed, cfg, width, engine)
        y = results[-1].y
        real = np.ldexp(y.astype(np.float64), -self[-1].y_frac)
        named = {"output": real[0] if alone else real}
        return NetworkRun(named, layers, results, clipped, y[0] if alone else y)

    def _coded(self) -> ArchConfig:
        """The default machine with codes as wide as the layers'."""
        return ArchConfig(weight_bits=max(4, *(layer.weight_bits for layer in self)))

    def run_float(self, x: Inputs) -> Mapping[str, FloatArray]:
        """The outputs with the same weights in floating point, nothing rounded or clipped."""
        batch, alone = self._batch(x)
        real = real_inputs(batch) if is_real(batch) else np.ldexp(batch.astype(np.float64), -self[0].x_frac)
        y = float_forward(as_float(self), real)
        return {"output": y[0] if alone else y}

    def _batch(self, x: Inputs) -> tuple[Array, bool]:
        """Inputs as [batch, inputs], and whether it was one without a batch."""
        if not self._layers:
            raise LayerError("a network needs at least one layer")
        check_network(self)
        cols = self[0].inputs
        try:
            given = np.asarray(x["input"] if isinstance(x, Mapping) else x)
        except (ValueError, KeyError):  # rows of different lengths, another name
            given = np.zeros(0)
        if given.size and given.size == cols:
            return given.reshape(1, cols), given.ndim < 2 or len(given) != 1
        if given.ndim < 2 or not given.size or given.size != len(given) * cols:
            raise LayerError(
                f"{self.place} takes inputs [batch, {cols}] or [{cols}], not an array of shape {list(given.shape)}"
            )
        return given.reshape(-1, cols), False


def load(path: str | PathLike[str]) -> Chain | GraphNetwork:
    """Read the network of a `.eie` file: a sequence of layers that runs as a whole, with its graph if it has one.

    Parameters
    ----------
    path : the file.

    Raises
    ------
    FormatError : not a `.eie` file, of another version, or damaged; the message names the place.

    Examples
    --------
    >>> import tempfile
    >>> layer = CompressedLayer.from_dense([[0.5, 0], [0, -1]], name="fc")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file.save(f"{folder}/net.eie", [layer])
    ...     net = load(f"{folder}/net.eie")
    >>> net
    Chain(fc 2 x 2)
    """
    if file.has_graph(path):
        from eie.sim.networks.run import load_bundle  # onnx takes long to import

        return load_bundle(Path(path))
    return Chain(file.load(path), str(path))


def as_float(layers: Sequence[CompressedLayer]) -> list[FloatLayer]:
    """A compressed network's weights and biases as real numbers, for arithmetic without rounding."""
    return [
        FloatLayer(
            layer.name,
            np.ldexp(layer.decode().astype(np.float32), -layer.w_frac),
            np.ldexp(layer.bias.astype(np.float32), -layer.acc_frac),
            layer.relu,
            layer.conv,
            layer.adder,
            None if layer.scale is None else np.ldexp(layer.scale.astype(np.float64), -layer.scale_frac),
        )
        for layer in layers
    ]


def check_wave(waveform: Path | None, engine: str) -> None:
    """Raise `ConfigError` unless `engine` writes waveforms of the format that the suffix of `waveform` names."""
    if waveform is None:
        return
    suffix = WAVE_SUFFIX.get(engine)
    if suffix is None:
        raise ConfigError(
            f"{waveform}: engine {engine} does not step through cycles and writes no waveform: "
            f"use {', '.join(WAVE_SUFFIX)}"
        )
    if waveform.suffix != suffix:
        raise ConfigError(f"{waveform}: engine {engine} writes waveforms as {suffix}")


def run_network(
    layers: Sequence[CompressedLayer],
    x: npt.ArrayLike,
    cfg: ArchConfig,
    engine: str = "golden",
    *,
    balance: bool | None = None,
    waveform: Path | None = None,
) -> list[Result]:
    """Run layers one after the other on activations (integers, [inputs of the first] or a batch); a result for each.

    A convolution runs once for each position of its window; its result holds the pooled image, flattened, and the sums
    of cycles and counters. Of a batch, [batch, inputs], `y` is [batch, outputs], and the others are sums as well.
    Windows and pooling are the host's work. Every layer is checked against `cfg` before the first one runs. With
    several layers, each one's waveform is written beside `waveform`, with its number and name before the suffix; it
    shows the first input, of a convolution the position in the middle. With `balance` rows are placed so that the PEs
    have equal work, and a layer's columns follow the one before it; activations stay in the layers' order.

    Raises
    ------
    CapacityError, LayerError : a layer that does not fit, or does not take the outputs of the one before it.
    ConfigError : a waveform that the engine does not write (`check_wave`).
    """
    check_wave(waveform, engine)
    check_network(layers)
    if engine == "cpu":
        if balance:
            raise ConfigError("engine cpu has no PEs to balance: leave balance out, or use engine fast")
        return _run_on_cpu(layers, x, cfg)
    placed = place(layers, cfg, balance=balance)
    for one in placed:
        check_fits(cfg, one.layer)
    results: list[Result] = []
    for number, one in enumerate(placed):
        given = results[-1].y if results else x
        results.append(_run_layer(one, given, cfg, engine, wave_path(waveform, layers, number)))
    return results


def _run_on_cpu(layers: Sequence[CompressedLayer], x: npt.ArrayLike, cfg: ArchConfig) -> list[Result]:
    """`run_network` on the processor at hand, which needs no vector for each position of a window."""
    from eie.sim.engines import cpu  # numba

    batch = isinstance(x, np.ndarray) and x.ndim == 2
    rows = np.asarray(x) if batch else [x]
    first = [as_activations(one, layers[0], cfg.act_bits, layers[0].inputs) for one in rows]
    y = np.stack(first).astype(np.int16)
    results = []
    for layer in layers:
        y = cpu.prepared(layer, cpu.Arithmetic.of(cfg)).run(y)
        results.append(Result.uncounted(y if batch else y[0], "cpu", cfg))
    return results


def _run_layer(
    placed: Placed, x: npt.ArrayLike, cfg: ArchConfig, engine: str, waveform: Path | None
) -> Result:
    """One layer on one input or a batch, all vectors as one result."""
    layer = placed.layer
    batch = isinstance(x, np.ndarray) and x.ndim == 2
    rows = [
        as_activations(one, layer, cfg.act_bits, layer.inputs) for one in (np.asarray(x) if batch else [x])
    ]
    vectors = placed.inputs(to_vectors(layer.conv, np.stack(rows), layer.cols))
    if waveform is not None and len(vectors) > 1:
        simulate_many([Job.create(layer, vectors[middle(layer)], cfg)], engine, waveform=waveform)
        waveform = None
    done: list[Result] = []
    ys = []
    for start in range(0, len(vectors), PART):
        jobs = [Job.create(layer, vector, cfg) for vector in vectors[start : start + PART]]
        results = simulate_many(jobs, engine, waveform=waveform)
        ys += [result.y for result in results]
        done = [summed([*done, *results])]
    y = from_vectors(layer.conv, placed.restored(np.stack(ys)))
    return replace(done[0], y=y if batch else y[0])


def wave_path(waveform: Path | None, layers: Sequence[CompressedLayer], number: int) -> Path | None:
    """Where the waveform of layer `number` goes: net.vcd for a single layer, else net.1-fc2.vcd and the like."""
    if waveform is None or len(layers) == 1:
        return waveform
    return waveform.with_name(f"{waveform.stem}.{number}-{file_name(layers[number].name)}{waveform.suffix}")


def layer_inputs(layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int) -> list[IntArray]:
    """What each layer's matrix gets for the inputs `x`, int64[batch, inputs of the first]: int64[n, its cols] a layer.

    Of a convolution, those are the vectors of all positions, one input's after the other's.
    """
    check_network(layers)
    vectors = []
    for number, layer in enumerate(layers):
        vectors.append(to_vectors(layer.conv, x, layer.cols))
        if number + 1 < len(layers):
            x = fixed_layer(layer, x, acc_bits)[0]
    return vectors


def middle(layer: CompressedLayer) -> int:
    """Of one input's vectors, which stands for all: of a convolution, the position in the middle of the image."""
    return layer.conv.middle if layer.conv else 0


def single_vectors(layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int) -> list[IntArray]:
    """One vector for each layer's matrix, int64[its cols], for the input `x`, int64[inputs of the first] (`middle`)."""
    inputs = layer_inputs(layers, x[None], acc_bits)
    return [vectors[middle(layer)] for layer, vectors in zip(layers, inputs, strict=True)]


def choose(layers: Sequence[CompressedLayer], which: str | None) -> list[CompressedLayer]:
    """All layers, or the one with this name or number (from 0).

    Raises
    ------
    LayerError : there is none.
    """
    if which is None:
        return list(layers)
    for number, layer in enumerate(layers):
        if which in (layer.name, str(number)):
            return [layer]
    names = ", ".join(f"{number} ({layer.name})" for number, layer in enumerate(layers))
    raise LayerError(f"no layer {which!r}: the file has {names}")
