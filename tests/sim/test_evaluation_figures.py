"""Figs. 8 to 13: what is measured is what the engines say, and what is drawn is what was measured."""

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

import eie
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.compress.quantize import Widths
from eie.errors import ConfigError, ModelError
from eie.sim.chain import run_network
from eie.sim.energy.constants import constants
from eie.sim.evaluation import measure, parts, precision, queue_depth, scaling, sram_width
from eie.sim.evaluation.layers import benchmark
from eie.sim.evaluation.section import Section
from eie.sim.plots import style
from eie.sim.published import published
from eie.sim.simulate import simulate
from eie.sim.workloads.example import DENSITIES, EXAMPLE, Digits, read_digits
from eie.sim.workloads.random import random_input, random_layer

# The two layers that take the least time.
FEW = ("NT-We", "NT-LSTM")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> eie.CompressedLayer:
    """A small layer in the place of every benchmark."""
    layer, x = random_layer(90, 50, 0.08, seed=3), random_input(50, 0.6, seed=3)
    monkeypatch.setattr(measure, "benchmark", lambda name, seed: (layer, x))
    return layer


def lines(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in figure.axes[panel].get_lines()}


def drawn(section: Section) -> Figure:
    (picture,) = section.pictures
    return picture.figure


# ---- what is measured --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_pe", "depth"), [(4, 1), (4, 3), (16, 8), (2, None)])
def test_a_run_is_the_golden_models(small: eie.CompressedLayer, n_pe: int, depth: int | None) -> None:
    x = random_input(50, 0.6, seed=3)
    run = measure.encoded("any", 1, n_pe).run(depth)
    # A queue that holds every column never fills.
    cfg = eie.sized_for(eie.ArchConfig(n_pe=n_pe, queue_depth=depth or 50), small)
    golden = simulate(small, x, cfg, engine="golden")
    assert run.cycles == golden.cycles
    assert run.entries == golden.total("entries")
    assert run.fillers == golden.total("fillers")
    assert run.empty == golden.total("empty_columns")
    if n_pe == 4:  # runs too long for an entry, and columns without one
        assert min(run.fillers, run.empty) > 0
    assert run.balance == pytest.approx(golden.balance)
    assert run.busy == pytest.approx(golden.total("entries") / (golden.cycles * n_pe))
    assert run.padding == pytest.approx(golden.total("fillers") / golden.total("entries"))


def test_padding_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.zeros((40, 3), np.uint8)
    codes[39] = 1  # 39 zeros: two fillers on one PE; 9 zeros and none on four
    layer = eie.CompressedLayer.from_codes(codes, [0, 1])
    monkeypatch.setattr(measure, "benchmark", lambda name, seed: (layer, np.array([1, 0, 2])))
    assert measure.encoded("any", 1, 1).run(8).padding == pytest.approx(2 / 3)
    assert measure.encoded("any", 1, 4).run(8).padding == 0


# ---- Fig. 8 ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fig8() -> Section:
    return queue_depth.section(1, None, FEW, (1, 2, 8))


def test_deeper_queues_are_never_slower(fig8: Section) -> None:
    for name in FEW:
        points = fig8.data["layers"][name]
        assert [point["queue_depth"] for point in points] == [1, 2, 8, None]
        cycles = [point["cycles"] for point in points]
        assert cycles == sorted(cycles, reverse=True)
        assert cycles[0] > 1.2 * cycles[-1]
        for table, column in zip(fig8.tables, ("multiplier_busy", "balance"), strict=False):
            shares = [point[column] for point in points]
            assert shares == sorted(shares)
            assert table.rows[FEW.index(name)][1:] == [f"{100 * share:.1f} %" for share in shares]
            mean = sum(fig8.data["layers"][other][0][column] for other in FEW) / len(FEW)
            assert table.rows[len(FEW)][:2] == ["mean", f"{100 * mean:.1f} %"]
        assert fig8.tables[2].rows[FEW.index(name)][1] == f"{100 * (cycles[0] / cycles[-1] - 1):.1f} %"


