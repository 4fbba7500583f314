"""The bill of materials of a wheel, CycloneDX 1.6: what the wheel needs, from pyproject.toml, and the data in it, from
NOTICE. `pip wheel .` writes it into the wheel's .dist-info/sboms/ (PEP 770); `python scripts/sbom.py` prints it.
"""

import json
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from setuptools.command.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent.parent
NAME = "eie-sim.cdx.json"
_LICENCE = re.compile(r"Licence: (\S+)\n")


def _library(requirement: str) -> dict[str, Any]:
    """A distribution of the Python Package Index; which versions will do is a property, as none is bundled."""
    name = re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0]
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "purl": f"pkg:pypi/{name}",
        "scope": "required",
        "properties": [{"name": "requirement", "value": requirement}],
    }


def _data(block: str) -> dict[str, Any]:
    """A block of NOTICE: a line of files, and what they are, with a line 'Licence: SPDX'."""
    files, text = block.split("\n", 1)
    text = textwrap.dedent(text) + "\n"
    found = _LICENCE.search(text)
    if found is None:
        raise ValueError(f"NOTICE: no line 'Licence: ...' for {files}")
    return {
        "type": "data",
        "bom-ref": files,
        "name": files,
        "description": " ".join(_LICENCE.sub("", text).split()),
        "licenses": [{"license": {"id": found[1]}}],
    }


def bill() -> dict[str, Any]:
    """The bill of materials of this tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    blocks = (ROOT / "NOTICE").read_text(encoding="utf-8").strip().split("\n\n")[2:]
    libraries = [_library(requirement) for requirement in project["dependencies"]]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": project["name"],
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "purl": f"pkg:pypi/{project['name']}@{project['version']}",
                "licenses": [{"license": {"id": project["license"]}}],
                "components": [_data(block) for block in blocks],
            }
        },
        "components": libraries,
        "dependencies": [{"ref": project["name"], "dependsOn": [one["bom-ref"] for one in libraries]}],
    }


class BdistWheel(bdist_wheel):
    """The wheel, with its bill of materials."""

    def write_wheelfile(self, wheelfile_base: str, *others: Any, **named: Any) -> None:
        """Write the bill beside the metadata, before RECORD is made of all files."""
        super().write_wheelfile(wheelfile_base, *others, **named)
        folder = Path(wheelfile_base) / "sboms"
        folder.mkdir()
        (folder / NAME).write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print(json.dumps(bill(), indent=2))
