"""Signals while Python is called back from C, as by numba when it compiles: Python drops their exceptions."""

import signal
import subprocess
import sys

import pytest

COMMAND = """
import ctypes, time, click
from eie.cli import main

call_back = ctypes.CFUNCTYPE(None)

@click.command()
def slow():
    print("begins", flush=True)
    call_back(lambda: time.sleep(1))()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pass
    print("ends")

main._Group.get_command = lambda group, context, name: slow
main._Group()(["slow"], prog_name="eie")
"""


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "eie: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_in_a_call_back_is_not_lost(number: signal.Signals, status: int, said: str) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "begins\n"
    command.send_signal(number)
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out, err) == (status, "", said)
