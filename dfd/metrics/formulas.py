"""Formulas of the metrics over scored videos, for the videos as they are and for many resamples of them at once.

Arrays are (R, ...) for R resamples of N videos, nan where a metric is undefined. ``counts_RN`` says how often each
video was drawn; in the original sample each was drawn once.
"""

from collections.abc import Collection, Mapping, Sequence
from math import exp, log
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfd.base.types import Label, Verdict

Array = NDArray[Any]

COUNTS = ("tp", "fp", "fn", "tn", "num_real", "num_fake")
"""Metrics that are numbers of videos."""
MAX_FPRS = (0.001, 0.01, 0.05)
"""False positive rates of the operating points: shares of the real videos that may be called fake."""
CALIBRATION_BINS = 10
"""Number of equal-width bins for the calibration error and the reliability diagram."""
SMALLEST_PROB = 2.0**-24
"""Lower bound of probabilities in a log-likelihood: the smallest distance from 1 that a softmax in float32 can show.

Without a bound, one wrong video at exactly 0 or 1 would make the total likelihood infinite.
"""


def tpr_name(max_fpr: float) -> str:
    """Name of the metric that is the share of fakes found at a false positive rate.

    >>> tpr_name(0.01)
    'tpr_at_fpr_0.01'
    """
    return f"tpr_at_fpr_{max_fpr:g}"


TPRS = tuple(map(tpr_name, MAX_FPRS))
"""Names of the metrics at :data:`MAX_FPRS`."""
AT_THRESHOLD = ("accuracy", "balanced_accuracy", "precision", "recall", "recall_real", "f1")
RANKED = ("auc", "ap", "eer", *TPRS)
CALIBRATED = ("ece", "brier", "nll")
METRICS = (*AT_THRESHOLD, *RANKED, *CALIBRATED, "majority_baseline", *COUNTS)
"""All metrics of :func:`resampled`."""


def checked(prob_fake: ArrayLike, label: ArrayLike) -> tuple[Array, Array]:
    """Probabilities (N,), and whether each video is fake (N,).

    Raises:
        ValueError: when lengths differ, a probability is outside 0..1 or not a number, or a label is neither 0 nor 1.
    """
    prob, labels = np.asarray(prob_fake, dtype=np.float64), np.asarray(label)
    if prob.ndim != 1 or prob.shape != labels.shape:
        raise ValueError(f"prob_fake and label must be lists of one length, got {prob.shape} and {labels.shape}")
    if not ((prob >= 0) & (prob <= 1)).all():
        raise ValueError("prob_fake must be in 0..1 and not nan; leave out videos that have no score")
    if not np.isin(labels, [Label.REAL, Label.FAKE]).all():
        raise ValueError(f"labels must be {Label.REAL:d} (real) or {Label.FAKE:d} (fake)")
    return prob, labels == Label.FAKE


def once(prob: Array) -> Array:
    """Counts of the original sample, (1, N)."""
    return np.ones((1, prob.size), dtype=np.int64)


