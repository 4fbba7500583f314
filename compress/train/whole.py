"""Any PyTorch module into a `.eie` file: its shared matrices, and its graph as torch.onnx writes it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eie.compress.pipeline import CompressionReport, Settings
from eie.compress.quantize import Widths
from eie.compress.train.sharing import Shared
from eie.errors import ModelError, printable

One = Tensor | npt.NDArray[Any]
Batch = One | Sequence[One] | Mapping[str, One]
# Opset of the graph: the newest that torch's exporter of traces knows well.
OPSET = 17
# Operators of a traced graph that take a number out of the data, for Python to go on with.
_NUMBERS = ("_local_scalar_dense", "item")


def save(
    path: str | os.PathLike[str], model: nn.Module, batch: Batch, shared: Shared, widths: Widths
) -> CompressionReport:
    """Write the model, which `share` left, with its graph; see `eie.compress.train.save`."""
    names, inputs = _inputs(model, batch)
    answers = _answers(model, inputs)
    _check_traceable(model, inputs)
    bits = max((len(one.centroids) - 1).bit_length() for one in shared.layers.values())
    # Calibrating is a run of the graph, which is above this package: loaded by name, as engines are.
    bundles = importlib.import_module("eie.sim.networks.bundle")
    with tempfile.TemporaryDirectory(prefix="eie-onnx-") as folder:
        file = Path(folder) / "model.onnx"
        _export(model, names, inputs, file)
        arrays = [one.detach().cpu().numpy() for one in inputs]
        bundle = bundles.bundle_of(file, arrays, Settings(weight_bits=bits, widths=widths))
        dtype = next(model.parameters()).dtype
        _compare(bundle.float_run(arrays), answers, dtype, "on the batch")
        count = len(arrays[0]) if arrays[0].ndim else 1
        if count > 1 and all(one.ndim and len(one) == count for one in arrays):
            half = [one[: (count + 1) // 2] for one in inputs]
            found = bundle.float_run([one.detach().cpu().numpy() for one in half])
            _compare(found, _answers(model, half), dtype, "on the first half of the batch")
        report: CompressionReport = bundle.save(path)
        return report


def _inputs(model: nn.Module, batch: Batch) -> tuple[list[str], list[Tensor]]:
    """Names of the model's inputs and what the batch has for them, on the model's device."""
    parameters = [
        one.name
        for one in inspect.signature(model.forward).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if isinstance(batch, Mapping):
        if unknown := [name for name in batch if name not in parameters]:
            raise ModelError(f"the model takes {', '.join(parameters)}, not {unknown[0]!r}")
        names = [name for name in parameters if name in batch]
        given = [batch[name] for name in names]
    else:
        given = [batch] if isinstance(batch, Tensor | np.ndarray) else list(batch)
        names = [*parameters, *(f"input{place}" for place in range(len(parameters), len(given)))][
            : len(given)
        ]
    first = next(model.parameters())
    tensors = [torch.as_tensor(one).to(first.device) for one in given]
    return names, [one.to(first.dtype) if one.is_floating_point() else one for one in tensors]


def _answers(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The model's outputs, flattened into a list."""
    try:
        with torch.no_grad():
            found = model(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(list(one.shape)) for one in inputs)
        raise ModelError(f"the model does not take the calibration batch {shapes}: {_line(error)}") from None
    return list(_flat(found))


def _flat(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, Mapping):
        for one in found.values():
            yield from _flat(one)
    elif isinstance(found, list | tuple):
        for one in found:
            yield from _flat(one)
    elif found is not None:
        raise ModelError(
            f"the model returns a {type(found).__name__}: a file's network can give only tensors"
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch prints graphs and advice while it traces; an error is all that is needed."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _check_traceable(model: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raise `ModelError` if what the model does depends on its data in a way that no graph shows."""
    try:
        with _quietly(), torch.no_grad():
            program = torch.export.export(model, tuple(inputs), strict=False)
    except Exception as error:  # whatever the user's forward() does with a symbolic value
        raise ModelError(
            f"torch cannot trace the model as it is (branches on data, or Python in its way): {_line(error)}"
        ) from None
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", "").partition(".")[0]
        if name in _NUMBERS:
            raise ModelError(
                "torch cannot trace the model as it is: it takes a number out of its data (item(), float()), which a "
                "graph would keep as it was for this batch"
            )


def _export(model: nn.Module, names: Sequence[str], inputs: Sequence[Tensor], file: Path) -> None:
    """The model as an ONNX file; sizes that are the batch's stay open."""
    count = inputs[0].shape[0] if inputs[0].dim() else None
    dynamic = {
        name: {0: "batch"}
        for name, one in zip(names, inputs, strict=True)
        if one.dim() and one.shape[0] == count
    }
    try:
        with _quietly():
            torch.onnx.export(
                model,
                tuple(inputs),
                str(file),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(names),
                dynamic_axes=dynamic,
                # Otherwise normalisations would go into convolutions, whose weights then were no longer shared.
                training=torch.onnx.TrainingMode.PRESERVE,
            )
    except Exception as error:  # the exporter's errors have no base of their own
        raise ModelError(f"torch cannot write the model as a graph: {_line(error)}") from None


def _compare(found: Sequence[Any], right: Sequence[Tensor], dtype: torch.dtype, where: str) -> None:
    """Raise `ModelError` unless the outputs are the same but for rounding."""
    close = max(1e-3, torch.finfo(dtype).eps ** 0.5)
    if len(found) != len(right):
        raise ModelError(
            f"the file's network would differ from the model: {len(found)} outputs {where}, not {len(right)}"
        )
    for place, (ours, theirs) in enumerate(zip(found, right, strict=True)):
        wide = theirs.detach().double().cpu().numpy()
        scale = max(np.abs(wide).max(initial=0), 1e-9)
        if np.shape(ours) != wide.shape or not np.abs(ours - wide).max(initial=0) <= close * scale:
            raise ModelError(
                f"the file's network would differ from the model: output {place} is not the same {where} (something "
                "random, or something that torch.onnx changes)"
            )


def _line(error: Exception) -> str:
    """The first line of an error."""
    text = str(error).strip().partition("\n")[0]
    return printable(text) or type(error).__name__
