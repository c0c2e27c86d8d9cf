"""Convolutional traces: how a pixel depends on its neighbours, found by expectation maximisation.

Guarnera, Giudice and Battiato 2020 (arXiv 2004.10448 and 2008.04095), after Popescu and Farid 2005. A pixel of one
channel is either a linear combination of its N x N neighbours (itself left out) plus normal noise, or an outlier, which
may have any of 256 values. The coefficients of the combination are the features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

WINDOWS = (3, 5, 7)
"""Sides N of the neighbourhood; N x N - 1 features for each channel."""
OUTLIER = 1 / 256
"""Probability of each value of an outlier."""
START_SIGMA = 5.0
"""Noise that the first step assumes, in grey levels. With little noise the result depends on where it starts."""
SMALLEST_SIGMA = 1e-3
"""Noise of a picture that is combined exactly, so that its probabilities stay finite."""
RIDGE = 1e-9
"""Added to the diagonal of the normal equations, which are near singular where a face is smooth."""
TOLERANCE = 0.01
"""Change of the coefficients, as a length, at which the iteration ends."""
MAX_STEPS = 200
BLACK = 8
"""Highest level of a border, which an encoder may have changed."""
PIXELS_EACH = 4
"""Least number of pixels for each coefficient."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Result of the expectation maximisation on one channel.

    Attributes:
        coefficients: weights of the neighbours, ``(N * N - 1,)``, by rows, the middle left out.
        sigma: standard deviation of the noise, in grey levels.
        combined: mean probability that a pixel is a combination of its neighbours.
        num_steps: iterations until the coefficients changed by less than the tolerance.
    """

    coefficients: Array
    sigma: float
    combined: float
    num_steps: int


def smallest_side(window: int) -> int:
    """Side of the smallest square picture that a window fits.

    >>> [smallest_side(window) for window in WINDOWS]
    [8, 14, 20]
    """
    return window - 1 + int(np.ceil(np.sqrt(PIXELS_EACH * (window**2 - 1))))


def trace(channel_HW: Array, *, window: int = 3, tolerance: float = TOLERANCE, start: Array | None = None) -> Trace:
    """Find the coefficients of one channel, in float64.

    Black rows and columns at the edges are left out: they are what a crop shows outside of its frame.

    Args:
        channel_HW: values in 0..255.
        window: side of the neighbourhood.
        tolerance: see :data:`TOLERANCE`.
        start: first coefficients; None: all equal, so that the result is the same every time.

    Raises:
        ValueError: when the window is not one of :data:`WINDOWS`, or too few pixels have neighbours.
    """
    if window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(map(str, WINDOWS))}, got {window}")
    unknown = window**2 - 1
    channel_HW = _without_border(channel_HW)
    height, width = channel_HW.shape
    places = np.zeros((0, window**2))
    if min(height, width) >= window:
        places = sliding_window_view(np.asarray(channel_HW, np.float64), (window, window)).reshape(-1, window**2)
    if len(places) < PIXELS_EACH * unknown:
        raise ValueError(
            f"a picture of {width} x {height} px has {len(places)} pixels with a neighbourhood of {window} x {window}, "
            f"and its {unknown} coefficients need {PIXELS_EACH * unknown}; give a larger picture or a smaller window"
        )
    value_P, neighbours_PK = places[:, unknown // 2], np.delete(places, unknown // 2, axis=1)
    coefficients_K = np.full(unknown, 1 / unknown) if start is None else np.asarray(start, np.float64)
    sigma, weight_P, step = START_SIGMA, np.ones(len(value_P)), 0
    error_P = value_P - neighbours_PK @ coefficients_K
    for step in range(1, MAX_STEPS + 1):  # noqa: B007 - read after the loop
        density_P = np.exp(-0.5 * (error_P / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        weight_P = density_P / (density_P + OUTLIER)
        weighted_KP = (neighbours_PK * weight_P[:, None]).T
        normal_KK = weighted_KP @ neighbours_PK + RIDGE * np.eye(unknown)
        before_K, coefficients_K = coefficients_K, np.linalg.solve(normal_KK, weighted_KP @ value_P)
        error_P = value_P - neighbours_PK @ coefficients_K
        total = max(float(weight_P.sum()), RIDGE)
        sigma = max(float(np.sqrt((weight_P * error_P**2).sum() / total)), SMALLEST_SIGMA)
        if np.linalg.norm(coefficients_K - before_K) < tolerance:
            break
    return Trace(coefficients_K, sigma, float(weight_P.mean()), step)


def _without_border(channel_HW: Array) -> Array:
    rows, columns = (np.flatnonzero((channel_HW > BLACK).any(axis=axis)) for axis in (1, 0))
    return channel_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else channel_HW[:0, :0]


def traces(picture_CHW: NDArray[np.uint8] | Array, *, window: int = 3, tolerance: float = TOLERANCE) -> Array:
    """Coefficients of all channels of a picture, ``(C * (N * N - 1),)``; arguments and errors as :func:`trace`."""
    return np.concatenate([trace(channel, window=window, tolerance=tolerance).coefficients for channel in picture_CHW])
