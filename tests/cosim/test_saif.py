"""Switching activity: the same counts from both simulators, and those of golden's registers."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.golden.array import Array
from eie.golden.run import run as run_golden
from eie.program import Job
from eie.schema import PE_BLOCKS, Reg
from eie.sim.cosim.saif import Activity, Count, Instance, read_saif, read_vcd, record
from eie.sim.workloads.random import random_input, random_layer
from tests.support.machines import FOUR as CFG

VCD = """$timescale 1ns $end
$scope module free_run $end
$scope module dut $end
$var wire 1 ! a $end
$var wire 3 " v [2:0] $end
$var wire 1 # _7_ $end
$scope module inner $end
$var wire 1 ! b $end
$upscope $end
$upscope $end
$upscope $end
$enddefinitions $end
#10
$dumpvars
0!
bx "
1#
$end
#12
1!
b1 "
#15
0!
#20
b110 "
#24
"""


@pytest.fixture(scope="module")
def job() -> Job:
    layer = random_layer(40, 30, 0.3, 1)
    return Job.create(layer, random_input(30, 0.5, 1), CFG)


@pytest.fixture(scope="module")
def icarus(job: Job) -> Activity:
    return record(job, "icarus")


def test_a_vcd_counted_by_hand(tmp_path: Path) -> None:
    (tmp_path / "small.vcd").write_text(VCD)
    design = read_vcd(tmp_path / "small.vcd", "free_run").at(("free_run", "dut"))
    # a: 0 from 10 to 12, 1 to 15, 0 to 24. v: unknown from 10 to 12, 001 to 20, 110 to 24; leaving x is no toggle.
    assert design.nets == {
        "a": Count(2 + 9, 3, 0, 2),
        "v[0]": Count(4, 8, 2, 1),
        "v[1]": Count(8, 4, 2, 1),
        "v[2]": Count(8, 4, 2, 1),
    }
    assert design.inside["inner"].nets == {"b": design.nets["a"]}


def test_verilators_own_counts_are_read_by_instance() -> None:
    text = r"""(SAIFILE
(DURATION 9)
 (INSTANCE free_run
  (NET
   (a (T0 1) (T1 2) (TZ 0) (TX 0) (TB 0) (TC 3))
  )
  (INSTANCE dut
   (NET
    (q\[1\] (T0 4) (T1 5) (TZ 1) (TX 1) (TB 1) (TC 6))
    (mem[0]\[1\] (T0 4) (T1 5) (TZ 0) (TX 0) (TB 0) (TC 6))
   )
  )
  (INSTANCE other
   (NET
    (c (T0 7) (T1 0) (TZ 0) (TX 0) (TB 0) (TC 0))
   )
  )
 )
)"""
    root = read_saif(text.splitlines()).inside["free_run"]
    assert root.nets == {"a": Count(1, 2, 0, 3)}
    assert root.inside == {
        "dut": Instance({"q[1]": Count(4, 5, 3, 6)}),
        "other": Instance({"c": Count(7, 0, 0, 0)}),
    }


def test_both_simulators_count_the_same(job: Job, icarus: Activity) -> None:
    assert record(job, "verilator").text() == icarus.text()


def test_golden_registers_toggle_as_often(job: Job, icarus: Activity) -> None:
    """Every register of every PE's blocks and of the CCU, bit by bit."""
    counted: dict[tuple[str, ...], int] = {}

    def registers(array: Array) -> list[tuple[tuple[str, ...], Reg, int]]:
        blocks = [
            ((f"pe{k:03d}", name), pe.blocks[name]) for k, pe in enumerate(array.pes) for name in PE_BLOCKS
        ]
        blocks.append((("ccu",), array.ccu))
        found = []
        for path, block in blocks:
            for net in icarus.root.at(path).nets:
                name = net.partition("[")[0]
                names = {field.name for field in block.fields}
                signal = block.signal(name) if name in names else None
                if isinstance(signal, Reg) and (*path, name) not in {place for place, _, _ in found}:
                    found.append(((*path, name), signal, signal.mask))
        return found

    known: list[tuple[tuple[str, ...], Reg, int]] = []

    def observe(array: Array) -> None:
        known.extend([] if known else registers(array))
        if array.busy.value:
            for place, register, mask in known:
                flips = (register.value ^ register.next) & mask
                for bit in range(flips.bit_length()):
                    if flips >> bit & 1:
                        counted[*place, str(bit)] = counted.get((*place, str(bit)), 0) + 1

    run_golden(job, observe=observe)
    assert len(known) > 4 * 30
    compared = 0
    for (*path, name), _, mask in known:
        nets = icarus.root.at(path).nets
        for bit in range(mask.bit_length()):
            net = name if mask == 1 else f"{name}[{bit}]"
            assert nets[net].tc == counted.get((*path, name, str(bit)), 0), (path, net)
            compared += nets[net].tc
    assert compared == sum(counted.values()) > 1000


def test_every_bit_is_accounted_for_at_all_times(icarus: Activity) -> None:
    for _, instance in icarus.root.walk():
        for count in instance.nets.values():
            assert count.t0 + count.t1 + count.tx == icarus.duration
    clock = icarus.root.nets["clk"]
    # Two toggles a cycle of 1,250 ps.
    assert clock.tc * 625 == icarus.duration
    assert clock.t0 == clock.t1
    assert {"pe000", "pe003", "ccu", "lnzd_0_0", "pe000_spmat"} <= icarus.root.inside.keys()
    assert not any("free_run" in path for path, _ in icarus.root.walk())


def test_the_file_is_saif(tmp_path: Path) -> None:
    file = tmp_path / "a.saif"
    command = [
        "cosim",
        "--free",
        "--rows",
        "12",
        "--cols",
        "10",
        "--pe",
        "2",
        "--saif",
        str(file),
        "--seed",
        "3",
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert text.startswith('(SAIFILE\n(SAIFVERSION "2.0")\n(DIRECTION "backward")\n(DESIGN "eie_array")\n')
    assert f"(DURATION {re.findall(r'in ([0-9,]+) ps', done.stdout)[0].replace(',', '')})" in text
    assert text.count("(") == text.count(")")
    assert re.search(
        r"^ +\(tok_value\\\[0\\\] \(T0 \d+\) \(T1 \d+\) \(TX 0\) \(TC \d+\) \(IG 0\)\)$", text, re.MULTILINE
    )


def test_one_layer_only(tmp_path: Path) -> None:
    from eie.compress.format.file import save

    save(
        tmp_path / "net.eie",
        [random_layer(8, 6, 0.5, seed=1, name="a"), random_layer(4, 8, 0.5, seed=2, name="b")],
    )
    command = ["cosim", str(tmp_path / "net.eie"), "--free", "--saif", str(tmp_path / "a.saif")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "--saif writes the switching activity of one layer: choose it with --layer" in done.stderr
    assert done.stdout == ""  # refused before anything is said
