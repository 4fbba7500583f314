"""What a graph computes from constants alone: evaluated by onnxruntime, at the graph's own opset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from eie.compress.readers import onnx_run
from eie.compress.readers.onnx_tensors import MOST_NUMBERS, MOST_TIMES, Constant, Reading, form_of
from eie.errors import ModelError

Array = npt.NDArray[Any]
# Whose results on constants are constants. The shape of a result must follow from the shapes of what is given, or the
# arrays must be small.
FOLDED = (
    *(
        "Abs",
        "Add",
        "Cast",
        "CastLike",
        "Clip",
        "Concat",
        "DequantizeLinear",
        "Div",
        "Exp",
        "Flatten",
        "Gather",
    ),
    *("Max", "Min", "Mul", "Neg", "Pow", "QuantizeLinear", "Reciprocal", "Reshape", "Shape", "Sign", "Slice"),
    *(
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
        "MatMul",
        "Relu",
        "Sigmoid",
        "Tanh",
        "Softmax",
    ),
    *("Log", "Floor", "Ceil", "Not", "And", "Or", "Equal", "Less", "Greater", "ReduceSum", "ReduceMean"),
    *("Expand", "Tile", "ConstantOfShape", "Pad"),
)
# What these give is never larger than all that they take.
_NO_LARGER = ("Cast", "Concat", "Flatten", "Reshape", "Slice", "Squeeze", "Unsqueeze")
# Whose results may be large whatever is given: their shapes must be known first.
_GROWING = ("Expand", "Tile", "ConstantOfShape", "Pad")
# To read one array, so many numbers may be computed, or so many times those of the file that it is made from. All of
# them together, eight bytes each, are 32 MB: a small file never takes much memory.
_MOST_WORK, _WORK_TIMES = 1 << 22, 64
# Below so many numbers of all that is given, no result is large.
_SMALL = 1 << 12


def one_node(node: Any, opsets: Sequence[Any], kinds: Mapping[str, Any]) -> Any:
    """A model of this node alone, at the graph's own opsets. kinds : types in numpy of what it takes."""
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(kind), None)
        for name, kind in kinds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.GraphProto(name="node", node=[node], input=inputs, output=outputs)
    return onnx.ModelProto(ir_version=8, opset_import=opsets, graph=graph)


def _evaluated(content: bytes, given: Sequence[tuple[str, Reading]]) -> Array:
    """The output of the one node of a model."""
    opened = onnx_run.session(onnx.load_model_from_string(content))
    value = onnx_run.runtime().OrtValue.ortvalue_from_numpy
    feeds = {name: value(np.asarray(read(), order="C")) for name, read in given}
    (made,) = onnx_run.run(opened, [opened.get_outputs()[0].name], feeds)
    return np.asarray(onnx_run.array_of(made))


def folded(
    node: Any,
    given: Sequence[Constant | None],
    opsets: Sequence[Any],
    shape: Sequence[int],
    held: Callable[[], int],
) -> Constant | None:
    """The output of a node of `FOLDED` with constant inputs (None where it has none); None if it is no constant.

    shape : as the graph tells it, 0 where it does not. held : how many numbers of the file it is made from.
    """
    arrays = [one for one in given if one is not None]
    if node.op_type == "Identity":
        return given[0]
    if node.op_type not in FOLDED or len(node.output) != 1 or not arrays or given[0] is None:
        return None
    first = given[0]
    if node.op_type == "Transpose":
        perm = next((list(one.ints) for one in node.attribute if one.name == "perm"), None)
        return first.then(partial(np.transpose, axes=perm))
    by_name = {name: one for name, one in zip(node.input, given, strict=True) if name and one is not None}
    model = one_node(node, opsets, {name: one.form.dtype for name, one in by_name.items()})
    names = tuple((name, one.read) for name, one in by_name.items())
    read = Reading(partial(_evaluated, model.SerializeToString(), names))
    size = sum(one.form.size for one in arrays)
    count = np.prod(shape, dtype=np.float64)
    known = bool(shape) and min(shape) > 0 and count <= max(MOST_NUMBERS, MOST_TIMES * size)
    if size <= _SMALL and (node.op_type not in _GROWING or (known and count <= _SMALL)):
        return _now(read)
    if (not shape or min(shape) < 1) and node.op_type in _NO_LARGER and size <= MOST_NUMBERS:
        return _now(read)  # how large it is, only the result tells
    if not known:
        return None
    # Step by step nothing is large; all together it may be, and what is taken twice is computed twice.
    work = int(count) + sum(max(one.work, one.form.size) for one in by_name.values())
    if work > _MOST_WORK and work > _WORK_TIMES * held():
        return None
    # Its type is that of a result of small arrays.
    kind = _kind(model)
    return None if kind is None else Constant(form_of(tuple(shape), kind), read, work)


def _now(read: Reading) -> Constant | None:
    """A small result, at once."""
    try:
        array = read()
    except (ModelError, OSError, ValueError, RuntimeError):  # not what the node takes
        return None
    return Constant(form_of(array.shape, array.dtype), Reading(partial(np.asarray, array)))


def _kind(model: Any) -> Any:
    """Type of the numbers that a model of one node gives, None for one that numpy lacks."""
    try:
        (output,) = onnx.shape_inference.infer_shapes(model).graph.output
        return onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    except (onnx.shape_inference.InferenceError, KeyError, ValueError, TypeError):
        return None
