"""The matrix that the publication shows, with the entries of its first PE."""

import numpy as np

from eie.layer import CompressedLayer

# The published example: 4 PEs, a 16 x 8 matrix; PE 0 holds rows 0, 4, 8, 12 (local rows 0..3).
PE0_WEIGHTS = "W00 W80 W120 W41 W02 W122 W04 W44 W05 W125 W06 W87 W127"


def published_layer() -> CompressedLayer:
    codes = np.zeros((16, 8), np.uint8)
    for number, weight in enumerate(PE0_WEIGHTS.split()):
        row, col = int(weight[1:-1]), int(weight[-1])
        codes[row, col] = number + 1
    return CompressedLayer.from_codes(codes, range(16))
