"""Pictures of a layer's contents show its counts."""

import numpy as np

from eie.layer import CompressedLayer
from eie.sim.plots.layer import picture, zeros_before


def bars(axes):
    return {
        round(bar.get_x() + bar.get_width() / 2, 9): bar.get_height()
        for bar in axes.patches
        if bar.get_height()
    }


def test_every_bar_is_a_count():
    codes = np.zeros((60, 3), np.uint8)
    codes[[0, 3, 50], 0] = 1, 2, 2  # 0, 2 and 46 zeros before
    codes[[20, 21], 2] = 2, 1  # 20 and 0
    layer = CompressedLayer.from_codes(codes, [0, 8, -4, 0], w_frac=3, name="fc")
    assert zeros_before(layer).tolist() == [0, 2, 46, 20, 0]
    weights, indices, runs = picture(layer).axes
    assert bars(weights) == {1.0: 2, -0.5: 3}
    assert bars(indices) == {1: 2, 2: 3}
    assert bars(runs) == {0: 2, 2: 1, 20: 1, 32: 1}
    caption = " ".join(picture(layer)._supxlabel.get_text().split())
    assert caption == (
        "fc: 60 x 3, 5 of 180 weights kept (2.8 %). Coded each by itself, a code takes 0.97 of 2 bits, a run of zeros "
        "1.92. Stored for one PE with 4 index bits, runs of 16 zeros and more need 3 fillers."
    )


def test_a_layer_without_entries_has_a_picture():
    empty = CompressedLayer.from_codes(np.zeros((2, 2), np.uint8), [0, 1])
    assert [bars(axes) for axes in picture(empty).axes] == [{}, {}, {}]
    assert "-0.00" not in picture(empty)._supxlabel.get_text()
    assert all(tick == round(tick) for axes in picture(empty).axes for tick in axes.get_yticks())
