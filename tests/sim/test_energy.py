"""Energy, power and area of a run: constants, what the blocks consist of, sums, scaling, refusals."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.capacity import sized_for
from eie.cli.main import main
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, FormatError
from eie.rtl.export.netlist import analyse
from eie.rtl.verilog import array_verilog
from eie.schema import PE_BLOCKS, fields
from eie.sim.energy import constants as energy_constants
from eie.sim.energy import inventory, sram
from eie.sim.energy.model import area, estimate, memory_read_pj
from eie.sim.published import COMPONENTS, published
from eie.sim.workloads.random import random_input, random_layer
from tests.support.better_machines import SWITCHES, small
from tests.support.machines import CONFIGS

# A busy run on the published machine: of 1,000 cycles 900 entries, in 150 columns, from 200 words.
CFG = ArchConfig()
BETTER = ArchConfig.preset("eie2")


def counters(
    cfg: ArchConfig = CFG, *, entries: int = 900, macs: int = 880, columns: int = 150, words: int = 200
) -> dict[str, np.ndarray]:
    values = {"entries": entries, "macs": macs, "ptr_reads": columns, "spmat_reads": words}
    if cfg.issue > 1:  # in the same 900 cycles
        values |= {
            "entries": cfg.issue * entries,
            "macs": cfg.issue * entries,
            "starved": 100,
            "empty_columns": 20,
        }
    return {name: np.full(cfg.n_pe, value, np.int64) for name, value in values.items()}


# ---- constants ---------------------------------------------------------------------------------------------------


# What the cell energies were read at; no formula has it.
NOT_COMPUTED_WITH = {"cell_slew_ps"}


def figures(**changes: float) -> tuple[float, float]:
    """Energy, area of a busy run on the published machine and one on the better one, with other constants."""
    changed = dataclasses.replace(energy_constants.constants(), **changes)
    runs = [estimate(cfg, counters(cfg), 1000, constants=changed) for cfg in (CFG, BETTER)]
    return sum(run.energy_nj for run in runs), sum(run.area_mm2 for run in runs)


def test_every_constant_has_a_tag_and_a_source():
    found = energy_constants.tagged()
    assert {constant.tag for constant in found.values()} == {"published", "assumed", "fitted"}
    assert all(len(constant.source) > 10 for constant in found.values())
    assert sram.table().source.startswith("CACTI 7")


def test_what_is_fitted_and_what_is_assumed():
    # Three fitted ones would be allowed. None concerns power, and none a block of its own. The assumed ones are not
    # tuned, but are as free: whatever is added to them shows here.
    assert energy_constants.names_of("fitted") == ["filler_share"]
    assert energy_constants.names_of("assumed") == [
        "operating_v",
        "activity",
        "int16_multiply_pj",
        "cell_slew_ps",
        "ff_load_ff",
        "gate_toggle_fj",
        "leakage_nw_per_um2",
        "file_port_share",
    ]
    fitted = figures(filler_share=0.05)
    assert fitted[0] == figures()[0]
    assert fitted[1] != figures()[1]


def test_every_assumed_constant_has_other_values_and_moves_energy_alone():
    for name in set(energy_constants.names_of("assumed")) - NOT_COMPUTED_WITH:
        constant = energy_constants.tagged()[name]
        assert constant.other, name
        for value in constant.other:
            energy, area_mm2 = figures(**{name: value})
            assert (energy > figures()[0]) == (value > constant.value), name
            assert area_mm2 == figures()[1], name


def test_every_constant_is_used():
    # A constant that nothing depends on would only look like a model.
    real = energy_constants.constants()
    unused = {
        field.name
        for field in dataclasses.fields(real)
        if figures(**{field.name: 1.5 * getattr(real, field.name)}) == figures()
    }
    assert unused == NOT_COMPUTED_WITH


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[ff_um2]", "[ff_mm2]", "ff_mm2 is unknown"),
        ("value = 4.522", "value = 0", "ff_um2 must be a positive number, not 0"),
        ("value = 4.522", "value = true", "ff_um2 must be a positive number, not True"),
        ('tag = "fitted"', 'tag = "guessed"', "filler_share needs a unit, a source and a tag"),
        ("other = [1.0, 1.1]", "other = [0.0]", "operating_v must be a positive number, not 0.0"),
        ("other = [1.0, 1.1]", 'other = ["high"]', "operating_v must be a positive number, not 'high'"),
        ("other = [1.0, 1.1]", "other = 1.0", "not iterable"),
        ('tag = "assumed"', 'tag = "published"', "operating_v is published, so it has no other values"),
        ('unit = "V"\n', "", "unit"),
        ("value = 4.522", "value = ", "Invalid value"),
    ],
)
def test_damaged_constants_are_refused(old, new, message):
    text = (energy_constants.files("eie.sim.energy") / "data" / "energy.toml").read_text("utf-8")
    assert old in text
    with pytest.raises(FormatError, match=message):
        energy_constants.parse(text.replace(old, new, 1))


# ---- what the blocks consist of ----------------------------------------------------------------------------------


# Machines with windows, lanes, pairs and queues of runs.
WINDOWED = {
    name: small(SWITCHES[name]) for name in ("eie2", "pairs", "window of three", "empty columns filtered")
}
ADDERS = {"adder": small({"adder": 1, "acc_bits": 24})}


@pytest.mark.parametrize("cfg", (CONFIGS | WINDOWED | ADDERS).values(), ids=CONFIGS | WINDOWED | ADDERS)
def test_flip_flops_and_arrays_are_those_of_the_verilog(cfg):
    modules = analyse("\n".join(array_verilog(cfg).values()))
    for block in (*PE_BLOCKS, "lnzd", "ccu"):
        module = modules[f"eie_{block}"]
        nets = {name: module.nets[name] for name in module.registers}
        flip_flops = sum(net.width for net in nets.values() if not net.memory_width)
        counted = inventory.flip_flops(block, cfg, counters=True) | inventory.derived(block, cfg)
        assert sum(counted.values()) == flip_flops, block
        memories = {name: net.memory_width for name, net in nets.items() if net.memory_width}
        arrays = (*inventory.arrays(block, cfg), *inventory.derived_arrays(block, cfg))
        assert {array.name: array.bits for array in arrays} == memories, block


def test_the_event_counters_are_left_out_and_nothing_else():
    for block, left_out in {
        "act_queue": 0,
        "ptr_read": 1,
        "spmat_read": 3,
        "arithm_unit": 3,
        "act_rw": 1,
    }.items():
        every = inventory.flip_flops(block, CFG, counters=True)
        kept = inventory.flip_flops(block, CFG)
        assert sum(every.values()) - sum(kept.values()) == 32 * left_out
    counting = estimate(CFG, counters(), 1000, performance_counters=True)
    plain = estimate(CFG, counters(), 1000)
    assert counting.energy_nj > plain.energy_nj
    assert counting.area_mm2 > plain.area_mm2


def test_every_register_of_a_pe_has_a_load():
    for block in PE_BLOCKS:
        registers = {field.name for field in fields(block, CFG) if field.kind.is_register}
        assert inventory.LOADED[block].keys() == registers - inventory.COUNTERS, block
        for cfg in WINDOWED.values():
            assert inventory.loaded(block, cfg).keys() == inventory.flip_flops(block, cfg).keys(), block


def test_what_the_better_machine_has_more():
    plain = estimate(CFG, counters(), 1000)
    better = estimate(BETTER, counters(BETTER), 1000)
    assert 1.01 < better.pe_area_um2 / plain.pe_area_um2 < 1.04
    # Four banks: a read wakes a quarter of the memory, the rest of a run stays as it is.
    for cfg in (CFG, BETTER):
        banks = estimate(cfg.replace(matrix_banks=4), counters(cfg), 1000)
        one = estimate(cfg, counters(cfg), 1000)
        saved = 200 * cfg.n_pe * (memory_read_pj(16384, 64) - memory_read_pj(4096, 64)) * 1e-3
        leaks = 4 * sram.sram(4096, 64).leakage_mw - sram.sram(16384, 64).leakage_mw
        more = cfg.n_pe * leaks * constants_of_supply() * 1000 / cfg.clock_hz * 1e6
        assert one.energy_nj - banks.energy_nj == pytest.approx(saved - more)
    # More than one entry a cycle is no error here, more than two is.
    beyond = counters(BETTER) | {"entries": np.full(64, 2001, np.int64)}
    with pytest.raises(ConfigError, match="entries must be from 0 to 2000 on each PE, in the 1000 cycles"):
        estimate(BETTER, beyond, 1000)


def constants_of_supply() -> float:
    return energy_constants.constants().operating_v / sram.table().supply_v


# ---- sums --------------------------------------------------------------------------------------------------------


def test_components_and_blocks_add_up_to_the_pe_and_the_chip():
    run = estimate(CFG, counters(), 1000)
    pe = [block for block in run.blocks if block.name in PE_BLOCKS]
    filler = next(component for component in run.components if component.name == "filler cell")
    assert [component.name for component in run.components] == list(COMPONENTS)
    assert sum(b.area_um2 for b in pe) + filler.area_um2 == pytest.approx(run.pe_area_um2)
    assert sum(b.power_mw for b in pe) == pytest.approx(run.pe_power_mw)
    assert sum(b.count * b.energy_nj for b in run.blocks) == pytest.approx(run.energy_nj)
    assert sum(b.chip_power_mw for b in run.blocks) == pytest.approx(run.power_mw)
    area_mm2 = sum(b.chip_area_mm2 for b in run.blocks) + filler.chip_area_mm2
    assert area_mm2 == pytest.approx(run.area_mm2)
    assert run.energy_nj == pytest.approx(run.power_mw * run.seconds * 1e6)


def test_ratios_by_hand():
    run = estimate(CFG, counters(), 1000)  # 1.25 us, 64 x 880 multiply-accumulates
    assert run.macs == 56320
    assert run.gops == pytest.approx(2 * 56320 / 1250)
    assert run.pj_per_mac == pytest.approx(run.energy_nj * 1000 / 56320)
    assert run.gops_per_watt == pytest.approx(run.gops / (run.power_mw / 1000))
    assert run.dense_gops(1000, 500) == pytest.approx(2 * 500_000 / 1250)
    assert run.dense_gops_per_watt(1000, 500) == pytest.approx(
        run.dense_gops(1000, 500) / (run.power_mw / 1000)
    )


def test_memory_energy_by_hand():
    # 200 words of 64 bits from 128 KB, 150 pairs of pointers from two banks of 16 KB; CACTI's 1.1 V to 0.9 V.
    run = estimate(CFG, counters(), 1000)
    memory = {part.block: part for part in run.parts if part.component == "memory"}
    scale = (0.9 / 1.1) ** 2
    assert memory["spmat_read"].dynamic_pj == pytest.approx(200 * 32.2859 * scale)
    assert memory["ptr_read"].dynamic_pj == pytest.approx(150 * 2 * sram.sram(8192, 16).read_pj * scale)
    assert memory["act_rw"].dynamic_pj == 0
    assert memory["spmat_read"].area_um2 == 429589


def test_the_tree_is_the_published_one():
    run = estimate(CFG, counters(), 1000)
    nodes = next(block for block in run.blocks if block.name == "lnzd")
    assert nodes.count == 21
    assert nodes.power_mw == pytest.approx(published().lnzd_node.power_mw)
    assert nodes.area_um2 == published().lnzd_node.area_um2


def test_a_run_of_no_cycles():
    run = estimate(CFG, counters(entries=0, macs=0, columns=0, words=0), 0)
    assert (run.energy_nj, run.power_mw, run.gops, run.gops_per_watt, run.dense_gops(8, 8)) == (0, 0, 0, 0, 0)
    assert math.isnan(run.pj_per_mac)
    assert run.area_mm2 == area(CFG)


def test_idle_cycles_cost_clock_and_leakage_alone():
    run = estimate(CFG, counters(entries=0, macs=0, columns=0, words=0), 1000)
    by_name = {component.name: component for component in run.components}
    assert by_name["clock network"].power_mw > 0
    busy = {c.name: c for c in estimate(CFG, counters(), 1000).components}
    assert by_name["clock network"].energy_nj == busy["clock network"].energy_nj
    assert by_name["memory"].energy_nj < 1e-3 * busy["memory"].energy_nj
    assert 0 < by_name["register"].energy_nj < busy["register"].energy_nj


# ---- more of something costs more --------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["entries", "macs", "columns", "words"])
def test_more_events_take_more_energy(event):
    more = {"entries": 990, "macs": 899, "columns": 400, "words": 400}[event]
    assert (
        estimate(CFG, counters(**{event: more}), 1000).energy_nj > estimate(CFG, counters(), 1000).energy_nj
    )


@pytest.mark.parametrize(
    ("field", "larger"),
    [
        ("n_pe", 128),
        ("queue_depth", 16),
        ("bus_registers", 2),
        ("index_bits", 8),
        ("weight_bits", 8),
        ("acc_bits", 32),
        ("pointers", 65536),
        ("entries", 524288),
        ("src_depth", 256),
        ("acc_depth", 256),
    ],
)
def test_a_larger_machine_takes_more_area_and_energy(field, larger):
    machine = CFG.replace(**{field: larger})
    before, after = estimate(CFG, counters(), 1000), estimate(machine, counters(machine), 1000)
    assert after.area_mm2 > before.area_mm2
    assert after.energy_nj > before.energy_nj


@pytest.mark.parametrize(("field", "smaller"), [("code_bits", 8), ("act_bits", 8), ("pointer_bits", 12)])
def test_a_narrower_machine_takes_less(field, smaller):
    machine = CFG.replace(**{field: smaller})
    before, after = estimate(CFG, counters(), 1000), estimate(machine, counters(machine), 1000)
    assert after.area_mm2 < before.area_mm2
    assert after.energy_nj < before.energy_nj


def test_another_clock_changes_the_power_and_the_leakage_but_no_event():
    slow = estimate(CFG.replace(clock_hz=400_000_000), counters(), 1000)
    fast = estimate(CFG, counters(), 1000)
    assert slow.power_mw < fast.power_mw
    leakage_mw = sum(part.count * part.leakage_mw for part in fast.parts)
    assert slow.energy_nj - fast.energy_nj == pytest.approx(leakage_mw * fast.seconds * 1e6)


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
def test_every_configuration_has_figures(cfg):
    run = estimate(cfg, counters(cfg), 1000)
    assert 0 < run.energy_nj < math.inf
    assert run.area_mm2 == area(cfg) > 0
    assert all(block.area_um2 > 0 and block.power_mw > 0 for block in run.blocks)


# ---- engines and refusals ----------------------------------------------------------------------------------------


def test_golden_and_fast_cost_the_same_and_the_reference_says_nothing():
    layer, x = random_layer(40, 50, 0.3, seed=3), random_input(50, 0.5, seed=3)
    cfg = sized_for(ArchConfig(n_pe=4), layer)
    golden, fast = (eie.simulate(layer, x, cfg, engine=engine) for engine in ("golden", "fast"))
    assert estimate(cfg, golden.counters, golden.cycles) == estimate(cfg, fast.counters, fast.cycles)
    reference = eie.simulate(layer, x, cfg, engine="reference")
    with pytest.raises(
        ConfigError, match=r"energy needs the counter ptr_reads of each of 4 PEs: it is missing"
    ):
        estimate(cfg, reference.counters, golden.cycles)
    with pytest.raises(ConfigError, match=r"energy needs the cycles of a run, an integer from 0, not None"):
        estimate(cfg, golden.counters, reference.cycles)


def test_eie_run_prints_the_estimate(tmp_path):
    layer = random_layer(30, 40, 0.3, seed=4)
    eie.save(tmp_path / "net.eie", [layer])
    np.save(tmp_path / "x.npy", random_input(40, 0.5, seed=4))
    command = ["run", str(tmp_path / "net.eie"), "--input", str(tmp_path / "x.npy"), "--pe", "4"]
    shown = CliRunner().invoke(main, command).output
    said = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)[0]
    cfg = ArchConfig(n_pe=4)
    run = estimate(cfg, {n: np.array(v) for n, v in said["counters"].items()}, said["cycles"])
    assert (said["energy_nj"], said["power_mw"], said["area_mm2"]) == (
        run.energy_nj,
        run.power_mw,
        run.area_mm2,
    )
    for unit, figure in (
        ("nJ", f"{run.energy_nj:,.1f}"),
        ("mW", f"{run.power_mw:,.1f}"),
        ("mm²", f"{run.area_mm2:,.2f}"),
    ):
        assert re.search(rf"^{unit} +{figure} ", shown, re.MULTILINE), unit
    reference = CliRunner().invoke(main, [*command, "--engine", "reference", "--json"]).output
    assert json.loads(reference)[0]["energy_nj"] is None


@pytest.mark.parametrize(
    ("changes", "cycles", "message"),
    [
        ({}, -1, "an integer from 0, not -1"),
        ({}, 1.5, r"an integer from 0, not 1\.5"),
        ({}, True, "an integer from 0, not True"),
        ({"entries": 1001}, 1000, "the counter entries must be from 0 to the 1000 cycles"),
        ({"words": -1}, 1000, "the counter spmat_reads must be from 0"),
        ({"macs": 901}, 1000, "PE 0 cannot have more macs than entries: 901 against 900"),
        ({"words": 901}, 1000, "PE 0 cannot have more spmat_reads than entries: 901 against 900"),
    ],
)
def test_impossible_counters_are_refused(changes, cycles, message):
    with pytest.raises(ConfigError, match=message):
        estimate(CFG, counters(**changes), cycles)


def test_entries_of_one_pe_do_not_cover_for_another():
    found = counters()
    found["macs"][5] = 901
    assert found["macs"].sum() < found["entries"].sum()
    with pytest.raises(ConfigError, match="PE 5 cannot have more macs than entries: 901 against 900"):
        estimate(CFG, found, 1000)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, "float64"),
        (900.0, "float64"),
        ("900", "<U3"),
        (True, "bool"),
        (None, "object"),
        (9j, "complex128"),
    ],
)
def test_counters_that_are_no_integers_are_refused(value, kind):
    found = counters() | {"entries": np.full(CFG.n_pe, value)}
    message = f"energy needs the counter entries of each of 64 PEs: it holds {kind}, not integers"
    with pytest.raises(ConfigError, match=message):
        estimate(CFG, found, 1000)


def test_lists_are_counters_if_they_are_one_for_each_pe():
    plain = {name: value.tolist() for name, value in counters().items()}
    assert estimate(CFG, plain, 1000) == estimate(CFG, counters(), 1000)
    for value in ([900] * 63, [[900], [900, 900]], 900, []):
        with pytest.raises(ConfigError, match="the counter entries of each of 64 PEs: it has the shape"):
            estimate(CFG, plain | {"entries": value}, 1000)


def test_large_counters_do_not_overflow():
    most = (1 << 63) - 1
    found = {name: np.full(CFG.n_pe, most) for name in counters()}
    assert estimate(CFG, found, most).macs == 64 * most


def test_counters_of_another_machine_are_refused():
    with pytest.raises(ConfigError, match=r"of each of 64 PEs: it has the shape \(8,\)"):
        estimate(CFG, counters(CFG.replace(n_pe=8)), 1000)


def test_a_memory_without_figures_is_refused():
    with pytest.raises(CapacityError, match="no energy figures for an SRAM of 268435456 words of 64 bits"):
        area(CFG.replace(entries=1 << 31))


def test_minima_cost_less_than_products_and_no_more_than_the_multiplier_is_saved():
    plain = ArchConfig(acc_bits=24)
    machine = plain.replace(adder=1)
    product, minimum = (estimate(machine, counters(), 1000, minima=minima) for minima in (False, True))
    assert minimum.energy_nj < product.energy_nj
    # docs/adder.md: the multiplier, the adders and the paths between them are at most 9 % of a PE's energy.
    saved = 1 - minimum.energy_nj / product.energy_nj
    assert 0 < saved < 0.09
    changed = [one.name for one, two in zip(minimum.blocks, product.blocks, strict=True) if one != two]
    assert changed == ["arithm_unit", "ccu"]
    # What is there more is paid for in area, and in the clock of its registers.
    assert area(machine) > area(plain)
    assert product.energy_nj > estimate(plain, counters(), 1000).energy_nj
