"""What several test files share: cases, oracles, small networks, hosts."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
