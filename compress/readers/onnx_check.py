"""Whether a graph is valid: onnx's own checker, and the ranges of attributes, which it does not look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from eie.errors import ModelError

# Below this one, binary operators broadcast along an axis that an attribute names.
OLDEST = 7
_PADS = (b"NOTSET", b"SAME_UPPER", b"SAME_LOWER", b"VALID")
_WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_ACTIVATED = {"GRU": 2, "LSTM": 3, "RNN": 1}  # functions of a direction
_DIRECTIONS = (b"forward", b"reverse", b"bidirectional")
_ACTIVATIONS = (
    *(
        "affine",
        "elu",
        "hardsigmoid",
        "leakyrelu",
        "relu",
        "scaledtanh",
        "sigmoid",
        "softplus",
        "softsign",
        "tanh",
    ),
    "thresholdedrelu",
)
# The operator of a node that stands for an input of which nothing is known.
_OPEN = "eie.open"


def check(model: Any, elsewhere: set[str], *, full: bool = True) -> None:
    """Raise `ModelError` unless the graph is valid. Sizes below 0, which some writers use for "any", become open.

    elsewhere : names of initializers whose numbers are not in the message. full : ask onnx's checker, too.
    """
    graph = model.graph
    opsets = {one.domain: one.version for one in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", OLDEST))
    if opset < OLDEST:
        raise ModelError(
            f"an ONNX graph of opset {opset}, in which operators have other meanings: convert it "
            "with onnx.version_converter.convert_version(model, 13)"
        )
    known = onnx.defs.onnx_opset_version()
    if full and opset > known:
        raise ModelError(
            f"an ONNX graph of opset {opset}, of which the installed onnx knows those up to {known}: "
            "a newer onnx may know it"
        )
    _open_sizes(graph)
    _once(graph)
    for number, node in enumerate(graph.node):
        if node.domain in ("", "ai.onnx"):
            for problem in _problems(node):
                raise ModelError(
                    f"not a valid ONNX graph: node {node.name or f'number {number}'!r} ({node.op_type}): {problem}"
                )
    if not full:
        return
    try:
        onnx.checker.check_model(_complete(model, elsewhere), full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        DecodeError,
        EncodeError,
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:
        raise ModelError(f"not a valid ONNX graph: {_first(str(error)) or type(error).__name__}") from None


def _first(text: str) -> str:
    """The first of the checker's complaints, in one line."""
    start, mark, rest = " ".join(text.partition("==> Context")[0].split()).partition("(op_type:")
    return start + mark + rest.partition(" (op_type:")[0]


def _open_sizes(graph: Any) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dim in value.type.tensor_type.shape.dim if value.type.tensor_type.HasField("shape") else ():
            if dim.dim_value < 0:
                dim.Clear()


def _once(graph: Any) -> None:
    """Raise `ModelError` where two initializers have one name."""
    names = [one.name for one in graph.initializer] + [one.values.name for one in graph.sparse_initializer]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"not a valid ONNX graph: two initializers are called {name!r}")
        seen.add(name)


