"""Names of files: of those that are being written, and of those named after a layer. Files in TOML."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from eie.errors import ConfigError, EieError

# A key of more parts takes the parser longer than the file could matter.
_PARTS = 100


def beside(target: Path, ending: str = ".tmp") -> Path:
    """A hidden name in the folder of `target`, of this process alone, for what takes its place when it is whole.

    What processes of this machine that are gone have left under such names goes first.
    """
    name = f".{target.name}.{socket.gethostname()}."
    of_process = re.compile(rf"{re.escape(name)}(\d+){re.escape(ending)}")
    with suppress(OSError):  # a folder that cannot be listed: writing will say what is wrong
        for path in list(target.parent.iterdir()):
            match = of_process.fullmatch(path.name)
            if match and not is_running(int(match[1])):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return target.with_name(f"{name}{os.getpid()}{ending}")


def read_toml(path: Path, refused: type[EieError] = ConfigError) -> dict[str, Any]:
    """The content of a TOML file, which is UTF-8 whatever the locale says.

    Raises
    ------
    refused : it cannot be read, is not TOML, or nested too deeply.
    """
    try:
        text = path.read_bytes().decode()
        if max(word.count(".") for word in re.split(r"[^\w.\-\"']+", re.sub(r"[ \t]+", "", text))) > _PARTS:
            raise RecursionError
        return tomllib.loads(text)
    except OSError as error:
        raise refused(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        why = "not UTF-8"
    except RecursionError:
        why = "nested too deeply"
    except ValueError as error:
        why = str(error)
    raise refused(f"{path} is not TOML: {why}")


def file_name(name: str) -> str:
    """A layer's name as part of a file's name.

    >>> file_name("block1/conv.weight")
    'block1_conv.weight'
    """
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


def is_running(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's, who still runs, or no process at all
    return True
