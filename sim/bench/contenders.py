"""Who runs a network on this processor: the engine cpu, and libraries with the same weights in floating point."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatLayer
from eie.conv import from_vectors, to_vectors
from eie.errors import LayerError
from eie.layer import CompressedLayer
from eie.sim.chain import as_float
from eie.sim.engines.cpu import CpuNetwork

Array = npt.NDArray[Any]
Run = Callable[[Array], Array]

EXACT, REAL = "eie cpu", "eie cpu, float"
FLOAT, INT8 = "onnxruntime float32", "onnxruntime int8"
TORCH, CSR, CSC, NUMPY = "torch float32", "scipy CSR", "scipy CSC", "numpy dense"
OURS = (EXACT, REAL)


@dataclass(frozen=True)
class Contender:
    """Someone who runs the network: run takes float32[batch, inputs] and gives real numbers [batch, outputs].

    prepare : called before it is timed, where a library's threads are set for the whole process.
    """

    name: str
    run: Run
    prepare: Callable[[], Any] = lambda: None


def names() -> tuple[str, ...]:
    """Those that are installed."""
    torch = (TORCH,) if find_spec("torch") else ()
    return (EXACT, REAL, FLOAT, INT8, *torch, CSR, CSC, NUMPY)


def contender(
    name: str, layers: Sequence[CompressedLayer], threads: int, real: Sequence[FloatLayer] | None = None
) -> Contender:
    """The one of this name, with so many threads (scipy's sparse products always have one).

    real : `as_float(layers)`, where several contenders share it: it is large.

    Raises
    ------
    LayerError : layers that add, or scale their rows.
    """
    if name in OURS:
        return Contender(name, _ours(name, layers, threads))
    if any(layer.row_scale is not None for layer in layers):
        raise LayerError(f"{name} multiplies: a layer that adds, or scales its rows, is none of its own")
    real = as_float(layers) if real is None else real
    if name in (CSR, CSC):
        return Contender(name, _scipy(layers, real, name))
    if name in (FLOAT, INT8):
        return Contender(name, _onnxruntime(real, [layer.cols for layer in layers], threads, name == INT8))
    if name == TORCH:
        return _torch(real, threads)
    return Contender(name, _numpy(real), lambda: _blas_threads(threads))


def _blas_threads(threads: int) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads, user_api="blas")


def _ours(name: str, layers: Sequence[CompressedLayer], threads: int) -> Run:
    network = CpuNetwork(layers, threads=threads)
    if name == REAL:
        return network.run_real
    factor = np.float32(2.0 ** -layers[-1].y_frac)
    return lambda x: network.run(network.quantize(x)) * factor


# ---- onnxruntime -------------------------------------------------------------------------------------------


def _bias(layer: FloatLayer) -> Array:
    bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return bias.astype(np.float32)


def onnx_model(layers: Sequence[FloatLayer], inputs: int) -> Any:
    """The layers as an ONNX model, x float32[batch, inputs] to y float32[batch, outputs]."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []
    value = "x"

    def constant(name: str, array: Array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(operator: str, *given: str, **attributes: Any) -> None:
        nonlocal value
        made = f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, [value, *given], [made], name=f"n{len(nodes)}", **attributes))
        value = made

    for number, layer in enumerate(layers):
        weight, bias = layer.weight.astype(np.float32), _bias(layer)
        if layer.conv:
            conv = layer.conv
            channels = conv.channels(weight.shape[1])
            add("Reshape", constant(f"s{number}", np.array([-1, channels, *conv.size])))
            kernel = weight.reshape(len(weight), channels, *conv.kernel)
            add(
                "Conv",
                constant(f"w{number}", kernel),
                constant(f"b{number}", bias),
                strides=conv.stride,
                pads=conv.padding * 2,
            )
        else:
            # MatMul, because onnxruntime's dynamic quantisation takes no Gemm.
            add("MatMul", constant(f"w{number}", weight.T))
            add("Add", constant(f"b{number}", bias))
        if layer.relu:
            add("Relu")
        if layer.conv:
            if {*layer.conv.pool, *layer.conv.pool_stride} != {1}:
                add("MaxPool", kernel_shape=layer.conv.pool, strides=layer.conv.pool_stride)
            add("Flatten")
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])]
    nodes[-1].output[0] = "y"
    last = layers[-1]
    size = len(last.weight) * (math.prod(last.conv.pooled_size) if last.conv else 1)
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, size])]
    graph = helper.make_graph(nodes, "network", ports, out, constants)
    # What every onnxruntime that is allowed reads.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session(model: bytes | str, threads: int) -> Any:
    """An onnxruntime session of a model, or of its file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantized(model: Any) -> bytes:
    """A model, or the file of one, with 8-bit weights and products, activations scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it asks to preprocess the model
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = Path(folder) / "int8.onnx"
            # Unsigned weights: x86's signed product saturates halfway without VNNI.
            quantize_dynamic(model, target, weight_type=QuantType.QUInt8)
            return target.read_bytes()
    finally:
        logging.root.setLevel(before)


