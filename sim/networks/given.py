"""Files as what a network takes: arrays, pictures, sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from eie.compress.network import FloatArray, array_text, check_finite
from eie.compress.readers.files import is_real, read_arrays, real_inputs
from eie.errors import ConfigError, ModelError
from eie.sim.networks.description import Description
from eie.sim.networks.graph import Port
from eie.sim.networks.pictures import PICTURES, read_picture
from eie.sim.networks.sound import Spectra
from eie.sim.networks.steps import Array

ARRAYS = (".npy", ".npz")
SOUND = ".wav"


@dataclass(frozen=True, eq=False)
class Given:
    """Inputs of a network, by name. count, unit : how many of what they are. spectra : of the frames, if sound."""

    inputs: Mapping[str, FloatArray]
    count: int
    unit: str
    spectra: Spectra | None = None


def read_given(path: Path, description: Description, frames: slice | None, index: int | None) -> Given:
    """The inputs in a file, by its ending; only these frames of a sound, only item `index` of an array.

    Raises
    ------
    ModelError : a file that cannot be read or is not what the network takes.
    ConfigError : frames of what is no sound, or that there are not; an index likewise.
    """
    ports, kind = description.network.inputs, path.suffix.lower()
    if frames is not None and kind != SOUND:
        raise ConfigError(f"--frames chooses frames of a sound ({SOUND}): {path} is none")
    if index is not None and kind not in ARRAYS:
        raise ConfigError(f"--index chooses from an array ({', '.join(ARRAYS)}): {path} is none")
    if kind == SOUND:
        return _sound(path, description, frames)
    if kind in PICTURES:
        return _picture(path, ports)
    if kind in ARRAYS:
        return _arrays(path, ports, index)
    raise ModelError(f"{path}: an input must end in {', '.join((*ARRAYS, *PICTURES, SOUND))}")


def _sound(path: Path, description: Description, frames: slice | None) -> Given:
    sound = description.sound
    if sound is None:
        raise ModelError(
            f"{path}: {description.network.place} does not say which sound it takes: run a description (.toml) with "
            "its graph and a table [sound], see docs/networks.md"
        )
    spectra = sound.spectra(sound.read(path))
    if frames is not None:
        if not frames.start < frames.stop <= len(spectra):
            raise ConfigError(
                f"{path} has the frames 0:{len(spectra)}: there is no {frames.start}:{frames.stop}"
            )
        spectra = spectra[frames]
    port = description.network.inputs[0]
    return Given({port.name: sound.features(spectra)[None]}, len(spectra), "frame", spectra)


# ---- pictures ----------------------------------------------------------------------------------------------


def _picture(path: Path, ports: Sequence[Port]) -> Given:
    port = ports[0]
    shape = port.shape
    takes = len(ports) == 1 and len(shape) >= 2 and shape[0] in (None, 1)
    if takes and len(shape) == 4 and shape[1] in (1, 3):
        height, width = shape[2:]
        if height is None or width is None:
            raise ModelError(
                f"{path}: input {port} leaves the size of pictures open: give an array ({ARRAYS[0]})"
            )
        pixels = read_picture(path, shape[1] or 1, (height, width), height * width)
    elif takes and len(shape) == 2 and shape[1] is not None:
        pixels = read_picture(path, 1, None, shape[1]).reshape(-1)
    else:
        raise ModelError(f"{path}: the network takes no picture, but {', '.join(map(str, ports))}")
    return Given({port.name: real_inputs(pixels[None])}, 1, "image")


# ---- arrays ------------------------------------------------------------------------------------------------


def _fit(array: Array, port: Port) -> Array | None:
    """The array as the port takes it: as it is, with a batch of 1 in front, or with its items' shape restored."""
    if port.takes(array.shape):
        return array
    if port.takes((1, *array.shape)):
        return array[None]
    rest = port.shape[1:]
    if array.ndim == 2 and len(rest) > 1 and None not in rest and prod(map(int, rest)) == array.shape[1]:  # type: ignore[arg-type]
        shaped = array.reshape(len(array), *map(int, rest))  # type: ignore[arg-type]
        return shaped if port.takes(shaped.shape) else None
    # Images without their channel.
    if len(rest) == 3 and rest[0] == 1 and port.takes((len(array), 1, *array.shape[1:])):
        return array[:, None]
    return None


def _arrays(path: Path, ports: Sequence[Port], index: int | None) -> Given:
    arrays = read_arrays(path)
    numbers = {name: array for name, array in arrays.items() if array.dtype.kind in "iuf" and array.size}
    chosen: dict[str, Array] = {}
    for port in ports:
        # Of several inputs each has its array by name; a single one takes the first that fits.
        candidates = (
            numbers.values() if len(ports) == 1 else [numbers[port.name]] if port.name in numbers else []
        )
        for array in candidates:
            picked = array if index is None else _pick(path, array, index)
            fitted = _fit(picked, port)
            if fitted is not None:
                chosen[port.name] = fitted
                break
        else:
            content = ", ".join(array_text(name, array) for name, array in arrays.items())
            raise ModelError(f"{path}: no array for input {port}, only {content or 'nothing'}")
    inputs = {}
    for name, array in chosen.items():
        if not is_real(array):
            raise ModelError(
                f"{path}: input {name} must be real numbers, or uint8 pixels (0..255 becomes 0..1), not {array.dtype}"
            )
        inputs[name] = real_inputs(array)
        check_finite(inputs[name], str(path))
    return Given(inputs, len(inputs[ports[0].name]), "item")


def _pick(path: Path, array: Array, index: int) -> Array:
    if array.ndim < 2:
        return array
    if not 0 <= index < len(array):
        raise ConfigError(f"{path} holds {len(array)} inputs: there is no number {index}")
    return array[index : index + 1]
