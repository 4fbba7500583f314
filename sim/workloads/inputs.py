"""Files as what goes in: arrays (.npy, .npz), pictures and sound, for a layer, a chain of layers or a graph.

Of a layer these are activations in fixed point; of a graph, real numbers for each of its inputs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatArray, array_text, check_finite
from eie.compress.forward import check_network, clipped_inputs, quantize_inputs
from eie.compress.readers.files import UNREADABLE, reason_of
from eie.errors import ConfigError, LayerError, ModelError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations

if TYPE_CHECKING:  # it takes scipy's time to load
    from eie.sim.workloads.sound import Sound, Spectra

Array = npt.NDArray[Any]

ARRAYS = (".npy", ".npz")
PICTURES = (".png", ".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".tif", ".tiff", ".webp")
SOUND = ".wav"
# Of 8 bits a channel; others would have to be scaled, nobody knows how.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


# ---- numbers -----------------------------------------------------------------------------------------------


def is_real(vectors: Array) -> bool:
    """Whether the vectors are real numbers (floats, or uint8 pixels) rather than fixed-point integers."""
    return vectors.dtype.kind == "f" or vectors.dtype == np.uint8


def real_inputs(vectors: Array) -> FloatArray:
    """Vectors as float64: uint8 are pixels, 255 being 1.0; others keep their value."""
    wide = vectors.astype(np.float64)
    return wide / 255 if vectors.dtype == np.uint8 else wide


def in_fixed_point(vectors: Array, layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
    """Vectors [n, inputs] as the activations of `layer`, int64[n, inputs], and how many real numbers were clipped.

    Real numbers are quantised with the layer's x_frac, uint8 are pixels / 255, other integers are fixed point already.

    Raises
    ------
    ModelError : numbers that are not finite.
    LayerError : integers that do not fit.
    """
    if is_real(vectors):
        real = real_inputs(vectors)
        check_finite(real, "inputs")
        return quantize_inputs(layer, real, act_bits), clipped_inputs(layer, real, act_bits)
    fixed = [as_activations(row, layer, act_bits, layer.inputs) for row in vectors]
    return np.array(fixed, np.int64).reshape(len(fixed), layer.inputs), 0


# ---- arrays and pictures -----------------------------------------------------------------------------------


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a .npz file in its order, or the one of a .npy file.

    Raises
    ------
    ModelError : an unreadable file.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {Path(path).stem: loaded}
        with loaded:
            # A member that is no array comes as bytes.
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except UNREADABLE as error:
        raise ModelError(f"{path}: cannot be read as .npz or .npy: {reason_of(error)}") from None


def _numbers(arrays: Mapping[str, Array], kinds: str = "iuf") -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if array.dtype.kind in kinds and array.size}


def _content(arrays: Mapping[str, Array]) -> str:
    return ", ".join(array_text(name, array) for name, array in arrays.items()) or "nothing"


def read_picture(
    path: Path, channels: int, size: tuple[int, int] | None, pixels: int
) -> npt.NDArray[np.uint8]:
    """A picture as uint8[channels, height, width], gray for 1 channel, RGB for 3.

    size : (height, width) that it must have, or None if only the number of pixels is known.

    Raises
    ------
    ModelError : it cannot be read, has another size, or more than 8 bits a channel; a network that takes no picture.
    """
    from PIL import Image, UnidentifiedImageError

    if channels not in (1, 3):
        raise ModelError(f"{path}: the network takes {channels} channels: a picture has 1 or 3")
    try:
        with Image.open(path) as image:
            image.load()
            mode, found = image.mode, (image.height, image.width)
            made = np.asarray(image.convert("L" if channels == 1 else "RGB")) if mode in _MODES else None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (
            error.strerror
            if isinstance(error, OSError) and error.strerror
            else "not a picture, or a broken one"
        )
        raise ModelError(f"{path}: cannot be read: {reason}") from None
    if made is None:
        raise ModelError(
            f"{path} has pixels of the kind {mode}: 8 bits a channel (gray or colours) would be right"
        )
    if found != size if size else found[0] * found[1] != pixels:
        wanted = f"{size[1]} x {size[0]}" if size else f"{pixels} pixels, such as {_shape_text(pixels)}"
        raise ModelError(f"{path} is {found[1]} x {found[0]}: the network takes {wanted} (width x height)")
    return made.reshape(*found, channels).transpose(2, 0, 1)


def _shape_text(pixels: int) -> str:
    """The most square picture of so many pixels."""
    height = next(n for n in range(int(pixels**0.5), 0, -1) if pixels % n == 0)
    return f"{pixels // height} x {height}"


# ---- vectors of one layer ----------------------------------------------------------------------------------


def read_vectors(path: str | os.PathLike[str], cols: int) -> tuple[Array, list[Array]]:
    """The input vectors in a .npz or .npy file, [n, cols] in the file's own type, and the file's other arrays.

    They are the first array whose items hold `cols` numbers each (items of more dimensions are flattened), or else
    the first that is one such vector.

    Raises
    ------
    ModelError : an unreadable file, no such array, or NaN or infinite values.
    """
    arrays = read_arrays(path)
    numbers = _numbers(arrays)
    batches = (n for n, a in numbers.items() if a.ndim >= 2 and a.size == len(a) * cols)
    single = (n for n, a in numbers.items() if a.shape == (cols,))
    found = next(batches, None) or next(single, None)
    if found is None:
        raise ModelError(f"{path}: no numbers [n, {cols}] or [{cols}], only {_content(arrays)}")
    vectors = numbers[found].reshape(-1, cols)
    if vectors.dtype.kind == "f":
        check_finite(vectors, str(path))
    return vectors, [array for name, array in arrays.items() if name != found]


def read_inputs(
    path: str | os.PathLike[str], cols: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """A batch of real inputs, float32[batch, cols], and its labels, int64[batch], if the file holds them.

    See `read_vectors` and `real_inputs`. The labels are an integer vector of the same length.

    Raises
    ------
    ModelError : an unreadable file, no such array, or values beyond float32.
    """
    vectors, others = read_vectors(path, cols)
    # What overflows becomes infinite, and is refused with its place.
    with np.errstate(over="ignore"):
        x = real_inputs(vectors).astype(np.float32)
    check_finite(x, str(path))
    labels = [a for a in others if a.shape == (len(x),) and a.dtype.kind in "iu"]
    return x, labels[0].astype(np.int64) if labels else None


def read_activations(path: Path, index: int, layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
    """Input number `index` of a file for `layer`, int64[inputs], and how many real numbers in it were clipped.

    A picture is one input. Of a matrix, any picture with as many pixels as it has inputs will do, gray.

    Raises
    ------
    ModelError : a file that cannot be read or holds no such input, a picture of the wrong size, numbers not finite.
    LayerError : no such number, integers that do not fit, a convolution of unknown size.
    """
    check_network([layer])
    if path.suffix.lower() in PICTURES:
        conv = layer.conv
        pixels = (
            read_picture(path, 1, None, layer.inputs)
            if conv is None
            else read_picture(path, conv.channels(layer.cols), conv.size, 0)
        )
        chosen: Array = pixels.reshape(1, -1)
    else:
        held, _ = read_vectors(path, layer.inputs)
        if not 0 <= index < len(held):
            raise LayerError(f"{path} holds {len(held)} input vectors: there is no number {index}")
        chosen = held[index : index + 1]
    vectors, clipped = in_fixed_point(chosen, layer, act_bits)
    return vectors[0], clipped


# ---- inputs of a graph -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """An input of a network.

    shape : None where any size will do, or for all of it. as_is : the network takes whole numbers, or scales its pixels
    itself. kind : type of its numbers, as onnxruntime writes it.
    """

    name: str
    shape: tuple[int | None, ...] | None
    as_is: bool = False
    kind: str = "tensor(float)"

    def __str__(self) -> str:
        sizes = (
            "any shape"
            if self.shape is None
            else ", ".join("any" if n is None else str(n) for n in self.shape)
        )
        return f"{self.name} [{sizes}]" if self.is_real else f"{self.name} {self.dtype}[{sizes}]"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers in numpy; float64 for real numbers of any width."""
        name = self.kind.removeprefix("tensor(").removesuffix(")")
        return np.dtype(np.float64 if name.startswith(("float", "double")) else name)

    @property
    def is_real(self) -> bool:
        """Whether it takes real numbers."""
        return self.dtype.kind == "f"

    def numbers(self, array: Array) -> Array:
        """What goes in for an array: `real_inputs`, or its numbers as they are."""
        if not self.is_real:
            return array
        return array.astype(np.float64) if self.as_is else real_inputs(array)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape can be the input."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(own in (None, size) for own, size in zip(self.shape, shape, strict=True))
        )

    def takes_numbers(self, array: Array) -> bool:
        """Whether the numbers of an array are of a kind that can be the input."""
        return array.dtype.kind in ("biuf" if self.is_real else "b" if self.dtype.kind == "b" else "iu")

    def checked(self, array: Array, place: str) -> Array:
        """The array, if it is of the input's shape and type.

        Raises
        ------
        ModelError : it is not, or not finite.
        """
        if not self.takes(array.shape):
            raise ModelError(f"{place}: input {self} was given an array of shape {list(array.shape)}")
        if not self.takes_numbers(array):
            kinds = {"f": "real numbers", "b": "truth values"}
            what = kinds.get(self.dtype.kind, f"whole numbers ({self.dtype})")
            raise ModelError(f"{place}: input {self.name} must be {what}, not {array.dtype}")
        if self.is_real:
            wide = array.astype(np.float64)
            check_finite(wide, f"{place}: {self.name}")
            return wide
        made = array.astype(self.dtype)
        if not np.array_equal(made, array):
            limits = np.iinfo(self.dtype)
            raise ModelError(
                f"{place}: input {self.name} must lie in {limits.min}..{limits.max} ({self.dtype}), "
                f"not {array.min()}..{array.max()}"
            )
        return made


