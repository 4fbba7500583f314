"""Which axis of a stored matrix is the inputs': each layer must multiply as the framework that wrote it does."""

import json

import numpy as np
import pytest
import safetensors.numpy
from scipy.signal import correlate

from eie.compress.float_layers import FloatLayer
from eie.compress.readers import read_model
from eie.conv import Conv
from eie.errors import ModelError

rng = np.random.default_rng(11)


def floats(*shape):
    return rng.normal(size=shape).astype(np.float32)


def read(path, arrays, **options):
    np.savez(path / "net.npz", **arrays)
    return read_model(path / "net.npz", **options)


@pytest.mark.parametrize("cols", [3, 5])
@pytest.mark.parametrize(
    ("weight", "bias", "layer"),
    [
        ("dense/kernel:0", "dense/bias:0", "dense"),
        ("params/Dense_0/kernel", "params/Dense_0/bias", "params/Dense_0"),
        ("fc.kernel", "fc.bias", "fc"),
        ("mlp/linear_1/w", "mlp/linear_1/b", "mlp/linear_1"),
        ("fc/weights:0", "fc/biases:0", "fc"),
        ("linear_0.w_0", "linear_0.b_0", "linear_0_0"),
        ("h.0.attn.c_proj.weight", "h.0.attn.c_proj.bias", "h.0.attn.c_proj"),
        ("h.3.mlp.c_fc.weight", "h.3.mlp.c_fc.bias", "h.3.mlp.c_fc"),
    ],
)
def test_inputs_first_by_name(tmp_path, weight, bias, layer, cols):
    # y = x @ kernel + bias, as these frameworks define it; square matrices as well.
    kernel, offset, x = floats(cols, 5), floats(5), floats(7, cols)
    (found,) = read(tmp_path, {weight: kernel, bias: offset}).layers
    assert found.name == layer
    assert np.allclose(found.forward(x), x @ kernel + offset, atol=1e-5)


@pytest.mark.parametrize("name", ["fc.weight", "fc/weight", "fc_w", "W", "table"])
@pytest.mark.parametrize("cols", [3, 5])
def test_outputs_first_otherwise(tmp_path, name, cols):
    weight, x = floats(5, cols), floats(7, cols)
    (found,) = read(tmp_path, {name: weight}).layers
    assert np.allclose(found.forward(x), x @ weight.T, atol=1e-5)


def test_the_length_of_the_bias_decides_before_the_name(tmp_path):
    arrays = {"fc1.weight": floats(3, 5), "fc1.bias": floats(5), "W2": floats(5, 4), "b2": floats(4)}
    x = floats(6, 3)
    model = read(tmp_path, arrays)
    one, two = model.layers
    hidden = np.maximum(x @ arrays["fc1.weight"] + arrays["fc1.bias"], 0)
    assert one.relu
    assert np.allclose(one.forward(x), hidden, atol=1e-5)
    assert np.allclose(two.forward(hidden), hidden @ arrays["W2"] + arrays["b2"], atol=1e-5)
    assert model.notes == (
        "fc1.weight [3, 5] is read as [inputs, outputs], as its bias tells",
        "W2 [5, 4] is read as [inputs, outputs], as its bias tells",
    )
    # A kernel that is kept as [outputs, inputs] is found out likewise.
    weight, bias = floats(5, 3), floats(5)
    (found,) = read(tmp_path, {"fc.kernel": weight, "fc.bias": bias}).layers
    assert np.array_equal(found.weight, weight)


def test_a_square_matrix_is_kept_as_its_like_are(tmp_path):
    arrays = {"W1": floats(3, 5), "b1": floats(5), "W2": floats(5, 5), "b2": floats(5)}
    one, two = read(tmp_path, arrays).layers
    assert np.array_equal(one.weight, arrays["W1"].T)
    assert np.array_equal(two.weight, arrays["W2"].T)


def test_matrices_that_follow_one_another_only_transposed(tmp_path):
    arrays = {"W1": floats(6, 5), "W2": floats(5, 4), "W3": floats(4, 2)}
    model = read(tmp_path, arrays)
    assert [layer.weight.shape for layer in model.layers] == [(5, 6), (4, 5), (2, 4)]
    assert "W1, W2, W3 are read as [inputs, outputs], as they follow one another only so" in model.notes


