"""Layers that add or scale their rows in a .eie file: both decoders, and what a reader refuses."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.compress.format import adaptive
from eie.compress.format.file import from_bytes, measure, to_bytes
from eie.compress.forward import fixed_matrix
from eie.errors import FormatError, LayerError
from eie.layer import CompressedLayer
from eie.sim.bench.contenders import contender, names
from eie.sim.sweep.point import HeldLayer
from tests.support import eie_decoder, eie_files, eie_fuzz
from tests.support.adder_cases import random_layer


@pytest.mark.parametrize("coding", ["adaptive", "Huffman"])
def test_a_file_gives_the_layers_again(coding, monkeypatch):
    if coding == "Huffman":
        monkeypatch.setattr(adaptive, "MAX_ELEMENTS", 0)
    rng = np.random.default_rng(71)
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    layers = [random_layer(rng, 13, 17, adder=adder, scaled=scaled) for adder, scaled in kinds]
    layers[0] = replace(layers[0], scale_frac=-3, x_frac=7, w_frac=7)
    data = to_bytes(layers)
    assert {layer.coding for layer in measure(layers).layers} == {coding}
    again = from_bytes(data)
    assert all(one.equals(two) for one, two in zip(again, layers, strict=True))
    for layer, other in zip(layers, eie_decoder.decode(data), strict=True):
        assert np.array_equal(layer.dense_codes(), other["codes"])
        assert (layer.adder, layer.scale_frac) == (bool(other["adder"]), other["scale_frac"])
        assert np.array_equal(
            layer.row_scale if layer.adder else layer.scale, other["scale"] or layer.row_scale
        )


def forged(**changes):
    """A file with the layer of eie_files as one that adds and scales its rows."""
    body = {name: changes.pop(name) for name in ("bias", "scale") if name in changes}
    body = eie_files.huffman_body(**{"scale": (1,) * eie_files.ROWS} | body)
    fields = {"flags": 0b10001101, "kind": 4, "arithmetic": 3, "body": body} | changes
    return eie_files.file(eie_files.layer(**fields))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"arithmetic": 0}, "the arithmetic 0x00 has no meaning"),
        ({"arithmetic": 4}, "the arithmetic 0x04 has no meaning"),
        ({"scale_frac": 1001}, "scale_frac must be from -1000 to 1000, not 1001"),
        ({"shifts": (1, 0)}, "product_shift must be 0"),
        ({"fracs": (2, 3)}, "x_frac be w_frac, not 0, 2 and 3"),
        ({"scale": (1 << 15,) * eie_files.ROWS}, "a scale of more than 16 bits"),
        ({"bias": ((1 << 31) - 1,) * eie_files.ROWS}, "which no accumulator of 32 bits holds"),
    ],
)
def test_what_contradicts_is_refused(changes, text):
    assert from_bytes(forged())[0].adder
    data = forged(**changes)
    with pytest.raises(FormatError, match=re.escape(text)):
        from_bytes(data)
    with pytest.raises(eie_decoder.Refused):
        eie_decoder.decode(data)


def test_a_sum_beyond_every_accumulator_is_refused_at_save():
    layer = CompressedLayer.from_codes([[1] * 3], [0, 5], [(1 << 31) - 30], name="fc1")
    with pytest.raises(LayerError, match="layer 'fc1': a sum may reach 2147483648, which no accumulator"):
        to_bytes([replace(layer, adder=True)])


def test_drawn_files_are_read_alike_by_both_decoders():
    assert eie_fuzz.both_decoders(17, 120) > 30


def test_a_network_is_loaded_and_run(tmp_path):
    """On the machine that it needs, without being told; the values of the definition."""
    first = CompressedLayer.from_codes([[1, 2], [0, 1]], [0, 3, 5, 0], [-8, -3], relu=True, name="fc1")
    second = CompressedLayer.from_codes([[1, 1]], [0, 2], relu=False, name="fc2")
    scaled = replace(first, adder=True, scale=np.int16([-1, 2]))
    eie.save(tmp_path / "net.eie", [scaled, second])
    net = eie.load(tmp_path / "net.eie")
    run = net.run(np.array([4, 1]))
    # -|4-3| - |1-5| = -5 and -|4-0| - |1-3| = -6, times -1 and 2, ReLU: 5 and 0.
    assert run.outputs.tolist() == [10.0]
    assert run.cfg.adder
    assert run.cycles
    # Rows in another order, and their scales with them: the same answer.
    assert net.run(np.array([4, 1]), run.cfg.replace(n_pe=2), balance=True).outputs.tolist() == [10.0]
    plain = replace(scaled, adder=False, scale=None)
    assert (
        len({HeldLayer(one, "net.eie").identity for one in (scaled, replace(scaled, scale=None), plain)}) == 3
    )
    assert net.run_float(np.array([4, 1]))["output"].tolist() == [10.0]
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "net.eie")])
    assert "fc1 adds instead of multiplying and scales its rows, with 0 fraction bits" in shown.output
    told = json.loads(CliRunner().invoke(main, ["info", str(tmp_path / "net.eie"), "--json"]).output)[
        "layers"
    ]
    assert [("adder" in layer, layer.get("scale_frac")) for layer in told] == [(True, 0), (False, None)]


def test_commands_refuse_a_machine_that_multiplies(tmp_path):
    """One line, status 2, and what would be right."""
    layer = CompressedLayer.from_codes([[1, 2], [0, 1]], [0, 3, 5, 0], [-8, -3], name="fc1")
    eie.save(tmp_path / "net.eie", [replace(layer, adder=True)])
    np.savez(tmp_path / "x.npz", x=np.array([[4, 1]]))
    run = ["run", str(tmp_path / "net.eie"), "--input", str(tmp_path / "x.npz"), "--pe", "2"]
    for more in ([], ["--engine", "cpu"]):
        refused = CliRunner().invoke(main, [*run, *more])
        assert refused.exit_code == 2
        assert refused.output.count("\n") == 1
        assert "'fc1' adds instead of multiplying" in refused.output
    done = CliRunner().invoke(main, [*run, "--preset", "adder"])
    assert done.exit_code == 0, done.output
    np.savez(tmp_path / "labelled.npz", x=np.array([[4.0, 1.0]]), labels=[0])
    counted = ["accuracy", str(tmp_path / "net.eie"), "--input", str(tmp_path / "labelled.npz"), "--preset"]
    refused = CliRunner().invoke(main, [*counted, "wide"])
    assert refused.exit_code == 2
    assert "'fc1' adds instead of multiplying: the machine needs adder=1" in refused.output
    assert CliRunner().invoke(main, [*counted, "adder"]).exit_code == 0
    planned = CliRunner().invoke(main, ["plan", str(tmp_path / "net.eie"), "--preset", "adder", "--pe", "2"])
    assert (planned.exit_code, planned.output.count("\n")) == (2, 1)


@pytest.mark.parametrize("adder", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_floating_point_adds_and_scales_as_well(adder, scaled):
    """But for the rounding at write-back, and what 16 bits clip."""
    rng = np.random.default_rng([adder, scaled])
    for _ in range(20):
        layer = random_layer(rng, 9, 13, adder=adder, scaled=scaled)
        layer = replace(layer, product_shift=0, x_frac=3, w_frac=3, scale_frac=9 if scaled else 0)
        x = rng.integers(-300, 300, (5, 13))
        fixed = fixed_matrix(layer, x, 32)[0]
        real = eie.Chain([layer]).run_float(x / 8)["output"] * 2.0**layer.y_frac
        assert np.abs(np.clip(real, -32768, 32767) - fixed).max() <= 0.5


def test_libraries_that_multiply_do_not_time_what_adds():
    layer = replace(CompressedLayer.from_codes([[1, 2]], [0, 3, 5, 0], [-8]), adder=True)
    for name in names():
        with pytest.raises(LayerError):
            contender(name, [layer], 1)