@dataclass(frozen=True, eq=False)
class Given:
    """Inputs of a network, by name. count, unit : how many of what they are. spectra : of the frames, if sound."""

    inputs: Mapping[str, Array]
    count: int
    unit: str
    spectra: Spectra | None = None


def read_given(
    path: Path,
    ports: Sequence[Port],
    sound: Sound | None,
    place: str,
    frames: slice | None = None,
    index: int | None = None,
) -> Given:
    """The inputs in a file, by its ending; only these frames of a sound, only item `index` of an array.

    sound : the one that the network takes, if it takes any. place : the network's file, for messages.

    Raises
    ------
    ModelError : a file that cannot be read or is not what the network takes.
    ConfigError : frames of what is no sound, or that there are not; an index likewise.
    """
    kind = path.suffix.lower()
    if frames is not None and kind != SOUND:
        raise ConfigError(f"--frames chooses frames of a sound ({SOUND}), and {path} is not one")
    if index is not None and kind not in ARRAYS:
        raise ConfigError(f"--index chooses from an array ({', '.join(ARRAYS)}), and {path} is not one")
    if kind == SOUND:
        if sound is None:
            raise ModelError(
                f"{path}: {place} does not say which sound it takes: run a description (.toml) with its graph and a "
                "table [sound], see docs/networks.md"
            )
        return _sound(path, ports[0], sound, frames)
    if kind in PICTURES:
        return _picture(path, ports)
    if kind in ARRAYS:
        return _arrays(path, ports, index)
    raise ModelError(f"{path}: an input must end in {', '.join((*ARRAYS, *PICTURES, SOUND))}")


