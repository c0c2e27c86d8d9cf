"""The numbers that say how good a detector is. FAKE is the positive class of every one of them.

Two forms: :func:`clip_metrics` accumulates clips during training (torchmetrics), :func:`video_metrics` and
:func:`metrics_by_group` evaluate finished tables of videos. A number that is not defined (AUC of one class, precision
when nothing was called fake) is nan in the first and None in the second, never 0.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, BinaryPrecision, BinaryRecall
from torchmetrics.utilities.data import dim_zero_cat

from dfd.types import Label

Metrics = dict[str, float | int | None]
_Array = NDArray[Any]


class _Precision(BinaryPrecision):
    def compute(self) -> Tensor:
        return _nan_unless(super().compute(), self.tp, self.fp)


class _Recall(BinaryRecall):
    def compute(self) -> Tensor:
        return _nan_unless(super().compute(), self.tp, self.fn)


class _F1(BinaryF1Score):
    def compute(self) -> Tensor:
        return _nan_unless(super().compute(), self.tp, self.fp, self.fn)


class _AUC(BinaryAUROC):
    def compute(self) -> Tensor:  # type: ignore[override]
        label = dim_zero_cat(self.target)
        if int(label.min()) == int(label.max()):
            return torch.tensor(torch.nan, device=label.device)
        return super().compute()


def clip_metrics(prefix: str) -> MetricCollection:
    """Accuracy, precision, recall, F1 (at 0.5) and AUC over clips, named ``<prefix>accuracy`` and so on.

    ``update`` takes ``prob_fake`` (B,) in 0..1 and ``label`` (B,). What is not defined is nan.

    >>> metrics = clip_metrics("val/")
    >>> metrics.update(torch.tensor([0.1, 0.9, 0.8]), torch.tensor([0, 1, 0]))
    >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}["val/precision"]
    0.5
    """
    return MetricCollection(
        {"accuracy": BinaryAccuracy(), "precision": _Precision(), "recall": _Recall(), "f1": _F1(), "auc": _AUC()},
        prefix=prefix,
    )


def video_metrics(prob_fake: ArrayLike, label: ArrayLike, *, threshold: float = 0.5) -> Metrics:
    """Every number of the reports for N videos; a video is called fake if ``prob_fake >= threshold``.

    Args:
        prob_fake: (N,) in 0..1.
        label: (N,) of :class:`~dfd.types.Label` or its integers.
        threshold: what ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall`` (of fakes), ``recall_real``,
            ``f1`` and the counts refer to; ``auc``, ``ap`` and ``eer`` do not depend on it.

    Returns:
        The numbers, ``majority_baseline`` (the accuracy of always giving the commoner answer), ``tp, fp, fn, tn`` and
        ``num_real, num_fake``. None where a number is not defined.

    Raises:
        ValueError: lengths differ, a probability is outside 0..1 or not a number, or a label is neither 0 nor 1.
    """
    prob, fake = _checked(prob_fake, label)
    called_fake = prob >= threshold
    tp, fp = int((called_fake & fake).sum()), int((called_fake & ~fake).sum())
    fn, tn = int((~called_fake & fake).sum()), int((~called_fake & ~fake).sum())
    num_fake, num_real = tp + fn, tn + fp
    recall, recall_real = _ratio(tp, num_fake), _ratio(tn, num_real)
    return {
        "accuracy": _ratio(tp + tn, fake.size),
        "balanced_accuracy": None if recall is None or recall_real is None else (recall + recall_real) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "recall_real": recall_real,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "auc": _auc(prob, fake),
        "ap": _average_precision(prob, fake),
        "eer": _equal_error_rate(prob, fake),
        "majority_baseline": _ratio(max(num_real, num_fake), fake.size),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "num_real": num_real,
        "num_fake": num_fake,
    }


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


def bootstrap_interval(
    prob_fake: ArrayLike,
    label: ArrayLike,
    metric: str,
    *,
    threshold: float = 0.5,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of one of :func:`video_metrics`; None if the metric is not defined.

    Videos are drawn anew within each class (Efron & Tibshirani 1993, stratified), so the interval is about the
    videos, not about the share of fakes. Videos of one person are not independent: the true interval is wider.

    >>> bootstrap_interval([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], "auc")
    (1.0, 1.0)
    """
    prob, fake = _checked(prob_fake, label)
    generator = np.random.default_rng(seed)
    groups = [indices for indices in (np.flatnonzero(fake), np.flatnonzero(~fake)) if indices.size]
    values = []
    for _ in range(num_resamples if groups else 0):
        drawn = np.concatenate([generator.choice(indices, indices.size) for indices in groups])
        value = video_metrics(prob[drawn], fake[drawn], threshold=threshold)[metric]
        if value is None:  # only a resample's precision can be undefined while the metric itself is not
            continue
        values.append(value)
    if not values or video_metrics(prob, fake, threshold=threshold)[metric] is None:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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
    tp, fp, thresholds = _cumulated(prob, fake)
    return np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1]), np.append(np.inf, thresholds)


def _checked(prob_fake: ArrayLike, label: ArrayLike) -> tuple[_Array, _Array]:
    prob, labels = np.asarray(prob_fake, dtype=np.float64), np.asarray(label)
    if prob.ndim != 1 or prob.shape != labels.shape:
        raise ValueError(f"prob_fake and label must be lists of one length, got {prob.shape} and {labels.shape}")
    if not ((prob >= 0) & (prob <= 1)).all():
        raise ValueError("prob_fake must be in 0..1 and not nan; leave out videos that have no score")
    if not np.isin(labels, [Label.REAL, Label.FAKE]).all():
        raise ValueError(f"labels must be {Label.REAL:d} (real) or {Label.FAKE:d} (fake)")
    return prob, labels == Label.FAKE


def _cumulated(prob: _Array, fake: _Array) -> tuple[_Array, _Array, _Array]:
    """True and false positives down to each distinct score, highest first, and these scores."""
    order = np.argsort(-prob, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(prob[order]) != 0, True))
    tp = np.cumsum(fake[order])[last_of_tie]
    return tp, last_of_tie + 1 - tp, prob[order][last_of_tie]


def _auc(prob: _Array, fake: _Array) -> float | None:
    if fake.all() or not fake.any():
        return None
    fpr, tpr, _ = roc_curve(prob, fake)
    return float(np.trapezoid(tpr, fpr))


def _average_precision(prob: _Array, fake: _Array) -> float | None:
    """Precision averaged over the fakes in order of score: a step function, as in scikit-learn, not interpolated."""
    if fake.all() or not fake.any():
        return None
    tp, fp, _ = _cumulated(prob, fake)
    return float(np.sum(np.diff(np.append(0, tp)) / tp[-1] * tp / (tp + fp)))


def _equal_error_rate(prob: _Array, fake: _Array) -> float | None:
    """Where the straight segments of the ROC cross false positive rate = false negative rate."""
    if fake.all() or not fake.any():
        return None
    fpr, tpr, _ = roc_curve(prob, fake)
    excess = fpr - (1 - tpr)  # rises from -1 to 1
    right = int(np.argmax(excess >= 0))
    left = right - 1
    share = -excess[left] / (excess[right] - excess[left])
    return float(fpr[left] + share * (fpr[right] - fpr[left]))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _nan_unless(value: Tensor, *counts: Tensor | list[Tensor]) -> Tensor:
    """``value`` if any of the counts below its fraction line is above 0."""
    total = torch.stack([dim_zero_cat(count) for count in counts]).sum(dim=0)
    return torch.where(total > 0, value, torch.nan)
