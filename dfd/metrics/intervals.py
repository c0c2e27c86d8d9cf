"""Intervals of metrics for tables: bootstrap, exact where that has no width, none where nothing is known."""

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from dfd.metrics.operating import exact_interval
from dfd.metrics.videos import Interval, Metrics, bootstrap_intervals, video_metrics

MIN_OF_LABEL = 10
"""Smallest number of videos of each label for an interval of a group's AUC; fewer give too few distinct resamples."""


def intervals(
    prob_fake: ArrayLike, label: ArrayLike, metrics: Sequence[str], *, threshold: float
) -> dict[str, Interval | None]:
    """Bootstrap intervals; those without width are replaced by exact ones for shares of videos, and by None otherwise.

    Resamples of videos that are all classified correctly, or all called fake, are identical. That says nothing about
    other videos, and an interval of 1.000 to 1.000 would claim certainty.
    """
    found = bootstrap_intervals(prob_fake, label, metrics, threshold=threshold)
    counts = video_metrics(prob_fake, label, threshold=threshold)
    return {
        name: _exact(name, counts) if ends and math.isclose(*ends, abs_tol=1e-9) else ends
        for name, ends in found.items()
    }


def _exact(metric: str, counts: Metrics) -> Interval | None:
    """Binomial interval of a share of videos (Clopper & Pearson 1934); None if the metric is not a share."""
    right, wrong = {
        "accuracy": (("tp", "tn"), ("fp", "fn")),
        "precision": (("tp",), ("fp",)),
        "recall": (("tp",), ("fn",)),
        "recall_real": (("tn",), ("fp",)),
    }.get(metric, ((), ()))
    num_right, num_wrong = (sum(int(counts[key] or 0) for key in keys) for keys in (right, wrong))
    return exact_interval(num_right, num_right + num_wrong) if num_right + num_wrong else None