def test_queue_depths_are_drawn_beside_what_the_paper_says(fig8: Section) -> None:
    busy, balance, right = (lines(drawn(fig8), panel) for panel in range(3))
    points = fig8.data["layers"]["NT-We"]
    for panel, column in ((busy, "multiplier_busy"), (balance, "balance")):
        assert panel["NT-We"] == pytest.approx(
            np.array([[p["queue_depth"], p[column]] for p in points if p["queue_depth"]])
        )
    assert right["NT-We"][:, 1] == pytest.approx([p["cycles"] / points[-1]["cycles"] for p in points[:-1]])
    said = published().statements
    # The paper's words are about multipliers.
    assert busy["published"].tolist() == [[1, said.queue_depth_1_efficiency]]
    assert "published" not in balance
    for panel in (busy, balance, right):
        assert any((xy[:, 0] == said.queue_depth_knee).all() for xy in panel.values())
    assert fig8.tables[0].rows[-1][:2] == ["paper", "about 50 %"]
    assert fig8.tables[1].rows[-1][0] == "mean"
    # Of the two layers NT-We alone idles for more than half of the time.
    assert (
        "72 % (NT-We), and 53 % in the mean of the layers. They are idle less than half of the time in 1 of 2 layers."
        in fig8.text[1]
    )


# ---- Figs. 11 to 13 ----------------------------------------------------------------------------------------

COUNTS = (1, 64, 256)


@pytest.fixture(scope="module")
def figs11to13() -> list[Section]:
    return [part(1, None, FEW, COUNTS) for part in (scaling.speedup, scaling.padding, scaling.balance)]


