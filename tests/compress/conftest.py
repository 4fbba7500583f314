"""Fixtures of several files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from eie.compress import datasets
from tests.support.small_mnist import idx_files


@pytest.fixture
def small(monkeypatch, tmp_path):
    """`mnist` stands for the small files; returns them."""
    files = idx_files()

    def extract(folder: Path) -> Path:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    sums = {name: hashlib.sha256(files[name]).hexdigest() for name in datasets.DATA_SETS["mnist"].sha256}
    monkeypatch.setitem(
        datasets.DATA_SETS, "mnist", replace(datasets.DATA_SETS["mnist"], sha256=sums, extract=extract)
    )
    return files
