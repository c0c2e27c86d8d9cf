"""Significance tests for the difference of two detectors on the same videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from dfd.metrics.formulas import auc, checked, cumulated, percentiles, resample
from dfd.metrics.videos import NUM_RESAMPLES, RESAMPLED_AT_ONCE, video_metrics


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


def paired_difference(
    first: ArrayLike, second: ArrayLike, label: ArrayLike, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """AUC of two detectors on the same videos, and the bootstrap interval of the first less the second.

    Both are measured on the same resamples, so that what makes a resample easy for both cancels out.

    >>> found = paired_difference([0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.2, 0.8], [0, 1, 0, 1])
    >>> found["auc_first"], found["auc_second"], found["difference"]
    (1.0, 0.25, 0.75)

    Args:
        first: (N,) probabilities of the first detector.
        second: (N,) those of the second, in the same order of videos.
        label: (N,) of :class:`~dfd.base.types.Label`.
        num_resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        ``auc_first``, ``auc_second``, ``difference`` and ``interval``; None if a class is missing, and no interval
        where it would have no width.

    Raises:
        ValueError: when :func:`~dfd.metrics.videos.video_metrics` raises it.
    """
    probs = [checked(prob, label)[0] for prob in (first, second)]
    fake = checked(first, label)[1]
    a, b = (video_metrics(prob, fake.astype(int))["auc"] for prob in probs)
    if a is None or b is None:
        return {"auc_first": a, "auc_second": b, "difference": None, "interval": None}
    generator, parts = np.random.default_rng(seed), list[np.ndarray[Any, Any]]()
    while (done := sum(map(len, parts))) < num_resamples:
        size = min(num_resamples - done, max(1, RESAMPLED_AT_ONCE // fake.size))
        counts_RN = resample(fake, size, generator)
        one, other = (auc(*cumulated(prob, fake, counts_RN)[:2]) for prob in probs)
        parts.append(one - other)
    ends = percentiles(np.concatenate(parts))
    has_width = ends is not None and ends[1] - ends[0] > 1e-9
    return {"auc_first": a, "auc_second": b, "difference": a - b, "interval": ends if has_width else None}


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
