"""Networks from ONNX graphs: the float run against onnxruntime, and the engines against each other."""

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from eie.capacity import sized_for
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.compress.readers.files import read_model
from eie.config import ArchConfig
from eie.errors import CapacityError, EieError, LayerError, ModelError
from eie.fixed import quantize
from eie.sim.engines.reference import rounded
from eie.sim.networks.accelerator import Accelerator, check_weights
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.graph import Trained
from eie.sim.workloads.inputs import read_given
from tests.support import onnx_networks as nets
from tests.support.adder_cases import random_layer
from tests.support.onnxruntime_runs import theirs
from tests.support.simulators import on_icarus

RECURRENT = [
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"linear_before_reset": 0}),
    ("GRU", {"linear_before_reset": 0, "direction": "reverse", "biases": False}),
    ("GRU", {"linear_before_reset": 1, "directions": 2, "direction": "bidirectional", "state": True}),
    ("GRU", {"linear_before_reset": 1, "activations": ["Sigmoid", "Relu"]}),
    ("LSTM", {}),
    ("LSTM", {"state": True}),
    ("LSTM", {"directions": 2, "direction": "bidirectional", "state": True}),
    ("LSTM", {"direction": "reverse", "biases": False}),
    ("RNN", {}),
    ("RNN", {"activations": ["Relu"], "state": True}),
]
OTHERS = [
    (nets.denoiser, (1, 8, 9)),
    (lambda path: nets.denoiser(path, "LSTM"), (1, 8, 9)),
    (nets.pictures, (1, 1, 12, 12)),
    (nets.along_one_dimension, (3, 2, 19)),
    (nets.folded, (1, 2, 6, 8)),
]


def draw(shape, seed=7):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same_as_onnxruntime(path, x):
    network = read_graph(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(list(network.outputs), {"x": x})
    found = network.evaluate({"x": x}, Trained(network))
    for name, value in zip(network.outputs, expected, strict=True):
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("kind", "about"), RECURRENT)
def test_recurrent_nodes_are_onnx(tmp_path, kind, about):
    same_as_onnxruntime(nets.recurrent(tmp_path / "net.onnx", kind, **about), draw((6, 2, 6)))


@pytest.mark.parametrize(("make", "shape"), OTHERS)
def test_networks_are_onnx(tmp_path, make, shape):
    same_as_onnxruntime(make(tmp_path / "net.onnx"), draw(shape))


# ---- on engines --------------------------------------------------------------------------------------------


def compressed(path, x, **settings):
    network = read_graph(path)
    met = network.met_by_each({"x": x})
    layers = compress_each(network.trained, list(met.values()), Settings(**settings))
    return network, check_weights(network, layers, "w.eie")


def run(network, layers, x, engine, n_pe=4):
    cfg = sized_for(ArchConfig(n_pe=n_pe, weight_bits=8), *layers.values())
    accelerator = Accelerator(layers, cfg, engine)
    return network.evaluate({"x": x}, accelerator), accelerator.records


MADE = [
    *(
        (lambda path, kind=kind, about=about: nets.recurrent(path, kind, **about), (4, 2, 6))
        for kind, about in RECURRENT
    ),
    *OTHERS,
]


@pytest.mark.parametrize(("make", "shape"), MADE)
def test_engines_agree_bit_for_bit(tmp_path, make, shape):
    x = draw(shape)
    network, layers = compressed(make(tmp_path / "net.onnx"), x, weight_bits=8, density=(0.8,))
    outcome = {engine: run(network, layers, x, engine) for engine in ("reference", "golden", "fast")}
    golden, records = outcome["golden"]
    for outputs, others in outcome.values():
        for name, value in outputs.items():
            assert np.array_equal(value, golden[name])
        assert list(others) == list(records)
    for name, record in records.items():
        fast = outcome["fast"][1][name]
        assert (record.cycles, record.active) == (fast.cycles, fast.active)
        for figure in ("load_cycles", "writeback_cycles"):
            assert getattr(record.result, figure) == getattr(fast.result, figure)
        assert record.count("macs") == fast.count("macs") == outcome["reference"][1][name].count("macs")
        assert outcome["reference"][1][name].result.cycles is None
        assert record.result.cycles == sum(record.cycles)
    # Close to what was trained: 8-bit codes, 80 % of the weights.
    trained = network.evaluate({"x": x}, Trained(network))
    for name, value in golden.items():
        noise = np.linalg.norm(value - trained[name]) / np.linalg.norm(trained[name])
        assert noise < 0.3


