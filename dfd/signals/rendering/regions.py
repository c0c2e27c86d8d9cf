"""Regions of a crop with margin, and values of one against another.

The crop is the square of dfd's default: an upright face in its middle, with a ring around it and the background in the
corners. A region is an ellipse of it, since a network sees no landmarks.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Statistics = dict[str, float]

SIDE = 128
"""Side to which every crop is brought before anything is measured, so that sizes can be compared."""
LEAST = 0.05
"""Grey levels that are added before a logarithm: half of a step of 8 bits, spread over ten pixels."""
PAIRS = (
    *(("face", "background"), ("face", "ring"), ("ring", "background"), ("mouth", "face"), ("eyes", "face")),
    *(("cheeks", "ring"), ("mouth", "cheeks"), ("eyes", "cheeks")),
)
"""Regions that are compared; a ratio does not depend on the camera's or the codec's level."""


def _regions() -> dict[str, NDArray[np.bool_]]:
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE

    def ellipse(middle: float, half_height: float, half_width: float) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((y - middle) / half_height) ** 2 + ((x - 0.5) / half_width) ** 2 < 1
        return inside

    mouth, eyes = ellipse(0.665, 0.075, 0.13), ellipse(0.42, 0.075, 0.2)
    face = ellipse(0.5, 0.29, 0.22)
    return {
        "face": face,
        "mouth": mouth,
        "eyes": eyes,
        "cheeks": face & ~mouth & ~eyes & ~ellipse(0.53, 0.14, 0.06),
        "ring": ellipse(0.5, 0.42, 0.36) & ~ellipse(0.5, 0.31, 0.25),
        "background": ~ellipse(0.55, 0.55, 0.42) & (y < 0.8),  # above the shoulders
    }


REGIONS = _regions()
"""Masks ``(SIDE, SIDE)`` by name."""
NAMES = tuple(REGIONS)
SMALL_REGIONS = {name: mask.reshape(SIDE // 2, 2, SIDE // 2, 2).all(axis=(1, 3)) for name, mask in REGIONS.items()}
"""The same at half the side, for motion."""
_WEIGHTS = np.stack([mask.ravel() / mask.sum() for mask in REGIONS.values()]).T.astype(np.float32)


def means(maps_THW: Array) -> dict[str, Array]:
    """Mean of each map within each region, ``(T,)`` by name."""
    found_TR = maps_THW.reshape(len(maps_THW), -1) @ _WEIGHTS
    return dict(zip(NAMES, found_TR.T, strict=True))


def log(values: Any) -> Any:
    """Logarithm of levels, finite at 0."""
    return np.log(np.asarray(values) + LEAST)


def against(name: str, value_of: Mapping[str, Any]) -> Statistics:
    """Differences of a value, usually a logarithm, between the regions of :data:`PAIRS`."""
    return {f"{name}({one}/{other})": float(value_of[one] - value_of[other]) for one, other in PAIRS}


def correlation(one: Array, other: Array) -> float:
    """Pearson's correlation; 0 where one of the two is constant.

    >>> correlation(np.float32([1, 2, 3]), np.float32([3, 2, 1])), correlation(np.float32([1, 1]), np.float32([1, 2]))
    (-1.0, 0.0)
    """
    one, other = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    length = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return round(float((one * other).sum()) / length, 9) if length > 1e-9 else 0.0


def filtered(pictures_THW: Array, kernel: Array) -> Array:
    """Each picture correlated with a kernel; edges are mirrored."""
    return np.stack([cv2.filter2D(one, -1, kernel, borderType=cv2.BORDER_REFLECT) for one in pictures_THW])


def smoothed(pictures_THW: Array, sigma: float) -> Array:
    """Each picture smoothed by a Gaussian."""
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in pictures_THW])
