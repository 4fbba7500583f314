"""onnxruntime, as what evaluates an ONNX graph: sessions on one thread, types of values, errors in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from eie.errors import ModelError, printable

Array = npt.NDArray[Any]
# The smallest version of a message that may hold initializers which are no inputs.
IR_VERSION = 4
# Names of element types in onnxruntime's texts, where they differ from those of onnx in small letters.
_ELEMENTS = {name.lower(): number for name, number in onnx.TensorProto.DataType.items()}
# Element types of arrays that go in and out.
PLAIN = frozenset(
    _ELEMENTS[name]
    for name in (
        *("float", "double", "float16", "bool", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    )
)
_TYPE = re.compile(r"(tensor|seq|optional|map|sparse_tensor)\((.*)\)")
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
# What onnxruntime says of an operator that it does not have, in several versions.
_UNKNOWN = re.compile(
    r"No Op registered|is not a registered function/op|NOT_IMPLEMENTED|Could not find an implementation"
)


def runtime() -> Any:
    """The package.

    Raises
    ------
    ModelError : it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("an ONNX graph needs onnxruntime: pip install onnxruntime") from None
    return onnxruntime


def session(model: Any, profile: Path | None = None) -> Any:
    """A session of a model, without optimisation, so that each node is computed as it stands.

    profile : how the name of a file begins that the session writes its nodes' times and shapes to.

    Raises
    ------
    ModelError : onnxruntime does not take the model, in one line.
    """
    rt = runtime()
    options = rt.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    try:
        content = model.SerializeToString()
    except ValueError as error:  # protobuf's limit
        raise ModelError(f"too large for onnxruntime as one message: {first_line(str(error))}") from None
    try:
        return rt.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ModelError(f"onnxruntime does not take the graph: {_reason(error)}") from None


def run(opened: Any, outputs: Sequence[str], given: Mapping[str, Any]) -> list[Any]:
    """Outputs of a session as `OrtValue`, for inputs that are likewise.

    Raises
    ------
    ModelError : values that a node does not take, in one line.
    """
    options = runtime().RunOptions()
    options.log_severity_level = 4
    try:
        return list(opened.run_with_ort_values(list(outputs), dict(given), options))
    except Exception as error:  # its errors have no base of their own
        raise ModelError(_reason(error)) from None


def first_line(text: str) -> str:
    """The first line of a text, without what cannot be printed."""
    return printable(text.strip().partition("\n")[0])


def _reason(error: Exception) -> str:
    """What onnxruntime says, in one line."""
    text = _PREFIX.sub("", first_line(str(error))) or type(error).__name__
    text = text.removeprefix("This is an invalid model. ").removeprefix("Load model from memory failed:")
    text = re.sub(r"/\S*/(onnxruntime/[\w/.]+:\d+)\s", r"\1 ", text)
    return text + (" (an operator that onnxruntime does not have)" if _UNKNOWN.search(str(error)) else "")


# ---- values ------------------------------------------------------------------------------------------------


def value_of(array: Array, kind: str) -> Any:
    """An array as an `OrtValue` of a type such as tensor(float).

    Raises
    ------
    ModelError : a type that no array has.
    """
    element = element_of(kind)
    if element is None or element not in PLAIN:
        raise ModelError(f"a value of type {kind} is not an array of numbers")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    return runtime().OrtValue.ortvalue_from_numpy(np.asarray(array, dtype, order="C"))


def array_of(value: Any) -> Any:
    """An `OrtValue` as an array, a sequence as a list of them; anything else as it is.

    Raises
    ------
    ModelError : numbers of a type that numpy lacks.
    """
    if not hasattr(value, "data_type"):
        return value
    try:
        return value.numpy()
    except Exception:  # its errors have no base of their own
        raise ModelError(f"a value of type {value.data_type()} cannot become a numpy array") from None


def element_of(kind: str) -> int | None:
    """Number of the element type of a text such as tensor(float); None for what is no tensor."""
    match = _TYPE.fullmatch(kind)
    return _ELEMENTS.get(match[2]) if match and match[1] == "tensor" else None


def type_of(kind: str) -> Any:
    """The message for a type's text, without a shape.

    Raises
    ------
    ModelError : a type that there is not.
    """
    match = _TYPE.fullmatch(kind)
    inner = match[2] if match else ""
    made = onnx.TypeProto()
    if match and match[1] == "tensor" and inner in _ELEMENTS:
        made.tensor_type.elem_type = _ELEMENTS[inner]
    elif match and match[1] == "sparse_tensor" and inner in _ELEMENTS:
        made.sparse_tensor_type.elem_type = _ELEMENTS[inner]
    elif match and match[1] in ("seq", "optional"):
        (made.sequence_type if match[1] == "seq" else made.optional_type).elem_type.CopyFrom(type_of(inner))
    elif match and match[1] == "map" and inner.partition(",")[0] in _ELEMENTS:
        made.map_type.key_type = _ELEMENTS[inner.partition(",")[0]]
        made.map_type.value_type.CopyFrom(type_of(inner.partition(",")[2]))
    else:
        raise ModelError(f"values of type {kind} cannot pass between the host's parts of the graph")
    return made