def _onnxruntime(layers: Sequence[FloatLayer], cols: Sequence[int], threads: int, eight_bits: bool) -> Run:
    first = layers[0]
    inputs = first.conv.inputs(cols[0]) if first.conv else cols[0]
    model = onnx_model(layers, inputs)
    ready = session(quantized(model) if eight_bits else model.SerializeToString(), threads)
    return lambda x: np.asarray(ready.run(None, {"x": x})[0])


# ---- the others --------------------------------------------------------------------------------------------


def _torch(layers: Sequence[FloatLayer], threads: int) -> Contender:
    import torch

    weights = [
        (
            torch.from_numpy(layer.weight.astype(np.float32)),
            torch.from_numpy(_bias(layer)),
        )
        for layer in layers
    ]
    functional = torch.nn.functional

    def run(x: Array) -> Array:
        with torch.inference_mode():
            y = torch.from_numpy(x)
            for layer, (weight, bias) in zip(layers, weights, strict=True):
                conv = layer.conv
                if conv:
                    channels = conv.channels(weight.shape[1])
                    kernel = weight.reshape(len(weight), channels, *conv.kernel)
                    y = functional.conv2d(
                        y.reshape(-1, channels, *conv.size), kernel, bias, conv.stride, conv.padding
                    )
                else:
                    y = functional.linear(y, weight, bias)
                if layer.relu:
                    y = functional.relu(y)
                if conv:
                    if {*conv.pool, *conv.pool_stride} != {1}:
                        y = functional.max_pool2d(y, conv.pool, conv.pool_stride)
                    y = y.flatten(1)
            return np.asarray(y.numpy())

    def prepare() -> None:
        torch.set_num_threads(threads)
        with suppress(RuntimeError):  # only before the first product
            torch.set_num_interop_threads(1)

    return Contender(TORCH, run, prepare)


def _layered(layers: Sequence[FloatLayer], products: Sequence[Run]) -> Run:
    """Layers whose matrices are multiplied with vectors [n, cols] by `products`."""

    biases = [_bias(layer) for layer in layers]

    def run(x: Array) -> Array:
        for layer, bias, product in zip(layers, biases, products, strict=True):
            y = product(to_vectors(layer.conv, x, layer.weight.shape[1]))
            y += bias
            if layer.relu:
                np.maximum(y, 0, out=y)
            x = from_vectors(layer.conv, y)
        return x

    return run


def _numpy(layers: Sequence[FloatLayer]) -> Run:
    def product(layer: FloatLayer) -> Run:
        weight = layer.weight.astype(np.float32)
        return lambda x: (weight @ x[0])[None] if len(x) == 1 else x @ weight.T

    return _layered(layers, [product(layer) for layer in layers])


def _scipy(layers: Sequence[CompressedLayer], real: Sequence[FloatLayer], name: str) -> Run:
    import scipy.sparse

    def product(layer: CompressedLayer) -> Run:
        data = np.ldexp(layer.codebook.astype(np.float32), -layer.w_frac)[layer.codes]
        matrix = scipy.sparse.csc_array(
            (data, layer.indices, layer.indptr.astype(np.int32)), shape=layer.shape
        )
        if name == CSR:
            matrix = matrix.tocsr()
        # Of a vector scipy has a loop of its own.
        return lambda x: (matrix @ x[0])[None] if len(x) == 1 else np.ascontiguousarray((matrix @ x.T).T)

    return _layered(real, [product(layer) for layer in layers])
