"""One register map: Python constants, the C header as a compiler sees it, and the page that people read."""

import contextlib
import io
import re
import subprocess

import pytest

from eie.axi import HEADER_FIELDS, LITE_ADDR_BITS, Command, ErrorCode, Header, block_packet
from eie.config import ArchConfig
from eie.memory import Block, Write
from eie.registers import PASS_LINE, PASS_TABLE, Access, Reg, c_header, markdown, pass_table_offset
from eie.schema import ConfigReg, IoSpace
from tests.support import ROOT

PAGE = ROOT / "docs" / "programming.md"
CFG = ArchConfig(n_pe=8, codebooks=2, word_bits=128)


@pytest.fixture(scope="module")
def macros(tmp_path_factory):
    """Value of every macro without arguments, and some results of the header's function, by the C compiler."""
    folder = tmp_path_factory.mktemp("header")
    text = c_header(CFG)
    (folder / "eie_regs.h").write_text(text)
    names = re.findall(r"^#define (EIE_\w+) ", text, re.MULTILINE)
    lines = [
        f'printf("{name} %llu\\n", (unsigned long long){name});' for name in names if name != "EIE_REGS_H"
    ]
    lines += ['printf("HEADER %llu\\n", (unsigned long long)eie_header(1, 5, 1, 200, 0xabcdef, 0xfedcba));']
    lines += [f'printf("TABLE{r} %u\\n", EIE_PASS_TABLE(3, EIE_PASS_{r.name}));' for r in ConfigReg]
    (folder / "main.c").write_text(
        '#include <stdio.h>\n#include "eie_regs.h"\n#include "eie_regs.h"\nint main(void) {'
        + "\n".join(lines)
        + "return 0; }\n"
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, "-o", folder / "main", folder / "main.c"], check=True)
    out = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in map(str.split, out.splitlines())}


def test_offsets_are_words_in_order_and_apart_from_the_pass_table():
    offsets = [reg.offset for reg in Reg]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and offset < PASS_TABLE for offset in offsets)
    assert PASS_TABLE + PASS_LINE * 256 <= 1 << LITE_ADDR_BITS
    for reg in Reg:
        taken = 0
        for bits in reg.value.fields:
            assert not taken & bits.mask, reg
            taken |= bits.mask
        assert taken < 1 << 32
        assert 0 <= reg.reset_value(CFG) < 1 << 32


def test_the_c_header_says_the_same(macros):
    for reg in Reg:
        assert macros[f"EIE_{reg.name}"] == reg.offset
        for bits in reg.value.fields:
            assert macros[f"EIE_{reg.name}_{bits.name}_MASK"] == bits.mask == reg.mask(bits.name)
            assert macros[f"EIE_{reg.name}_{bits.name}_SHIFT"] == bits.low
        if callable(reg.value.reset):
            assert macros[f"EIE_{reg.name}_VALUE"] == reg.reset_value(CFG)
    for field in HEADER_FIELDS:
        assert macros[f"EIE_HEADER_{field.name}_MASK"] >> field.low == (1 << field.width) - 1
    for kind, names in (("COMMAND", Command), ("SPACE", IoSpace), ("ERROR", ErrorCode), ("PASS", ConfigReg)):
        for member in names:
            assert macros[f"EIE_{kind}_{member.name}"] == member
    for register in ConfigReg:
        assert macros[f"TABLE{register}"] == pass_table_offset(3, register)


def test_headers_are_packed_alike_in_c_and_python(macros):
    header = Header(Command.READ, IoSpace.ACT, pe=200, addr=0xABCDEF, count=0xFEDCBA, spread=1)
    assert macros["HEADER"] == header.pack()
    assert Header.unpack(header.pack()) == header
    assert Header.unpack(header.pack() | 0x80).reserved == 1


def test_the_page_has_every_register_field_and_code():
    text = PAGE.read_text()
    assert markdown() in text
    rows = dict(re.findall(r"^\| (0x\w{3}) \| (\w+) \|", text, re.MULTILINE))
    assert {int(offset, 16): name for offset, name in rows.items()} == {reg.offset: reg.name for reg in Reg}
    for code in ErrorCode:
        assert f"| {code:d} | {code.name} | {code.meaning} |" in text
    assert {reg.access for reg in Reg} == set(Access)


def test_the_pages_c_code_uses_names_that_exist(macros):
    code = "\n".join(re.findall(r"```c\n(.*?)```", PAGE.read_text(), re.DOTALL))
    names = set(re.findall(r"\bEIE_\w+", code))
    assert len(names) > 15
    assert names <= macros.keys()


def test_the_pages_python_prints_what_the_page_says():
    text = PAGE.read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    assert f"prints `{printed.getvalue().strip()}`" in text


def test_blocks_become_packets_and_back():
    blocks = [Block(IoSpace.CONFIG, 0, 0, range(13)), Block(IoSpace.CODEBOOK, 0, 0, range(0, 32, 2))]
    blocks += [
        Block(IoSpace.ACT, 0, 0, range(24), spread=True),
        Block(IoSpace.ACT, 5, 1, range(7), spread=True),
    ]
    blocks += [Block(IoSpace.SPMAT, 3, 5, [7] * 4), Block(IoSpace.PTR, 0, 3, [9])]
    again = []
    for header, *words in map(block_packet, blocks):
        h = Header.unpack(header)
        assert h.count == len(words)
        for i, word in enumerate(words):
            pe, addr = (h.pe, h.addr + i) if not h.spread else ((h.pe + i) % 8, h.addr + (h.pe + i) // 8)
            again.append(Write(IoSpace(h.space), pe, addr, word))
    assert again == [write for block in blocks for write in block.writes(CFG)]
