"""The numbers that say how good a detector is. FAKE is the positive class of every one of them.

Two forms: :func:`clip_metrics` accumulates clips during training (torchmetrics), :func:`video_metrics` and
:func:`metrics_by_group` evaluate finished tables of videos. A number that is not defined (AUC of one class, precision
when nothing was called fake) is nan in the first and None in the second, never 0.

Whether a probability means what it says: :func:`expected_calibration_error`, :func:`brier_score` and
:func:`reliability_bins`.

How far such a number can be trusted: :func:`bootstrap_intervals` for one detector, :func:`mcnemar` for two on the same
videos, :func:`holm` for several comparisons at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    BinaryStatScores,
)
from torchmetrics.utilities.data import dim_zero_cat

from dfd.types import Label

Metrics = dict[str, float | int | None]
COUNTS = ("tp", "fp", "fn", "tn", "num_real", "num_fake")
"""Those of :func:`video_metrics` that count videos."""

_Array = NDArray[Any]
RESAMPLED_AT_ONCE = 2**20
"""Videos times resamples that are worked on at once: some tens of megabytes."""
CALIBRATION_BINS = 10
"""Of equal width, for the calibration error and the reliability diagram."""
SMALLEST_PROB = 2.0**-24
"""What a log-likelihood takes a probability of 0 for. A network's softmax in float32 cannot tell less from 1 than that,
and one wrong video at exactly 0 or 1 would make the likelihood of all of them infinite."""


class _Counts(BinaryStatScores):
    """Counts of right and wrong answers, for clips that have one: a score that is nan is neither.

    A batch of no clips counts nothing, where torchmetrics fails: one of several processes may have no more.
    """

    num_not_finite: Tensor

    def __init__(self) -> None:
        super().__init__(validate_args=False)  # the check copies every batch from the GPU, and waits for it
        self.add_state("num_not_finite", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.num_not_finite = self.num_not_finite + (~preds.isfinite()).sum()
        if target.numel():
            super().update(preds, target)

    def _if_defined(self, value: Tensor, *counts: Tensor | list[Tensor]) -> Tensor:
        """``value`` if any of the counts below its fraction line is above 0, and every score was a number."""
        total = torch.stack([dim_zero_cat(count) for count in counts]).sum(dim=0)
        return torch.where((total > 0) & (self.num_not_finite == 0), value, torch.nan)


class _Accuracy(_Counts, BinaryAccuracy):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp, self.fn, self.tn)


class _Precision(_Counts, BinaryPrecision):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp)


class _Recall(_Counts, BinaryRecall):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fn)


class _F1(_Counts, BinaryF1Score):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp, self.fn)


class _AUC(BinaryAUROC):
    def __init__(self) -> None:
        super().__init__(validate_args=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        if target.numel():
            super().update(preds, target)
        else:  # of the right types, for the other processes to gather
            self.preds.append(preds)
            self.target.append(target)

    def compute(self) -> Tensor:  # type: ignore[override]
        label, prob = dim_zero_cat(self.target), dim_zero_cat(self.preds)
        if int(label.min()) == int(label.max()) or not bool(prob.isfinite().all()):
            return torch.tensor(torch.nan, device=label.device)
        return super().compute()


def clip_metrics(prefix: str) -> MetricCollection:
    """Accuracy, precision, recall, F1 (at 0.5) and AUC over clips, named ``<prefix>accuracy`` and so on.

    ``update`` takes ``prob_fake`` (B,) in 0..1 and ``label`` (B,). What is not defined is nan, and so is every metric
    of a split in which one score is not finite: a network that has diverged has no accuracy.

    >>> metrics = clip_metrics("val/")
    >>> metrics.update(torch.tensor([0.1, 0.9, 0.8]), torch.tensor([0, 1, 0]))
    >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}["val/precision"]
    0.5
    """
    return MetricCollection(
        {"accuracy": _Accuracy(), "precision": _Precision(), "recall": _Recall(), "f1": _F1(), "auc": _AUC()},
        prefix=prefix,
        # What shares its counts. torchmetrics would find out from the first batch, and processes might disagree.
        compute_groups=[["accuracy", "precision", "recall", "f1"], ["auc"]],
    )


def video_metrics(prob_fake: ArrayLike, label: ArrayLike, *, threshold: float = 0.5) -> Metrics:
    """Every number of the reports for N videos; a video is called fake if ``prob_fake >= threshold``.

    Args:
        prob_fake: (N,) in 0..1.
        label: (N,) of :class:`~dfd.types.Label` or its integers.
        threshold: what ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall`` (of fakes), ``recall_real``,
            ``f1`` and the counts refer to; the others do not depend on it.

    Returns:
        The numbers, ``auc``, ``ap``, ``eer``, ``ece`` (:func:`expected_calibration_error`), ``brier``, ``nll`` (the
        mean negative log-likelihood of the labels, in nats; see ``SMALLEST_PROB``), ``majority_baseline`` (the accuracy
        of always giving the commoner answer), ``tp, fp, fn, tn`` and ``num_real, num_fake``. None where a number is not
        defined.

    Raises:
        ValueError: lengths differ, a probability is outside 0..1 or not a number, or a label is neither 0 nor 1.
    """
    prob, fake = _checked(prob_fake, label)
    values = {name: column[0] for name, column in _resampled(prob, fake, _once(prob), threshold).items()}
    return {name: int(values[name]) if name in COUNTS else _or_none(values[name]) for name in values}


def metrics_by_group(table: pd.DataFrame, *, threshold: float = 0.5) -> dict[str, Any]:
    """:func:`video_metrics` of a table of videos: overall, per data set and per method.

    ``table`` has the columns ``prob_fake``, ``label`` (0 or 1), ``dataset`` and ``method``. A video without a score
    (nan: no face, unreadable) is no evidence either way; it is left out and counted in ``num_unscored``. A method has
    fakes only, so it is set against all real videos of its data set.

    Returns:
        ``{"overall": metrics, "datasets": {name: metrics}, "methods": {"dataset/method": metrics}}``, fit for JSON.

    Raises:
        ValueError: a column is missing, or as in :func:`video_metrics`.
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
    """The percentile bootstrap intervals of some of :func:`video_metrics`, all over the same resamples.

    Videos are drawn anew within each class (Efron & Tibshirani 1993, stratified), so an interval is about the videos,
    not about the share of fakes. Videos of one person are not independent: the true interval is wider. Where every
    resample gives the same number, as here, the interval has no width: that is no certainty, nor to be shown as one.

    >>> bootstrap_intervals([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], ["auc"])
    {'auc': (1.0, 1.0)}

    Returns:
        Low and high end by metric; None if the metric is not defined.
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


def expected_calibration_error(
    prob_fake: ArrayLike, label: ArrayLike, *, num_bins: int = CALIBRATION_BINS
) -> float | None:
    """How far the probability of FAKE is from the share of fakes among the videos given it, on average over the videos.

    The videos are put into bins by their probability; of each bin the mean probability is set against the share of
    fakes, and the distances are averaged, weighted by the bins' numbers of videos (Naeini, Cooper & Hauskrecht 2015).
    It is the probability of FAKE and not that of the verdict (as in Guo et al. 2017), because that is the number users
    are shown, and alarms and acquittals may be off in different directions.

    The bins are of equal width, not of equal numbers: then they are the same ones for every detector, before and after
    calibration, and in every resample of a bootstrap. The price is that some hold few videos, whose share of fakes is
    off by chance: even a perfect detector's error is above 0, about 0.1 for 100 videos whose probabilities lie
    anywhere in 0..1, and it falls with the root of their number.

    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    >>> expected_calibration_error([1.0, 1.0, 0.0, 0.0], [1, 0, 0, 0])
    0.25

    Returns:
        In 0..1; None if there are no videos.

    Raises:
        ValueError: ``num_bins`` is below 1, or as in :func:`video_metrics`.
    """
    prob, fake = _checked(prob_fake, label)
    return _or_none(_calibration_error(prob, fake, _once(prob), num_bins)[0])


def brier_score(prob_fake: ArrayLike, label: ArrayLike) -> float | None:
    """The mean square of the distance from the probability of FAKE to what the video is, 0 or 1 (Brier 1950).

    Always 0.5 gives 0.25. Unlike the calibration error it needs no bins, and also rewards telling the labels apart.

    >>> brier_score([0.5, 1.0], [1, 1])
    0.125

    Returns:
        In 0..1; None if there are no videos.

    Raises:
        ValueError: as in :func:`video_metrics`.
    """
    prob, fake = _checked(prob_fake, label)
    return _or_none(_brier(prob, fake, _once(prob))[0])


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The videos whose probability is above ``low`` (in the first bin: at least) and at most ``high``.

    ``mean_prob`` is None if there are none.
    """

    low: float
    high: float
    count: int
    num_fake: int
    mean_prob: float | None

    @property
    def share_fake(self) -> float | None:
        """Of its videos; None if there are none."""
        return self.num_fake / self.count if self.count else None


