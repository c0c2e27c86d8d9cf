"""Operating points: what a detector finds at a bearable rate of false alarms, and what that means in use."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, binomtest

from dfd.metrics.alike import check_prevalence
from dfd.metrics.formulas import MAX_FPRS, TPRS, checked, cumulated, last_allowed, once, percentiles
from dfd.metrics.videos import Interval, bootstrap_intervals

NUM_DRAWS = 20_000
"""Draws of the two rates behind the intervals of :func:`in_use`."""


def operating_points(
    prob_fake: ArrayLike, label: ArrayLike, *, threshold: float, prevalence: float | None = None
) -> list[dict[str, Any]]:
    """Rates at the detector's threshold, then at each of :data:`~dfd.metrics.formulas.MAX_FPRS`, fit for JSON.

    >>> points = operating_points([0.9, 0.8, 0.3, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0, 0], threshold=0.5)
    >>> [(point["max_fpr"], point["threshold"], point["tp"], point["fp"]) for point in points]
    [(None, 0.5, 2, 1), (0.001, 0.8, 2, 0), (0.01, 0.8, 2, 0), (0.05, 0.8, 2, 0)]

    Args:
        prob_fake: (N,) in 0..1.
        label: (N,) of :class:`~dfd.base.types.Label`.
        threshold: the detector's own.
        prevalence: share of fakes among the videos in use; None leaves :func:`in_use` out.

    Returns:
        For each point ``max_fpr`` (None: the detector's threshold), ``threshold`` (None: nothing may be called fake),
        ``tp``, ``fp``, ``num_fake``, ``num_real``, ``tpr``, ``fpr``, ``tpr_interval`` and ``fpr_interval``, and with a
        prevalence what :func:`in_use` gives. Empty if a class is missing. The interval of ``tpr`` at a ``max_fpr`` is a
        bootstrap in which each resample chooses its own threshold; the others are exact (Clopper & Pearson 1934), as is
        one that would have no width.

    Raises:
        ValueError: when ``prevalence`` is not between 0 and 1, or :func:`~dfd.metrics.videos.video_metrics` raises it.
    """
    check_prevalence(prevalence)
    prob, fake = checked(prob_fake, label)
    if fake.all() or not fake.any():
        return []
    tp, fp, scores = cumulated(prob, fake, once(prob))
    num_fake, num_real = int(fake.sum()), int((~fake).sum())
    called = prob >= threshold
    places: list[tuple[float | None, float | None, int, int]] = []
    places.append((None, threshold, int((called & fake).sum()), int((called & ~fake).sum())))
    for limit in MAX_FPRS:
        step = int(last_allowed(fp, limit)[0])
        places.append((limit, float(scores[step - 1]) if step else None, int(tp[0, step]), int(fp[0, step])))
    ends = bootstrap_intervals(prob, fake.astype(int), TPRS)
    points = []
    for (max_fpr, chosen, found, alarms), name in zip(places, [None, *TPRS], strict=True):
        drawn = ends[name] if name else None
        point: dict[str, Any] = {
            **{"max_fpr": max_fpr, "threshold": chosen, "tp": found, "fp": alarms},
            **{"num_fake": num_fake, "num_real": num_real, "tpr": found / num_fake, "fpr": alarms / num_real},
            "tpr_interval": exact_interval(found, num_fake) if drawn is None or drawn[0] == drawn[1] else drawn,
            "fpr_interval": exact_interval(alarms, num_real),
        }
        if prevalence is not None:
            point |= in_use(found, num_fake, alarms, num_real, prevalence=prevalence)
        points.append(point)
    return points


def in_use(tp: int, num_fake: int, fp: int, num_real: int, *, prevalence: float, seed: int = 0) -> dict[str, Any]:
    """What a share ``prevalence`` of fakes makes of a point's rates.

    ``ppv`` is how many of the videos that are called fake are, ``npv`` how many of the others are real, and
    ``real_per_fake`` how many real videos somebody who looks at all videos that are called fake sees for each fake
    among them. Intervals are those of draws of both rates from Jeffreys' distribution of a share, which Mossman and
    Berger (2001) found to hold best: no false alarm among few real videos does not make a value of 1 certain.

    >>> used = in_use(80, 100, 10, 1000, prevalence=0.01)
    >>> round(used["ppv"], 3), round(used["npv"], 4), round(used["real_per_fake"], 3)
    (0.447, 0.998, 1.238)

    Returns:
        The three values, None where nothing is called so, and ``ppv_interval``, ``npv_interval`` and
        ``real_per_fake_interval``.
    """
    generator = np.random.default_rng(seed)
    tprs = beta.rvs(tp + 0.5, num_fake - tp + 0.5, size=NUM_DRAWS, random_state=generator)
    fprs = beta.rvs(fp + 0.5, num_real - fp + 0.5, size=NUM_DRAWS, random_state=generator)
    tpr, fpr = tp / num_fake, fp / num_real
    found, alarms, missed, left = (
        prevalence * np.append(tprs, tpr),
        (1 - prevalence) * np.append(fprs, fpr),
        prevalence * (1 - np.append(tprs, tpr)),
        (1 - prevalence) * (1 - np.append(fprs, fpr)),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {"ppv": found / (found + alarms), "npv": left / (left + missed), "real_per_fake": alarms / found}
    result: dict[str, Any] = {}
    for name, drawn in values.items():
        result[name] = float(drawn[-1]) if np.isfinite(drawn[-1]) else None
        result[f"{name}_interval"] = percentiles(drawn[:-1]) if np.isfinite(drawn[-1]) else None
    return result


def exact_interval(successes: int, number: int) -> Interval:
    """Interval of 95 % for a share of videos (Clopper & Pearson 1934).

    >>> [round(end, 3) for end in exact_interval(0, 30)]
    [0.0, 0.116]
    """
    ends = binomtest(successes, number).proportion_ci(0.95)
    return float(ends.low), float(ends.high)
