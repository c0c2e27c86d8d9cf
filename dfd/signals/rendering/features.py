"""Features of a clip for a fitted head: how a face differs from the rest of its own frame, and over time."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.signals.rendering.moving import LEAST_FRAMES, moving_statistics
from dfd.signals.rendering.quality import QUALITY, quality
from dfd.signals.rendering.regions import SIDE, Statistics
from dfd.signals.rendering.still import still_statistics

NUM_STILL = 8
"""Frames of a clip whose noise, detail and colour are measured, evenly spaced: neighbours hardly differ in them."""
NUM_CONDITIONS = len(QUALITY)
"""Features at the end that say only of what quality a clip is."""


class TooShort(ValueError):
    """A clip has too few frames to measure anything over time."""


def rendering_statistics(frames_THWC: NDArray[np.uint8]) -> Statistics:
    """Compute the statistics of consecutive crops with margin, uint8 RGB, by name; those of the quality come last.

    Raises:
        TooShort: when there are fewer than ``LEAST_FRAMES`` frames.
    """
    if len(frames_THWC) < LEAST_FRAMES:
        raise TooShort(
            f"{len(frames_THWC)} frames are too few to measure anything over time, {LEAST_FRAMES} are needed"
        )
    pictures_THWC = _at_side(frames_THWC).astype(np.float32)
    red_THW, green_THW, blue_THW = np.moveaxis(pictures_THWC, -1, 0)
    light_THW = 0.299 * red_THW + 0.587 * green_THW + 0.114 * blue_THW  # ITU-R BT.601
    seen = np.unique(np.linspace(0, len(light_THW) - 1, NUM_STILL).round().astype(int))
    bluish_THW, reddish_THW = 0.564 * (blue_THW - light_THW)[seen], 0.713 * (red_THW - light_THW)[seen]
    return {
        **still_statistics(light_THW[seen], bluish_THW, reddish_THW),
        **moving_statistics(light_THW),
        **quality(pictures_THWC[:: max(1, len(light_THW) // NUM_STILL)]),
    }


def rendering_features(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute :func:`rendering_statistics` in the order of :func:`feature_names`; errors as there."""
    found = rendering_statistics(frames_THWC)
    return np.array([found[name] for name in feature_names()])


@cache
def feature_names() -> tuple[str, ...]:
    """Names of the features, in order."""
    return tuple(rendering_statistics(np.zeros((LEAST_FRAMES, SIDE, SIDE, 3), np.uint8)))


def _at_side(frames_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinks = frames_THWC.shape[1] > SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if frames_THWC.shape[1:3] == (SIDE, SIDE):
        return frames_THWC
    return np.stack([np.asarray(cv2.resize(one, (SIDE, SIDE), interpolation=how), np.uint8) for one in frames_THWC])
