"""Metrics over scored videos, with bootstrap intervals. FAKE is the positive class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics.classification import BinaryStatScores
from torchmetrics.utilities.data import dim_zero_cat

from dfd.base.types import Label

Metrics = dict[str, float | int | None]
COUNTS = ("tp", "fp", "fn", "tn", "num_real", "num_fake")
"""Metrics of :func:`video_metrics` that are numbers of videos."""

_Array = NDArray[Any]
RESAMPLED_AT_ONCE = 2**20
"""Videos times resamples processed at once: some tens of megabytes."""
CALIBRATION_BINS = 10
"""Number of equal-width bins for the calibration error and the reliability diagram."""
SMALLEST_PROB = 2.0**-24
"""Lower bound of probabilities in a log-likelihood: the smallest distance from 1 that a softmax in float32 can show.

Without a bound, one wrong video at exactly 0 or 1 would make the total likelihood infinite.
"""


class _Counts(BinaryStatScores):
    """Counts right and wrong answers for clips, ignoring scores that are nan.

    An empty batch counts nothing, whereas torchmetrics fails: one of several processes may have no clips left.
    """

    num_not_finite: Tensor

    def __init__(self) -> None:
        super().__init__(validate_args=False)  # validation copies every batch from the GPU, and waits for it
        self.add_state("num_not_finite", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.num_not_finite = self.num_not_finite + (~preds.isfinite()).sum()
        if target.numel():
            super().update(preds, target)

    def _if_defined(self, value: Tensor, *counts: Tensor | list[Tensor]) -> Tensor:
        """``value`` if a count in its denominator is above 0 and every score was finite, else nan."""
        total = torch.stack([dim_zero_cat(count) for count in counts]).sum(dim=0)
        return torch.where((total > 0) & (self.num_not_finite == 0), value, torch.nan)


def video_metrics(prob_fake: ArrayLike, label: ArrayLike, *, threshold: float = 0.5) -> Metrics:
    """Compute all metrics of the reports for N videos; a video is called fake if ``prob_fake >= threshold``.

    Args:
        prob_fake: (N,) in 0..1.
        label: (N,) of :class:`~dfd.base.types.Label` or its integers.
        threshold: threshold for ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall`` (of fakes),
            ``recall_real``, ``f1`` and the counts; the other metrics do not depend on it.

    Returns:
        The metrics above, ``auc``, ``ap``, ``eer``, ``ece``
        (:func:`~dfd.metrics.calibration.expected_calibration_error`), ``brier``, ``nll`` (mean negative log-likelihood
        of the labels, in nats; see ``SMALLEST_PROB``), ``majority_baseline`` (accuracy of always giving the more common
        answer), ``tp, fp, fn, tn`` and ``num_real, num_fake``. None for an undefined metric.

    Raises:
        ValueError: when lengths differ, a probability is outside 0..1 or not a number, or a label is neither 0 nor 1.
    """
    prob, fake = _checked(prob_fake, label)
    values = {name: column[0] for name, column in _resampled(prob, fake, _once(prob), threshold).items()}
    return {name: int(values[name]) if name in COUNTS else _or_none(values[name]) for name in values}


def metrics_by_group(table: pd.DataFrame, *, threshold: float = 0.5) -> dict[str, Any]:
    """Compute :func:`video_metrics` for a table of videos: overall, per data set and per method.

    ``table`` has the columns ``prob_fake``, ``label`` (0 or 1), ``dataset`` and ``method``. Videos without a score
    (nan: no face, unreadable) are no evidence either way: they are left out and counted in ``num_unscored``. A method
    has fakes only, so it is compared with all real videos of its data set.

    Returns:
        ``{"overall": metrics, "datasets": {name: metrics}, "methods": {"dataset/method": metrics}}``, fit for JSON.

    Raises:
        ValueError: when a column is missing, or :func:`video_metrics` raises it.
    """
    missing = [column for column in ("prob_fake", "label", "dataset", "method") if column not in table]
    if missing:
        raise ValueError(f"the table of scores has no column {', '.join(missing)}; it has {', '.join(table.columns)}")

    def of(rows: pd.DataFrame) -> Metrics:
        scored = rows[rows["prob_fake"].notna()]
        metrics = video_metrics(scored["prob_fake"].to_numpy(float), scored["label"].to_numpy(int), threshold=threshold)
        return {**metrics, "num_unscored": len(rows) - len(scored)}

    real = table["label"] == Label.REAL
    datasets, methods = {}, {}
    for dataset, rows in table.groupby("dataset"):
        datasets[str(dataset)] = of(rows)
        for method in sorted(rows.loc[rows["label"] == Label.FAKE, "method"].unique()):
            methods[f"{dataset}/{method}"] = of(rows[real.loc[rows.index] | (rows["method"] == method)])
    return {"overall": of(table), "datasets": datasets, "methods": methods}


def bootstrap_intervals(
    prob_fake: ArrayLike,
    label: ArrayLike,
    metrics: Sequence[str],
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """Percentile bootstrap intervals of some of :func:`video_metrics`, all over the same resamples.

    Videos are resampled within each class (stratified; Efron & Tibshirani 1993), so an interval is about the videos,
    not about the share of fakes. Videos of one person are not independent: the true interval is wider. If every
    resample gives the same number, as below, the interval has no width; do not present that as certainty.

    >>> bootstrap_intervals([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], ["auc"])
    {'auc': (1.0, 1.0)}

    Returns:
        Low and high end by metric; None if the metric is undefined.
    """
    prob, fake = _checked(prob_fake, label)
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[_Array]] = {name: [] for name in metrics}
    done = 0
    while done < num_resamples:
        size = min(num_resamples - done, max(1, RESAMPLED_AT_ONCE // max(1, prob.size)))
        values = _resampled(prob, fake, _resample(fake, size, generator), threshold)
        for name in metrics:
            drawn[name].append(values[name])
        done += size
    whole = video_metrics(prob, fake, threshold=threshold)
    return {
        name: None if whole[name] is None else _percentile_interval(np.concatenate(drawn[name]), confidence)
        for name in metrics
    }


def roc_curve(prob_fake: ArrayLike, label: ArrayLike) -> tuple[_Array, _Array, _Array]:
    """False and true positive rates and their thresholds; a video at or above a threshold is called fake.

    All have length M + 1 for M distinct scores, from (0, 0) at an infinite threshold to (1, 1). Videos with equal
    scores move together, so ties give a sloped step.

    Raises:
        ValueError: when a class is missing, or :func:`video_metrics` raises it.
    """
    prob, fake = _checked(prob_fake, label)
    if fake.all() or not fake.any():
        raise ValueError("a ROC curve needs videos of both classes")
    tp, fp, thresholds = _cumulated(prob, fake, _once(prob))
    return fp[0] / fp[0, -1], tp[0] / tp[0, -1], np.append(np.inf, thresholds)


def _checked(prob_fake: ArrayLike, label: ArrayLike) -> tuple[_Array, _Array]:
    prob, labels = np.asarray(prob_fake, dtype=np.float64), np.asarray(label)
    if prob.ndim != 1 or prob.shape != labels.shape:
        raise ValueError(f"prob_fake and label must be lists of one length, got {prob.shape} and {labels.shape}")
    if not ((prob >= 0) & (prob <= 1)).all():
        raise ValueError("prob_fake must be in 0..1 and not nan; leave out videos that have no score")
    if not np.isin(labels, [Label.REAL, Label.FAKE]).all():
        raise ValueError(f"labels must be {Label.REAL:d} (real) or {Label.FAKE:d} (fake)")
    return prob, labels == Label.FAKE


# The functions below handle R resamples of N videos at once: arrays (R, ...), nan where a metric is undefined.
# counts_RN says how often each video was drawn; in the original sample each was drawn once.


def _once(prob: _Array) -> _Array:
    return np.ones((1, prob.size), dtype=np.int64)


def _resample(fake: _Array, num_resamples: int, generator: np.random.Generator) -> _Array:
    """Draw as many videos of each class as it has, with replacement."""
    counts_RN = np.zeros((num_resamples, fake.size), dtype=np.int64)
    for videos in (np.flatnonzero(fake), np.flatnonzero(~fake)):
        if videos.size:
            drawn_RM = generator.integers(videos.size, size=(num_resamples, videos.size))
            flat = (drawn_RM + videos.size * np.arange(num_resamples)[:, None]).ravel()
            counts_RN[:, videos] = np.bincount(flat, minlength=drawn_RM.size).reshape(drawn_RM.shape)
    return counts_RN


def _resampled(prob: _Array, fake: _Array, counts_RN: _Array, threshold: float) -> dict[str, _Array]:
    called_fake = prob >= threshold
    tp, fp = counts_RN[:, called_fake & fake].sum(axis=1), counts_RN[:, called_fake & ~fake].sum(axis=1)
    fn, tn = counts_RN[:, ~called_fake & fake].sum(axis=1), counts_RN[:, ~called_fake & ~fake].sum(axis=1)
    num_fake, num_real = tp + fn, tn + fp
    recall, recall_real = _ratio(tp, num_fake), _ratio(tn, num_real)
    if fake.any() and not fake.all():
        cumulated_tp, cumulated_fp, _ = _cumulated(prob, fake, counts_RN)
    else:  # one class has no ranking
        cumulated_tp = cumulated_fp = np.full((len(counts_RN), 2), np.nan)
    return {
        "accuracy": _ratio(tp + tn, num_real + num_fake),
        "balanced_accuracy": (recall + recall_real) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "recall_real": recall_real,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "auc": _auc(cumulated_tp, cumulated_fp),
        "ap": _average_precision(cumulated_tp, cumulated_fp),
        "eer": _equal_error_rate(cumulated_tp, cumulated_fp),
        "ece": _calibration_error(prob, fake, counts_RN, CALIBRATION_BINS),
        "brier": _brier(prob, fake, counts_RN),
        "nll": _negative_log_likelihood(prob, fake, counts_RN),
        "majority_baseline": _ratio(np.maximum(num_real, num_fake), num_real + num_fake),
        **dict(zip(COUNTS, (tp, fp, fn, tn, num_real, num_fake), strict=True)),
    }


def _cumulated(prob: _Array, fake: _Array, counts_RN: _Array) -> tuple[_Array, _Array, _Array]:
    """Cumulated true and false positives, (R, M + 1) for M distinct scores, highest first; and these scores (M,)."""
    order = np.argsort(-prob, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(prob[order]) != 0, True))
    ordered_RN = counts_RN[:, order]
    tp, fp = (np.cumsum(ordered_RN * of, axis=1)[:, last_of_tie] for of in (fake[order], ~fake[order]))
    none_R1 = np.zeros((len(counts_RN), 1), dtype=np.int64)
    return np.hstack([none_R1, tp]), np.hstack([none_R1, fp]), prob[order][last_of_tie]


def _auc(tp: _Array, fp: _Array) -> _Array:
    area: _Array = np.trapezoid(tp, fp, axis=1) / (tp[:, -1] * fp[:, -1])
    return area


def _average_precision(tp: _Array, fp: _Array) -> _Array:
    """Precision averaged over the fakes in order of score: a step function as in scikit-learn, not interpolated."""
    precision = tp[:, 1:] / np.maximum(tp + fp, 1)[:, 1:]
    average: _Array = (np.diff(tp, axis=1) * precision).sum(axis=1) / tp[:, -1]
    return average


def _equal_error_rate(tp: _Array, fp: _Array) -> _Array:
    """Rate at which the straight segments of the ROC cross false positive rate = false negative rate."""
    fpr = fp / fp[:, -1:]
    excess = fpr - (1 - tp / tp[:, -1:])  # rises from -1 to 1
    right = np.argmax(excess >= 0, axis=1)
    rows, left = np.arange(len(tp)), right - 1
    share = -excess[rows, left] / (excess[rows, right] - excess[rows, left])
    rate: _Array = fpr[rows, left] + share * (fpr[rows, right] - fpr[rows, left])
    return rate


def _calibration_error(prob: _Array, fake: _Array, counts_RN: _Array, num_bins: int) -> _Array:
    """Expected calibration error; summing differences per bin avoids dividing by a bin's number of videos."""
    differences_NM = np.zeros((prob.size, num_bins))
    differences_NM[np.arange(prob.size), _bin_of(prob, num_bins)] = prob - fake
    return _ratio(np.abs(counts_RN @ differences_NM).sum(axis=1), counts_RN.sum(axis=1))


def _bin_of(prob: _Array, num_bins: int) -> _Array:
    """Bin of each probability; an edge belongs to the bin below it, as in Guo et al. 2017 and in scikit-learn."""
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, got {num_bins}")
    place: _Array = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], prob, side="left")
    return place


def _brier(prob: _Array, fake: _Array, counts_RN: _Array) -> _Array:
    return _ratio(counts_RN @ (prob - fake) ** 2, counts_RN.sum(axis=1))


def _negative_log_likelihood(prob: _Array, fake: _Array, counts_RN: _Array) -> _Array:
    of_label = np.clip(np.where(fake, prob, 1 - prob), SMALLEST_PROB, None)
    return _ratio(counts_RN @ -np.log(of_label), counts_RN.sum(axis=1))


def _ratio(part: _Array, whole: _Array) -> _Array:
    ratio: _Array = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percentile_interval(values: _Array, confidence: float) -> tuple[float, float] | None:
    # Only precision can be undefined in a resample while the metric of the whole sample is defined.
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
