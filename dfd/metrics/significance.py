"""Significance tests for the difference of two detectors on the same videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest


@dataclass(frozen=True, slots=True)
class McNemar:
    """Result of :func:`mcnemar`: ``b`` videos only the first detector got right, ``c`` only the second."""

    b: int
    c: int
    p_value: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """McNemar's exact test of whether two detectors are right equally often on the same videos.

    Only videos on which exactly one is right carry information; if both were equally good, each of these would be a
    fair coin toss (McNemar 1947; the two-sided binomial form, which is valid for few videos too).

    >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 0])
    McNemar(b=2, c=0, p_value=0.5)

    Args:
        correct_a: (N,) booleans, or 0 and 1: whether the first detector was right.
        correct_b: the same for the second, in the same order of videos.

    Raises:
        ValueError: when the lists differ in length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"correct_a and correct_b must be lists of one length, got {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return McNemar(only_a, only_b, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of one family of tests by Holm's method (1979); keeps the order.

    An adjusted value is compared with 0.05 as if it came from a single test.

    >>> holm([0.04, 0.01, 0.5])
    [0.08, 0.03, 0.5]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
