"""Fully connected, convolutional and recurrent layers of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import Layers, LayerSource, Model, Unused, array_text
from eie.compress.readers.arrays import names_of
from eie.compress.readers.onnx_graph import Graph, attributes_of, load, pair
from eie.compress.readers.onnx_tensors import Constant, Reading
from eie.conv import Conv, Pair
from eie.errors import LayerError, ModelError

RECURRENT = ("GRU", "LSTM", "RNN")
# A convolution of groups, with dilations or uneven paddings becomes a matrix that is mostly zeros: of so many numbers
# at most, unless its weights are as many.
_MAX_GROUPED = 1 << 26
# Of these an operation's sizes are made.
_SIZES = ("Constant", "ConstantOfShape", "Shape", "Gather", "Slice", "Concat", "Cast")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Placed:
    """A layer and its place in the graph.

    node : whose weights they are. gives : the value that the layer makes, what it holds of the nodes behind it (bias,
    normalisation, ReLU, pooling) included; empty for a recurrent node's, which make none. problems : what of the node
    the layer does not hold, and why; lacks : the first words of these. macs : multiplications for one vector, without
    those with the zeros between groups. pool : window and stride of the pooling behind it. contraction : of an Einsum.
    """

    source: LayerSource
    node: Any
    gives: str
    problems: tuple[Unused, ...] = ()
    lacks: tuple[str, ...] = ()
    macs: int = 0
    pool: tuple[Pair, Pair] | None = None
    contraction: Contraction | None = None


@dataclass(frozen=True)
class Contraction:
    """An Einsum of two values as the product of a matrix with vectors. Letters stand for axes, "." for those of "...".

    place : of the constant. given, made : axes of what goes in and comes out. summed : those that the product sums,
    also in the matrix's columns; kept : those of the matrix's rows.
    """

    place: int
    given: str
    made: str
    summed: str
    kept: str

    @classmethod
    def of(cls, equation: str, place: int) -> Contraction | None:
        """The equation with a constant in this place; None where it is no product with a matrix."""
        left, mark, made = equation.replace(" ", "").replace("...", ".").partition("->")
        operands = left.split(",")
        if len(operands) != 2:
            return None
        weight, given = operands[place], operands[1 - place]
        if not mark:
            letters = sorted({one for one in left if one.isalpha()})
            made = ("." if "." in left else "") + "".join(one for one in letters if left.count(one) == 1)
        if any(len(set(text)) != len(text) for text in (weight, given, made)) or "." in weight:
            return None
        summed = "".join(one for one in weight if one in given)
        kept = "".join(one for one in weight if one not in given)
        free = set(given) - set(summed)
        if set(summed) & set(made) or not summed or set(made) != free | set(kept):
            return None
        return cls(place, given, made, summed, kept)


def _layer_name(graph: Graph, node: Any, weight: str, bias: str = "") -> str:
    """The weight's name without its ending (fc1.weight), or else the bias's, or else the node's own."""
    layer, biases = names_of(graph.root(weight))
    if biases:
        return layer
    stem, mark, word = graph.root(bias).rpartition(".") if bias else ("", "", "")
    if mark and word == "bias":
        return stem
    return node.name or graph.root(weight)


@dataclass(frozen=True, eq=False)
class _Norm:
    """A batch normalisation behind a layer: y = scale x + shift, float64[rows] each."""

    scale: Array
    shift: Array


def _check_norm(graph: Graph, node: Any) -> None:
    """Raise `ModelError` if a batch normalisation has not a number for each channel."""
    channels = [size for size in graph.shape(node.input[0])[1:2] if size]
    for name in node.input[1:5] if attributes_of(node).get("spatial", 1) else ():
        one = graph.constant(name)
        if one is not None and channels and one.form.shape != tuple(channels):
            raise _invalid(node, f"{name} of shape {list(one.form.shape)} for {channels[0]} channels")


def _check_axis(graph: Graph, node: Any) -> None:
    """Raise `ModelError` if the axis of a Softmax is none of its input's: onnx's checker does not always look."""
    axis, rank = attributes_of(node).get("axis", 1 if graph.opset < 13 else -1), graph.rank(node.input[0])
    if rank is not None and not -rank <= axis < rank:
        raise _invalid(node, f"axis {axis}, and values of {rank} dimensions")


