"""Small files in the form of MNIST's."""

import struct

import numpy as np

TRAIN = 192
TEST = 64


def idx_files(seed: int = 1) -> dict[str, bytes]:
    """Four small IDX files: "digits" that are told apart by where their bright spot is."""
    rng = np.random.default_rng(seed)
    files = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        images = rng.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), 4 + 2 * labels, 5:20] = 255
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes()
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + labels.tobytes()
    return files
