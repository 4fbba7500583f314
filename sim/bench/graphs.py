"""Graphs as contenders: the compressed one on the engine cpu, and onnxruntime on the file that it is from.

Of a `.eie` file with its graph, onnxruntime runs the graph with the compressed weights in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eie.compress.quantize import Widths
from eie.compress.readers.onnx_run import array_of, value_of
from eie.sim.bench.contenders import EXACT, FLOAT, INT8, Array, Contender, quantized, session
from eie.sim.networks.bundle import whole_model
from eie.sim.networks.description import read_description
from eie.sim.networks.run import GraphNetwork, with_weights


def graph_contenders(
    file: Path, weights: Path | None, input_file: Path
) -> tuple[int, Callable[[int], list[Contender]]]:
    """How many frames, images or inputs a file holds, and who runs them with a number of threads.

    A contender takes no notice of its argument: a graph may have several inputs, of any type.

    Raises
    ------
    EieError : files that cannot be read or do not fit.
    """
    description = read_description(file)
    given = description.given(input_file)
    network, _ = with_weights(description, weights, given, Widths())
    ports = {port.name: port for port in description.graph.inputs}
    inputs = {name: ports[name].checked(np.asarray(value), str(file)) for name, value in given.inputs.items()}
    values = {name: value_of(array, ports[name].kind) for name, array in inputs.items()}
    bundle = file.suffix.lower() == ".eie"
    model = whole_model(file) if bundle else description.graph.place
    small = quantized(onnx.load_model_from_string(model) if bundle else model)

    def make(threads: int) -> list[Contender]:
        sessions = {FLOAT: session(model, threads), INT8: session(small, threads)}
        others = [Contender(key, partial(_answer, ready, values)) for key, ready in sessions.items()]
        return [Contender(EXACT, partial(_ours, network, inputs, threads)), *others]

    return given.count, make


def _ours(network: GraphNetwork, inputs: Mapping[str, Array], threads: int, _: Array) -> Array:
    return network.run(inputs, engine="cpu", threads=threads).outputs


def _answer(ready: Any, values: Mapping[str, Any], _: Array) -> Array:
    return np.asarray(array_of(ready.run_with_ort_values(None, values)[0]))
