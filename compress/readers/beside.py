"""Files beside a model with parts of it: none is read that is not in its folder or in a known cache."""

from __future__ import annotations

from pathlib import Path

from eie.errors import ModelError


def _allowed(path: Path) -> list[Path]:
    """Folders that the external files of the model in `path` may really lie in.

    The model's own folder, that of the file which a link called `path` leads to, and, of a Hugging Face cache
    (models--x/snapshots/y/model.onnx), the folder that its links lead to.
    """
    folder = path.parent.resolve()
    caches = [root / "blobs" for root in folder.parents if (root / "snapshots").is_dir()]
    return [folder, path.resolve().parent, *(cache for cache in caches if cache.is_dir())]


def external_file(name: str, what: str, path: Path) -> Path:
    """The file called `name` that the model in `path` keeps `what` in.

    Raises
    ------
    ModelError : it is missing, or outside the folders where such a file may be.
    """
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{what} is in the file {name!r}, which is outside the model's folder")
    file = path.parent / name
    if not file.is_file():
        raise ModelError(f"{what} is in the file {name}, which is missing")
    if not any(file.resolve().is_relative_to(folder) for folder in _allowed(path)):
        raise ModelError(f"{what} is in the file {name}, a link that leads outside the model's folder")
    return file