def _sound(path: Path, port: Port, sound: Sound, frames: slice | None) -> Given:
    spectra = sound.spectra(sound.read(path))
    if frames is not None:
        if not frames.start < frames.stop <= len(spectra):
            raise ConfigError(
                f"{path} has the frames 0:{len(spectra)}: there is no {frames.start}:{frames.stop}"
            )
        spectra = spectra[frames]
    return Given({port.name: sound.features(spectra)[None]}, len(spectra), "frame", spectra)


def _picture(path: Path, ports: Sequence[Port]) -> Given:
    port = ports[0]
    shape = port.shape or ()
    takes = len(ports) == 1 and len(shape) >= 2 and shape[0] in (None, 1)
    if takes and len(shape) == 4 and shape[1] in (1, 3):
        height, width = shape[2:]
        if height is None or width is None:
            raise ModelError(
                f"{path}: input {port} leaves the size of pictures open: give an array ({ARRAYS[0]})"
            )
        pixels: Array = read_picture(path, shape[1] or 1, (height, width), height * width)
    elif takes and len(shape) == 4 and shape[3] in (1, 3) and shape[1] is not None and shape[2] is not None:
        seen = read_picture(path, shape[3], (shape[1], shape[2]), shape[1] * shape[2])
        pixels = seen.transpose(1, 2, 0)
    elif takes and len(shape) == 2 and shape[1] is not None:
        pixels = read_picture(path, 1, None, shape[1]).reshape(-1)
    else:
        raise ModelError(f"{path}: the network takes no picture, but {', '.join(map(str, ports))}")
    return Given({port.name: port.numbers(pixels[None])}, 1, "image")


