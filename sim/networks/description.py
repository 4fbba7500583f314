"""Networks out of files: a graph (.onnx), or a description (.toml) that names graph, weights and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eie.errors import ModelError
from eie.files import read_toml
from eie.sim.networks.bundle import read_bundle
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import StepGraph
from eie.sim.workloads.inputs import Given, read_given
from eie.sim.workloads.sound import Sound

_EXAMPLE = 'graph = "network.onnx"'


@dataclass(frozen=True, eq=False)
class Description:
    """A graph, the file of its compressed weights if there is one, and the sound that it takes if it takes any."""

    graph: StepGraph
    weights: Path | None = None
    sound: Sound | None = None

    def given(self, path: Path, frames: slice | None = None, index: int | None = None) -> Given:
        """The inputs in a file (`eie.sim.workloads.inputs.read_given`)."""
        return read_given(path, self.graph.inputs, self.sound, self.graph.place, frames, index)


def read_description(path: Path) -> Description:
    """The description in a .toml file, or of an .onnx file alone, or of a .eie file with its graph.

    Raises
    ------
    ModelError : a file that cannot be read, a key that there is not, or a graph that cannot run.
    """
    if path.suffix.lower() == ".onnx":
        return Description(read_graph(path))
    if path.suffix.lower() == ".eie":
        return Description(read_bundle(path), path)
    given = read_toml(path, ModelError)
    _check_keys(given, ("graph", "weights", "sound"), str(path))
    for key in ("graph", "weights"):
        if key in given and not isinstance(given[key], str):
            raise ModelError(f"{path}: {key} must be the name of a file, not {given[key]!r}")
    if "graph" not in given:
        raise ModelError(f"{path}: a description needs a graph, such as {_EXAMPLE}")
    file = path.parent / given["graph"]
    if file.suffix.lower() != ".onnx":
        raise ModelError(f"{path}: graph must be an .onnx file, not {given['graph']!r}")
    weights = path.parent / given["weights"] if "weights" in given else None
    sound = _sound(given["sound"], path) if "sound" in given else None
    graph = read_graph(file)
    if sound is not None:
        _check_sound(graph, sound, path)
    return Description(graph, weights, sound)


def _check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ModelError(f"{where}: there is no key {key!r}: use {', '.join(known)}")


def _sound(given: Any, path: Path) -> Sound:
    names = [field.name for field in fields(Sound)]
    if not isinstance(given, dict):
        raise ModelError(f"{path}: sound must be a table with {', '.join(names)}")
    _check_keys(given, names, f"{path}: sound")
    for name in names:
        if name != "floor" and name not in given:
            raise ModelError(f"{path}: sound: {name} is missing")
    try:
        return Sound(**given)
    except ModelError as error:
        raise ModelError(f"{path}: sound: {error}") from None


def _check_sound(graph: StepGraph, sound: Sound, path: Path) -> None:
    """One input of [1, frames, frequencies]."""
    port = graph.inputs[0]
    shape = port.shape or ()
    if len(graph.inputs) != 1 or len(shape) != 3 or shape[2] not in (None, sound.frequencies):
        inputs = ", ".join(map(str, graph.inputs))
        raise ModelError(
            f"{path}: sound gives frames [1, any, {sound.frequencies}] (fft / 2 + 1 frequencies), "
            f"but the graph takes {inputs}"
        )
