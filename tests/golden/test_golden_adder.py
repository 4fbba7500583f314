"""The adder machine: golden against reference, fast engine, the definition, and the same layer multiplied."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from eie.compress.forward import fixed_matrix
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, LayerError
from eie.golden.run import run
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job, check_layer
from eie.sim.engines.cpu import CpuLayer
from eie.sim.engines.fast import run as run_fast
from eie.sim.engines.reference import run as run_reference
from tests.support.adder_cases import random_adder_case, random_layer
from tests.support.cases import Case

CASES = 150
EVENTS = (
    "an adder pass",
    "rows scaled",
    "minima and scales",
    "products with scales",
    "x and w of different signs",
    "the smallest activation",
    "pairs of columns",
    "a result clipped",
    "a bypass",
)


def by_definition(case: Case) -> np.ndarray:
    """-sum |x - w| in wide numbers, and what write-back makes of it."""
    layer, cfg = case.layer, case.cfg
    weights, x = layer.decode().astype(np.int64), case.x
    bias = layer.bias + np.abs(weights).sum(axis=1)
    total = bias - np.abs(x - weights).sum(axis=1)
    total = total * (1 if layer.scale is None else layer.scale.astype(np.int64))
    total = np.maximum(total, 0) if layer.relu else total
    half = 1 << layer.output_shift - 1 if layer.output_shift else 0
    limit = 1 << cfg.act_bits - 1
    return np.clip(total + half >> layer.output_shift, -limit, limit - 1)


def check(case: Case) -> set[str]:
    """Compare one case on all engines; what happened in it."""
    layer, cfg = case.layer, case.cfg
    golden, reference = run(case.job), run_reference(case.job)
    (fast,) = run_fast([case.job])
    for other in (reference, fast):
        np.testing.assert_array_equal(golden.y, other.y, err_msg=other.engine)
        for name, values in other.counters.items():
            if values is not None:
                np.testing.assert_array_equal(
                    golden.counters[name], values, err_msg=f"{other.engine}: {name}"
                )
    assert golden.cycles == fast.cycles
    assert golden.load_cycles == fast.load_cycles
    if layer.adder:
        np.testing.assert_array_equal(golden.y, by_definition(case))
        assert not golden.total("saturations")
    y, saturations, clipped = fixed_matrix(layer, case.x[None], cfg.acc_bits, cfg.act_bits)
    np.testing.assert_array_equal(golden.y, y[0])
    assert (golden.total("saturations"), golden.total("writeback_saturations")) == (saturations, clipped)
    multiplied = replace(layer, adder=False, scale=None, scale_frac=0)
    (before,) = run_fast([Job.create(multiplied, case.x, cfg.replace(adder=0))])
    assert golden.cycles == before.cycles
    for name, values in before.counters.items():
        if "saturations" not in name:
            np.testing.assert_array_equal(golden.counters[name], values, err_msg=name)
    weights = layer.decode()
    happened = (
        layer.adder,
        layer.scale is not None,
        layer.adder and layer.scale is not None,
        not layer.adder and layer.scale is not None,
        bool((np.sign(weights) * np.sign(case.x) < 0).any()),
        bool((case.x == -(1 << 15)).any()),
        cfg.group == 2,
        bool(golden.total("writeback_saturations")),
        bool(golden.total("bypasses")),
    )
    return {event for event, there in zip(EVENTS, happened, strict=True) if there}


def test_random_machines() -> None:
    """Golden = reference = fast = definition, as many cycles as products; and the cases have what can go wrong."""
    happened = Counter(dict.fromkeys(EVENTS, 0))
    for seed in range(CASES):
        case = random_adder_case(np.random.default_rng([seed, 61]), seed=seed)
        if seed % 10 == 0:
            case.x[0] = -(1 << 15)
        happened.update(check(case))
    assert min(happened.values()) >= 5, happened


def test_several_inputs_one_after_the_other() -> None:
    """The sum of the inputs begins anew for each of them."""
    rng = np.random.default_rng(62)
    layer = random_layer(rng, 20, 30)
    inputs = rng.integers(-200, 200, (5, 30))
    cfg = ArchConfig(n_pe=4, adder=1, acc_bits=24)
    together = run_fast([Job.create(layer, x, cfg) for x in inputs])
    for x, result in zip(inputs, together, strict=True):
        np.testing.assert_array_equal(result.y, run(Job.create(layer, x, cfg)).y)


def adder(bias: int = 0, **fields: object) -> CompressedLayer:
    """One row of three weights, 100, 100 and 5."""
    layer = CompressedLayer.from_codes([[1, 1, 2]], [0, 100, 5, 0], [bias], name="fc1")
    return replace(layer, **{"adder": True, **fields})


def test_what_a_machine_refuses() -> None:
    cfg = ArchConfig(n_pe=1, adder=1, acc_bits=16)
    check_layer(adder(bias=32767 - 410), cfg)
    with pytest.raises(
        LayerError, match=r"'fc1': a sum may reach 32768, which 16 bits would clip.*acc_bits=17"
    ):
        check_layer(adder(bias=32768 - 410), cfg)
    with pytest.raises(LayerError, match=r"'fc1' adds instead of multiplying: the machine needs adder=1"):
        check_layer(adder(), ArchConfig())
    scaled = replace(adder(), adder=False, scale=np.ones(1, np.int16))
    with pytest.raises(LayerError, match=r"'fc1' scales its rows: the machine needs adder=1"):
        check_layer(scaled, ArchConfig())
    with pytest.raises(LayerError, match="plans hold products alone"):
        make_plan([adder()], cfg)
    with pytest.raises(LayerError, match="use engine fast"):
        CpuLayer(adder())
    with pytest.raises(ConfigError, match=r"adder needs acc_bits=16 or more, not 12"):
        ArchConfig(adder=1, acc_bits=12, act_bits=8)
    with pytest.raises(ConfigError, match=r"blocks \(4\) contradicts adder=1"):
        ArchConfig(adder=1, blocks=4, filter_empty=1)
    tall = replace(random_layer(np.random.default_rng(1), 20, 3), name="tall")
    with pytest.raises(CapacityError, match="20 words of the activation SRAM needed, 9 available"):
        check_layer(tall, cfg.replace(act_words=9, acc_bits=32))


def test_what_a_layer_refuses() -> None:
    for fields, text in (
        ({"product_shift": 1}, "product_shift must be 0, and x_frac be w_frac, not 1, 0 and 0"),
        ({"x_frac": 3}, "not 0, 3 and 0"),
        ({"exit": True}, "is no early exit"),
        ({"scale": np.ones(2, np.int16)}, r"scale must be int16\[1\], not int16\[2\]"),
        ({"scale_frac": 2}, "scale_frac is 2, but there is no scale"),
    ):
        with pytest.raises(LayerError, match=text):
            adder(**fields)