def test_the_three_figures_share_their_runs(
    figs11to13: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(scaling, "encoded")
    steps: list[str] = []
    again = scaling.balance(1, steps.append, FEW, COUNTS)
    assert again.data == figs11to13[2].data
    assert [step.split(", ")[1] for step in steps] == list(FEW)


def test_speedup_is_the_ratio_of_cycles(figs11to13: list[Section]) -> None:
    section = figs11to13[0]
    in_picture = lines(drawn(section))
    for name in FEW:
        one, few, many = section.data["layers"][name]["cycles"]
        assert one > few > many
        assert in_picture[name] == pytest.approx(np.array([[1, 1], [64, one / few], [256, one / many]]))
        assert section.data["256_over_64"][name] == pytest.approx(few / many)
    said = published().statements.throughput_256_over_64
    # The star is the end of the published ratio; where it begins is our own mean, and no star.
    ((at, value),) = in_picture["published, from our mean at 64"]
    mean = np.mean([in_picture[name][1, 1] for name in FEW])
    assert (at, value) == (256, pytest.approx(said * mean))
    assert section.tables[1].rows[0][-1] == f"{said:g}"
    assert in_picture["ideal"].tolist() == [[n, n] for n in COUNTS]


def test_more_pes_less_padding_and_less_work_for_multipliers(figs11to13: list[Section]) -> None:
    _, padding, balance = figs11to13
    for name in FEW:
        shares = padding.data["layers"][name]["padding"]
        assert shares[0] > 0.15
        assert shares == sorted(shares, reverse=True)
        busy = balance.data["layers"][name]["multiplier_busy"]
        assert busy == sorted(busy, reverse=True)
        assert busy[-1] < 0.7 < 0.99 < busy[0]
        assert lines(drawn(padding))[name][:, 1] == pytest.approx(shares)
        assert lines(drawn(balance), 1)[name][:, 1] == pytest.approx(busy)


def test_load_balance_rises_where_empty_columns_do(figs11to13: list[Section]) -> None:
    """The paper says that it falls: it does so in one of the two layers."""
    section = figs11to13[2]
    found = {name: section.data["layers"][name]["balance"] for name in FEW}
    assert found["NT-We"][2] > found["NT-We"][1]
    assert found["NT-LSTM"][2] < found["NT-LSTM"][1]
    left = lines(drawn(section))
    for name in FEW:
        assert left[name][:, 1] == pytest.approx(found[name])
    assert drawn(section).axes[0].get_ylim()[0] < min(min(shares) for shares in found.values())
    _, says, multipliers = section.text
    assert "From 64 to 256 PEs load balance rises in 1 of 2 layers (NT-We) and falls in 1." in says
    empty = [
        b - m
        for b, m in zip(
            *(section.data["layers"]["NT-We"][k] for k in ("balance", "multiplier_busy")), strict=True
        )
    ]
    assert f"{100 * empty[1]:.1f} % of all cycles on 64 PEs and {100 * empty[2]:.1f} % on 256" in says
    assert "falls in 2 of 2 layers" in multipliers
    assert "rises in 1 layers and falls in 1" in section.pictures[0].alt


def test_load_balance_as_the_paper_says_it() -> None:
    section = scaling.balance(1, None, FEW[1:], (64, 256))
    assert "So does ours: from 64 to 256 PEs it falls in 1 of 1 layers." in section.text[1]


def test_without_the_published_counts_there_is_no_ratio() -> None:
    section = scaling.speedup(1, None, FEW[:1], (1, 2))
    assert len(section.tables) == 1
    assert set(lines(drawn(section))) == {"NT-We", "ideal"}


# ---- Fig. 9 ------------------------------------------------------------------------------------------------


def test_the_matrix_reads_least_energy_at_the_published_width() -> None:
    section = sram_width.section(1, None, ("Alex-7", "Alex-8", "NT-We"))
    said = published().statements
    by_rule = section.data["layers"]
    assert list(by_rule) == [sram_width.FRESH, sram_width.HELD]
    layer, x = benchmark("NT-We", 1)
    for point in by_rule[sram_width.HELD]["NT-We"]:
        cfg = eie.sized_for(eie.ArchConfig(word_bits=point["width_bits"]), layer)
        assert point["reads"] == simulate(layer, x, cfg, engine="fast").total("spmat_reads")
    alexnet = {
        point["width_bits"]: point["total_nj"] + other["total_nj"]
        for point, other in zip(*(by_rule[sram_width.FRESH][n] for n in ("Alex-7", "Alex-8")), strict=True)
    }
    assert tuple(alexnet) == said.sram_widths
    assert min(alexnet, key=alexnet.__getitem__) == said.sram_best_width == 64
    total = lines(drawn(section), 2)
    assert total[sram_width.FRESH] == pytest.approx(np.array([[w, nj / 1e3] for w, nj in alexnet.items()]))
    assert section.tables[0].rows[1][4] == f"{alexnet[64]:,.0f}"


# ---- Fig. 10 -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fig10() -> Section:
    return precision.section(1, None, bits=(16, 8, 4), tested=100)


def found(section: Section, network: str, bits: int | None, acc_bits: int | None) -> dict:
    (one,) = (
        a
        for a in section.data["accuracy"]
        if (a["network"], a["bits"], a["acc_bits"]) == (network, bits, acc_bits)
    )
    return one


def test_accuracies_are_those_of_the_reference_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, digits = precision.read_networks(EXAMPLE), read_digits(EXAMPLE)
    few = Digits(digits.pixels[:25], digits.labels[:25])
    widths: list[tuple[int, int]] = []

    def forward(layers, x, acc_bits, act_bits):
        widths.append((acc_bits, act_bits))
        return fixed_forward(layers, x, acc_bits, act_bits)

    monkeypatch.setattr(precision, "fixed_forward", forward)
    measured = precision.measure(trained, few.pixels, few, (8,))
    # Sums that were scaled to fit rarely saturate, so that the accuracy alone would not show a wrong width.
    assert widths == [(8, 8), (32, 8)] * len(precision.NETWORKS)
    one = next(m for m in measured if (m.network, m.bits, m.acc_bits) == ("pruned", 8, 8))
    layers, _ = compress_network(
        trained["pruned"], Settings(density=DENSITIES, widths=Widths(8, 8, 8)), few.pixels
    )
    cfg = eie.ArchConfig(code_bits=8, act_bits=8, acc_bits=8)
    y = [run_network(layers, x, cfg, "reference")[-1].y for x in quantize_inputs(layers[0], few.pixels, 8)]
    assert one.right == sum(int(out.argmax() == label) for out, label in zip(y, few.labels, strict=True))
    assert one.tested == 25


def test_scales_are_chosen_from_digits_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, np.ndarray] = {}

    def measure(trained, calibration, digits, *_):
        seen.update(calibration=calibration, counted=digits.pixels, labels=digits.labels)
        raise InterruptedError

    monkeypatch.setattr(precision, "measure", measure)
    with pytest.raises(InterruptedError):
        precision.section(1, None)
    both = np.concatenate([seen["calibration"], seen["counted"]])
    assert np.array_equal(both, read_digits(EXAMPLE).pixels)
    assert (len(seen["calibration"]), len(seen["counted"])) == (100, 900)
    assert np.array_equal(seen["labels"], read_digits(EXAMPLE).labels[100:])


def test_fewer_bits_lose_digits(fig10: Section) -> None:
    trained = found(fig10, "as trained", None, None)
    assert trained["gained"] == trained["lost"] == 0
    assert trained["share"] > 0.97
    five = found(fig10, "LeNet-5", None, None)
    assert five["gained"] == five["lost"] == 0  # its weights are shared already
    for accuracy in fig10.data["accuracy"]:
        trained = five if accuracy["network"] == "LeNet-5" else trained
        assert accuracy["right"] - trained["right"] == accuracy["gained"] - accuracy["lost"]
        low, high = accuracy["interval"]
        assert 0 <= low < accuracy["share"] < high <= 1 or accuracy["share"] in (0, 1)
    for network in precision.NETWORKS:
        at = {bits: found(fig10, network, bits, bits)["share"] for bits in (16, 8, 4)}
        assert at[16] > at[8] > at[4]
        assert at[16] > 0.97
        assert at[4] < 0.2
        # The accumulators make the difference at 8 bits.
        assert found(fig10, network, 8, precision.WIDE)["share"] > at[8]