def _complete(model: Any, elsewhere: set[str]) -> Any:
    """What the checker can look at: without the arrays that are elsewhere, and with a shape for each output.

    Declared shapes of outputs and of what is in between are left out: where they differ from those that follow from the
    inputs, the latter hold, as in onnxruntime.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    for sparse in graph.sparse_initializer:
        onnx.checker.check_sparse_tensor(sparse)
    without_sparse(graph)
    inputs = {value.name for value in graph.input}
    kept = []
    for tensor in graph.initializer:
        if tensor.name not in elsewhere and tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    _open_inputs(whole)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        outputs = onnx.shape_inference.infer_shapes(whole).graph.output
    except onnx.shape_inference.InferenceError:
        outputs = []  # the checker will say what is wrong
    shaped = [value for value in outputs if value.type.tensor_type.HasField("shape")]
    del graph.output[:]
    graph.output.extend(shaped)
    return whole


def without_sparse(graph: Any) -> None:
    """Make inputs of sparse initializers: a node takes them like dense ones, which shape inference does not know."""
    for sparse in graph.sparse_initializer:
        graph.input.append(
            onnx.helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, list(sparse.dims))
        )
    del graph.sparse_initializer[:]


def _open_inputs(model: Any) -> None:
    """Inputs without a shape, which the checker wants and onnxruntime does not, become outputs of a node."""
    graph = model.graph
    bare = [
        value.name
        for value in graph.input
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    ]
    if not bare:
        return
    known = [value for value in graph.input if value.name not in bare]
    nodes = [onnx.helper.make_node("Given", [], bare, domain=_OPEN), *graph.node]
    known, nodes = (
        [type(one).FromString(one.SerializeToString()) for one in known],
        [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes],
    )
    del graph.input[:], graph.node[:]
    graph.input.extend(known)
    graph.node.extend(nodes)
    model.opset_import.append(onnx.helper.make_opsetid(_OPEN, 1))


# ---- ranges of attributes ----------------------------------------------------------------------------------


def _problems(node: Any) -> Iterator[str]:
    """What is wrong with a node's attributes."""
    if node.op_type not in _WINDOWS and node.op_type not in _GATES:
        return
    try:
        about = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        yield from _window(node, about) if node.op_type in _WINDOWS else _cell(node, about)
    except (TypeError, ValueError, AttributeError):
        yield "an attribute of another type than the operator has"


def _window(node: Any, about: dict[str, Any]) -> Iterator[str]:
    for name, least in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 0)):
        if min(about.get(name, [least]), default=least) < least:
            yield f"{name} must be at least {least}, not {list(about[name])}"
    if about.get("group", 1) < 1:
        yield f"group must be at least 1, not {about['group']}"
    kind = about.get("auto_pad", _PADS[0])
    if kind not in _PADS:
        yield f"auto_pad must be one of {', '.join(one.decode() for one in _PADS)}, not {_text(kind)}"
    if kind != _PADS[0] and any(about.get("pads", ())):
        yield f"auto_pad {_text(kind)}, and pads as well"
    if about.get("storage_order", 0) not in (0, 1):
        yield f"storage_order must be 0 or 1, not {about['storage_order']}"
    sizes: set[float] = {
        len(about[name]) for name in ("kernel_shape", "strides", "dilations") if about.get(name)
    }
    if about.get("pads"):
        sizes.add(len(about["pads"]) / 2)
    if len(sizes) > 1:
        yield "kernel_shape, strides, dilations and pads are of different dimensions"
    if node.op_type.endswith("Pool") and "kernel_shape" not in about:
        yield "kernel_shape is missing"
    elif node.op_type.endswith("Pool") and len(sizes) == 1:
        kernel = [*about["kernel_shape"]]
        if any(pad >= size for pad, size in zip(about.get("pads", ()), kernel * 2, strict=False)):
            yield f"pads {list(about['pads'])} must be smaller than the window {kernel}"


def _cell(node: Any, about: dict[str, Any]) -> Iterator[str]:
    direction = about.get("direction", _DIRECTIONS[0])
    if direction not in _DIRECTIONS:
        yield f"direction must be one of {', '.join(d.decode() for d in _DIRECTIONS)}, not {_text(direction)}"
    for text in about.get("activations", []):
        if _text(text).lower() not in _ACTIVATIONS:
            yield f"there is no activation {_text(text)}"
    ways = 2 if direction == _DIRECTIONS[2] else 1
    if "activations" in about and len(about["activations"]) != ways * _ACTIVATED[node.op_type]:
        yield f"activations must be {ways * _ACTIVATED[node.op_type]}, not {len(about['activations'])}"
    if about.get("hidden_size", 1) < 1:
        yield f"hidden_size must be at least 1, not {about['hidden_size']}"
    if about.get("layout", 0) not in (0, 1):
        yield f"layout must be 0 or 1, not {about['layout']}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
