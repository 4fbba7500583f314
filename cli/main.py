"""`eie`: the command group, and how errors leave it.

Bad input is one line on stderr and status 2, a failed comparison its text and status 1, Ctrl-C status 130 and SIGTERM
143, as in a shell; anything else is a bug and shows its traceback, with status 70.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from eie.errors import EieError, MismatchError, caused_by_ctrl_c, no_more_warnings, printable

DISTRIBUTION = "eie-sim"
# In the order in which somebody meets them; each is the function of that name in the module
# eie.cli.commands.<name>. What each is for stands here, so that the list of commands loads none of them.
COMMANDS = {
    "demo": "Do the main job on a trained network, and write a report.",
    "data": "Fetch the digits that the recipes train on.",
    "train": "Train and compress the paper's networks.",
    "compress": "Compress a trained network into a .eie file.",
    "info": "Show sizes and scales of a .eie file.",
    "run": "Run a network or one layer on any engine.",
    "plan": "Show how layers of any size run on a chip: passes, runs, cycles.",
    "accuracy": "Count how many inputs a network gets wrong, in fixed point and in float.",
    "bench": "Time a network on this processor beside dense libraries.",
    "cosim": "Run golden model and RTL in lockstep and compare every signal.",
    "sweep": "Run layers over configurations, into a store and a table.",
    "plot": "Draw pictures of a sweep.",
    "reproduce": "Repeat the published evaluation, with our figures beside it.",
    "export": "Write Verilog, memory images and a testbench, and check them.",
    "synth": "Synthesise the blocks with Yosys: cells, area, longest path.",
    "fpga": "Put a network on an FPGA: bitstream, what is used, fastest clock.",
    "board": "Run a network on a board that has the bitstream.",
    "doctor": "Show the versions of what a run needs, and what is missing.",
    "warm": "Compile loops, golden and Verilator's runtime now, so that first uses need not wait.",
}

# Status after a traceback (EX_SOFTWARE of sysexits.h): 1 would mean that a check failed.
_BUG = 70
# What a machine may refuse at any write: no room, no permission, a file system that is read-only.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class _BadInput(click.ClickException):
    """One line on stderr, and status 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        lines = map(printable, self.message.split("\n"))  # a mismatch has several
        click.echo("eie: error: " + "\n".join(lines), err=True, file=file)


def _bad_usage(error: click.UsageError) -> _BadInput:
    """What click says, as a line like any other."""
    hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    text = error.format_message().rstrip(".")
    return _BadInput(text[:1].lower() + text[1:] + hint)


class _Disagreement(_BadInput):
    """Two engines differ: its text on stderr, and status 1."""

    exit_code = 1


class _Interrupted(_BadInput):
    """Ctrl-C: a line on stderr, and status 130."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: Any = None) -> None:
        click.echo(": ".join(filter(None, ("eie: interrupted", self.message))), err=True, file=file)


@contextmanager
def _ending_at_signals() -> Iterator[None]:
    """SIGTERM as an exception, so that worker processes and temporary files go, too; and no signal is lost."""
    interrupted = False

    def end(number: int, _: object) -> NoReturn:
        no_more_warnings()
        raise SystemExit(128 + number)

    def interrupt(*_: object) -> NoReturn:
        nonlocal interrupted
        interrupted = True
        no_more_warnings()
        raise KeyboardInterrupt

    def again(ignored: Any) -> None:
        """Inside a call back from C, Python drops the exception of a signal: the signal comes once more."""
        code = getattr(ignored.exc_value, "code", None)
        number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(ignored.exc_type)
        if number is None or (number == signal.SIGTERM and code != 128 + number):
            hook(ignored)
        else:
            timers.append(threading.Timer(0.05, os.kill, (os.getpid(), number)))
            timers[-1].start()

    timers: list[threading.Timer] = []
    if threading.current_thread() is not threading.main_thread():  # only there are signals handled
        yield
        return
    before, hook = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    # Not where Ctrl-C is ignored, as behind nohup, or handled by whoever calls this.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = again
    try:
        yield
    except Exception as error:
        # A library turned Ctrl-C into an error of its own: a C extension into SystemError, a reader into "cannot read".
        if interrupted or caused_by_ctrl_c(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        for timer in timers:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = hook


def _make_do() -> None:
    """Settle for what the machine has: letters that its locale lacks become "?", and tools find temporary files."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "TMPDIR" in os.environ:
        # Where Python writes them; the simulators would insist on a folder that may be missing.
        os.environ["TMPDIR"] = tempfile.gettempdir()


class _Group(click.Group):
    """Loads a command's module only when it is asked for, and turns errors into exit statuses."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        alone = not args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if alone:
                raise  # prints the help
            raise _bad_usage(error) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"eie.cli.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        _make_do()
        try:
            with _ending_at_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Interrupted(str(error)) from None
        except MismatchError as error:
            raise _Disagreement(str(error)) from None
        except EieError as error:
            raise _BadInput(str(error)) from None
        except OSError as error:
            if error.errno not in _MACHINE:
                raise
            raise _BadInput(f"{error.filename or 'this machine'}: {error.strerror}") from None
        except MemoryError as error:
            raise _BadInput(f"not enough memory: {error or 'this machine has too little'}") from None
        except click.UsageError as error:
            raise _bad_usage(error) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            traceback.print_exc()
            raise SystemExit(_BUG) from None


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


@click.group("eie", cls=_Group, context_settings=_SETTINGS)
@click.version_option(package_name=DISTRIBUTION, prog_name="eie", message="%(prog)s, version %(version)s")
def main() -> None:
    """Compress trained networks for EIE, the sparse weight-shared inference engine, and run them on a
    cycle-accurate model and on its RTL.

    Exit status: 0 success, 1 a check failed, 2 bad input or usage, 130 after Ctrl-C.

    \b
    Example:
      eie demo --out out
    """


if __name__ == "__main__":
    main()
