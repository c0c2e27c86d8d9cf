"""Heat over a face: how the parts of a crop that speak for FAKE are shown."""

import numpy as np

from dfd.types import FloatArray, FrameArray

MAX_OPACITY = 0.65
"""Of the hottest place: the face below must stay visible."""


def overlay(crop: FrameArray, heatmap: FloatArray) -> FrameArray:
    """``crop`` ``(S, S, 3)`` with ``heatmap`` ``(S, S)`` in 0..1 over it; where there is no heat the crop is as it was.

    The colours (matplotlib's viridis) rise in lightness, so that they read without colour vision, too, and go through
    green, which skin of no tone is near to.

    Raises:
        ValueError: the two differ in size.
    """
    from matplotlib import colormaps

    if crop.shape[:2] != heatmap.shape:
        raise ValueError(f"crop and heatmap must be of one size, got {crop.shape[:2]} and {heatmap.shape}")
    heat = np.clip(heatmap, 0, 1)[..., None]
    colors = colormaps["viridis"](0.2 + 0.8 * heat[..., 0])[..., :3] * 255
    opacity = MAX_OPACITY * heat
    return np.asarray(np.rint(crop * (1 - opacity) + colors * opacity), np.uint8)
