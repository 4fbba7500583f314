"""Signals while Python is called back from C, as by numba when it compiles: Python drops their exceptions."""

import signal
import subprocess
import sys
from pathlib import Path

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
import multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
from eie.sim.sweep.workers import ctrl_c_held

if __name__ == "__main__":
    # A library's thread may take the signal instead of the main one.
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    spawn = multiprocessing.get_context("spawn")
    try:
        with ctrl_c_held():
            manager = spawn.Manager()
            pool = ProcessPoolExecutor(1, spawn)
            answer = pool.submit(os.getpid)
            os.kill(0, signal.SIGINT)  # the group, as a terminal does, while the worker begins
            time.sleep(1)
            os.kill(0, signal.SIGINT)
        print("lost")
    except KeyboardInterrupt:
        print("came")
    print(answer.result(timeout=60) != os.getpid(), manager.list([1])[0])
    pool.shutdown()
"""


def test_ctrl_c_while_workers_begin_is_held_for_the_command_alone(tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(HELD)
    said = subprocess.run(
        [sys.executable, tmp_path / "held.py"],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    assert (said.stdout, said.stderr) == ("came\nTrue 1\n", "")


# Amaranth warns of components that nobody used, as soon as it has begun with one: then the signal comes.
HALF_MADE = """
import gc, os, signal, sys
from eie.cli import demo_job, main
from eie.config import ArchConfig
from eie.rtl import verilog

number, begun, convert = signal.Signals(int(sys.argv[1])), [], verilog.rtlil.convert

def interrupted(component, **settings):
    if begun:
        gc.set_threshold(1)
        os.kill(os.getpid(), number)
    begun.append(component)
    return convert(component, **settings)

verilog.rtlil.convert = interrupted
if number != signal.SIGUSR1:
    main.main(["export", "-o", sys.argv[2]], prog_name="eie")
try:
    demo_job.announced({}, "icarus", verilog.array_verilog, ArchConfig(n_pe=2))
except KeyboardInterrupt:
    pass
gc.collect()
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "eie: interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGUSR1, 1, "")],
)
def test_nothing_is_said_of_what_is_half_made(
    number: signal.Signals, status: int, said: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HALF_MADE, str(int(number)), str(tmp_path / "rtl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (status, said)
