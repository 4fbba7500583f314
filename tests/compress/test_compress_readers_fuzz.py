"""Readers of models survive damaged files, and those that lie: layers, or an error of one line."""

import random

import numpy as np
import pytest

from eie.compress.readers.files import read_model
from eie.errors import EieError
from tests.support import reader_fuzz

pytest.importorskip("torch", exc_type=ImportError)
MUTANTS, FILES = 150, 500


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["net.npz", "net.safetensors", "net.onnx", "net.pt", "net.pth"])
def test_a_damaged_file_gives_layers_or_one_line(tmp_path, name):
    path = tmp_path / name
    whole = reader_fuzz.valid()[name]
    path.write_bytes(whole)
    assert len(read_model(path).layers) >= 2
    outcomes = {"layers": 0, "refused": 0}
    for seed in range(MUTANTS):
        path.write_bytes(reader_fuzz.damaged(whole, random.Random(seed)))
        try:
            layers = list(read_model(path).layers)
        except EieError as error:
            outcome, lines = "refused", str(error).splitlines()
        else:
            outcome, lines = "layers", ["none"]
            assert all(np.isfinite(layer.weight).all() for layer in layers), seed
        outcomes[outcome] += 1
        assert len(lines) == 1, seed
    assert min(outcomes.values()) > 0, outcomes


@pytest.mark.filterwarnings("ignore")
def test_files_that_lie_take_little_time_and_memory(tmp_path):
    figures = reader_fuzz.campaign(tmp_path, 1, FILES)
    print(figures)
    assert min(figures.layers, figures.refused) > FILES / 20
