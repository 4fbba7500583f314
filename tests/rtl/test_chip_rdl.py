"""The chip's registers in SystemRDL: its compiler reads what `eie.registers` and the C header say; IP-XACT follows."""

import re
from xml.etree import ElementTree

import pytest
from peakrdl_ipxact import IPXACTExporter
from systemrdl import RDLCompiler
from systemrdl.node import FieldNode, RegNode
from systemrdl.rdltypes import OnWriteType

from eie.config import ArchConfig
from eie.registers import PASS_LINE, PASS_TABLE, Access, Reg, c_header, pass_table_offset, system_rdl
from eie.schema import config_fields, config_registers

CONFIGS = {
    "published": ArchConfig(),
    "small": ArchConfig(
        n_pe=4, entries=64, pointers=16, src_depth=8, acc_depth=8, act_words=8, passes=3, counters=0
    ),
    "better": ArchConfig.preset("eie2"),
}


def compiled(cfg, tmp_path):
    path = tmp_path / "eie_chip.rdl"
    path.write_text(system_rdl(cfg, "eie_chip"))
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    return compiler.elaborate()


def by_address(root):
    return {
        node.absolute_address: node for node in root.descendants(unroll=True) if isinstance(node, RegNode)
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_registers_are_those_of_the_map(name, tmp_path):
    cfg = CONFIGS[name]
    root = compiled(cfg, tmp_path)
    found = by_address(root)
    assert root.top.inst_name == "eie_chip"
    passes = {
        pass_table_offset(number, register): (number, register)
        for number in range(cfg.passes)
        for register in config_registers(cfg)
    }
    assert found.keys() == {reg.offset for reg in Reg} | passes.keys()
    for reg in Reg:
        node = found[reg.offset]
        assert (node.inst_name, node.get_property("desc").replace("`", "")) == (
            reg.name,
            reg.value.meaning.replace("`", ""),
        )
        assert (node.has_sw_readable, node.has_sw_writable) == (
            reg.access is not Access.WO,
            reg.access is not Access.RO,
        )
        reset = sum(field.get_property("reset") << field.low for field in node.fields())
        assert reset == reg.reset_value(cfg)
        clears = {field.get_property("onwrite") is OnWriteType.woclr for field in node.fields()}
        assert clears == {reg.access is Access.W1C}
        bits = {field.inst_name: (field.high, field.low) for field in node.fields()}
        wanted = {b.name: (b.low + b.width - 1, b.low) for b in reg.value.fields} or {"VALUE": (31, 0)}
        assert bits == wanted
    widths = {field.name.upper(): field.width for field in config_fields(cfg)}
    for offset, (number, register) in passes.items():
        node = found[offset]
        assert (node.inst_name, node.parent.current_idx) == (register.name, [number])
        (value,) = node.fields()
        assert value.width == widths[register.name]


def test_names_and_masks_are_those_of_the_c_header(tmp_path):
    cfg = CONFIGS["small"]
    defined = {
        name: int(value.rstrip("ul"), 0)
        for name, value in re.findall(r"^#define EIE_(\w+) (0x\w+|\d+\w*)", c_header(cfg), re.MULTILINE)
    }
    root = compiled(cfg, tmp_path)
    fields = 0
    for node in root.descendants():
        if isinstance(node, FieldNode) and node.inst_name != "VALUE":
            fields += 1
            name = f"{node.parent.inst_name}_{node.inst_name}"
            assert defined[f"{name}_MASK"] == ((1 << node.width) - 1) << node.low
            assert defined[f"{name}_SHIFT"] == node.low
        elif isinstance(node, RegNode) and node.parent.inst_name == "eie_chip":
            assert defined[node.inst_name] == node.absolute_address
    assert fields == sum(len(reg.value.fields) for reg in Reg)
    codes = next(node for node in root.descendants() if node.inst_name == "ERROR_CODE").get_child_by_name(
        "VALUE"
    )
    told = {member.name: member.value for member in codes.get_property("encode")}
    assert told == {
        name[6:]: v for name, v in defined.items() if name.startswith("ERROR_") and name[6:] in told
    }
    assert len(told) == 11


def test_ip_xact_follows(tmp_path):
    cfg = CONFIGS["small"]
    IPXACTExporter().export(compiled(cfg, tmp_path), str(tmp_path / "eie_chip.xml"))
    tree = ElementTree.parse(tmp_path / "eie_chip.xml")
    names = [node.text for node in tree.iterfind(".//{*}register/{*}name")]
    assert names == [reg.name for reg in Reg] + [register.name for register in config_registers(cfg)]
    (table,) = tree.iterfind(".//{*}registerFile")
    assert (table.findtext("{*}name"), int(table.findtext("{*}addressOffset").replace("'h", "0x"), 0)) == (
        "PASS",
        PASS_TABLE,
    )
    assert int(table.findtext("{*}range").replace("'h", "0x"), 0) <= PASS_LINE
