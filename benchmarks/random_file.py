"""Large .safetensors files, written without holding a layer."""

import json
import struct
from pathlib import Path

import numpy as np


def write_file(path: Path, layers: int, rows: int, cols: int) -> Path:
    """A file of random rows x cols layers, written row by row."""
    size = 4 * rows * cols
    header = {
        f"blocks.{i}.weight": {
            "dtype": "F32",
            "shape": [rows, cols],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(layers)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for i in range(layers):
            rng = np.random.default_rng(i)
            for _ in range(rows):
                file.write(rng.standard_normal(cols, dtype=np.float32).tobytes())
    return path
