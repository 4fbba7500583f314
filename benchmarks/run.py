"""Every benchmark of this folder, one after the other: what `make bench` runs."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run each *_speed.py; the number that failed."""
    failed = 0
    for script in sorted(HERE.glob("*_speed.py")):
        print(f"\n{script.name}", flush=True)
        failed += subprocess.run([sys.executable, str(script)], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
