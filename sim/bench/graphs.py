"""Graphs as contenders: the compressed one on the engine cpu, and onnxruntime on the file that it is from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eie.compress.quantize import Widths
from eie.errors import ModelError
from eie.sim.bench.contenders import EXACT, FLOAT, INT8, Array, Contender, quantized, session
from eie.sim.networks.description import read_description
from eie.sim.networks.run import with_weights


@dataclass(frozen=True, eq=False)
class GraphInput:
    """What goes in, and how many frames, images or inputs that is."""

    x: Array
    count: int


def _answer(ready: Any, name: str, x: Array) -> Array:
    return np.asarray(ready.run(None, {name: x})[0])


def graph_contenders(
    file: Path, weights: Path | None, input_file: Path
) -> tuple[GraphInput, Callable[[int], list[Contender]]]:
    """The input in a file, and who runs it with a number of threads.

    Raises
    ------
    EieError : files that cannot be read or do not fit. ModelError : a graph with several inputs.
    """
    description = read_description(file)
    given = description.given(input_file)
    network, _ = with_weights(description, weights, given, Widths())
    if len(given.inputs) != 1:
        raise ModelError(f"{file}: eie bench runs graphs with one input, not {len(given.inputs)}")
    ((name, value),) = given.inputs.items()
    x = np.asarray(value, np.float32)
    place = description.graph.place
    small = quantized(place)

    def ours(x: Array) -> Array:
        return network.run({name: x}, engine="cpu").outputs

    def make(threads: int) -> list[Contender]:
        sessions = {FLOAT: session(place, threads), INT8: session(small, threads)}
        others = [Contender(key, partial(_answer, ready, name)) for key, ready in sessions.items()]
        return [Contender(EXACT, ours), *others]

    return GraphInput(x, given.count), make
