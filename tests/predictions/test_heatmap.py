"""Heat over a face: the face stays visible, and is untouched where there is no heat."""

import numpy as np
import pytest

from dfd.predictions.pictures import overlay


def test_without_heat_the_crop_is_as_it_was():
    crop = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(crop, np.zeros((8, 8), np.float32)), crop)


def test_the_hotter_the_further_from_skin():
    skin = np.full((1, 3, 3), (198, 140, 110), np.uint8)
    shown = overlay(skin, np.float32([[0.2, 0.6, 1.0]])).astype(int)
    distances = np.abs(shown - skin).sum(axis=-1)[0]
    assert list(distances) == sorted(distances)
    assert distances[0] > 10


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one size"):
        overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), np.float32))
