"""The components of the host interface: what their docstrings say of their members is what their signatures are."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
from amaranth.lib.wiring import Signature

import eie.rtl.host
from eie.config import ArchConfig
from eie.rtl.host.arbiter import PortArbiter
from eie.rtl.host.commands import CommandDecoder, HeaderCheck
from eie.rtl.host.host_if import HostIf
from eie.rtl.host.interfaces import HEADER, PortRequestSignature, StatusSignature
from eie.rtl.host.queues import RegisterQueue, ResultQueue
from eie.rtl.host.registers import RegisterFile
from eie.rtl.host.status import Status

CFG = ArchConfig(n_pe=4, passes=5, entries=64, pointers=16, src_depth=8, acc_depth=8, act_words=8)
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
        and any(ast.unparse(base) in ("wiring.Component", "Bundle") for base in node.bases)
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