def test_all_weights_and_wide_sums_are_close_to_the_float_run(tmp_path):
    x = draw((1, 40, 9))
    network, layers = compressed(
        nets.denoiser(tmp_path / "net.onnx"), x, weight_bits=8, widths=Widths(acc_bits=32)
    )
    cfg = sized_for(ArchConfig(n_pe=4, weight_bits=8, acc_bits=32), *layers.values())
    accelerator = Accelerator(layers, cfg, "fast")
    y = network.evaluate({"x": x}, accelerator)["y"]
    trained = network.evaluate({"x": x}, Trained(network))["y"]
    assert 20 * np.log10(np.linalg.norm(trained) / np.linalg.norm(trained - y)) > 40
    assert not any(record.clipped for record in accelerator.records.values())


@on_icarus
def test_the_rtl_computes_what_golden_does(tmp_path, simulator):
    x = draw((2, 2, 6))
    network, layers = compressed(nets.recurrent(tmp_path / "net.onnx", "GRU", linear_before_reset=1), x)
    golden, records = run(network, layers, x, "golden", 2)
    rtl, others = run(network, layers, x, simulator, 2)
    assert np.array_equal(rtl["y"], golden["y"])
    assert [record.cycles for record in others.values()] == [record.cycles for record in records.values()]


def test_a_gru_is_what_its_definition_says_in_fixed_point(tmp_path):
    """The first two time steps by hand: integers in and out of the matrices, float64 between them."""
    x = draw((2, 2, 6))
    network, layers = compressed(nets.recurrent(tmp_path / "net.onnx", "GRU", linear_before_reset=1), x)
    y = run(network, layers, x, "reference")[0]["y"]

    def product(layer, vector):
        out = []
        dense, given = layer.decode().astype(int), quantize(vector, layer.x_frac, 16)
        for weights, bias in zip(dense.tolist(), layer.bias.tolist(), strict=True):
            total = bias
            for weight, value in zip(weights, given.tolist(), strict=True):
                total += rounded(weight * value, layer.product_shift)
                assert abs(total) < 2**15
            out.append(rounded(total, layer.output_shift) / 2**layer.y_frac)
        return np.array(out)

    w, r = (layers[f"w.{side}"] for side in "WR")
    for sequence in range(2):
        h = np.zeros(5)
        for time in range(2):
            wz, wr, wn = np.split(product(w, x[time, sequence]), 3)
            rz, rr, rn = np.split(product(r, h), 3)
            z, reset = (1 / (1 + np.exp(-gate)) for gate in (wz + rz, wr + rr))
            h = (1 - z) * np.tanh(wn + reset * rn) + z * h
            np.testing.assert_allclose(y[time, 0, sequence], h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("adder", [False, True])
def test_some_rows_are_those_of_the_whole(adder):
    """A GRU asks for gates one after the other; whatever the layer is, its rows give what they give together."""
    rng = np.random.default_rng(adder)
    layer = random_layer(rng, 9, 13, adder=adder, scaled=True)
    cfg = sized_for(ArchConfig.preset("adder").replace(n_pe=2, weight_bits=layer.weight_bits), layer)
    accelerator = Accelerator({layer.name: layer}, cfg, "fast")
    x = rng.integers(-300, 300, (4, 13)) * 2.0**-layer.x_frac
    whole = accelerator(layer.name, x)
    assert np.unique(whole).size > 4
    for rows in (slice(0, 6), slice(6, 9)):
        assert np.array_equal(accelerator(layer.name, x, rows), whole[:, rows])


def test_layers_beyond_the_memories_run_in_passes(tmp_path):
    x = draw((3, 2, 6))
    network, layers = compressed(nets.recurrent(tmp_path / "net.onnx", "GRU"), x)
    whole, _ = run(network, layers, x, "fast", 2)
    small = ArchConfig(n_pe=2, entries=32, pointers=8, src_depth=2, acc_depth=3, act_words=64)
    found = {}
    for engine in ("reference", "golden", "fast"):
        accelerator = Accelerator(layers, small, engine)
        outputs = network.evaluate({"x": x}, accelerator)
        assert np.array_equal(outputs["y"], whole["y"])
        found[engine] = [(name, record.passes, record.cycles) for name, record in accelerator.records.items()]
    assert found["golden"] == found["fast"]
    assert [name for name, _, _ in found["fast"]] == ["w.W", "w.R[0:10]", "w.R[10:15]"]
    assert all(passes > 1 for _, passes, _ in found["fast"])
    with pytest.raises(CapacityError):
        Accelerator(layers, small.replace(pointers=2), "fast")


def test_inputs_beyond_the_scale_are_clipped_and_counted(tmp_path):
    x = draw((1, 3, 9))
    network, layers = compressed(nets.denoiser(tmp_path / "net.onnx"), x)
    far = x.copy()
    far[0, 1, 4] = 1e6
    _, records = run(network, layers, far, "fast")
    assert records["MatMul_a0"].clipped == 1
    _, records = run(network, layers, x, "fast")
    assert [record.clipped for record in records.values()] == [0] * 4


# ---- what cannot run ---------------------------------------------------------------------------------------


def changed(tmp_path, change, make=nets.denoiser):
    path = make(tmp_path / "net.onnx")
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


def node_of(graph, kind):
    return next(node for node in graph.node if node.op_type == kind)


def set_attribute(kind, **attributes):
    def change(graph):
        for name, value in attributes.items():
            node_of(graph, kind).attribute.append(helper.make_attribute(name, value))

    return change


def rename(kind, other):
    def change(graph):
        node_of(graph, kind).op_type = other

    return change


def input_becomes(kind, place, value):
    def change(graph):
        node = node_of(graph, kind)
        while len(node.input) <= place:
            node.input.append("")
        node.input[place] = value

    return change


def with_lengths(graph):
    graph.initializer.append(numpy_helper.from_array(np.array([5], np.int32), "lengths"))
    input_becomes("GRU", 4, "lengths")(graph)


def padded_as_needed(graph):
    """Padding that follows from a size which the file does not tell."""
    node = node_of(graph, "Conv")
    kept = [one for one in node.attribute if one.name != "pads"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_UPPER")])


HOSTED = [
    (nets.denoiser, rename("Sigmoid", "Erf"), None),
    (nets.denoiser, set_attribute("GRU", clip=1.0), r"GRU_s1 (GRU): it has clip, input_forget or layout"),
    (
        nets.denoiser,
        set_attribute("GRU", activations=["Sigmoid", "Softsign"]),
        "GRU_s1 (GRU): its activation Softsign is not one of Sigmoid, Tanh, Relu",
    ),
    (nets.denoiser, with_lengths, "GRU_s1 (GRU): it takes sequence_lens"),
    (nets.along_one_dimension, padded_as_needed, None),
]


@pytest.mark.parametrize(("make", "change", "text"), HOSTED)
def test_what_the_host_does(tmp_path, make, change, text):
    shape = dict(OTHERS)[make]
    path = changed(tmp_path, change, make)
    same_as_onnxruntime(path, draw(shape))
    assert read_graph(path).left == (() if text is None else (text,))


REFUSED = [
    (
        nets.denoiser,
        rename("Sigmoid", "Sigmoidal"),
        r"onnxruntime does not take the graph: .*Sigmoidal.*does not have",
    ),
    (nets.denoiser, input_becomes("MatMul", 1, "x"), r"onnxruntime does not take the graph: .*"),
    (
        nets.pictures,
        set_attribute("Conv", strides=[0, 1]),
        r"not a valid ONNX graph: node 'Conv_c1' \(Conv\): strides must be at least 1, not \[0, 1\]$",
    ),
]


@pytest.mark.parametrize(("make", "change", "text"), REFUSED)
def test_nodes_that_are_refused(tmp_path, make, change, text):
    path = changed(tmp_path, change, make)
    with pytest.raises(ModelError, match=f"^{re.escape(str(path))}: {text}") as error:
        read_graph(path)
    assert "\n" not in str(error.value)


def test_a_number_without_axes_stays_one_in_a_body(tmp_path):
    """An index from around a branch: with an axis, Gather would give one more."""
    inner = helper.make_graph(
        [
            helper.make_node("Gather", ["x", "index"], ["row"], axis=0),
            helper.make_node("MatMul", ["row", "w"], ["p"]),
            helper.make_node("Tanh", ["p"], ["then"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("then", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Gather", ["x", "index"], ["else"], axis=0)],
        "else",
        [],
        [helper.make_tensor_value_info("else", 1, None)],
    )
    nodes = [
        helper.make_node("Constant", [], ["index"], value=numpy_helper.from_array(np.array(1))),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Less", ["most", "limit"], ["asked"]),
        helper.make_node("If", ["asked"], ["made"], then_branch=inner, else_branch=other, name="branch"),
        helper.make_node("Shape", ["made"], ["y"]),
    ]
    arrays = {"w": draw((4, 4)), "limit": np.float32(100)}
    path = nets.save(tmp_path / "net.onnx", nodes, arrays, {"x": [3, 4]})
    network = read_graph(path)
    assert list(network.layers) == ["w"]
    assert network.evaluate({"x": draw((3, 4))}, Trained(network))["y"].tolist() == [4]


def test_a_condition_of_several_numbers_is_refused(tmp_path):
    """The first of them decided; onnxruntime refuses the graph."""
    bodies = {
        f"{which}_branch": helper.make_graph(
            [helper.make_node("MatMul" if which == "then" else "Add", ["x", "w"], [which])],
            which,
            [],
            [helper.make_tensor_value_info(which, 1, None)],
        )
        for which in ("then", "else")
    }
    nodes = [
        helper.make_node("Less", ["x", "limit"], ["asked"]),
        helper.make_node("If", ["asked"], ["y"], name="branch", **bodies),
    ]
    arrays = {"w": draw((4, 4)), "limit": np.float32(100)}
    path = nets.save(tmp_path / "net.onnx", nodes, arrays, {"x": [4, 4]})
    assert theirs(path, {"x": draw((4, 4))}) is None
    network = read_graph(path)
    with pytest.raises(
        ModelError, match=r"'branch' \(If\): its condition must be one number, not of shape \[4, 4\]"
    ):
        network.evaluate({"x": draw((4, 4))}, Trained(network))


def test_a_bias_of_another_shape_is_refused_when_it_meets_one(tmp_path):
    """Its shape is known when it runs; onnxruntime says so then, too."""
    network = read_graph(changed(tmp_path, input_becomes("Conv", 2, "x"), nets.pictures))
    with pytest.raises(
        ModelError, match=r"Conv_c1.*takes a bias of shape \[3\], not values of shape \[1, 1, 12, 12\]"
    ):
        network.evaluate({"x": draw((1, 1, 12, 12))}, Trained(network))


def test_a_convolution_of_too_many_groups_is_the_hosts(tmp_path, monkeypatch):
    monkeypatch.setattr("eie.compress.readers.onnx_layers._MAX_GROUPED", 8)
    path = nets.folded(tmp_path / "net.onnx")
    same_as_onnxruntime(path, draw((1, 2, 6, 8)))
    assert read_graph(path).left == (
        "Conv_c1 (Conv): a convolution of 2 groups, too large as one matrix",
        "Conv_c4 (Conv): a convolution with dilations or paddings, too large as one matrix",
    )


def test_a_network_has_the_layers_that_compress_reads(tmp_path):
    path = nets.folded(tmp_path / "net.onnx")
    network, model = read_graph(path), read_model(path)
    assert list(network.layers) == ["Conv_c1", "Conv_c4", "MatMul_c7", "sq", "sq.2"]
    for (name, source), layer in zip(network.layers.items(), model.layers, strict=True):
        mine = source.load()
        assert (name, mine.relu) == (layer.name, layer.relu)
        assert np.array_equal(mine.weight, layer.weight)
        assert np.array_equal(mine.start, layer.start)
    # What is part of a layer is no step; what is none of a layer is the host's, in as few parts as can be.
    operators = [
        "Conv",
        "Conv",
        "Sigmoid, Flatten",
        "MatMul",
        "MatMul",
        "Tanh",
        "MatMul",
        "BatchNormalization",
    ]
    assert [step.operator for step in network.steps] == operators
    path.unlink()
    with pytest.raises(ModelError) as error:
        network.layers["MatMul_c7"].load()
    assert str(error.value) == f"{path}: cannot be read as .onnx: No such file or directory"


def dropping(path, ratio, mode):
    """Two products with a Dropout between them. ratio, mode : its constants, None for none."""
    held = {"w": draw((6, 5)), "v": draw((5, 4))}
    held |= {
        name: value
        for name, value in (("ratio", ratio), ("mode", mode and np.bool_(mode == "training")))
        if value is not None
    }
    given = ["h", *(name if name in held else "" for name in ("ratio", "mode"))]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Dropout", given, ["d"], name="drop"),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", onnx.TensorProto.FLOAT, [2, 6])],
        [value("y", onnx.TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("ratio", "mode"), [(0.5, None), (0.5, "evaluation"), (0.0, "training"), (None, None)]
)
def test_dropout_passes_its_input_through(tmp_path, ratio, mode):
    path = dropping(tmp_path / "net.onnx", None if ratio is None else np.float32(ratio), mode)
    same_as_onnxruntime(path, draw((2, 6)))
    assert [source.follows for source in read_model(path).layers.sources] == [True, True]


@pytest.mark.parametrize("ratio", [0.5, None])
def test_dropout_in_training_mode_is_refused(tmp_path, ratio):
    path = dropping(tmp_path / "net.onnx", None if ratio is None else np.float32(ratio), "training")
    with pytest.raises(ModelError, match=r"node 'drop' \(Dropout\) is in training mode.*model\.eval\(\)"):
        read_graph(path)
    model = read_model(path)  # weights are what they are, and no chain
    assert [source.follows for source in model.layers.sources] == [True, False]
    assert "Dropout (1): an operation that belongs to no layer" in [
        f"{one.array}: {one.reason}" for one in model.unused
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True])
def test_dropout_as_torch_exports_it(tmp_path, training):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Dropout(0.3), torch.nn.Linear(5, 4))
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        module.train(training),
        (torch.zeros(2, 6),),
        str(path),
        input_names=["x"],
        opset_version=12,
        training=mode,
        do_constant_folding=not training,
        dynamo=False,
    )
    if training:
        with pytest.raises(ModelError, match="training mode"):
            read_graph(path)
    else:
        same_as_onnxruntime(path, draw((2, 6)))


def test_what_is_not_needed_is_not_run(tmp_path):
    def harmless(graph):
        graph.node.append(helper.make_node("Tanh", ["a2"], ["nobody"], name="unused"))

    steps = read_graph(changed(tmp_path, harmless)).steps
    assert not any("Tanh" in step.operator for step in steps)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07\x12\x00"])
def test_files_that_are_no_graph(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"^{re.escape(str(path))}: (not a|onnxruntime does not)") as error:
        read_graph(path)
    assert "\n" not in str(error.value)


def test_inputs_of_the_wrong_shape(tmp_path):
    network = read_graph(nets.denoiser(tmp_path / "net.onnx"))
    multiply = Trained(network)
    with pytest.raises(ModelError, match=r"input x \[any, any, 9\] was given an array of shape \[1, 2, 8\]$"):
        network.evaluate({"x": np.zeros((1, 2, 8))}, multiply)
    with pytest.raises(ModelError, match=r"input x \[any, any, 9\] is missing$"):
        network.evaluate({}, multiply)
    with pytest.raises(ModelError, match=r"x\[0, 1, 2\] is nan, not a finite number"):
        network.evaluate({"x": np.where(np.arange(18).reshape(1, 2, 9) == 11, np.nan, 0)}, multiply)


def test_weights_of_another_network(tmp_path):
    x = draw((1, 3, 9))
    network, layers = compressed(nets.denoiser(tmp_path / "net.onnx"), x)
    other = read_graph(nets.denoiser(tmp_path / "other.onnx", hidden=8))
    held = list(layers.values())
    with pytest.raises(
        LayerError, match=r"^w.eie has no layer 'w.W', which .*net.onnx needs: it has MatMul_a0$"
    ):
        check_weights(network, held[:1], "w.eie")
    with pytest.raises(LayerError, match=r"w.eie: layer 'w.W' is 30 x 12 without ReLU, but 24 x 12 without"):
        check_weights(other, held, "w.eie")


@pytest.mark.parametrize(("make", "shape"), OTHERS)
def test_broken_files_end_in_one_line(tmp_path, make, shape):
    path = make(tmp_path / "net.onnx")
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    lines = []
    for _ in range(60):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            network = read_graph(path)
            network.evaluate({port.name: np.ones(shape) for port in network.inputs}, Trained(network))
        except EieError as error:
            lines.append(str(error))
    assert len(lines) > 5
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("kind", ["uint8", "float scaled by Div", "float scaled by Mul", "float"])
def test_pixels_as_the_graph_takes_them(tmp_path, kind):
    """What the graph scales itself, or takes as whole numbers, is not divided by 255 once more."""
    weight = np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)
    nodes, value = [], "x"
    if kind == "uint8":
        nodes.append(helper.make_node("Cast", ["x"], ["c"], to=1))
        value = "c"
    if kind != "float":
        nodes.append(helper.make_node("Mul" if "Mul" in kind else "Div", [value, "s"], ["d"]))
        value = "d"
    nodes.append(helper.make_node("MatMul", [value, "w"], ["y"]))
    scale = np.float32(1 / 255 if "Mul" in kind else 255)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 2 if kind == "uint8" else 1, [None, 6])],
        [helper.make_tensor_value_info("y", 1, [None, 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(scale, "s")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    pixels = np.random.default_rng(3).integers(0, 256, (5, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    given = {"uint8": pixels, "float": (pixels / 255).astype(np.float32)}.get(kind, pixels.astype(np.float32))
    (right,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": given})
    found = read_graph(path)
    inputs = read_given(tmp_path / "x.npy", found.inputs, None, "net.onnx")
    assert np.allclose(found.evaluate(inputs.inputs, Trained(found))["y"], right, atol=1e-4)
