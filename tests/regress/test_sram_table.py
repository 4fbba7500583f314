"""sim/energy/data/sram.toml is what CACTI says: fetch its package, build it, run it for every memory of the table."""

import subprocess
import sys

from tests.support import ROOT

SCRIPT = ROOT / "scripts" / "gen_sram_table.py"


def test_the_table_is_cactis() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
