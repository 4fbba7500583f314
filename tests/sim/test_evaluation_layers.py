"""The nine layers: published figures that hang together, cycles attributed to the last one, golden on a small one."""

from importlib.resources import files

import numpy as np
import pytest
from scipy.stats import gmean

import eie
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.errors import FormatError, ModelError
from eie.sim.engines.fast import prepare, timing
from eie.sim.evaluation import nine_layers
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, machine, simulated
from eie.sim.evaluation.nine_layers import Attribution, attribute, attributed
from eie.sim.evaluation.section import Section
from eie.sim.plots.style import save
from eie.sim.published import PLATFORMS, parse, published
from eie.sim.workloads.example import EXAMPLE
from eie.sim.workloads.random import Unevenness, random_input, random_layer
from eie.timing import constants

SEED = 1
TEXT = (files("eie.sim") / "data" / "published.toml").read_text("utf-8")


# Published figures


def test_published_times_and_speedups_hang_together() -> None:
    """Figure 6's numbers are table IV's, but for two of the nine layers."""
    off = {
        layer.name
        for layer in published().layers
        if round(layer.baseline("cpu", "dense", 1) / layer.actual_us) != layer.speedup_cpu_dense
    }
    assert off == {"NT-We", "NT-LSTM"}
    # The published mean follows from the figure.
    mean = gmean([layer.speedup_cpu_dense for layer in published().layers])
    assert round(mean) == published().platform("cpu").mean_speedup == 189


@pytest.mark.parametrize("key", PLATFORMS)
def test_published_powers_and_energies_hang_together(key: str) -> None:
    platform = published().platform(key)
    ratio = gmean([layer.baseline(key, "dense", 1) / layer.actual_us for layer in published().layers])
    assert ratio == pytest.approx(platform.mean_speedup, rel=0.03)
    energy = ratio * platform.power_w / published().chip.power_w
    assert energy == pytest.approx(platform.mean_energy_efficiency, rel=0.05)


def test_published_chip_is_its_parts() -> None:
    pe, chip = published().pe, published().chip
    assert 64 * pe.power_mw / 1000 == pytest.approx(chip.power_w, rel=0.01)
    assert 64 * pe.area_um2 / 1e6 == pytest.approx(chip.area_mm2, rel=0.01)
    assert pe.block("spmat_read").power_mw == 4.955
    assert pe.component("memory").area_um2 == 594786


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("power_mw = 4.955", "power_mw = 4.855", "the blocks add up to 9.058 mW"),
        ("area_um2 = 594786", "area_um2 = 594787", "the components add up to"),
        ("weight_density = 0.25", "weight_density = 1.25", "layer Alex-8: a density or a time"),
        ("actual_us = 12.2", "actual_us = 11.2", "layer Alex-7: a density or a time"),
        (
            "weight_density = 0.25",
            'weight_density = "0.25"',
            "layer Alex-8, weight_density: '0.25' must be a positive",
        ),
        ("theoretical_us = 28.1", "theoretical_us = nan", "theoretical_us: nan must be a positive number"),
        ("speedup_cpu_dense = 248", "speedup_cpu_dense = -1", "layer Alex-6, speedup_cpu_dense: -1 must be"),
        ("cols = 9216", "cols = 0", "layer Alex-6, cols: 0 must be a positive whole number"),
        ("cols = 9216", "cols = true", "layer Alex-6, cols: True must be a positive whole number"),
        ('name = "Alex-7"', 'name = "Alex-6"', "layers: unknown or there twice: Alex-6"),
        (
            "batch = 64",
            "batch = 8",
            "baselines: missing: cpu dense 64, .*unknown or there twice: cpu dense 8",
        ),
        ("65.8, 54.6", "54.6", "baseline gpu sparse 1: 8 times of 9 layers"),
        ("65.8, 54.6", "-65.8, 54.6", "baseline gpu sparse 1: -65.8 must be a positive number"),
        ("us = [134.8", 'us = ["134.8"', "baseline gpu sparse 1: '134.8' must be a positive number"),
        ("us = [134.8,", "us_ = [134.8,", "published figures: KeyError: 'us'"),
        (
            "technology_nm = 45",
            "technology = 45",
            "machine: missing: technology_nm; unknown or there twice: technology",
        ),
        ("clock_mhz = 800", "clock_mhz = -800", "machine, clock_mhz: -800 must be a positive whole number"),
        ("power_w = 73.0", "power_w = -73.0", "platform cpu, power_w: -73.0 must be a positive number"),
        ("power_w = 73.0", 'power_w = "73"', "platform cpu, power_w: '73' must be a positive number"),
        ('key = "mgpu"', 'key = "xgpu"', "platforms: missing: mgpu; unknown or there twice: xgpu"),
        ('name = "GPU (Titan X)"', "name = 1", "platform gpu, name: 1 must be text"),
        ("power_mw = 9.157", 'power_mw = "9.157"', "pe, power_mw: '9.157' must be a positive number"),
        (
            'name = "filler cell"',
            'name = "filler"',
            "pe, component: missing: filler cell; unknown .*: filler",
        ),
        (
            "sram_widths = [32, 64, 128, 256, 512]",
            "sram_widths = []",
            "sram_best_width must be one of sram_widths",
        ),
        ("fixed8 = 0.53", "fixed_8 = 0.53", "statements, accuracy: missing: fixed8; unknown .*: fixed_8"),
        ("fixed8 = 0.53", "fixed8 = 53", "an efficiency or an accuracy is more than 1"),
        (
            "int8_multiply = 0.2",
            "int8_mul = 0.2",
            "operation_pj: missing: int8_multiply; unknown .*: int8_mul",
        ),
        ("int8_add = 0.03", "int8_add = -0.03", "operation_pj, int8_add: -0.03 must be a positive number"),
        ("[lnzd_node]", "[lnzd]", "published figures: KeyError: 'lnzd_node'"),
        ("[chip]", "[more]\n\n[chip]", "published figures: more means nothing"),
        ("[chip]", "[chip", "published figures: TOMLDecodeError: "),
    ],
)
def test_damaged_figures_are_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(FormatError, match=message) as error:
        parse(TEXT.replace(old, new))
    assert len(str(error.value).splitlines()) == 1


