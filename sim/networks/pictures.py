"""Pictures as inputs of networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.errors import ModelError

PICTURES = (".png", ".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".tif", ".tiff", ".webp")
# Of 8 bits a channel; others would have to be scaled, nobody knows how.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


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
            error.strerror if isinstance(error, OSError) and error.strerror else "no picture, or a broken one"
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