def fitted(array: Array, port: Port) -> Array | None:
    """The array as the port takes it: as it is, with a batch of 1 in front, or with its items' shape restored."""
    if port.takes(array.shape):
        return array
    if port.takes((1, *array.shape)):
        return array[None]
    shape = port.shape or ()
    rest = [size for size in shape[1:] if size is not None]
    if array.ndim == 2 and 1 < len(rest) == len(shape) - 1 and prod(rest) == array.shape[1]:
        shaped = array.reshape(len(array), *rest)
        return shaped if port.takes(shaped.shape) else None
    # Images without their channel.
    if len(shape) == 4 and shape[1] == 1 and port.takes((len(array), 1, *array.shape[1:])):
        return array[:, None]
    return None


def _arrays(path: Path, ports: Sequence[Port], index: int | None) -> Given:
    return from_arrays(path, read_arrays(path), ports, index)


def from_arrays(path: Path, arrays: Mapping[str, Array], ports: Sequence[Port], index: int | None) -> Given:
    """The inputs among arrays; of one item alone with `index`. path : the arrays' file, for messages.

    Raises
    ------
    ModelError, ConfigError : as `read_given`.
    """
    numbers = _numbers(arrays, "biuf")
    inputs: dict[str, Array] = {}
    for port in ports:
        # Of several inputs each has its array by name; a single one takes the first that fits.
        named = [numbers[port.name]] if port.name in numbers else []
        candidates = numbers.values() if len(ports) == 1 else named
        fitting = [fitted(_pick(path, array, index), port) for array in candidates]
        chosen = next((array for array in fitting if array is not None and port.takes_numbers(array)), None)
        if chosen is None and any(array is not None for array in fitting):
            chosen = next(array for array in fitting if array is not None)
        if chosen is None:
            raise ModelError(f"{path}: no array for input {port}, only {_content(arrays)}")
        if port.is_real and not is_real(chosen) and not port.as_is:
            raise ModelError(
                f"{path}: input {port.name} must be real numbers, or uint8 pixels (0..255 becomes 0..1), "
                f"not {chosen.dtype}"
            )
        inputs[port.name] = port.checked(port.numbers(chosen), str(path))
    first = inputs[ports[0].name] if ports else np.zeros(1)
    return Given(inputs, len(first) if first.ndim else 1, "item")


def labels_in(arrays: Mapping[str, Array], ports: Sequence[Port], count: int) -> Array | None:
    """The array of integers, one for each of `count` inputs, that no input is called like; None without one."""
    names = {port.name for port in ports} if len(ports) > 1 else set()
    held = (array for name, array in arrays.items() if name not in names and array.dtype.kind in "iu")
    return next((array for array in held if array.shape == (count,)), None)


def _pick(path: Path, array: Array, index: int | None) -> Array:
    if index is None or array.ndim < 2:
        return array
    if not 0 <= index < len(array):
        raise ConfigError(f"{path} holds {len(array)} inputs: there is no number {index}")
    return array[index : index + 1]
