"""Metrics over scored videos, with bootstrap intervals. FAKE is the positive class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dfd.base.types import Label
from dfd.metrics.formulas import (
    COUNTS,
    Array,
    checked,
    cumulated,
    once,
    or_none,
    percentiles,
    resample,
    resampled,
)

Metrics = dict[str, float | int | None]
Interval = tuple[float, float]

RESAMPLED_AT_ONCE = 2**20
"""Videos times resamples processed at once: some tens of megabytes."""
NUM_RESAMPLES = 1000


def video_metrics(prob_fake: ArrayLike, label: ArrayLike, *, threshold: float = 0.5) -> Metrics:
    """Compute all metrics of the reports for N videos; a video is called fake if ``prob_fake >= threshold``.

    Args:
        prob_fake: (N,) in 0..1.
        label: (N,) of :class:`~dfd.base.types.Label` or its integers.
        threshold: threshold for ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall`` (of fakes),
            ``recall_real``, ``f1`` and the counts; the other metrics do not depend on it.

    Returns:
        The metrics above, ``auc``, ``ap``, ``eer``, ``tpr_at_fpr_0.001``, ``_0.01`` and ``_0.05`` (share of fakes found
        with the lowest threshold that calls at most this share of the real videos fake), ``ece``
        (:func:`~dfd.metrics.calibration.expected_calibration_error`), ``brier``, ``nll`` (mean negative log-likelihood
        of the labels, in nats; see :data:`~dfd.metrics.formulas.SMALLEST_PROB`), ``majority_baseline`` (accuracy of
        always giving the more common answer), ``tp, fp, fn, tn`` and ``num_real, num_fake``. None for an undefined
        metric.

    Raises:
        ValueError: when lengths differ, a probability is outside 0..1 or not a number, or a label is neither 0 nor 1.
    """
    prob, fake = checked(prob_fake, label)
    values = {name: column[0] for name, column in resampled(prob, fake, once(prob), threshold).items()}
    return {name: int(values[name]) if name in COUNTS else or_none(values[name]) for name in values}


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
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> dict[str, Interval | None]:
    """Percentile bootstrap intervals of some of :func:`video_metrics`, all over the same resamples.

    Videos are resampled within each class (stratified; Efron & Tibshirani 1993), so an interval is about the videos,
    not about the share of fakes. Videos of one person are not independent: the true interval is wider. If every
    resample gives the same number, as below, the interval has no width; do not present that as certainty.

    >>> bootstrap_intervals([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], ["auc"])
    {'auc': (1.0, 1.0)}

    Args:
        prob_fake: as for :func:`video_metrics`.
        label: as for :func:`video_metrics`.
        threshold: as for :func:`video_metrics`.
        metrics: names of metrics.
        confidence: share of the resamples between the ends.
        num_resamples: number of resamples.
        seed: seed of the draws.
        clusters: (N,) what is drawn as a whole, such as the video of each frame: frames of one video are alike, and
            counting each would make the interval far too narrow. None draws every score by itself.

    Returns:
        Low and high end by metric; None if the metric is undefined.
    """
    options: dict[str, Any] = {"threshold": threshold, "num_resamples": num_resamples, "seed": seed}
    draws = bootstrap_draws(prob_fake, label, metrics, clusters=clusters, **options)
    whole = video_metrics(prob_fake, label, threshold=threshold)
    return {name: None if whole[name] is None else percentiles(draws[name], confidence) for name in metrics}


def bootstrap_draws(
    prob_fake: ArrayLike,
    label: ArrayLike,
    metrics: Sequence[str],
    *,
    threshold: float = 0.5,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> dict[str, Array]:
    """Values of metrics in each resample of :func:`bootstrap_intervals`, (R,) by name."""
    prob, fake = checked(prob_fake, label)
    order = np.argsort(-prob, kind="stable")  # once, not for every part of the resamples
    prob, fake = prob[order], fake[order]
    generator = np.random.default_rng(seed)
    names = np.arange(prob.size) if clusters is None else np.asarray(clusters)[order]
    _, first, cluster_of = np.unique(names, return_index=True, return_inverse=True)
    parts: dict[str, list[Array]] = {name: [] for name in metrics}
    done = 0
    while done < num_resamples:
        size = min(num_resamples - done, max(1, RESAMPLED_AT_ONCE // max(1, prob.size)))
        counts_RN = resample(fake[first], size, generator)
        counts_RN = counts_RN if clusters is None else counts_RN[:, cluster_of]
        values = resampled(prob, fake, counts_RN, threshold, metrics)
        for name in metrics:
            parts[name].append(values[name])
        done += size
    return {name: np.concatenate(values) for name, values in parts.items()}


def roc_curve(prob_fake: ArrayLike, label: ArrayLike) -> tuple[Array, Array, Array]:
    """False and true positive rates and their thresholds; a video at or above a threshold is called fake.

    All have length M + 1 for M distinct scores, from (0, 0) at an infinite threshold to (1, 1). Videos with equal
    scores move together, so ties give a sloped step.

    Raises:
        ValueError: when a class is missing, or :func:`video_metrics` raises it.
    """
    prob, fake = checked(prob_fake, label)
    if fake.all() or not fake.any():
        raise ValueError("a ROC curve needs videos of both classes")
    tp, fp, thresholds = cumulated(prob, fake, once(prob))
    return fp[0] / fp[0, -1], tp[0] / tp[0, -1], np.append(np.inf, thresholds)