def test_unknown_benchmark() -> None:
    with pytest.raises(FormatError, match="no published layer 'Alex-9'; there are Alex-6, Alex-7"):
        benchmark("Alex-9", SEED)


# Attribution


@pytest.mark.parametrize("seed", range(20))
def test_terms_add_up_and_each_is_what_it_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cfg = ArchConfig(n_pe=2 ** int(rng.integers(0, 7)), queue_depth=int(rng.integers(1, 9)))
    lengths = rng.integers(0, rng.choice([2, 5, 30]), (int(rng.integers(1, 200)), cfg.n_pe))
    parts = attribute(lengths, cfg)
    assert parts.cycles == timing(lengths, cfg)[0]
    busy = np.where(lengths == 0, 1, lengths).sum(axis=0)
    k = constants(cfg)
    # With stalls off, the busiest PE works without a pause: the time of an unlimited queue.
    stalls_off = busy.max() + k.T0 + k.A + k.C
    assert timing(lengths, cfg, unbounded=True)[0] == stalls_off == parts.cycles - parts.queue
    assert parts.work == lengths.sum() / cfg.n_pe
    assert parts.empty == (lengths == 0).sum() / cfg.n_pe
    assert parts.queue >= 0
    assert attribute(lengths, cfg.replace(queue_depth=len(lengths) + 1)).queue == 0