def drawn(size: int, num_resamples: int, generator: np.random.Generator) -> Array:
    """How often each of ``size`` things was drawn, with replacement, in each resample: (R, size)."""
    drawn_RM = generator.integers(size, size=(num_resamples, size))
    flat = (drawn_RM + size * np.arange(num_resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=drawn_RM.size).reshape(drawn_RM.shape)


def resample(fake: Array, num_resamples: int, generator: np.random.Generator) -> Array:
    """Draw as many videos of each class as it has, with replacement."""
    counts_RN = np.zeros((num_resamples, fake.size), dtype=np.int64)
    for videos in (np.flatnonzero(fake), np.flatnonzero(~fake)):
        if videos.size:
            counts_RN[:, videos] = drawn(videos.size, num_resamples, generator)
    return counts_RN


def resampled(
    prob: Array, fake: Array, counts_RN: Array, threshold: float, names: Collection[str] = METRICS
) -> dict[str, Array]:
    """Metrics by name, (R,) each; only those of ``names``, since each group of them costs a pass over the videos."""
    wanted, found = set(names), dict[str, Array]()
    if wanted & {*AT_THRESHOLD, *COUNTS, "majority_baseline"}:
        found |= _at_threshold(prob >= threshold, fake, counts_RN)
    if wanted & set(RANKED):
        if fake.any() and not fake.all():
            tp, fp, _ = cumulated(prob, fake, counts_RN)
        else:  # one class has no ranking
            tp = fp = np.full((len(counts_RN), 2), np.nan)
        found |= {"auc": auc(tp, fp), "ap": _average_precision(tp, fp), "eer": _equal_error_rate(tp, fp)}
        found |= {name: _tpr_at(tp, fp, limit) for name, limit in zip(TPRS, MAX_FPRS, strict=True)}
    if wanted & set(CALIBRATED):
        found["ece"] = calibration_error(prob, fake, counts_RN, CALIBRATION_BINS)
        found["brier"] = ratio(counts_RN @ (prob - fake) ** 2, counts_RN.sum(axis=1))
        found["nll"] = _negative_log_likelihood(prob, fake, counts_RN)
    return {name: found[name] for name in METRICS if name in wanted}


def _at_threshold(called_fake: Array, fake: Array, counts_RN: Array) -> dict[str, Array]:
    cells = [called_fake & fake, called_fake & ~fake, ~called_fake & fake, ~called_fake & ~fake]
    tp, fp, fn, tn = np.rint(counts_RN.astype(np.float64) @ np.stack(cells, axis=1)).astype(np.int64).T
    num_fake, num_real = tp + fn, tn + fp
    recall, recall_real = ratio(tp, num_fake), ratio(tn, num_real)
    return {
        "accuracy": ratio(tp + tn, num_real + num_fake),
        "balanced_accuracy": (recall + recall_real) / 2,
        "precision": ratio(tp, tp + fp),
        "recall": recall,
        "recall_real": recall_real,
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "majority_baseline": ratio(np.maximum(num_real, num_fake), num_real + num_fake),
        **dict(zip(COUNTS, (tp, fp, fn, tn, num_real, num_fake), strict=True)),
    }


def cumulated(prob: Array, fake: Array, counts_RN: Array) -> tuple[Array, Array, Array]:
    """Cumulated true and false positives, (R, M + 1) for M distinct scores, highest first; and these scores (M,)."""
    order = np.argsort(-prob, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(prob[order]) != 0, True))
    ordered_RN = counts_RN[:, order]
    tp, fp = (np.cumsum(ordered_RN * of, axis=1)[:, last_of_tie] for of in (fake[order], ~fake[order]))
    none_R1 = np.zeros((len(counts_RN), 1), dtype=np.int64)
    return np.hstack([none_R1, tp]), np.hstack([none_R1, fp]), prob[order][last_of_tie]


def auc(tp: Array, fp: Array) -> Array:
    """Area under the ROC, (R,)."""
    area: Array = np.trapezoid(tp, fp, axis=1) / (tp[:, -1] * fp[:, -1])
    return area


def _average_precision(tp: Array, fp: Array) -> Array:
    """Precision averaged over the fakes in order of score: a step function as in scikit-learn, not interpolated."""
    precision = tp[:, 1:] / np.maximum(tp + fp, 1)[:, 1:]
    average: Array = (np.diff(tp, axis=1) * precision).sum(axis=1) / tp[:, -1]
    return average


def _equal_error_rate(tp: Array, fp: Array) -> Array:
    """Rate at which the straight segments of the ROC cross false positive rate = false negative rate."""
    fpr = fp / fp[:, -1:]
    excess = fpr - (1 - tp / tp[:, -1:])  # rises from -1 to 1
    right = np.argmax(excess >= 0, axis=1)
    rows, left = np.arange(len(tp)), right - 1
    share = -excess[rows, left] / (excess[rows, right] - excess[rows, left])
    rate: Array = fpr[rows, left] + share * (fpr[rows, right] - fpr[rows, left])
    return rate


def last_allowed(fp: Array, max_fpr: float) -> Array:
    """Last step of each row's false positives, highest score first, at which their rate is at most ``max_fpr``."""
    allowed = fp <= max_fpr * fp[:, -1:] * (1 + 1e-9)  # 0.05 * 20 is a little more than 1, 0.07 * 100 less than 7
    last: Array = np.maximum(allowed.sum(axis=1) - 1, 0)
    return last


