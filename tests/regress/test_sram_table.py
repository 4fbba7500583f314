"""sim/data/sram.toml is what CACTI says: fetch its package, build it, run it for every memory of the table."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gen_sram_table.py"


def test_the_table_is_cactis() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