def test_terms_are_goldens_counters_on_a_small_benchmark() -> None:
    """Alex-7 at 1/32 of its size on 8 PEs, stepped cycle by cycle."""
    facts = published().layer("Alex-7")
    layer = random_layer(facts.rows // 32, facts.cols // 32, facts.weight_density, SEED)
    x = random_input(layer.cols, facts.activation_density, SEED)
    cfg = sized_for(ArchConfig(n_pe=8), layer)
    golden = eie.simulate(layer, x, cfg, engine="golden")
    parts = attribute(prepare(layer, cfg).lengths[np.flatnonzero(x)], cfg)
    assert parts.cycles == golden.cycles
    assert parts.work == golden.total("entries") / cfg.n_pe
    assert parts.empty == golden.total("empty_columns") / cfg.n_pe
    used = np.asarray(golden.counters["entries"]) + np.asarray(golden.counters["empty_columns"])
    assert parts.balance == used.max() - used.mean()


# The benchmarks


def test_benchmarks_are_the_published_layers() -> None:
    assert len(BENCHMARKS) == 9
    for name in BENCHMARKS:
        facts, (layer, x) = published().layer(name), benchmark(name, SEED)
        assert layer.shape == (facts.rows, facts.cols)
        assert layer.nnz / (layer.rows * layer.cols) == pytest.approx(facts.weight_density, rel=0.01)
        assert np.count_nonzero(x) / len(x) == pytest.approx(facts.activation_density, rel=0.05)
    assert benchmark("NT-We", SEED)[0] is benchmark("NT-We", SEED, None)[0]


def test_machine_is_the_published_one_but_for_what_does_not_fit() -> None:
    assert machine(benchmark("Alex-7", SEED)[0]) == ArchConfig.preset("paper")
    # 8,791 rows need 138 accumulators a PE.
    assert machine(benchmark("NT-Wd", SEED)[0]) == ArchConfig.preset("paper", acc_depth=138)
    vgg = machine(benchmark("VGG-6", SEED)[0])
    assert (vgg.pointers, vgg.src_depth, vgg.acc_depth, vgg.entries) == (25089, 392, 64, 131072)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nt_we_overhead_is_the_published_one(seed: int) -> None:
    ratio = 1 + attributed("NT-We", seed).overhead
    assert ratio == pytest.approx(1.54, rel=0.05), f"seed {seed}"


def test_attributed_is_the_simulated_time() -> None:
    assert attributed("NT-LSTM", SEED).cycles == simulated("NT-LSTM", SEED).cycles


def test_unevenness_costs_time() -> None:
    even, uneven = (attributed("NT-LSTM", SEED, u) for u in (None, Unevenness(0.4, 1.0)))
    assert uneven.overhead > even.overhead + 0.05


# The section


@pytest.fixture(scope="module")
def section() -> Section:
    done: list[str] = []
    found = nine_layers.section(SEED, done.append)
    assert [text.split()[-1] for text in done] == list(BENCHMARKS)
    return found


def test_times_table(section: Section) -> None:
    times = section.tables[0]
    assert [row[0] for row in times.rows] == [*BENCHMARKS, "geometric mean"]
    for row, name in zip(times.rows, BENCHMARKS, strict=False):
        facts, run = published().layer(name), attributed(name, SEED)
        assert float(row[2]) == pytest.approx(run.work / 800, abs=0.05)
        assert float(row[5]) == pytest.approx(run.cycles / 800, abs=0.05)
        assert float(row[6]) == pytest.approx(run.cycles / 800 / facts.actual_us, abs=0.005)
        assert row[7] == f"{100 * facts.overhead:.1f} %"
        # Rounded densities, uneven matrices: VGG-6, 4 % of weights, is the furthest away.
        assert 0.69 < float(row[3]) < 1.15
        assert 0.69 < float(row[6]) < 1.15


def test_rounding_of_the_density_does_not_explain_vgg_6(section: Section) -> None:
    text = section.text[-1]
    assert text.startswith(
        "The theoretical time of VGG-6 is furthest from the published one: 22.3 of 28.1 µs, and 24.1 µs"
    )
    # 4.5 % of 25,088 x 4,096 weights at 18.3 % of the inputs, without padding, would be 16.5 µs.
    layer = random_layer(4096, 25088, 0.045, SEED)
    lengths = prepare(layer, machine(layer)).lengths[np.flatnonzero(benchmark("VGG-6", SEED)[1])]
    assert lengths.sum() / 64 / 800 == pytest.approx(24.1, abs=0.05)


def test_terms_table_adds_up(section: Section) -> None:
    for row in section.tables[1].rows:
        work, empty, balance, queue, fill, cycles, unlimited = (float(c.replace(",", "")) for c in row[1:8])
        assert work + empty + balance + queue + fill == pytest.approx(cycles, abs=0.16)
        assert unlimited == cycles - queue
        assert fill == 9


def test_data_are_the_terms(section: Section) -> None:
    for variant in ("even", "columns", "rows", "both"):
        assert list(section.data["cycles"][variant]) == list(BENCHMARKS)
    assert Attribution(**section.data["cycles"]["even"]["Alex-7"]) == attributed("Alex-7", SEED)


def test_the_example_is_uneven(section: Section) -> None:
    rows = {row[0]: row for row in section.tables[3].rows}
    assert [rows[name][2] for name in ("fc1", "fc2", "fc3")] == ["8.0 %", "9.0 %", "26.0 %"]
    assert section.data["unevenness"]["rows"] == pytest.approx(float(rows["fc2"][4]), abs=0.005)
    assert section.data["unevenness"]["rows"] > 0.2


def test_pictures(section: Section) -> None:
    for picture in section.pictures:
        assert save(picture.figure).startswith(b"\x89PNG")
        assert picture.alt
    # Bars as high as the overhead: four parts of nine bars.
    (axes,) = section.pictures[0].figure.axes
    heights = np.array([bar.get_height() for bar in axes.patches]).reshape(4, len(BENCHMARKS))
    assert np.allclose(heights.sum(axis=0), [100 * attributed(name, SEED).overhead for name in BENCHMARKS])


def test_without_the_example(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert EXAMPLE.is_dir()
    with pytest.raises(ModelError):
        nine_layers.section(SEED, None, tmp_path_factory.mktemp("empty"))