def reliability_bins(
    prob_fake: ArrayLike, label: ArrayLike, *, num_bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of :func:`expected_calibration_error`, in order, empty ones too: what a reliability diagram draws.

    >>> reliability_bins([0.25, 0.375, 0.5, 1.0], [0, 0, 1, 1], num_bins=2)[0]
    ReliabilityBin(low=0.0, high=0.5, count=3, num_fake=1, mean_prob=0.375)

    Raises:
        ValueError: as in :func:`expected_calibration_error`.
    """
    prob, fake = _checked(prob_fake, label)
    edges, place = np.linspace(0, 1, num_bins + 1), _bin_of(prob, num_bins)
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


@dataclass(frozen=True, slots=True)
class McNemar:
    """What :func:`mcnemar` found: ``b`` videos that only the first got right, ``c`` that only the second did."""

    b: int
    c: int
    p_value: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """McNemar's exact test of whether two detectors are right on the same videos equally often.

    Only videos on which one is right and the other wrong say anything; if the two were equally good, each of these
    would be a fair coin (McNemar 1947; the binomial form, two-sided, which holds for few videos too).

    >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 0])
    McNemar(b=2, c=0, p_value=0.5)

    Args:
        correct_a: (N,) booleans, or 0 and 1: whether the first detector was right.
        correct_b: the same of the second, in the same order of videos.

    Raises:
        ValueError: the lists differ in length.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"correct_a and correct_b must be lists of one length, got {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return McNemar(only_a, only_b, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of one family of tests, adjusted by Holm's method (1979), in the order given.

    Below 0.05 afterwards is what would be below it if there had been one test only.

    >>> holm([0.04, 0.01, 0.5])
    [0.08, 0.03, 0.5]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def roc_curve(prob_fake: ArrayLike, label: ArrayLike) -> tuple[_Array, _Array, _Array]:
    """False and true positive rate when everything at or above a threshold is called fake, and the thresholds.

    All of length M + 1 for M distinct scores, from (0, 0) at a threshold of infinity to (1, 1). Videos of equal score
    move together, so ties make a slanted step.

    Raises:
        ValueError: there are not both classes, or as in :func:`video_metrics`.
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


# The numbers of R resamples of N videos at once: arrays (R, ...), nan where a number is not defined. A resample is how
# often each video was drawn, counts_RN; the videos themselves are the one that drew each of them once.


def _once(prob: _Array) -> _Array:
    return np.ones((1, prob.size), dtype=np.int64)


def _resample(fake: _Array, num_resamples: int, generator: np.random.Generator) -> _Array:
    """Draw as many videos of each class as there are, with replacement."""
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
    else:  # no ranking of one class
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
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "num_real": num_real,
        "num_fake": num_fake,
    }


def _cumulated(prob: _Array, fake: _Array, counts_RN: _Array) -> tuple[_Array, _Array, _Array]:
    """True and false positives from none to all, (R, M + 1) for M distinct scores, highest first, and these (M,)."""
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
    """Precision averaged over the fakes in order of score: a step function, as in scikit-learn, not interpolated."""
    precision = tp[:, 1:] / np.maximum(tp + fp, 1)[:, 1:]
    average: _Array = (np.diff(tp, axis=1) * precision).sum(axis=1) / tp[:, -1]
    return average


def _equal_error_rate(tp: _Array, fp: _Array) -> _Array:
    """Where the straight segments of the ROC cross false positive rate = false negative rate."""
    fpr = fp / fp[:, -1:]
    excess = fpr - (1 - tp / tp[:, -1:])  # rises from -1 to 1
    right = np.argmax(excess >= 0, axis=1)
    rows, left = np.arange(len(tp)), right - 1
    share = -excess[rows, left] / (excess[rows, right] - excess[rows, left])
    rate: _Array = fpr[rows, left] + share * (fpr[rows, right] - fpr[rows, left])
    return rate


def _calibration_error(prob: _Array, fake: _Array, counts_RN: _Array, num_bins: int) -> _Array:
    """A bin's number of videos times its distance is the sum of its videos' differences, so no bin is divided by."""
    differences_NM = np.zeros((prob.size, num_bins))
    differences_NM[np.arange(prob.size), _bin_of(prob, num_bins)] = prob - fake
    return _ratio(np.abs(counts_RN @ differences_NM).sum(axis=1), counts_RN.sum(axis=1))


def _bin_of(prob: _Array, num_bins: int) -> _Array:
    """An edge belongs to the bin below it, as in Guo et al. 2017 and in scikit-learn."""
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
    # Only a resample's precision can be undefined while the metric itself is not.
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
