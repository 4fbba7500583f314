"""The everyday commands on odd machines, and killed at random instants: right results, or one line; nothing left."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from eie.sim.sweep.store import Store
from tests.support import ROOT
from tests.support.small_mnist import idx_files
from tests.support.sweep_runs import GRID, count, dask_cluster, eie, held

EIE = [sys.executable, "-m", "eie"]
# `eie train` on a few digits: MNIST's own take an hour.
SMALL_TRAIN = [sys.executable, str(ROOT / "tests" / "regress" / "small_train.py")]
CLONE = str(ROOT)
# What is run, in this order; each leaves what `Everyday.read` reads.
COMMANDS = {
    "compress": "compress net.npz -o net.eie --density 0.4 --json",
    "run": "run net.eie --input x.npz --index 1 --pe 2 --json",
    "cosim": "cosim net.eie --layer fc1 --pe 2 --sim icarus --input x.npz --json",
    "sweep": "sweep --random 40x40 --density 0.3 --pe 1,2,4 -o sweep.sqlite",
    "export": "export net.eie --layer fc1 --pe 2 -o verilog",
}
TRAIN = "train lenet-300-100 --data digits -o trained --quiet --json"
# Of a row, what differs from run to run.
VOLATILE = {"seconds", "when", "host"}


def without_seconds(value: object) -> object:
    """A report without what a clock put into it."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if "second" not in k and k not in VOLATILE}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Everyday:
    """A folder with a network, in which the commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(1)
        layers = {"fc1.weight": (24, 40), "fc2.weight": (6, 24)}
        np.savez(folder / "net.npz", **{k: rng.normal(size=s).astype(np.float32) for k, s in layers.items()})
        np.savez(folder / "x.npz", x=np.maximum(rng.normal(size=(3, 40)), 0).astype(np.float32))
        (folder / "digits").mkdir(exist_ok=True)
        for name, data in idx_files().items():
            (folder / "digits" / name).write_bytes(data)

    def start(self, name: str, prefix: tuple[str, ...] = (), **env: str) -> subprocess.Popen[str]:
        """A command in its process group."""
        kept = {key: value for key, value in os.environ.items() if key not in env}
        return subprocess.Popen(
            [
                *prefix,
                *(SMALL_TRAIN if name == "train" else EIE),
                *(COMMANDS | {"train": TRAIN})[name].split(),
            ],
            cwd=self.folder,
            env=kept | {key: value for key, value in env.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, name: str, prefix: tuple[str, ...] = (), **env: str) -> tuple[int, str, str]:
        """Status, output and errors."""
        process = self.start(name, prefix, **env)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def read(self, name: str, out: str) -> object:
        """What a command gave, without what differs from run to run."""
        if name == "compress":
            return (self.folder / "net.eie").read_bytes()
        if name == "export":
            return files(self.folder / "verilog")
        if name == "train":
            result = json.loads((self.folder / "trained" / "result.json").read_text())
            return without_seconds(result), (self.folder / "trained" / "lenet-300-100.eie").read_bytes()
        if name == "sweep":
            with Store(self.folder / "sweep.sqlite", read_only=True) as store:
                return without_seconds(store.rows())
        return without_seconds(json.loads(out))

    def left_over(self) -> list[str]:
        """Hidden names: what is being written, or was."""
        return [
            path.name for path in self.folder.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"
        ]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What each command gives on a machine as it should be."""
    day = Everyday(tmp_path_factory.mktemp("right") / "day")
    found = {}
    for name in (*COMMANDS, "train"):
        status, out, err = day.run(name)
        assert status == 0, err
        found[name] = day.read(name, out)
    assert not day.left_over()
    return found


