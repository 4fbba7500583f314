"""Parts and boards that `eie fpga` knows: LFE5U parts by their order numbers, and boards of amaranth-boards."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eie.errors import ConfigError, SimulatorMissing

_FAMILIES = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}
_SIZES = ("12", "25", "45", "85")
_PACKAGES = {
    "BG256": "CABGA256",
    "BG381": "CABGA381",
    "BG554": "CABGA554",
    "BG756": "CABGA756",
    "MG285": "CSFBGA285",
    "TG144": "TQFP144",
}
_PART = re.compile(rf"(LFE5U(?:M5G|M)?)-({'|'.join(_SIZES)})F-([678])({'|'.join(_PACKAGES)})[CI]?")

# Boards by the module and class of amaranth-boards.
BOARDS = {
    f"ulx3s-{size}f": ("amaranth_boards.ulx3s", f"ULX3S_{size.upper()}F_Platform")
    for size in ("12", "25", "45", "85")
}


# LUTs, block RAMs and multipliers by size, as nextpnr counts them: a part of 12 is one of 25 inside.
_HAS = {"12": (24288, 56, 28), "25": (24288, 56, 28), "45": (43848, 108, 72), "85": (83640, 208, 156)}


@dataclass(frozen=True)
class Part:
    """A part by the name that people use, and nextpnr's options for it."""

    name: str
    options: Sequence[str]

    @property
    def has(self) -> dict[str, int]:
        """How much there is of each resource."""
        luts, rams, multipliers = _HAS[self.options[0].rstrip("k")[-2:]]
        return {"LUTs": luts, "flip-flops": luts, "block RAMs": rams, "multipliers": multipliers}


def part(name: str) -> Part:
    """A part by its order number.

    Raises
    ------
    ConfigError : it is none that is known.

    Examples
    --------
    >>> part("LFE5U-25F-6BG256C").options
    ('--25k', '--package', 'CABGA256', '--speed', '6')
    """
    found = _PART.fullmatch(name.upper())
    if found is None:
        raise ConfigError(f"{name!r} is not an ECP5 part: write it as LFE5U-25F-6BG256C")
    family, size, speed, package = found.groups()
    device = f"--{_FAMILIES[family]}{size}k"
    return Part(found[0], (device, "--package", _PACKAGES[package], "--speed", speed))


def platform(board: str) -> Any:
    """The definition of a board, an Amaranth platform.

    Raises
    ------
    ConfigError : a board that is not known. SimulatorMissing : amaranth-boards is not installed.
    """
    if board not in BOARDS:
        raise ConfigError(f"no board named {board!r}: use one of {', '.join(BOARDS)}, or --part")
    require("amaranth_boards", "amaranth-boards")
    module, name = BOARDS[board]
    return getattr(importlib.import_module(module), name)()


def part_of(plan: Any, board: str) -> Part:
    """The part of a board, from the commands of its build plan."""
    commands = json.loads(plan.files["build_top.json"])["commands"]
    (nextpnr,) = [words for words in commands if words[0] == "nextpnr-ecp5"]
    first = next(i for i, word in enumerate(nextpnr) if re.fullmatch(r"--(um5?g?-)?\d+k", word))
    return Part(board, tuple(nextpnr[first : first + 5]))


def require(module: str, package: str) -> None:
    """Raise `SimulatorMissing`, with the line that installs it, unless a Python package is there."""
    if importlib.util.find_spec(module) is None:
        raise SimulatorMissing(
            f"no {package}; install it with: {sys.executable} -m pip install {package} (or 'eie-sim[fpga]')"
        )
