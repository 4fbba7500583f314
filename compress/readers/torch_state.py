"""State dictionaries that PyTorch saved; PyTorch reads them, without running anything they hold."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import Model, Unused
from eie.compress.readers.arrays import FileArray
from eie.compress.readers.named import Choice, from_arrays, is_average, is_optimizers, may_be_weights
from eie.errors import ModelError

# Under which names training scripts keep the state dictionary in a checkpoint; others are looked through after these.
_USUAL = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
# The last key of a dictionary of masks, which has the network's names.
_MASKS = re.compile(r"(?i)(?:\w+_)?masks?(?:_dict)?")
# So many dictionaries, or levels of them, are looked through.
_MOST, _DEEPEST = 10_000, 16
# So many dictionaries are named when a key leads to none.
_SHOWN = 8
# An array may be so many times what the file holds of it, or so many bytes: more is not read.
_TIMES, _LEAST = 16, 1 << 26


class _Bounded(io.BufferedReader):
    """A file that makes no room for more bytes than it has left, however many are asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, or all that are left."""
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(left if size is None or size < 0 else min(size, max(left, 0)))


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ModelError("PyTorch reads this file: pip install 'eie-sim[train]'") from None
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        # Of an archive, only what is asked for is read. What torch has to say would stand before our line.
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")
            if archive:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb", buffering=0) as plain:
                return torch.load(_Bounded(plain), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            "it holds Python objects other than tensors, or is not a PyTorch file: "
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


def _harmless() -> list[Any]:
    """What many checkpoints hold beside tensors: numbers of numpy's, and options from a command line."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return [scalar, np.dtype, *kinds, argparse.Namespace]


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "layout")


@dataclass(frozen=True)
class _Found:
    """A dictionary with tensors in a checkpoint. path : the keys that lead to it, with dots between."""

    path: str
    arrays: dict[str, FileArray]
    others: tuple[str, ...]

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Less for what is rather the network."""
        keys = self.path.split(".")
        usual = [_USUAL.index(key) for key in keys if key in _USUAL]
        return (
            not any(may_be_weights(array) for array in self.arrays.values()),
            is_optimizers(self.path),
            is_average(self.path),
            min(usual, default=len(_USUAL)),
        )

    def __str__(self) -> str:
        return f"{self.path or 'the outermost'} ({len(self.arrays)} tensors)"


def _dictionaries(held: Any) -> list[_Found]:
    """All mappings with tensors, outer ones first."""
    found: list[_Found] = []
    left: list[tuple[str, Any, int]] = [("", held, 0)]
    seen: set[int] = set()
    while left and len(seen) < _MOST:
        path, value, depth = left.pop(0)
        if id(value) in seen or depth > _DEEPEST:
            continue
        seen.add(id(value))
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        inner = [(str(key), one) for key, one in items]
        tensors = {key: _array(one) for key, one in inner if _is_tensor(one)}
        if tensors and isinstance(value, Mapping):
            others = tuple(key for key, one in inner if not _is_tensor(one) and not _is_nest(one))
            found.append(_Found(path, tensors, others))
        left += [(f"{path}.{key}" if path else key, one, depth + 1) for key, one in inner if _is_nest(one)]
    return found


def _is_nest(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and len(value) > 0


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    plain = tensor.detach() if str(tensor.layout) == "torch.strided" else tensor.detach().to_dense()
    return np.asarray(plain.float().numpy())


def _array(tensor: Any) -> FileArray:
    dtype, size = str(tensor.dtype).removeprefix("torch."), tensor.numel() * tensor.element_size()
    refused = ""
    strided = str(tensor.layout) == "torch.strided"
    if tensor.is_quantized:
        refused = "quantised"
    elif tensor.is_meta:
        refused = "a tensor without numbers, of the device meta"
    elif strided:
        held = tensor.untyped_storage().nbytes()
        if size > held:
            refused = f"{size:,} bytes, of which the file holds {held:,}: save a copy, tensor.clone()"
    else:
        # values() of one in coordinates wants them in order, which a file need not have.
        values = tensor._values() if "coo" in str(tensor.layout) else tensor.values()
        held = values.numel() * values.element_size()
        if size > max(_LEAST, _TIMES * held):
            refused = f"sparse, {size:,} bytes of which the file holds {held:,}"
    return FileArray(dtype, tuple(tensor.shape), partial(_numpy, tensor), refused)


def arrays_of(path: Path) -> dict[str, FileArray]:
    """The tensors of a state dictionary in a file.

    Raises
    ------
    ModelError : see `read`.
    """
    found = _dictionaries(_load(path))
    return min(found, key=lambda one: one.rank).arrays if found else {}


def read(path: Path, choice: Choice = Choice()) -> Model:  # noqa: B008
    """Layers of a state dictionary, or of the one in a checkpoint that is rather the network (see `from_arrays`).

    Raises
    ------
    ModelError : no PyTorch; a file that holds more than tensors and plain values, or none of them; a key that leads to
        no dictionary.
    """
    held = _load(path)
    found = _dictionaries(held)
    if not found:
        raise ModelError("no state dictionary found (names with tensors, as model.state_dict() gives them)")
    taken = next((one for one in found if choice.key and one.path == choice.key), None)
    rest = choice if taken is None else replace(choice, key="")
    if taken is None:
        taken = min(found, key=lambda one: one.rank)
        if choice.key and not any(name.startswith(choice.key + ".") for name in taken.arrays):
            raise ModelError(f"--key {choice.key}: the file holds {', '.join(map(str, found[:_SHOWN]))}")
    arrays = dict(taken.arrays)
    for one in found:
        if one is not taken and _MASKS.fullmatch(one.path.rpartition(".")[2]):
            arrays |= {f"{name}_mask": mask for name, mask in one.arrays.items() if name in taken.arrays}
    model = from_arrays(arrays, rest)
    beside = (
        [str(key) for key, value in held.items() if not _is_tensor(value) and not _is_nest(value)]
        if isinstance(held, Mapping) and taken.path
        else []
    )
    unused = [Unused(name, "not a tensor") for name in (*taken.others, *beside)]
    others = [one for one in found if one is not taken]
    unused += [Unused(str(one), "another dictionary (--key takes it)") for one in others]
    notes = (f"the network is {taken}",) if others or taken.path else ()
    return Model(model.layers, (*model.unused, *unused), (*notes, *model.notes))
