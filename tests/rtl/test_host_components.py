"""The components of the host interface: their docstrings are their signatures, and signals move when they say.

By Amaranth's own simulator; what the whole interface does is in tests/cosim/test_chip.py.
"""

import ast
import inspect
import random
import re
import sys
from collections import deque
from functools import reduce
from pathlib import Path

import pytest
from amaranth.lib.wiring import Signature
from amaranth.sim import Simulator

import eie.rtl.host
from eie.config import ArchConfig
from eie.rtl.host.arbiter import PortArbiter
from eie.rtl.host.commands import CommandDecoder, HeaderCheck
from eie.rtl.host.host_if import HostIf
from eie.rtl.host.interfaces import HEADER, PortRequestSignature, StatusSignature
from eie.rtl.host.queues import RegisterQueue, ResultQueue
from eie.rtl.host.registers import RegisterFile
from eie.rtl.host.status import Status
from tests.support.cycle_table import parse

CFG = ArchConfig(
    n_pe=4, passes=5, word_bits=32, entries=64, pointers=16, src_depth=8, acc_depth=8, act_words=8
)
SHAPE = 7
COMPONENTS = [
    HeaderCheck(CFG),
    CommandDecoder(CFG),
    PortArbiter(CFG),
    RegisterFile(CFG),
    RegisterQueue(SHAPE, 3),
    ResultQueue(CFG),
    Status(CFG),
]
SIGNATURES = [PortRequestSignature(CFG), StatusSignature()]


def name_of(described):
    return type(described).__name__


def documented(described):
    """Members of a class by its docstring: what stands behind each name, and the text below it."""
    text = inspect.cleandoc(type(described).__doc__).partition("Members\n-------\n")[2]
    entries = re.findall(r"^(\w+) : (.+)\n((?:    .+\n?)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\S", text, re.MULTILINE)), "every member has a text of its own"
    return {name: (expression, meaning) for name, expression, meaning in entries}


@pytest.mark.parametrize("described", [*COMPONENTS, *SIGNATURES], ids=name_of)
def test_documented_members_are_the_signature(described):
    signature = described if isinstance(described, Signature) else described.signature
    names = vars(sys.modules[type(described).__module__]) | {"cfg": CFG, "shape": SHAPE}
    told = {name: eval(expression, names) for name, (expression, _) in documented(described).items()}
    assert told == dict(signature.members)


def test_every_component_is_looked_at():
    """No component or bundle of the folder is left out above."""
    found = {
        node.name
        for path in Path(eie.rtl.host.__file__).parent.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) in ("wiring.Component", "Declared", "Bundle") for base in node.bases)
    }
    assert found == {name_of(described) for described in [*COMPONENTS, *SIGNATURES]} | {"HostIf"}


@pytest.mark.parametrize("component", [*COMPONENTS, HostIf(CFG)], ids=name_of)
def test_annotated_members_are_the_signature(component):
    """Type checkers know what the signature makes; nothing else becomes an attribute, not while elaborating either."""
    members = set(component.signature.members)
    if not isinstance(component, HostIf):  # its ports are those of eie.axi
        assert set(type(component).__annotations__) == members
    public = {name for name in vars(component) if not name.startswith("_")}
    assert public - members <= {"cfg", "shape", "depth"}
    before = set(vars(component))
    component.elaborate(None)
    assert set(vars(component)) == before


def test_components_do_not_know_who_wires_them():
    for path in Path(eie.rtl.host.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert "eie.rtl.host.host_if" not in modules
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"setattr", "getattr"}, path.name


def test_header_fields():
    assert {name: (field.offset, field.width) for name, field in HEADER} == {
        "space": (0, 4),
        "command": (4, 2),
        "spread": (6, 1),
        "pe": (8, 8),
        "addr": (16, 24),
        "count": (40, 24),
    }


# ---- the cycle in which each member is valid -------------------------------------------------------------------


def simulate(component, test):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.run()


def drive(component, table):
    """Drive a component through an executable timing table (`tests.support.cycle_table`)."""

    def signal(name):
        return reduce(getattr, name.split("."), component)

    async def test(ctx):
        for row in parse(table):
            for name, value in row.inputs.items():
                ctx.set(signal(name), value)
            found = {name: int(ctx.get(signal(name))) for name in row.expected}
            assert found == row.expected, f"cycle {row.cycle}"
            await ctx.tick()

    simulate(component, test)


