"""State dictionaries that PyTorch saved (.pt, .pth); PyTorch reads them, without running anything they hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import Model, Unused
from eie.compress.readers.arrays import FileArray, from_arrays
from eie.errors import ModelError

# Under which names training scripts keep the state dictionary in a checkpoint; others are looked through after these.
_USUAL = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ModelError("PyTorch reads this file: pip install 'eie-sim[train]'") from None
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        # Of an archive, only what is asked for is read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError:
        raise ModelError(
            "it holds Python objects other than tensors, or is no file of PyTorch's: "
            "save the state dictionary, torch.save(model.state_dict(), FILE)"
        ) from None
    except OSError:
        raise
    except Exception as error:
        # On a corrupt file its unpickler fails in any way: IndexError, AssertionError, AttributeError, ...
        text = str(error).partition("\n")[0]
        raise ModelError(
            f"PyTorch cannot read it: {type(error).__name__}{': ' if text else ''}{text}"
        ) from None


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "layout")


def _state_dict(held: Any) -> tuple[dict[str, Any], list[str]]:
    """The first mapping of names to tensors in a checkpoint, and what else lies beside it."""
    if not isinstance(held, Mapping):
        return {}, []
    others = [str(key) for key, value in held.items() if not _is_tensor(value)]
    tensors = {str(key): value for key, value in held.items() if _is_tensor(value)}
    if tensors:
        return tensors, others
    for key in sorted(held, key=lambda key: _USUAL.index(key) if key in _USUAL else len(_USUAL)):
        tensors, inner = _state_dict(held[key])
        if tensors:
            return tensors, [other for other in others if other != str(key)] + inner
    return {}, others


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    return np.asarray(tensor.detach().float().numpy())


def _array(tensor: Any) -> FileArray:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided":
        dtype = f"{str(tensor.layout).removeprefix('torch.')} {dtype}"
    return FileArray(dtype, tuple(tensor.shape), partial(_numpy, tensor))


def read(path: Path) -> Model:
    """Layers of a state dictionary, or of the first one in a checkpoint (see `from_arrays`).

    Raises
    ------
    ModelError : no PyTorch; a file that holds more than tensors and plain values, or none of them.
    """
    tensors, others = _state_dict(_load(path))
    if not tensors:
        raise ModelError("no state dictionary found (names with tensors, as model.state_dict() gives them)")
    model = from_arrays({name: _array(tensor) for name, tensor in tensors.items()})
    return Model(model.layers, (*model.unused, *(Unused(name, "no tensor") for name in others)))