def _batch_norm(graph: Graph, output: str, rows: int) -> tuple[str, _Norm | None]:
    """The value behind a batch normalisation that alone takes `output`, and what it does; or `output` itself."""
    node = graph.next_node(output, "BatchNormalization")
    if node is None or sum(map(bool, node.output)) != 1 or node.input[0] != output or not graph.folds:
        return output, None
    about = attributes_of(node)
    given = [graph.constant(name) for name in node.input[1:5]]
    vectors = [
        one.read().astype(np.float64) for one in given if one is not None and one.form.shape == (rows,)
    ]
    if len(vectors) != 4 or about.get("training_mode", 0):
        return output, None
    gain, offset, mean, variance = vectors
    graph.use(*node.input[1:5])
    graph.hold(node)
    with np.errstate(invalid="ignore", divide="ignore"):  # the layer that is no number says so
        scale = gain / np.sqrt(variance + about.get("epsilon", 1e-5))
    return node.output[0], _Norm(scale, offset - mean * scale)


def _arrays(
    weight: Reading, bias: Reading | None, rows: int, alpha: float, beta: float, norm: _Norm | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Weights and bias, see `LayerSource.read`; a normalisation behind them is part of both."""
    whole = np.ascontiguousarray(weight(), np.float32).reshape(rows, -1)
    flat = None
    if bias is not None:
        flat = np.broadcast_to(bias().reshape(-1), (1, rows)).ravel().astype(np.float32) * np.float32(beta)
    if alpha != 1:
        whole = whole * np.float32(alpha)
    if norm is not None:
        whole = whole * norm.scale.astype(np.float32)[:, None]
        flat = (norm.shift if flat is None else norm.scale * flat + norm.shift).astype(np.float32)
    return whole, flat


def _placed(
    graph: Graph,
    node: Any,
    name: str,
    weight: Constant,
    bias: Constant | None,
    ends: tuple[str, str],
    *,
    relu: bool = False,
    conv: Conv | None = None,
    scales: tuple[float, float] = (1.0, 1.0),
    norm: _Norm | None = None,
    problems: Sequence[tuple[str, str]] = (),
    columns: bool = False,
    macs: int | None = None,
    pool: tuple[Pair, Pair] | None = None,
    contraction: Contraction | None = None,
) -> Placed:
    """ends : the values that the layer takes and gives; empty where something other than layers stands.

    problems : what the layer does not hold, and why.
    """
    name, rows = graph.own_name(name), weight.form.shape[0]
    read = partial(_arrays, weight.read, None if bias is None else bias.read, rows, *scales, norm)
    # Outputs along another axis are the inputs of this layer only if the matrix is turned round between them.
    before = graph.end, columns != graph.end_columns
    follows = graph.end is None or (bool(graph.end) and graph.origin(ends[0]) == before)
    graph.end, graph.end_columns = ends[1], columns
    graph.hold(node)
    source = LayerSource(name, (rows, weight.form.size // rows), read, relu, conv, follows=follows)
    return Placed(
        source,
        node,
        ends[1],
        tuple(Unused(f"{what} of {name}", why) for what, why in problems),
        tuple(what for what, _ in problems),
        weight.form.size if macs is None else macs,
        pool,
        contraction,
    )


def _behind(graph: Graph, output: str, *kinds: str) -> tuple[str, bool, tuple[Pair, Pair] | None]:
    """The value behind a ReLU and a node of these kinds that pools, in either order (both are monotonic), and these."""
    relu, pool = False, None
    for _ in range(1 + len(kinds)):
        after = graph.next_node(output, "Relu", *([] if pool else kinds))
        if after is None:
            break
        if after.op_type == "Relu":
            relu = True
        else:
            pool = pooling_of(after)
            if pool is None:
                break
        graph.hold(after)
        output = after.output[0]
    return output, relu, pool


def _is_weight(array: Constant | None, dims: int) -> bool:
    return array is not None and array.form.ndim == dims and array.is_float


def _is_bias(added: Constant | None, rows: int, rank: int | None, axis: int = -1) -> bool:
    """Whether a constant, added to values of `rank` dimensions (None: not known), adds one number to each of the `rows`
    outputs along `axis` and nothing else: by ONNX's rules of broadcasting, aligned at the last axis.
    """
    if added is None:
        return False
    shape = added.form.shape
    if not shape:
        return True
    if rank is None:  # what is multiplied has one axis at least
        rank = 1 if axis == -1 else 0
    if len(shape) > rank or -axis > rank:
        return False
    along = [1] * (rank - len(shape)) + list(shape)
    outputs = along.pop(axis)
    return outputs in (1, rows) and all(size == 1 for size in along)


def _bias(graph: Graph, node: Any, rows: int) -> tuple[str, Constant | None, list[tuple[str, str]]]:
    """A node's third input as a bias: its name, its numbers, and what is wrong with it.

    What is added then is no layer's, so neither is anything behind it.

    Raises
    ------
    ModelError : a constant that the node cannot take.
    """
    name = node.input[2] if len(node.input) > 2 else ""
    bias = graph.constant(name) if name else None
    shape = None if bias is None else bias.form.shape
    if shape is not None and node.op_type == "Conv" and shape != (rows,):
        raise _invalid(node, f"a bias of shape {list(shape)} for {rows} outputs")
    if shape is not None and node.op_type == "Gemm":
        batch, outputs = (1, 1, *shape)[-2:]
        swapped = bool(attributes_of(node).get("transA", 0))
        taken = (graph.shape(node.input[0])[1 if swapped else 0 :] or [0])[0] or batch
        if len(shape) > 2 or outputs not in (1, rows) or batch not in (1, taken):
            raise _invalid(node, f"C of shape {list(shape)} for {rows} outputs")
    if name and not _is_bias(bias, rows, 2):
        return "", None, [("bias", "not a constant per output")]
    return name, bias, []


def _invalid(node: Any, why: str) -> ModelError:
    name = repr(node.name) if node.name else f"that makes {node.output[0]!r}"
    return ModelError(f"not a valid ONNX graph: node {name} ({node.op_type}): {why}")


def _matrix(graph: Graph, constant: Constant, other: str) -> Constant | None:
    """A constant as the matrix that MatMul multiplies the value `other` with; ones in front of its shape change nothing
    if that value has as many dimensions.
    """
    shape = constant.form.shape
    if len(shape) > 2 and set(shape[:-2]) == {1} and (graph.rank(other) or 0) >= len(shape):
        constant = constant.then(partial(np.reshape, shape=shape[-2:]))
    return constant if _is_weight(constant, 2) else None


def _mat_mul(graph: Graph, node: Any) -> Iterator[Placed]:
    left, right = (graph.constant(name) for name in node.input)
    if (left is None) == (right is None):
        return
    place = 1 if left is None else 0
    other = node.input[1 - place]
    constant = _matrix(graph, right if left is None else left, other)  # type: ignore[arg-type]
    if constant is None:
        held = (right if left is None else left).form  # type: ignore[union-attr]
        more = held.dtype.kind == "f" and held.ndim > 2
        graph.reasons[graph.root(node.input[place])] = (
            f"{held.ndim} dimensions, and the other factor has no batch of as many; use a matrix"
            if more
            else "not a float matrix, in MatMul"
        )
        return
    # x @ B is the batch form, whose outputs run along the last axis; A @ x has column vectors, unless x is one vector.
    weight = constant.then(np.transpose) if place else constant
    rows, rank = weight.form.shape[0], graph.rank(other)
    axis = -1 if place or rank == 1 else -2
    output, bias, bias_name = node.output[0], None, ""
    after = graph.next_node(output, "Add")
    if after is not None:
        name = after.input[1] if after.input[0] == output else after.input[0]
        added = graph.constant(name)
        if _is_bias(added, rows, rank, axis):
            output, bias, bias_name = after.output[0], added, name
            graph.hold(after)
    norm = None
    if place == 1 and rank == 2:  # the second dimension is what is normalised
        output, norm = _batch_norm(graph, output, rows)
    layer = _layer_name(graph, node, node.input[place], bias_name)
    graph.use(node.input[place], bias_name)
    output, relu, _ = _behind(graph, output)
    ends, columns = (other, output), axis == -2
    yield _placed(graph, node, layer, weight, bias, ends, relu=relu, norm=norm, columns=columns)


def _gemm(graph: Graph, node: Any) -> Iterator[Placed]:
    attributes = attributes_of(node)
    right = graph.constant(node.input[1])
    if right is None or graph.constant(node.input[0]) is not None:
        return
    if not _is_weight(right, 2):
        graph.reasons[graph.root(node.input[1])] = "not a float matrix, in Gemm"
        return
    weight = right if attributes.get("transB", 0) else right.then(np.transpose)
    rows, cols = weight.form.shape
    swapped = bool(attributes.get("transA", 0))
    given = graph.shape(node.input[0])[:: -1 if swapped else 1]
    if given[1:] not in ([], [0], [cols]):
        raise _invalid(node, f"weights for {cols} inputs, and {given[1]} of them")
    bias_name, bias, problems = _bias(graph, node, rows)
    name = _layer_name(graph, node, node.input[1], bias_name)
    graph.use(node.input[1], bias_name)
    scales = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    output, relu, norm = "", False, None
    if not problems:
        output, norm = _batch_norm(graph, node.output[0], rows)
        output, relu, _ = _behind(graph, output)
    ends = ("" if swapped else node.input[0], output)
    if swapped:
        problems.append(("inputs", "transposed, in Gemm"))
    yield _placed(
        graph, node, name, weight, bias, ends, relu=relu, scales=scales, norm=norm, problems=problems
    )


def _einsum(graph: Graph, node: Any) -> Iterator[Placed]:
    """Einsum of a constant and something else, where that is a matrix at each of its other places."""
    held = [graph.constant(name) for name in node.input]
    if len(held) != 2 or (held[0] is None) == (held[1] is None):
        return
    place = 0 if held[1] is None else 1
    weight, root = held[place], graph.root(node.input[place])
    equation = attributes_of(node).get("equation", b"").decode(errors="replace")
    found = Contraction.of(equation, place)
    letters = equation.replace(" ", "").partition("->")[0].split(",")
    if weight is None or not weight.is_float or found is None or len(letters[place]) != weight.form.ndim:
        graph.reasons[root] = f"not one float matrix at each place, in Einsum {equation!r}"
        return
    axes = [letters[place].index(one) for one in found.kept + found.summed]
    sizes = [weight.form.shape[axis] for axis in axes]
    shape = int(np.prod(sizes[: len(found.kept)])), int(np.prod(sizes[len(found.kept) :]))
    matrix = weight.then(partial(np.transpose, axes=axes)).then(partial(np.reshape, shape=shape), shape)
    graph.use(node.input[place])
    yield _placed(
        graph,
        node,
        _layer_name(graph, node, node.input[place]),
        matrix,
        None,
        ("", node.output[0]),
        problems=[("axes", f"those of Einsum {equation!r}")],
        contraction=found,
    )


def pooling_of(node: Any) -> tuple[Pair, Pair] | None:
    """Window and stride of a MaxPool node, None for one that `Conv` cannot have."""
    about = attributes_of(node)
    plain = (
        not any(about.get("pads", ()))
        and not about.get("ceil_mode", 0)
        and set(about.get("dilations", [1])) == {1}
    )
    window = about["kernel_shape"]
    ok = plain and about.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and len(node.output) == 1
    return (pair(window), pair(about.get("strides", [1] * len(window)))) if ok else None


def _paddings(graph: Graph, node: Any, kernel: Pair, strides: Pair) -> tuple[Pair, Pair] | None:
    """Zeros before the image and behind it, (down, across) each; None if they follow from a size that is not known."""
    about = attributes_of(node)
    kind = about.get("auto_pad", b"NOTSET")
    if kind not in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = about.get("pads", []) if kind == b"NOTSET" else []
        half = len(pads) // 2
        return ((0, 0), (0, 0)) if not half else (pair(pads[:half], 0), pair(pads[half:], 0))
    size = graph.image_size(node.input[0])
    if not min(size):
        return None
    all_of = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, strides, kernel, strict=True)]
    less, more = (all_of[0] // 2, all_of[1] // 2), (-(-all_of[0] // 2), -(-all_of[1] // 2))
    return (less, more) if kind == b"SAME_UPPER" else (more, less)


def _evened(weight: Constant, before: Pair, behind: Pair) -> tuple[Constant, Pair]:
    """Weights [outputs, channels, height, width] and the padding of both sides.

    Where the two sides differ, the larger one is taken for both: zeros beside the kernel move it back to its place.
    """
    padding = max(before[0], behind[0]), max(before[1], behind[1])
    more = [(0, 0), (0, 0), *((p - b, p - e) for p, b, e in zip(padding, before, behind, strict=True))]
    if not any(map(any, more)):
        return weight, padding
    shape = tuple(size + sum(both) for size, both in zip(weight.form.shape, more, strict=True))
    return weight.then(partial(np.pad, pad_width=more), shape), padding


def _whole(groups: int, weight: Array) -> Array:
    """Weights of all channels, of which those of other groups are 0."""
    outputs, channels, *kernel = weight.shape
    whole = np.zeros((groups, outputs // groups, groups, channels, *kernel), weight.dtype)
    each = np.arange(groups)
    whole[each, :, each] = weight.reshape(groups, outputs // groups, channels, *kernel)
    return whole.reshape(outputs, groups * channels, *kernel)


def _dilated(dilations: Pair, weight: Array) -> Array:
    """Weights with zeros between them."""
    shape = *weight.shape[:2], *_reach(weight.shape[2:], dilations)
    whole = np.zeros(shape, weight.dtype)
    whole[..., :: dilations[0], :: dilations[1]] = weight
    return whole


def _reach(kernel: tuple[int, ...], dilations: Pair) -> Pair:
    """Size of a dilated kernel."""
    return dilations[0] * (kernel[0] - 1) + 1, dilations[1] * (kernel[1] - 1) + 1


def _window(graph: Graph, node: Any, weight: Constant) -> tuple[Constant, Pair, Pair | None] | None:
    """Weights [outputs, channels, height, width] of a plain convolution, its stride and padding (None: not known).

    None for weights that would be too large, mostly zeros.
    """
    about = attributes_of(node)
    strides, dilations = (pair(about.get(key, [1, 1])) for key in ("strides", "dilations"))
    if weight.form.ndim == 3:
        weight = weight.then(partial(np.expand_dims, axis=2))
    most = max(_MAX_GROUPED, weight.form.size)
    if max(dilations) > 1:
        kernel = _reach(weight.form.shape[2:], dilations)
        if np.prod([*weight.form.shape[:2], *kernel], dtype=np.float64) > most:
            return None
        weight = weight.then(partial(_dilated, dilations), (*weight.form.shape[:2], *kernel))
    paddings = _paddings(graph, node, weight.form.shape[2:], strides)
    if paddings is None:
        return weight, strides, None
    evened = [k + abs(one - two) for k, one, two in zip(weight.form.shape[2:], *paddings, strict=True)]
    if np.prod([*weight.form.shape[:2], *evened], dtype=np.float64) > most:
        return None
    weight, padding = _evened(weight, *paddings)
    return weight, strides, padding


def _check_conv(graph: Graph, node: Any, weight: Constant, groups: int) -> None:
    """Raise `ModelError` if the node cannot have these weights."""
    about, (rows, channels, *kernel) = attributes_of(node), weight.form.shape
    if about.get("kernel_shape", kernel) != kernel:
        raise _invalid(
            node, f"kernel_shape {about['kernel_shape']}, and weights of shape {list(weight.form.shape)}"
        )
    for name, each in (("strides", 1), ("dilations", 1), ("pads", 2)):
        if about.get(name) and len(about[name]) != each * len(kernel):
            raise _invalid(node, f"{name} must be {each * len(kernel)} numbers, not {about[name]}")
    if rows % groups:
        raise _invalid(node, f"{rows} outputs in {groups} groups")
    given = graph.shape(node.input[0])
    if given and (len(given) != len(kernel) + 2 or given[1] not in (0, channels * groups)):
        raise _invalid(node, f"weights for {channels * groups} channels, and values of shape {given}")


def _conv(graph: Graph, node: Any) -> Iterator[Placed]:
    weight = graph.constant(node.input[1])
    if weight is None:
        return
    root, groups = graph.root(node.input[1]), attributes_of(node).get("group", 1)
    if not weight.is_float or weight.form.ndim < 3:
        graph.reasons[root] = "not float weights of a convolution"
        return
    _check_conv(graph, node, weight, groups)
    rows, channels, *window = weight.form.shape
    macs = weight.form.size
    if weight.form.size * groups > max(_MAX_GROUPED, weight.form.size):
        graph.reasons[root] = f"a convolution of {groups} groups, too large as one matrix"
        return
    if groups > 1:
        weight = weight.then(partial(_whole, groups), (rows, channels * groups, *window))
    bias_name, bias, problems = _bias(graph, node, rows)
    alone = bool(problems)
    name = _layer_name(graph, node, node.input[1], bias_name)
    if len(window) > 2:
        graph.use(node.input[1], bias_name)
        ends = ("", node.output[0])
        problems.append(("geometry", f"that of a convolution along {len(window)} dimensions"))
        yield _placed(graph, node, name, weight, bias, ends, problems=problems, macs=macs)
        return
    plain = _window(graph, node, weight)
    if plain is None:
        graph.reasons[root] = "a convolution with dilations or paddings, too large as one matrix"
        return
    weight, strides, padding = plain
    if padding is None:
        problems.append(("padding", "of a size that the file does not tell"))
    output, relu, pool, norm = "", False, None, None
    if not alone:
        output, norm = _batch_norm(graph, node.output[0], rows)
        output, relu, pool = _behind(graph, output, "MaxPool")
    kernel, size = pair(weight.form.shape[2:]), graph.image_size(node.input[0])
    try:
        conv = Conv(kernel, strides, padding or (0, 0), *(pool or ((1, 1), (1, 1))))
        try:
            conv = replace(conv, size=size)
        except LayerError as error:
            if not graph.lenient:
                raise _invalid(node, str(error)) from None
            problems.append(("geometry", f"impossible ({error})"))
    except LayerError as error:
        conv = Conv(kernel)  # its sizes are left open
        problems.append(("geometry", f"impossible ({error})"))
    graph.use(node.input[1], bias_name)
    ends = (node.input[0], output)
    yield _placed(
        graph,
        node,
        name,
        weight,
        bias,
        ends,
        relu=relu,
        conv=conv,
        norm=norm,
        problems=problems,
        macs=macs,
        pool=pool,
    )


def _spread(groups: int, weight: Array) -> Array:
    """Weights [inputs, outputs of a group, ...] of a transposed convolution as a matrix [outputs * window, inputs]."""
    inputs, outputs, *window = weight.shape
    whole = np.zeros((groups, outputs, *window, groups, inputs // groups), weight.dtype)
    each = weight.reshape(groups, inputs // groups, outputs, *window)
    for group in range(groups):
        whole[group, ..., group, :] = np.moveaxis(each[group], 0, -1)
    return whole.reshape(-1, inputs)


def _conv_transpose(graph: Graph, node: Any) -> Iterator[Placed]:
    """A transposed convolution: a matrix at each place of its input, whose windows are added up."""
    weight = graph.constant(node.input[1])
    if weight is None:
        return
    groups = attributes_of(node).get("group", 1)
    inputs, outputs, *window = (*weight.form.shape, 1, 1)[: max(weight.form.ndim, 2)]
    rows = groups * outputs * int(np.prod(window))
    large = rows * inputs > max(_MAX_GROUPED, weight.form.size)
    if not weight.is_float or weight.form.ndim < 3 or inputs % groups or large:
        reason = "not float weights of a transposed convolution, or too many groups"
        graph.reasons[graph.root(node.input[1])] = reason
        return
    matrix = weight.then(partial(_spread, groups), (rows, inputs))
    graph.use(node.input[1])
    yield _placed(
        graph,
        node,
        _layer_name(graph, node, node.input[1]),
        matrix,
        None,
        ("", node.output[0]),
        problems=[("geometry", "that of a transposed convolution")],
        macs=weight.form.size,
    )


def _check_cell(node: Any, inputs: Sequence[Constant | None], given: Sequence[int]) -> None:
    """Raise `ModelError` unless the constant W, R, B and P of a recurrent node are of shapes that go together.

    given : the shape of what the node takes, as far as it is known.
    """
    about, gates = attributes_of(node), {"GRU": 3, "LSTM": 4, "RNN": 1}[node.op_type]
    directions = 2 if about.get("direction") == b"bidirectional" else 1
    shapes = [None if one is None else one.form.shape for one in inputs]
    hidden = about.get("hidden_size", next((shape[1] // gates for shape in shapes[:2] if shape), 0))
    cols = given[2] or None if len(given) == 3 else None
    lasts = (cols, hidden, 2 * gates * hidden, 3 * hidden)
    for name, shape, last in zip("WRBP", shapes, lasts, strict=True):
        want = (directions, last) if name in "BP" else (directions, gates * hidden, last)
        if shape and (
            len(shape) != len(want) or any(w not in (None, s) for w, s in zip(want, shape, strict=True))
        ):
            text = ", ".join("any" if size is None else str(size) for size in want)
            raise _invalid(
                node, f"{name} must be of shape [{text}] with {hidden} hidden numbers, not {list(shape)}"
            )


def _recurrent(graph: Graph, node: Any) -> Iterator[Placed]:
    """Input weights W and recurrent weights R of each direction, as two layers that the gates' arithmetic joins."""
    name = _layer_name(graph, node, node.input[1])
    names = [*node.input[1:4], "", ""][:3]
    inputs = [graph.constant(given) if given else None for given in names]
    problems, bias = [], inputs[2]
    if names[2] and bias is None:
        names[2] = ""
        problems.append(("bias", "no constant"))
    for kind, weights in enumerate(inputs[:2]):
        if weights is None or not _is_weight(weights, 3):
            graph.reasons[graph.root(names[kind])] = f"not float weights of {node.op_type}"
            continue
        graph.use(names[kind], names[2])
        peepholes = graph.constant(node.input[7]) if node.op_type == "LSTM" and any(node.input[7:8]) else None
        _check_cell(node, [*inputs, peepholes], graph.shape(node.input[0]))
        directions, rows, _ = weights.form.shape
        for direction in range(directions):
            part = None
            if bias is not None:
                part = bias.then(itemgetter((direction, slice(kind * rows, (kind + 1) * rows))))
            suffix = "WR"[kind] + (str(direction) if directions > 1 else "")
            weight = weights.then(itemgetter(direction))
            yield _placed(graph, node, f"{name}.{suffix}", weight, part, ("", ""), problems=problems)


def _reason(graph: Graph, name: str) -> str:
    """Why an initializer is in no layer."""
    kinds = sorted({node.op_type for node in graph.consumers.get(name, [])})
    return graph.reasons.get(name) or (f"for {', '.join(kinds)}" if kinds else "no node takes it")


def _left(graph: Graph, name: str, form: Array) -> Unused:
    """An initializer that is in no layer."""
    return Unused(array_text(name, form), _reason(graph, name), form.size * form.dtype.itemsize)


def placed_layers(graph: Graph) -> list[Placed]:
    """Layers in the graph's order, weights as [outputs, inputs], each with its place.

    MatMul with one constant matrix, with the constant that an Add puts after it as bias; Gemm (alpha, beta); Einsum of
    a constant where it is a matrix; Conv, along one or two dimensions with the MaxPool after it; a BatchNormalization
    behind one of these, as part of it; ConvTranspose without its bias; GRU, LSTM and RNN (name.W and name.R). Those in
    the bodies of Loop, If and Scan stand where these do. A layer has a ReLU where a Relu node alone follows. Constants
    are initializers, those in external files included, Constant nodes, and what follows from these alone (`onnx_fold`).
    Large ones are read when a layer is asked for.

    Raises
    ------
    ModelError : a layer that cannot be compressed.
    """
    placed = graph.placed
    for node in graph.nodes:
        try:
            placed += _layers_of(graph, node)
        except ModelError as error:
            if not graph.lenient:
                raise
            graph.reasons |= {graph.root(name): str(error) for name in node.input[1:2] if name}
    return placed


_KINDS = {
    "MatMul": _mat_mul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(RECURRENT, _recurrent),
}


def _layers_of(graph: Graph, node: Any) -> list[Placed]:
    """The layers of a node, or of the nodes in its bodies."""
    if node.domain not in ("", "ai.onnx"):
        return []
    if node.op_type == "BatchNormalization":
        _check_norm(graph, node)
    elif node.op_type in ("Softmax", "LogSoftmax", "Hardmax"):
        _check_axis(graph, node)
    try:
        placed = list(_KINDS[node.op_type](graph, node)) if node.op_type in _KINDS else []
    except IndexError:
        raise ModelError(f"not an ONNX file (a node {node.op_type} or behind it lacks inputs)") from None
    for body in graph.bodies(node).values():
        placed += placed_layers(body)
    return placed


def read(path: Path) -> Model:
    """The layers of a file (`placed_layers`), and what of its graph none of them holds.

    Raises
    ------
    ModelError : see `load` and `placed_layers`.
    """
    graph = load(path)
    placed = placed_layers(graph)
    sources = tuple(one.source for one in placed)
    unused = (
        _left(graph, name, graph.initializer(name).form)
        for name in graph.initializers
        if name not in graph.used
    )
    others = Counter(
        node.op_type
        for node in graph.nodes
        if id(node) not in graph.held
        and node.op_type not in _SIZES
        and not graph.is_view(node)
        and not graph.is_constant(node)
    )
    operations = (
        Unused(f"{kind} ({count})", "an operation that belongs to no layer") for kind, count in others.items()
    )
    problems = (problem for one in placed for problem in one.problems)
    return Model(Layers(sources), (*unused, *problems, *operations))