def test_arbiter_cycles():
    """The decoder reads and waits with a write; the register file's read comes between; then the write."""
    drive(
        PortArbiter(CFG),
        """
        cycle | stream.valid stream.write stream.addr lite.valid lite.addr | stream.ready lite.ready io_write io_read io_addr read_second stream_word lite_word
        0     | 1            .            5           .          .         | 1            1          0        0       0       0           0           0
        1     | 1            1            6           1          3         | 0            0          0        1       5       0           0           0
        2     | 1            1            6           1          3         | 0            1          0        1       5       1           0           0
        3     | 1            1            6           .          .         | 0            0          0        1       3       0           1           0
        4     | 1            1            6           .          .         | 1            1          0        1       3       1           0           0
        5     | .            .            .           .          .         | 1            1          1        0       6       0           0           1
        6     | .            .            .           .          .         | 1            1          0        0       6       0           0           0
        """,  # noqa: E501
    )


def test_arbiter_runs():
    """A RUN's two writes are on the port and kept; nothing of the register file is taken until the array is idle."""
    drive(
        PortArbiter(CFG),
        """
        cycle | pass_write pass_register pass_number starting run_start busy lite.valid | running lite.ready start io_write io_addr io_data first_pass last_pass
        0     | 1          0             2           1        .         .    .          | 1       0          0     0        0       0       0          0
        1     | 1          1             4           1        .         .    .          | 1       0          0     1        0       2       0          0
        2     | .          .             .           1        1         .    1          | 1       0          0     1        1       4       2          0
        3     | .          .             .           .        .         .    1          | 1       0          1     0        1       4       2          4
        4     | .          .             .           .        .         1    1          | 1       0          0     0        1       4       2          4
        5     | .          .             .           .        .         .    1          | 0       1          0     0        1       4       2          4
        """,  # noqa: E501
    )


def test_result_queue_cycles():
    """A word is offered four cycles after its read was issued, extended as was said then."""
    drive(
        ResultQueue(CFG),
        """
        cycle | read_issue read_last read_signed read_second word io_rdata   words.ready | room words.valid words.payload.data  words.payload.last word_stored
        0     | 1          .         1           .           .    .          .           | 1    0           ?                   ?                  0
        1     | .          .         .           .           .    .          .           | 1    0           ?                   ?                  0
        2     | 1          1         .           1           .    .          .           | 1    0           ?                   ?                  0
        3     | .          .         .           .           1    0x80000001 .           | 1    0           ?                   ?                  0
        4     | 1          .         .           1           .    .          .           | 1    1           0xffffffff80000001  0                  0
        5     | .          .         .           .           1    0x80000002 .           | 1    1           ?                   0                  0
        6     | 1          .         .           1           .    .          1           | 1    1           ?                   0                  1
        7     | .          .         .           .           1    7          .           | 1    1           0x80000002          1                  0
        """,  # noqa: E501
    )


def test_result_queue_keeps_room():
    table = "cycle | read_issue words.ready | room\n" + "\n".join(f"{i} | 1 . | 1" for i in range(4))
    drive(ResultQueue(CFG), table + "\n4 | . . | 0\n5 | . . | 0")


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_register_queue_is_a_queue(depth):
    """Against a deque, with pushes and pops at random."""
    rng = random.Random(depth)
    queue = RegisterQueue(SHAPE, depth)
    seen = set()

    async def test(ctx):
        held: deque[int] = deque()
        for _ in range(2000):
            assert ctx.get(queue.r_rdy) == bool(held)
            assert ctx.get(queue.w_rdy) == (len(held) < depth)
            if held:
                assert ctx.get(queue.r_data) == held[0]
            pop = bool(held) and rng.random() < 0.5
            push = (len(held) < depth or pop) and rng.random() < 0.5
            word = rng.randrange(1 << SHAPE)
            for signal, value in (
                (queue.w_en, push),
                (queue.r_en, pop),
                (queue.w_data, word),
            ):
                ctx.set(signal, value)
            seen.add((len(held), push, pop))
            await ctx.tick()
            if pop:
                held.popleft()
            if push:
                held.append(word)

    simulate(queue, test)
    assert (depth, True, True) in seen, "a full queue takes a word while one leaves"
    assert (0, True, False) in seen