def test_the_interval_is_wilsons() -> None:
    # By the formula, z = 1.959964: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    found = precision.Accuracy("any", 16, 16, 992, 1000, 0, 0)
    n, p, z = 1000, 0.992, 1.959964
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    assert found.interval == pytest.approx(
        ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
    )


def test_precision_is_drawn_beside_the_published_figures(fig10: Section) -> None:
    left = lines(drawn(fig10))
    said = published().statements.accuracy
    assert left["AlexNet (published)"].tolist() == [[8, said["fixed8"]], [16, said["fixed16"]]]
    assert (left["AlexNet, float (published)"][:, 1] == said["float32"]).all()
    heights = [bar.get_height() for bar in drawn(fig10).axes[1].patches]
    pj = {**published().operation_pj, "int16_multiply": constants().int16_multiply_pj}
    assert heights == [pj[f"{kind}_multiply"] for kind in ("int8", "int16", "int32", "float32")]
    assert [row[:2] for row in fig10.tables[1].rows] == [
        ["float", "80.3 %"],
        ["16-bit fixed", "79.8 %"],
        ["8-bit fixed", "53 %"],
    ]


def test_precision_without_its_digits(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"lenet_300_100\.safetensors"):
        precision.section(1, None, tmp_path)


# ---- all ---------------------------------------------------------------------------------------------------


def test_every_picture_can_be_read(fig8: Section, figs11to13: list[Section], fig10: Section) -> None:
    for section in (fig8, *figs11to13, fig10):
        assert section.text
        for picture in section.pictures:
            assert len(picture.alt) > 80
            assert picture.figure._supxlabel is not None
            for axes in picture.figure.axes:
                assert axes.get_title(loc="left")
                assert axes.get_ylabel()
                assert axes.get_xlabel() or axes.get_xticklabels()[0].get_text()
            assert any(axes.get_legend() for axes in picture.figure.axes)
            image = matplotlib.image.imread(io.BytesIO(style.save(picture.figure)), format="png")
            assert image.shape[1] > 1200
            assert image[..., :3].std() > 0.02


def test_what_was_published_looks_the_same_everywhere(
    fig8: Section, figs11to13: list[Section], fig10: Section
) -> None:
    stars = [
        line
        for section in (fig8, *figs11to13, fig10)
        for axes in drawn(section).axes
        for line in axes.get_lines()
        if line.get_marker() == style.PUBLISHED_STAR["marker"]
    ]
    assert [line.get_label() for line in stars] == [
        "published",
        "published, from our mean at 64",
        "AlexNet (published)",
    ]
    for line in stars:
        assert line.get_markerfacecolor() == style.PUBLISHED
        assert line.get_markeredgecolor() == "black"


def test_nine_lines_stay_apart(figs11to13: list[Section]) -> None:
    axes = Figure().subplots()
    names = [layer.name for layer in published().layers]
    scaling.draw_layers(axes, [1, 2], {name: [1, 2] for name in names})
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == len(names) == 9


def test_parts_by_name() -> None:
    assert [part.key for part in parts.named(["fig12", "fig6", "speedups"])] == ["speedups", "fig12"]
    others = ("beyond", "blocks", "adder", "mesa", "learn-")
    published = [part for part in parts.PARTS if not part.key.startswith(others)]
    assert parts.named([]) == published
    assert [part.key for part in parts.named(["beyond"])] == ["beyond"]
    with pytest.raises(ConfigError, match="the evaluation has no part 'fig5': use one of layers, "):
        parts.named(["fig8", "fig5"])


@pytest.mark.parametrize("part", parts.PARTS, ids=lambda part: part.key)
def test_a_part_calls_its_function(part: parts.Part, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is computed: a section that holds what its function was called with.
    def made(seed, progress, **more):
        return Section(key, "title", [str(seed), *map(str, more.values())])

    monkeypatch.setattr(f"eie.sim.evaluation.{part.module}.{part.function}", made)
    key = part.key
    more = [str(EXAMPLE)] * part.example + [str(part.seeds)] * bool(part.seeds)
    assert part.run(7, None, EXAMPLE).text == ["7", *more]
    key = "another"
    with pytest.raises(AssertionError, match=f"part {part.key} made section another"):
        part.run(7, None, EXAMPLE)