def test_a_guess_is_said_and_the_user_decides(tmp_path):
    arrays = {"W1": floats(5, 5), "fc.weight": floats(5, 5)}
    model = read(tmp_path, arrays)
    assert model.notes == (
        "which axis is the inputs' of W1 is a guess: read as [outputs, inputs] unless said otherwise; "
        "--transpose decides",
    )
    model = read(tmp_path, arrays, transpose=["W*"])
    assert [
        np.array_equal(layer.weight, arrays[name].T) for layer, name in zip(model.layers, arrays, strict=True)
    ] == [
        True,
        False,
    ]
    assert not model.notes
    (found, _) = read(tmp_path, {"a.kernel": floats(4, 4), "b.weight": floats(4, 4)}, transpose=["!a"]).layers
    with np.load(tmp_path / "net.npz") as held:
        assert np.array_equal(found.weight, held["a.kernel"])
    with pytest.raises(ModelError, match=r"net.npz: --transpose fc9 matches none of W1, fc.weight$"):
        read(tmp_path, arrays, transpose=["fc9"])


@pytest.mark.parametrize(("wide", "first"), [((4, 12), True), ((12, 4), False)])
def test_gpt2_names_that_others_use_for_plain_layers(tmp_path, wide, first):
    arrays = {"h.0.attn.c_attn.weight": floats(*wide), "h.0.attn.c_proj.weight": floats(4, 4)}
    attn, proj = read(tmp_path, arrays).layers
    assert attn.weight.shape == (12, 4)
    held = arrays["h.0.attn.c_proj.weight"]
    assert np.array_equal(proj.weight, held.T if first else held)


@pytest.mark.parametrize("bias", [True, False])
def test_kernels_of_height_width_inputs_outputs(tmp_path, bias):
    kernel, x = floats(3, 2, 4, 5), floats(2, 7, 6, 4)
    arrays = {"conv/kernel:0": kernel} | ({"conv/bias:0": floats(5)} if bias else {})
    (found,) = read(tmp_path, arrays).layers
    assert found.conv == Conv((3, 2))
    # scipy's correlation, of images with their channels behind.
    want = np.stack(
        [
            sum(correlate(image[..., c], kernel[:, :, c, o], "valid") for c in range(4))
            for image in x
            for o in range(5)
        ]
    )
    want = want.reshape(2, 5, 25) + (arrays["conv/bias:0"][:, None] if bias else 0)
    sized = FloatLayer("conv", found.weight, found.bias, False, Conv((3, 2), size=(7, 6)))
    y = sized.forward(x.transpose(0, 3, 1, 2).reshape(2, -1)).reshape(2, 5, 25)
    assert np.allclose(y, want, atol=1e-4)


def test_a_recurrent_layer_of_keras(tmp_path):
    arrays = {
        "gru/kernel:0": floats(4, 9),
        "gru/recurrent_kernel:0": floats(3, 9),
        "gru/bias:0": floats(2, 9),
    }
    given, state = read(tmp_path, arrays).layers
    assert np.array_equal(given.weight, arrays["gru/kernel:0"].T)
    assert np.array_equal(state.weight, arrays["gru/recurrent_kernel:0"].T)
    assert np.array_equal(given.bias, arrays["gru/bias:0"][0])
    assert np.array_equal(state.bias, arrays["gru/bias:0"][1])
    assert not given.relu


def test_what_is_no_matrix_by_its_name(tmp_path):
    arrays = {
        "word_embeddings.weight": floats(9, 4),
        "wte.weight": floats(9, 4),
        "embedding/embeddings:0": floats(9, 4),
        "Embed_0/embedding": floats(9, 4),
        "deconv1.weight": floats(4, 4, 3, 3),
        "ConvTranspose_0/kernel": floats(3, 3, 4, 4),
        "up.weight": floats(6, 4, 2, 2),
        "up.bias": floats(4),
        "depth/depthwise_kernel:0": floats(3, 3, 4, 1),
        "MultiHeadDotProductAttention_0/query/kernel": floats(4, 2, 2),
        "embed_proj.weight": floats(4, 4),
        "patch_embed.proj.weight": floats(4, 3, 2, 2),
    }
    model = read(tmp_path, arrays)
    assert [layer.name for layer in model.layers] == ["embed_proj", "patch_embed.proj"]
    reasons = {one.array.split()[0]: one.reason for one in model.unused}
    assert (
        reasons["wte.weight"]
        == reasons["Embed_0/embedding"]
        == "an embedding, a table in which rows are looked up"
    )
    assert reasons["deconv1.weight"] == "a transposed convolution"
    assert reasons["up.weight"] == "a transposed convolution, as its bias tells"
    # Who knows better says so: one row of the table for each input.
    (found,) = [layer for layer in read(tmp_path, arrays, transpose=["wte"]).layers if layer.name == "wte"]
    assert np.array_equal(found.weight, arrays["wte.weight"].T)


