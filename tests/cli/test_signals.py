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


# How libraries lose Ctrl-C: a C extension makes it a SystemError, a reader of foreign files its own error, and a tool
# that is done says something else altogether.
LOSES = """
import time
from eie.cli import main
from eie.errors import ModelError

def waits():
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pass

def by_c():
    try:
        waits()
    except BaseException:
        raise SystemError("a call returned a result with an exception set")

def by_reader():
    try:
        waits()
    except BaseException:
        raise ModelError("x.onnx: cannot be read") from None

def later():
    try:
        waits()
    except BaseException:
        pass
    raise TypeError("unsupported operand")

import click
@click.command()
def slow():
    print("begins", flush=True)
    {how}()
    print("ends")

main._Group.get_command = lambda group, context, name: slow
main._Group()(["slow"], prog_name="eie")
"""


@pytest.mark.parametrize("how", ["by_c", "by_reader", "later"])
def test_ctrl_c_that_a_library_made_another_error_is_still_ctrl_c(how: str) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", LOSES.format(how=how)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "begins\n"
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out, err) == (130, "", "eie: interrupted\n")


HELD = """
import os, signal, subprocess, sys, threading, time
from eie.sim.sweep.workers import ctrl_c_held

# A library's thread may take the signal instead of the main one.
threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
CHILD = "import os, signal, time; time.sleep(1); os.kill(os.getpid(), signal.SIGINT); print('lives')"
try:
    with ctrl_c_held():
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
        os.kill(0, signal.SIGINT)  # the group, as a terminal does
        print(child.communicate()[0].strip())
    print("lost")
except KeyboardInterrupt:
    print("came")
"""


def test_ctrl_c_while_workers_begin_is_held_for_the_command_alone() -> None:
    said = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, start_new_session=True, check=True
    )
    assert said.stdout == "lives\ncame\n"
