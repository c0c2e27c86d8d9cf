"""Antialiased bicubic resampling of a part of a picture, as Pillow does it, in half of Pillow's time."""

import numpy as np
from numpy.typing import NDArray

from dfd.faces.crop.base import opencv

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Weights = NDArray[np.float32]

REACH = 2
"""Pixels around a point that the filter reads, times the scale when shrinking."""
BAND = 8
"""Rows of the result that are computed by one product: neighbours read mostly the same rows."""


def resample(picture: Pixels, box_xyxy: tuple[float, float, float, float], size: int) -> Pixels:
    """Part of a picture ``(H, W, 3)`` in a box, in pixels and not rounded, as ``(size, size, 3)``.

    Columns come first and are rounded to whole levels, as in Pillow. One value in 10,000 differs from Pillow's by one
    level, since Pillow computes with whole numbers.
    """
    cv2 = opencv()
    height, width = picture.shape[:2]
    start, stop = np.array(box_xyxy, np.float64).reshape(2, 2)
    first, weights = bicubic(start, (stop - start) / size, np.array([width, height]), size)
    # OpenCV turns pictures a few times as fast as NumPy. Turned, the rows of each product lie in one piece of memory.
    columns = cv2.transpose(picture).reshape(width, height * 3)
    across = _products(first[0], weights[0], columns).reshape(size, height, 3)
    down = _products(first[1], weights[1], cv2.transpose(across).reshape(height, size * 3))
    return down.reshape(size, size, 3)


def bicubic(start: Floats, scale: Floats, length: Integers, size: int) -> tuple[Integers, Floats]:
    """First pixel that each place of the result reads ``(N, size)``, and weights ``(N, size, taps)``, for N axes.

    An axis has ``length`` pixels; the result begins at ``start`` in them, and its pixels are ``scale`` apart.
    """
    spread = np.maximum(scale, 1.0)[:, None]
    centre = start[:, None] + (np.arange(size) + 0.5) * scale[:, None]
    first = np.maximum((centre - REACH * spread + 0.5).astype(np.intp), 0)
    end = np.minimum((centre + REACH * spread + 0.5).astype(np.intp), length[:, None])
    place = first[..., None] + np.arange(int((end - first).max()))
    x = np.abs(place + 0.5 - centre[..., None]) / spread[..., None]
    # Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.5.
    weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((2.5 - 0.5 * x) * x - 4) * x + 2, 0.0))
    weights[place >= end[..., None]] = 0
    return first, weights / weights.sum(axis=2, keepdims=True)


def _products(first: Integers, weights: Floats, rows: Pixels) -> Pixels:
    """Weighted sums of rows ``(L, n)`` from row ``first`` ``(size,)`` on, as whole levels ``(size, n)``."""
    size, taps = weights.shape
    values = rows.astype(np.float32)
    low = first[::BAND]
    high = np.minimum(first[np.minimum(np.arange(BAND - 1, size - 1 + BAND, BAND), size - 1)] + taps, len(rows))
    band = np.zeros((size, int((high - low).max()) + taps), np.float32)
    offsets = first - np.repeat(low, BAND)[:size]
    np.put_along_axis(band, offsets[:, None] + np.arange(taps), weights, axis=1)
    sums = np.empty((size, rows.shape[1]), np.float32)
    for number, (begin, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        part = slice(number * BAND, (number + 1) * BAND)
        np.matmul(band[part, : end - begin], values[begin:end], out=sums[part])
    sums += 0.5  # halves are rounded up, as Pillow does it
    return np.clip(sums, 0, 255, out=sums).astype(np.uint8)
