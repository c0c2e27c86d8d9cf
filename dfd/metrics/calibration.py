"""Calibration: how well predicted probabilities agree with observed frequencies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dfd.metrics.formulas import CALIBRATION_BINS, bin_of, calibration_error, checked, once, or_none


def expected_calibration_error(
    prob_fake: ArrayLike, label: ArrayLike, *, num_bins: int = CALIBRATION_BINS
) -> float | None:
    """Mean distance between the probability of FAKE and the share of fakes among videos with that probability.

    Videos are put into bins by their probability; the distance between the mean probability and the share of fakes in
    each bin is averaged, weighted by the number of videos (Naeini, Cooper & Hauskrecht 2015). It uses the probability
    of FAKE, not that of the verdict (as in Guo et al. 2017), because users see that number, and it may be off in
    different directions for high and low values.

    Bins have equal width, not equal numbers of videos, so that they are the same for every detector, before and after
    calibration, and in every bootstrap resample. The price is that some hold few videos, whose share of fakes is off by
    chance: even a perfect detector's error is above 0, about 0.1 for 100 videos with probabilities anywhere in 0..1,
    and it falls with the root of their number.

    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    >>> expected_calibration_error([1.0, 1.0, 0.0, 0.0], [1, 0, 0, 0])
    0.25

    Returns:
        Error in 0..1; None if there are no videos.

    Raises:
        ValueError: when ``num_bins`` is below 1, or :func:`~dfd.metrics.videos.video_metrics` raises it.
    """
    prob, fake = checked(prob_fake, label)
    return or_none(calibration_error(prob, fake, once(prob), num_bins)[0])


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Videos with a probability above ``low`` (at least ``low`` in the first bin) and at most ``high``.

    ``mean_prob`` is None if there are no videos.
    """

    low: float
    high: float
    count: int
    num_fake: int
    mean_prob: float | None


def reliability_bins(
    prob_fake: ArrayLike, label: ArrayLike, *, num_bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """Bins of :func:`expected_calibration_error` in order, including empty ones, for a reliability diagram.

    >>> reliability_bins([0.25, 0.375, 0.5, 1.0], [0, 0, 1, 1], num_bins=2)[0]
    ReliabilityBin(low=0.0, high=0.5, count=3, num_fake=1, mean_prob=0.375)

    Raises:
        ValueError: when :func:`expected_calibration_error` raises it.
    """
    prob, fake = checked(prob_fake, label)
    edges, place = np.linspace(0, 1, num_bins + 1), bin_of(prob, num_bins)
    chosen = [place == index for index in range(num_bins)]
    return tuple(
        ReliabilityBin(
            float(edges[index]),
            float(edges[index + 1]),
            int(inside.sum()),
            int(fake[inside].sum()),
            float(prob[inside].mean()) if inside.any() else None,
        )
        for index, inside in enumerate(chosen)
    )