ODD: dict[str, tuple[tuple[str, ...], Callable[[Path], dict[str, str]]]] = {
    "no home": ((), lambda tmp: {"HOME": "", "XDG_CACHE_HOME": "", "EIE_CACHE": "", "TMPDIR": str(tmp)}),
    "home that cannot be written": (
        (),
        lambda tmp: {"HOME": "/proc", "XDG_CACHE_HOME": "", "EIE_CACHE": "", "TMPDIR": str(tmp)},
    ),
    "no folder for temporary files": ((), lambda tmp: {"TMPDIR": str(tmp / "missing")}),
    "cache with space and umlaut": ((), lambda tmp: {"EIE_CACHE": str(tmp / "a b ü")}),
    "temporary files with space and umlaut": ((), lambda tmp: {"TMPDIR": str(made(tmp / "t ü"))}),
    "C locale": ((), lambda _: {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "umask 077": (("sh", "-c", 'umask 077; exec "$@"', "sh"), lambda _: {}),
    "root without its powers": (
        ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all"),
        lambda _: {},
    ),
    "installation that cannot be written": (
        (
            *("unshare", "-m", "sh", "-c"),
            f'mount --bind {CLONE} {CLONE} && mount -o remount,ro,bind {CLONE} && exec "$@"',
            "sh",
        ),
        lambda tmp: {"EIE_CACHE": str(tmp / "cache"), "PYTHONDONTWRITEBYTECODE": "1"},
    ),
}


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("machine", ODD)
def test_odd_machines(machine: str, tmp_path: Path, right: dict[str, object]) -> None:
    """Each everyday command gives there what it gives elsewhere."""
    day = Everyday(tmp_path / "day")
    prefix, environment = ODD[machine]
    env = environment(tmp_path)
    for name in COMMANDS:
        status, out, err = day.run(name, prefix, **env)
        assert status == 0, (name, err)
        assert day.read(name, out) == right[name], name
    assert not day.left_over()


@pytest.fixture
def somebody() -> Iterator[tuple[str, ...]]:
    """What to put before a command so that another user of this machine runs it."""
    if os.geteuid():
        pytest.skip(f"another user than {os.geteuid()} needs root, for useradd")
    name = f"eie-{os.getpid()}"
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", name], check=True
    )
    try:
        be = f"setpriv --reuid={name} --regid={name} --clear-groups --no-new-privs"
        # An interpreter below a home that is root's alone is shown to the user in a view of its own of the disk.
        show = (
            f'if ! {be} test -x {sys.executable}; then shown=$(mktemp -d); mount --rbind {sys.base_prefix} "$shown"; '
            f'top=/$(echo {sys.base_prefix} | cut -d/ -f2); mount -t tmpfs -o mode=755 none "$top"; '
            f'mkdir -p {sys.base_prefix}; mount --rbind "$shown" {sys.base_prefix}; fi; exec {be} "$@"'
        )
        yield ("unshare", "-m", "sh", "-c", show, "sh")
    finally:
        subprocess.run(["userdel", name], check=True)


def test_another_user(somebody: tuple[str, ...], right: dict[str, object]) -> None:
    """A user with a home of his own, who may write neither into the clone nor into what root has built."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "home").mkdir()
        day = Everyday(Path(folder) / "day")
        for path in (Path(folder), *Path(folder).rglob("*")):
            shutil.chown(path, somebody[-2].rpartition("--reuid=")[2].split()[0])
        env = {"HOME": str(Path(folder) / "home"), "EIE_CACHE": "", "XDG_CACHE_HOME": "", "TMPDIR": folder}
        for name in COMMANDS:
            status, out, err = day.run(name, somebody, **env)
            assert status == 0, (name, err)
            assert day.read(name, out) == right[name], name
        assert not day.left_over()
        owners = {path.owner() for path in day.folder.rglob("*")}
        assert owners == {f"eie-{os.getpid()}"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, tmp_path: Path, right: dict[str, object]) -> None:
    """One line and status 2, and the folder as it was; or the whole result where it fits."""
    day = Everyday(tmp_path / "day")
    if name in ("run", "cosim", "export"):
        assert day.run("compress")[0] == 0
    script = (
        "cp day/*.* full/ && cd full && dd if=/dev/zero of=filler bs=1k 2>/dev/null; "
        '"$@"; s=$?; rm -f filler; cp -r . ../after; exit $s'
    )
    (tmp_path / "full").mkdir()
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=96k none full && {script}", "sh"),
            *(*EIE, *COMMANDS[name].split()),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode == 0:
        assert name in ("run", "cosim")  # they write nothing here
        return
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "No space left" in done.stderr or "disk is full" in done.stderr
    assert {path.name for path in (tmp_path / "after").iterdir()} <= {*os.listdir(day.folder), "sweep.sqlite"}


def test_two_at_once_build_the_same(tmp_path: Path, right: dict[str, object]) -> None:
    """Both compile the same design into an empty cache at the same time."""
    days = [Everyday(tmp_path / str(number)) for number in range(2)]
    for day in days:
        assert day.run("compress")[0] == 0
    started = [day.start("cosim", EIE_CACHE=str(tmp_path / "cache")) for day in days]
    for day, process in zip(days, started, strict=True):
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert day.read("cosim", out) == right["cosim"]
    builds = [path.name for path in (tmp_path / "cache" / "builds").iterdir()]
    assert len(builds) == 1
    assert not builds[0].startswith(".")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
@pytest.mark.parametrize("name", ["compress", "cosim", "sweep", "export", "train"])
def test_killed_at_random_instants(
    name: str, number: signal.Signals, tmp_path: Path, right: dict[str, object], seed: int, kills: int
) -> None:
    """Whatever the instant: the next run gives the right result, and nothing is left over."""
    draw = random.Random(f"{seed} {name} {number}")
    day = Everyday(tmp_path / "day")
    if name in ("cosim", "export"):
        assert day.run("compress")[0] == 0
    began = time.monotonic()
    assert day.run(name)[0] == 0
    usual = time.monotonic() - began
    for turn in tqdm(range(kills), desc=f"{name}, {number.name}", disable=not sys.stderr.isatty()):
        if draw.random() < 0.5:  # over an old result, or from nothing
            own = {"compress": ("net.eie",), "train": ("trained",)}.get(name, ())
            for made_before in ("sweep.sqlite", "verilog", *own):
                path = day.folder / made_before
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        process = day.start(name)
        delay = draw.uniform(0, usual)
        time.sleep(delay)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=120)
        where = f"turn {turn}: seed {seed}, {number.name} after {delay:.3f} s"
        started = "init_import_site" not in err
        if number == signal.SIGINT and started and process.returncode not in (0, -signal.SIGINT):
            # Before the command has begun, Python itself ends: by the signal, or with status 1 while it starts.
            assert process.returncode == 130, (where, err)
            assert "Traceback" not in err or "runpy" in err, (where, err)
        status, out, err = day.run(name)
        assert status == 0, (where, err)
        assert day.read(name, out) == right[name], where
        assert not day.left_over(), where


@pytest.mark.parametrize("where", ["local", "Dask"])
def test_a_sweep_killed_with_points_in_its_store(where: str, tmp_path: Path, seed: int, kills: int) -> None:
    """Twice as often as the others: no finished point is lost, none is run again, and the rows are right in the end."""
    draw = random.Random(f"{seed} {where}")
    for folder in ("killed", "whole"):
        (tmp_path / folder).mkdir()

    def seeds(number: int) -> None:
        """The grid of both sweeps; its points come seed by seed."""
        for folder in ("killed", "whole"):
            text = GRID.format(seeds=", ".join(map(str, range(number))))
            (tmp_path / folder / "g.toml").write_text(text)

    # More points than all runs together finish before they are killed.
    seeds(20 * kills)
    store, before, turns = tmp_path / "killed" / "g.sqlite", dict[str, float](), 0
    with dask_cluster() if where == "Dask" else nullcontext("") as address:
        command = ("sweep", "g.toml", *(("--scheduler", address) if address else ("--workers", "2")))
        while turns < 2 * kills:
            sweep = eie(*command, folder=tmp_path / "killed")
            deadline = time.monotonic() + 120
            while count(store) <= len(before):
                assert time.monotonic() < deadline
                assert sweep.poll() is None, sweep.communicate()
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.2))
            os.killpg(sweep.pid, signal.SIGKILL)
            sweep.communicate()
            after = held(store)
            assert before.items() <= after.items(), f"kill {turns} of seed {seed}"
            assert len(after) < 240 * kills, "all done before the last kill: the test needs more points"
            turns, before = turns + bool(before), after
        # What no run has begun would take most of the time, and show nothing.
        with Store(store, read_only=True) as held_rows:
            begun = 1 + max(int(row["seed"]) for row in held_rows.rows())
        seeds(begun + 1)
        last = eie(*command, folder=tmp_path / "killed")
        out, err = last.communicate(timeout=1000)
        assert last.returncode == 0, err
        assert f"{len(before):,} there before" in out
    assert before.items() <= held(store).items()
    print(
        f"\n{where}: {turns} kills with points in the store, {len(before):,} of {12 * (begun + 1):,} points by then"
    )
    assert eie("sweep", "g.toml", folder=tmp_path / "whole").wait(timeout=1000) == 0
    rows = {}
    for folder in ("killed", "whole"):
        with Store(tmp_path / folder / "g.sqlite", read_only=True) as held_rows:
            rows[folder] = without_seconds(sorted(held_rows.rows(), key=itemgetter("key")))
        assert {path.name for path in (tmp_path / folder).iterdir()} <= {"g.toml", "g.sqlite"}
    assert rows["killed"] == rows["whole"]
