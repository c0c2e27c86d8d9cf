"""Everything that is measured of scored videos with known labels: of a detector of dfd, and of any other."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.metrics.formulas import TPRS
from dfd.metrics.groups import by_column, by_kind, paired_auc
from dfd.metrics.intervals import MIN_OF_LABEL, intervals
from dfd.metrics.operating import exact_interval, operating_points
from dfd.metrics.segments import Segment, moments_inside, parse_segments, proposals, temporal_metrics
from dfd.metrics.significance import mcnemar, paired_difference
from dfd.metrics.videos import bootstrap_intervals, metrics_by_group, resamples_for, video_metrics

WITH_INTERVAL = ("accuracy", "balanced_accuracy", "precision", "recall", "recall_real", "f1", "auc", "ap", "eer", *TPRS)
"""Metrics over all videos that get an interval."""
OF_FRAMES = ("auc", "ap", "eer")
"""Metrics that published tables give for frames."""
SEGMENTS = "fake_segments"
"""Column of a manifest with the labelled segments of a video."""
PREVALENCE = 0.01
"""Share of fakes in use that is assumed unless told otherwise."""

Window = tuple[float | None, float | None, float]
"""Start and end in seconds, None if not known, and probability of fake."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured beside the metrics of all videos.

    Attributes:
        threshold: probability from which a video is called fake.
        prevalence: share of fakes among the videos in use.
        groups: columns of the table whose values are compared, such as ``skin_tone``.
        methods: methods of the fakes that the detector was trained on; None if unknown.
        is_frame: whether a window is a single frame.
    """

    threshold: float
    prevalence: float = PREVALENCE
    groups: Sequence[str] = field(default=())
    methods: Collection[str] | None = None
    is_frame: bool = False


def trained_methods(*data: Mapping[str, Any]) -> set[str] | None:
    """Methods of the fakes of the trainings of one network or several, from the cards' ``data``.

    None if one of them does not name its methods: then nobody knows which are new.
    """
    methods = set[str]()
    for one in data:
        splits = one.get("splits")
        train = splits.get("train") if isinstance(splits, Mapping) else None
        found = train.get("methods") if isinstance(train, Mapping) else None
        known = {str(name) for name in found} - {"", "unknown"} if isinstance(found, Mapping) else set()
        if not known:
            return None
        methods |= known
    return methods


def seen_kinds(table: pd.DataFrame, methods: Collection[str] | None) -> dict[str, bool | None]:
    """Whether the detector was trained on each method, by ``dataset/method``; None where nobody can know.

    A method counts as seen wherever its fakes come from: another data set with the same method is not a new method.
    """
    fakes = table[table["label"] == Label.FAKE]
    kinds = sorted(set(zip(fakes["dataset"], fakes["method"], strict=True)))
    is_known = methods is not None
    return {
        f"{dataset}/{method}": method in (methods or ()) if is_known and method not in ("", "unknown") else None
        for dataset, method in kinds
    }


def measured(table: pd.DataFrame, options: Options) -> dict[str, Any]:
    """Metrics of a table of videos, fit for JSON.

    Args:
        table: columns ``video_id``, ``dataset``, ``method``, ``label`` (0 or 1) and ``prob_fake`` (nan: no score);
            where known ``source_ids``, ``split``, :data:`SEGMENTS`, the columns of ``options.groups``, and ``windows``,
            each video's list of :data:`Window`.
        options: what is measured.

    Returns:
        What :func:`~dfd.metrics.videos.metrics_by_group` gives, and ``intervals``, ``operating_points``,
        ``prevalence``, ``kinds`` (:func:`~dfd.metrics.groups.by_kind`), ``worst``, and where the table allows it
        ``splits``, ``frames``, ``paired`` (:func:`~dfd.metrics.groups.paired_auc`), ``groups``
        (:func:`~dfd.metrics.groups.by_column`) and ``segments`` (:func:`~dfd.metrics.segments.temporal_metrics`).

    Raises:
        ConfigError: a column of ``groups`` is missing, or a segment cannot be read.
    """
    lacking = [name for name in options.groups if name not in table]
    if lacking:
        raise ConfigError(f"groups names {lacking[0]!r}, which is no column of the labels; they have {_listed(table)}")
    threshold = options.threshold
    result = metrics_by_group(table, threshold=threshold)
    scored = table[table["prob_fake"].notna()]
    prob, label = scored["prob_fake"].to_numpy(float), scored["label"].to_numpy(int)
    result["intervals"] = intervals(prob, label, WITH_INTERVAL, threshold=threshold) if len(scored) else {}
    result["prevalence"] = options.prevalence
    result["operating_points"] = operating_points(prob, label, threshold=threshold, prevalence=options.prevalence)
    result["kinds"] = by_kind(scored, seen_kinds(scored, options.methods))
    if "split" in scored and scored["split"].nunique() > 1:
        result["splits"] = {
            str(name): video_metrics(rows["prob_fake"], rows["label"], threshold=threshold)
            for name, rows in scored.groupby("split")
        }
    if "windows" in scored:
        result["frames"] = _frames(scored, "frame" if options.is_frame else "window")
    if "source_ids" in scored and (paired := paired_auc(scored)):
        result["paired"] = paired
    if options.groups:
        result["groups"] = {name: by_column(scored, name, threshold=threshold) for name in options.groups}
    if SEGMENTS in scored and "windows" in scored and (found := _segments(scored)):
        result["segments"] = found
    result["worst"] = _worst(result)
    return result


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(sorted(set(map(str, table.columns)) - {"windows", "prob_fake"}))


def _frames(scored: pd.DataFrame, unit: str) -> dict[str, Any] | None:
    """AUC, AP and EER of all frames or windows, each with the label of its video; whole videos are resampled."""
    lists = [found if isinstance(found, list) else [] for found in scored["windows"]]
    lengths = [len(found) for found in lists]
    if not sum(lengths):
        return None
    prob = np.array([window[2] for found in lists for window in found], dtype=float)
    label, of_video = (np.repeat(values, lengths) for values in (scored["label"].to_numpy(int), np.arange(len(lists))))
    values = video_metrics(prob, label)
    num_resamples = resamples_for(prob.size)
    ends = bootstrap_intervals(prob, label, OF_FRAMES, clusters=of_video, num_resamples=num_resamples)
    few = min(len(set(of_video[label == one])) for one in Label) < MIN_OF_LABEL
    return {
        **{"unit": unit, "num_videos": sum(map(bool, lengths)), "num_resamples": num_resamples},
        **{"num_real": values["num_real"], "num_fake": values["num_fake"]},
        **{name: values[name] for name in OF_FRAMES},
        "intervals": {name: None if few or not end or end[0] == end[1] else end for name, end in ends.items()},
    }


def _segments(scored: pd.DataFrame) -> dict[str, Any] | None:
    """Temporal metrics over fakes with labelled segments and all real videos, where windows have times."""
    labelled, timed = {}, {}
    for video, label, text, windows in zip(
        *(scored[name] for name in ("video_id", "label", SEGMENTS, "windows")), strict=True
    ):
        known = [(w[0], w[1], w[2]) for w in windows if w[0] is not None] if isinstance(windows, list) else []
        text = "" if pd.isna(text) else str(text)
        if known and (text.strip() or label == Label.REAL):
            labelled[video] = segments_of(video, label, text)
            timed[video] = known
    if not any(labelled.values()):
        return None
    found = temporal_metrics(labelled, {video: proposals(windows) for video, windows in timed.items()})
    inside, total = moments_inside(labelled, timed)
    ends = exact_interval(inside, total) if total else None
    return {**found, "moments_inside": inside, "moments_interval": ends, "num_with_segments": total}


def segments_of(video: str, label: int, text: str) -> tuple[Segment, ...]:
    """Labelled segments of a video from its cell of :data:`SEGMENTS`.

    Raises:
        ConfigError: the cell cannot be read, or the video is real; the message names ``video``.
    """
    try:
        found = parse_segments(text)
    except ValueError as error:
        raise ConfigError(f"{SEGMENTS} of {video}: {error}") from error
    if found and label == Label.REAL:
        raise ConfigError(f"{SEGMENTS} of {video}: a real video has no fake segments; correct label or cell")
    return found


def _worst(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Data set, kind or group with the lowest AUC, of those with enough videos; None with fewer than two."""
    found = [
        {"what": f"{kind['dataset']} / {kind['method']}", **{key: kind[key] for key in ("auc", "interval")}}
        | {key: kind[key] for key in ("num_real", "num_fake")}
        for kind in result["kinds"]["kinds"]
        if kind["interval"]
    ]
    for column, measures in result.get("groups", {}).items():
        found += [
            {"what": f"{column} {group['group']}", "auc": group["auc"], "interval": group["auc_interval"]}
            | {key: group[key] for key in ("num_real", "num_fake")}
            for group in measures["groups"]
            if not group["is_small"]
        ]
    return min(found, key=lambda one: float(one["auc"])) if len(found) > 1 else None


def compared(first: pd.DataFrame, second: pd.DataFrame, *, thresholds: tuple[float, float]) -> dict[str, Any] | None:
    """Two detectors on the videos that both scored: difference of AUC with a paired interval, and McNemar's test.

    Args:
        first: table of :func:`measured` of the first detector.
        second: that of the second.
        thresholds: those of the two detectors.

    Returns:
        ``{"num_real", "num_fake", "auc_first", "auc_second", "difference", "interval", "only_first_right",
        "only_second_right", "p_value"}``; None if no video was scored by both.
    """
    columns = ["video_id", "label", "prob_fake"]
    both = first[columns].dropna().merge(second[columns].dropna(), on="video_id", suffixes=("", "_second"))
    if both.empty:
        return None
    label, prob, other = (both[name].to_numpy() for name in ("label", "prob_fake", "prob_fake_second"))
    fake = label == Label.FAKE
    test = mcnemar((prob >= thresholds[0]) == fake, (other >= thresholds[1]) == fake)
    difference = paired_difference(prob, other, label)
    return {
        **{"num_real": int((~fake).sum()), "num_fake": int(fake.sum())},
        **difference,
        **{"only_first_right": test.b, "only_second_right": test.c, "p_value": test.p_value},
    }