def test_big_endian_numbers(tmp_path):
    weight, bias = floats(3, 4), floats(3)
    arrays = {"fc.weight": weight.astype(">f4"), "fc.bias": bias.astype(">f8")}
    (found,) = read(tmp_path, arrays).layers
    assert np.array_equal(found.weight, weight)
    assert np.array_equal(found.bias, bias)


def test_two_weights_of_one_bias_are_refused(tmp_path):
    arrays = {"fc1.weight": floats(2, 3), "fc1.bias": floats(2), "fc1.kernel": floats(3, 2)}
    with pytest.raises(
        ModelError, match=r"fc1.weight and fc1.kernel both claim fc1.bias as their bias: rename"
    ):
        read(tmp_path, arrays)
    del arrays["fc1.bias"]
    assert [layer.name for layer in read(tmp_path, arrays).layers] == ["fc1.weight", "fc1.kernel"]


# ---- which arrays are the network --------------------------------------------------------------------------


def test_moments_and_averages_are_not_the_network(tmp_path):
    weight = floats(3, 4)
    arrays = {
        "optimizer/fc/weight/exp_avg": floats(3, 4),
        "fc/weight/Adam_1": floats(3, 4),
        "ema_model.fc.weight": floats(3, 4),
        "model.fc.weight": weight,
    }
    model = read(tmp_path, arrays)
    (found,) = model.layers
    assert np.array_equal(found.weight, weight)
    assert {one.reason for one in model.unused} == {
        "an optimizer's",
        "a running average of the network (--key takes it)",
    }
    (average,) = read(tmp_path, arrays, key="ema_model").layers
    assert np.array_equal(average.weight, arrays["ema_model.fc.weight"])
    with pytest.raises(
        ModelError, match=r"--key nobody: no name begins with it; there are ema_model, fc, model, optimizer$"
    ):
        read(tmp_path, arrays, key="nobody")


def test_low_rank_changes_and_scales(tmp_path):
    arrays = {
        "fc.base_layer.weight": floats(4, 4),
        "fc.lora_A.default.weight": floats(2, 4),
        "fc.lora_B.default.weight": floats(4, 2),
        "q.qweight": np.ones((4, 4), np.int32),
        "q.scales": floats(2, 4),
        "head.weight": floats(2, 4),
    }
    model = read(tmp_path, arrays)
    assert [source.name for source in model.layers.sources] == ["fc.base_layer", "head"]
    assert "merge them before saving" in model.layers.sources[0].refused
    assert "q.scales float32[2, 4] (a scale of quantised weights)" in [str(one) for one in model.unused]
    with pytest.raises(ModelError, match="has low-rank changes"):
        model.layers[0]


def test_a_mask_beside_its_weights(tmp_path):
    weight, mask = floats(4, 4), (rng.random((4, 4)) < 0.5).astype(np.float32)
    (found,) = read(tmp_path, {"fc.weight": weight, "fc.mask": mask}).layers
    assert np.array_equal(found.weight, weight * mask)
    with pytest.raises(ModelError, match=r"fc\.mask holds more than zeros and ones"):
        read(tmp_path, {"fc.weight": weight, "fc.mask": mask * 2}).layers[0]


# ---- shards and 8-bit floats -------------------------------------------------------------------------------


def write_shards(folder, weights):
    folder.mkdir()
    index = {}
    for number, (name, array) in enumerate(weights.items()):
        shard = f"model-{number}.safetensors"
        safetensors.numpy.save_file({name: array}, folder / shard)
        index[name] = shard
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return path


