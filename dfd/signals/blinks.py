"""Openness of eyes and blinks (Soukupova and Cech 2016; Li, Chang and Lyu 2018, arXiv 1806.02877).

How often a person blinks is a fact about a video and no verdict: people differ, and today's fakes blink.
"""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from dfd.base.types import Blinks

CLOSED = 0.2
"""Openness below which an eye counts as closed."""
SHORTEST, LONGEST = 2 / 30, 7 / 30
"""Seconds that a blink closes the eyes: 2 to 7 frames at 30 a second."""
SECONDS_NEEDED = 5.0
"""Time with visible eyes below which no rate is told."""


def openness(eye_62: ArrayLike) -> float:
    """Height of an eye as a share of its width: ``(|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|)``.

    Args:
        eye_62: six points (x, y): one corner, two of the upper lid, the other corner, two of the lower lid.

    Raises:
        ValueError: when the corners coincide.

    >>> openness([(0, 0), (1, 1), (2, 1), (3, 0), (2, -1), (1, -1)]) == 2 / 3
    True
    """
    p1, p2, p3, p4, p5, p6 = np.asarray(eye_62, np.float64)
    width = float(np.linalg.norm(p1 - p4))
    if width == 0:
        raise ValueError("the corners of an eye are one point")
    return float(np.linalg.norm(p2 - p6) + np.linalg.norm(p3 - p5)) / (2 * width)


def count_blinks(openness_T: ArrayLike, rate: float) -> int:
    """Number of blinks in the openness of eyes in consecutive frames, nan where no eyes are seen.

    Args:
        openness_T: mean openness of both eyes, a value for each frame.
        rate: frames a second; at 15 or fewer a blink may fall between two frames.
    """
    is_closed = np.asarray(openness_T, np.float64) < CLOSED  # nan is not
    least, most = max(1, round(SHORTEST * rate)), max(1, round(LONGEST * rate))
    return sum(least <= length <= most for length in _runs(is_closed))


def blinks_of(openness_T: ArrayLike, rate: float) -> Blinks | None:
    """Blinks and their rate with its 95 % interval; None where eyes are seen for less than 5 seconds.

    The interval takes blinks as independent of each other (Poisson; Garwood 1936).
    """
    values = np.asarray(openness_T, np.float64)
    seen = values[np.isfinite(values)]
    seconds = len(seen) / rate
    if seconds < SECONDS_NEEDED:
        return None
    number, minutes = count_blinks(values, rate), seconds / 60
    low = float(scipy.stats.chi2.ppf(0.025, 2 * number)) / 2 if number else 0.0
    high = float(scipy.stats.chi2.ppf(0.975, 2 * number + 2)) / 2
    return Blinks(
        number=number,
        seconds=seconds,
        share_seen=len(seen) / len(values),
        openness=float(np.median(seen)),
        per_minute=number / minutes,
        interval=(low / minutes, high / minutes),
    )


def _runs(is_closed: NDArray[np.bool_]) -> Iterator[int]:
    """Lengths of the stretches of closed frames; one at the beginning or the end may be cut off and is left out."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], is_closed, [False]]).astype(int)))
    for start, stop in changes.reshape(-1, 2).tolist():
        if start > 0 and stop < len(is_closed):
            yield stop - start