def _tpr_at(tp: Array, fp: Array, max_fpr: float) -> Array:
    """Share of fakes found with the lowest threshold that keeps the false positive rate; no step is interpolated."""
    rate: Array = tp[np.arange(len(tp)), last_allowed(fp, max_fpr)] / tp[:, -1]
    return rate


def calibration_error(prob: Array, fake: Array, counts_RN: Array, num_bins: int) -> Array:
    """Expected calibration error; summing differences per bin avoids dividing by a bin's number of videos."""
    differences_NM = np.zeros((prob.size, num_bins))
    differences_NM[np.arange(prob.size), bin_of(prob, num_bins)] = prob - fake
    return ratio(np.abs(counts_RN @ differences_NM).sum(axis=1), counts_RN.sum(axis=1))


def bin_of(prob: Array, num_bins: int) -> Array:
    """Bin of each probability; an edge belongs to the bin below it, as in Guo et al. 2017 and in scikit-learn.

    Raises:
        ValueError: when ``num_bins`` is below 1.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, got {num_bins}")
    place: Array = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], prob, side="left")
    return place


def _negative_log_likelihood(prob: Array, fake: Array, counts_RN: Array) -> Array:
    of_label = np.clip(np.where(fake, prob, 1 - prob), SMALLEST_PROB, None)
    return ratio(counts_RN @ -np.log(of_label), counts_RN.sum(axis=1))


def ratio(part: Array, whole: Array) -> Array:
    """``part / whole``, nan where ``whole`` is 0."""
    found: Array = np.full(part.shape, np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def or_none(value: float) -> float | None:
    """The value as a number; None for nan."""
    return None if np.isnan(value) else float(value)


def percentiles(values: Array, confidence: float = 0.95) -> tuple[float, float] | None:
    """Ends of the middle share ``confidence`` of a metric's values over resamples; None if all are undefined."""
    # Only precision can be undefined in a resample while the metric of the whole sample is defined.
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


LEAST_ODDS = 1e-6
"""Probabilities are kept so far from 0 and 1 before their log-odds are averaged: one detector cannot outvote all."""


def combined(probs: Sequence[float], rule: str, *, weights: Sequence[float] | None = None) -> float:
    """Make one probability of those that several networks give a video.

    ``vote`` is the median: with an odd number of networks it is at or above a threshold if most of them are.

    >>> [round(combined([0.1, 0.2, 0.9], rule), 2) for rule in ("mean", "vote", "log_odds")]
    [0.4, 0.2, 0.39]

    Args:
        probs: one or more probabilities.
        rule: ``mean``, ``vote`` or ``log_odds``, the mean of the log-odds.
        weights: of the networks, for ``log_odds``; None: equal ones.
    """
    if rule == "mean":
        return fmean(probs)
    if rule == "vote":
        return median(probs)
    odds = [log(p / (1 - p)) for p in (min(max(prob, LEAST_ODDS), 1 - LEAST_ODDS) for prob in probs)]
    return 1 / (1 + exp(-fmean(odds, weights)))


def one_sided_warning(counts: Mapping[str, int], *, share: float = 0.95, at_least: int = 20) -> str | None:
    """A sentence if more than ``share`` of a set of videos gets the same verdict: more often a fault than a finding.

    >>> one_sided_warning({"real": 99, "fake": 1}).partition(":")[0]
    '99 of 100 scored videos have the verdict “no sign found”'
    >>> one_sided_warning({"real": 95, "fake": 5}), one_sided_warning({"fake": 19})
    (None, None)

    Args:
        counts: how many videos have each verdict; those without a verdict are not counted.
        share: above which it is said.
        at_least: of fewer videos nothing is said.
    """
    total = sum(counts.values())
    verdict_, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if total < at_least or count <= share * total:
        return None
    words = Verdict(verdict_).words
    return (
        f"{count} of {total} scored videos have the verdict “{words}”: if you did not expect that, the detector may "
        "not know footage of this kind, or the faces may be cropped otherwise than in its training. Look at some "
        "crops, measure it on videos whose label you know (python -m dfd.evaluate), and fit its threshold to them "
        "(python -m dfd.calibrate)"
    )