def test_shards(tmp_path):
    weights = {"fc2.weight": floats(2, 3), "fc1.weight": floats(3, 4)}
    path = write_shards(tmp_path / "m", weights)
    one, two = read_model(path).layers
    assert (one.name, two.name) == ("fc1", "fc2")
    assert np.array_equal(two.weight, weights["fc2.weight"])
    # As Hugging Face's cache keeps it: links to blobs.
    snapshot, blobs = tmp_path / "models--a" / "snapshots" / "1", tmp_path / "models--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (tmp_path / "m").iterdir():
        file.rename(blobs / f"hash-of-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/hash-of-{file.name}")
    assert len(read_model(snapshot / path.name).layers) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../secret.safetensors", "outside the model's folder"),
        ("/etc/secret.safetensors", "outside the model's folder"),
        ("link.safetensors", "a link that leads outside the model's folder"),
        ("none.safetensors", "which is missing"),
        ("empty.safetensors", "fc.weight is not in the file empty.safetensors, where the index puts it"),
    ],
)
def test_shards_that_are_not_read(tmp_path, name, text):
    safetensors.numpy.save_file({"fc.weight": floats(2, 3)}, tmp_path / "secret.safetensors")
    folder = tmp_path / "m"
    folder.mkdir()
    safetensors.numpy.save_file({"other": floats(2, 3)}, folder / "empty.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"fc.weight": name}}))
    with pytest.raises(ModelError, match=text):
        read_model(path)


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_every_8_bit_float(tmp_path, kind):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    from safetensors.torch import save_file

    codes = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(getattr(torch, kind))
    right = codes.float().numpy()
    finite = np.isfinite(right)
    for number in range(0, 256, 16):
        save_file({"fc.weight": codes[number : number + 16].reshape(4, 4)}, tmp_path / "net.safetensors")
        layers = read_model(tmp_path / "net.safetensors").layers
        if finite[number : number + 16].all():
            assert np.array_equal(layers[0].weight.ravel(), right[number : number + 16])
        else:
            with pytest.raises(ModelError, match="not a finite number"):
                layers[0]


@pytest.mark.parametrize(
    ("weight", "mask"),
    [("fc.weight", "fc.weight_mask"), ("fc.weight", "fc.mask"), ("fc/kernel:0", "fc/mask:0"), ("w", "mask")],
)
def test_a_mask_is_multiplied_with_its_weights_and_is_no_layer(tmp_path, weight, mask):
    kept = floats(6, 4) > 0
    held = floats(6, 4)
    model = read(tmp_path, {weight: held, mask: kept.astype(np.int8)})
    (layer,) = model.layers
    right = (held * kept).T if "kernel" in weight else held * kept
    assert np.array_equal(layer.weight, right)
    assert not model.unused
    model = read(tmp_path, {weight: held, "other/causal_mask": kept.astype(np.float32)})
    assert len(model.layers) == 1
    assert [str(one) for one in model.unused] == ["other/causal_mask float32[6, 4] (a mask)"]


@pytest.mark.parametrize("name", ["cls_token", "blocks.0.attn.relative_position_bias_table", "mask_token"])
def test_tables_and_tokens_are_no_layers(tmp_path, name):
    model = read(tmp_path, {name: floats(3, 4), "fc.weight": floats(2, 4)})
    assert [source.name for source in model.layers.sources] == ["fc"]
    assert model.unused[0].reason == "an embedding, a table in which rows are looked up"


def test_an_index_of_shards_names_files_of_arrays(tmp_path):
    index = tmp_path / "net.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"fc.weight": index.name}}))
    with pytest.raises(ModelError, match=r"is not a file that an index may name: use .safetensors or .bin$"):
        read_model(index)


@pytest.mark.parametrize("mark", "/.")
def test_keras_3_numbers_what_a_layer_holds(tmp_path, mark):
    def var(layer, number):
        return mark.join((layer, "vars", str(number)))

    names = {
        **{var("layers/dense", i): size for i, size in enumerate([(4, 4), (4,)])},
        var("layers/head", 0): (4, 3),
        **{var("layers/gru/cell", i): size for i, size in enumerate([(4, 9), (3, 9), (2, 9)])},
        **{var("layers/norm", i): (4,) for i in range(4)},
        var("layers/embedding", 0): (9, 4),
        **{var("layers/depthwise_conv2d", i): size for i, size in enumerate([(3, 3, 4, 1), (4,)])},
        **{var("optimizer", i): size for i, size in enumerate([(), (), (4, 4), (4, 4)])},
    }
    arrays = {name: floats(*size) for name, size in names.items()}
    model = read(tmp_path, arrays)
    layers = {layer.name.replace(".", "/"): layer for layer in model.layers}
    assert list(layers) == ["layers/dense", "layers/head", "layers/gru/cell", "layers/gru/cell/recurrent"]
    x = floats(5, 4)
    want = x @ arrays[var("layers/dense", 0)] + arrays[var("layers/dense", 1)]
    assert np.allclose(layers["layers/dense"].forward(x), want, atol=1e-5)
    assert np.array_equal(layers["layers/head"].weight, arrays[var("layers/head", 0)].T)
    assert np.array_equal(layers["layers/gru/cell/recurrent"].bias, arrays[var("layers/gru/cell", 2)][1])
    reasons = {one.array.split()[0]: one.reason for one in model.unused}
    assert reasons[f"layers/embedding{mark}kernel"].startswith("an embedding")
    assert reasons[f"layers/depthwise_conv2d{mark}kernel"].startswith("a separable kernel")
    assert reasons[var("optimizer", 2)] == "an optimizer's"


def test_weights_of_scikit_learn(tmp_path):
    from sklearn.neural_network import MLPClassifier

    x = floats(40, 4)
    net = MLPClassifier((4, 4), activation="relu", max_iter=3, random_state=1)
    with pytest.warns(match="reached"):
        net.fit(x, np.arange(40) % 3)
    arrays = {f"coefs_{i}": one for i, one in enumerate(net.coefs_)}
    arrays |= {f"intercepts_{i}": one for i, one in enumerate(net.intercepts_)}
    values = x
    for layer in read(tmp_path, arrays).layers:
        values = layer.forward(values)
    assert np.array_equal(values.argmax(axis=1), net.predict(x))


def test_numbers_for_single_numbers_are_no_matrices(tmp_path):
    arrays = {
        "fc.weight": floats(3, 4),
        "fc.bias": floats(3),
        # layer normalisations over several dimensions, and a scale
        "0.weight": floats(4, 6),
        "0.bias": floats(4, 6),
        "1.weight": floats(1, 6),
        "1.bias": floats(1, 6),
        "norm2.weight": floats(2, 3, 4),
        "block.gamma": floats(4, 1),
        "block.relative_attention_bias.weight": floats(32, 8),
        # but a matrix made by hand, and a layer that is called like a normalisation
        "W": floats(1, 5),
        "b": floats(1, 5),
        "norm3.weight": floats(3, 4),
        "norm3.bias": floats(3),
    }
    model = read(tmp_path, arrays)
    assert [layer.name for layer in model.layers] == ["fc", "W", "norm3"]
    x = floats(7, 1)
    assert np.allclose(model.layers[1].forward(x), x @ arrays["W"] + arrays["b"], atol=1e-5)
    reasons = {one.array.split()[0]: one.reason for one in model.unused}
    assert (
        reasons["0.weight"]
        == reasons["1.weight"]
        == "one number for each number, as its bias of the same shape tells"
    )
    assert reasons["norm2.weight"] == reasons["block.gamma"] == "one number for each number, not a matrix"
    assert reasons["block.relative_attention_bias.weight"].startswith("an embedding")


def test_what_an_optimizer_keeps_beside_each_weight(tmp_path):
    weight = floats(4, 4)
    slots = ["grad", "square_avg", "acc_delta", "exp_inf", "momentum", "velocity"]
    arrays = {"fc.weight": weight} | {f"fc.weight.{slot}": floats(4, 4) for slot in slots}
    model = read(tmp_path, arrays | {"velocity": floats(2, 4), "head.velocity": floats(2, 4)})
    assert [layer.name for layer in model.layers] == ["fc", "velocity", "head.velocity"]  # those are weights
    assert [one.reason for one in model.unused] == ["an optimizer's"] * len(slots)
    assert model.left_bytes == 0


@pytest.mark.parametrize(
    "mask", ["fc.weight_mask", "fc.mask", "fc.weight.mask", "mask.fc.weight", "masks/fc.weight"]
)
def test_masks_beside_their_weights(tmp_path, mask):
    weight, kept = floats(4, 4), rng.random((4, 4)) < 0.5
    model = read(tmp_path, {mask: kept, "fc.weight": weight})
    (found,) = model.layers
    assert np.array_equal(found.weight, weight * kept)
    assert model.notes == (f"fc.weight is masked: fc.weight, {mask}",)
    other = {mask: np.ones((2, 4), bool), "fc.weight": weight}
    if mask == "fc.mask":  # the name of much else
        model = read(tmp_path, other)
        assert np.array_equal(model.layers[0].weight, weight)
        assert model.notes == (
            "fc.mask [2, 4] is of another shape than fc.weight [4, 4], and not multiplied with it",
        )
    else:
        with pytest.raises(
            ModelError, match=r"of shapes \[4, 4\] and \[2, 4\], which do not go together: multiply"
        ):
            list(read(tmp_path, other).layers)


def test_names_cannot_act_on_a_terminal(tmp_path):
    arrays = {"a\x1b[31m\nb.weight": floats(3, 4), "x\x07.thing": floats(3), "größe.weight": floats(2, 3)}
    model = read(tmp_path, arrays)
    assert [layer.name for layer in model.layers] == ["a?[31m?b", "größe"]
    assert [one.array for one in model.unused] == ["x?.thing float32[3]"]
    assert all(text.isprintable() for text in model.notes)
