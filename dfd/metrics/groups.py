"""Metrics by kinds of fakes, by groups of people, and within one source."""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfd.base.types import Label
from dfd.metrics.formulas import Array, auc, cumulated, drawn, percentiles
from dfd.metrics.intervals import MIN_OF_LABEL, intervals
from dfd.metrics.videos import NUM_RESAMPLES, RESAMPLED_AT_ONCE, Interval, bootstrap_draws, video_metrics

BY_GROUP = ("auc", "recall", "recall_real")
"""Metrics of :func:`by_column` that get an interval and a gap."""


def by_kind(
    table: pd.DataFrame, seen: Mapping[str, bool | None], *, num_resamples: int = NUM_RESAMPLES
) -> dict[str, Any]:
    """AUC of each kind of fakes (a method of a data set) against the real videos of its data set, and their means.

    Kinds that the detector was trained on are never mixed with others: their mean is one number, that of the others
    another. Both intervals come from the same draws as the kinds' own, since kinds share their real videos.

    Args:
        table: scored videos with the columns ``dataset``, ``method``, ``label`` and ``prob_fake``.
        seen: whether the detector was trained on a kind, by ``dataset/method``; None or missing: unknown.
        num_resamples: number of resamples.

    Returns:
        ``{"kinds": [{"dataset", "method", "seen", "num_real", "num_fake", "auc", "interval", "ap", "eer"}], "seen":
        mean, "unseen": mean, "unknown": mean}``, where a mean is ``{"num_kinds", "auc", "interval"}`` or None. A kind
        without real videos has no AUC and is in no mean. An interval is None with fewer than ``MIN_OF_LABEL`` videos of
        a label, or without width.
    """
    kinds: list[dict[str, Any]] = []
    draws: dict[str, list[Array]] = defaultdict(list)
    for dataset, rows in table.groupby("dataset"):
        is_fake = rows["label"] == Label.FAKE
        real = rows.loc[~is_fake, "prob_fake"].to_numpy(float)
        for method, fakes in rows[is_fake].groupby("method"):
            fake = fakes["prob_fake"].to_numpy(float)
            known = seen.get(f"{dataset}/{method}")
            prob, label = np.concatenate([real, fake]), np.repeat([0, 1], [real.size, fake.size])
            values = video_metrics(prob, label)
            kind: dict[str, Any] = {"dataset": str(dataset), "method": str(method), "seen": known}
            kind |= {name: values[name] for name in ("num_real", "num_fake", "auc", "ap", "eer", "tpr_at_fpr_0.01")}
            if real.size:
                drawn_R = _auc_draws(real, fake, (str(dataset), str(method)), num_resamples)
                draws[_side(known)].append(drawn_R)
                kind["interval"] = _wide(drawn_R) if min(real.size, fake.size) >= MIN_OF_LABEL else None
            kinds.append({"interval": None, **kind})
    means: dict[str, Any] = {}
    for side in ("seen", "unseen", "unknown"):
        found = [kind for kind in kinds if _side(kind["seen"]) == side and kind["auc"] is not None]
        means[side] = None
        if found:
            ends = _wide(np.mean(draws[side], axis=0)) if all(kind["interval"] for kind in found) else None
            auc_of_kinds = float(np.mean([kind["auc"] for kind in found]))
            means[side] = {"num_kinds": len(found), "auc": auc_of_kinds, "interval": ends}
    return {"kinds": kinds, **means}


def _side(seen: bool | None) -> str:
    return "unknown" if seen is None else "seen" if seen else "unseen"


def _auc_draws(real: Array, fake: Array, names: Sequence[str], num_resamples: int) -> Array:
    """AUC in each resample, (R,); kinds of one data set draw the same real videos."""
    of_real, of_fake = (np.random.default_rng(zlib.crc32("/".join(part).encode())) for part in (names[:1], names))
    prob = np.concatenate([real, fake])
    is_fake = np.repeat([False, True], [real.size, fake.size])
    order = np.argsort(-prob, kind="stable")
    parts: list[Array] = []
    while (done := sum(map(len, parts))) < num_resamples:
        size = min(num_resamples - done, max(1, RESAMPLED_AT_ONCE // prob.size))
        counts_RN = np.hstack([drawn(real.size, size, of_real), drawn(fake.size, size, of_fake)])
        parts.append(auc(*cumulated(prob[order], is_fake[order], counts_RN[:, order])[:2]))
    return np.concatenate(parts)


def _wide(values: Array) -> Interval | None:
    ends = percentiles(values)
    return None if ends is None or ends[1] - ends[0] < 1e-9 else ends


def paired_auc(table: pd.DataFrame, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> dict[str, Any] | None:
    """AUC of real against fake videos of the same source, averaged over sources.

    The videos of one source show the same person, place and camera, so only the forgery is left to tell them apart. A
    fake of two sources counts in both. Sources are resampled for the interval.

    Args:
        table: scored videos with ``label``, ``prob_fake`` and ``source_ids`` (separated by ``;``).
        num_resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        ``{"auc", "interval", "num_sources", "num_pairs", "lowest": [{"source", "auc", "num_real", "num_fake"}]}`` with
        the five sources of lowest AUC; None if no source has both a real and a fake video.
    """
    by_source: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for ids, label, prob in zip(table["source_ids"], table["label"], table["prob_fake"], strict=True):
        for source in filter(None, str(ids).split(";")):
            by_source[source][int(label == Label.FAKE)].append(float(prob))
    found = []
    for source, (real, fake) in sorted(by_source.items()):
        if real and fake:
            above = np.subtract.outer(np.array(fake), np.array(real))
            value = float((above > 0).mean() + (above == 0).mean() / 2)
            found.append({"source": source, "auc": value, "num_real": len(real), "num_fake": len(fake)})
    if not found:
        return None
    values = np.array([one["auc"] for one in found])
    counts_RN = drawn(values.size, num_resamples, np.random.default_rng(seed))
    return {
        "auc": float(values.mean()),
        "interval": _wide(counts_RN @ values / values.size) if values.size >= MIN_OF_LABEL else None,
        "num_sources": len(found),
        "num_pairs": sum(int(one["num_real"]) * int(one["num_fake"]) for one in found),  # type: ignore[call-overload]
        "lowest": sorted(found, key=lambda one: (one["auc"], one["source"]))[:5],
    }


def by_column(table: pd.DataFrame, column: str, *, threshold: float) -> dict[str, Any]:
    """Metrics of the videos of each value of a column, such as ``skin_tone``, and the gap between the extremes.

    Only groups with ``MIN_OF_LABEL`` real and fake videos take part in the gap. Its interval is that of the difference
    of the two groups that are highest and lowest on all videos, each resampled on its own.

    Args:
        table: scored videos with ``label``, ``prob_fake`` and the column; empty cells are a group of their own that
            takes no part in the gap.
        column: name of the column.
        threshold: probability from which a video is called fake.

    Returns:
        ``{"groups": [{"group", "num_real", "num_fake", "is_small", "auc", "auc_interval", "recall", ...}], "gaps":
        {metric: {"gap", "interval", "lowest", "highest"}}, "warnings": [...]}``.
    """
    groups, draws, warnings = [], {}, []
    for value, rows in table.groupby(table[column].fillna("").astype(str).str.strip()):
        prob, label = rows["prob_fake"].to_numpy(float), rows["label"].to_numpy(int)
        values = video_metrics(prob, label, threshold=threshold)
        name = str(value) or "not known"
        is_small = min(int(values["num_real"] or 0), int(values["num_fake"] or 0)) < MIN_OF_LABEL
        ends = intervals(prob, label, BY_GROUP, threshold=threshold)
        group: dict[str, Any] = {
            "group": name,
            "num_real": values["num_real"],
            "num_fake": values["num_fake"],
            "is_small": is_small,
        }
        for metric in BY_GROUP:
            group |= {metric: values[metric], f"{metric}_interval": None if is_small else ends[metric]}
        groups.append(group)
        if is_small:
            warnings.append(
                f"{column} {name}: {group['num_real']} real and {group['num_fake']} fake videos are too few to compare "
                f"(at least {MIN_OF_LABEL} of each)"
            )
        elif value:
            seed = zlib.crc32(name.encode())  # groups are drawn independently of each other
            draws[name] = bootstrap_draws(prob, label, BY_GROUP, threshold=threshold, seed=seed)
    return {"groups": groups, "gaps": _gaps(groups, draws), "warnings": warnings}


def _gaps(groups: Iterable[Mapping[str, Any]], draws: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
    compared = [group for group in groups if group["group"] in draws]
    gaps: dict[str, Any] = {}
    for metric in BY_GROUP if len(compared) > 1 else ():
        lowest, highest = (choose(compared, key=lambda group: group[metric]) for choose in (min, max))
        difference = draws[highest["group"]][metric] - draws[lowest["group"]][metric]
        gaps[metric] = {
            "gap": highest[metric] - lowest[metric],
            "interval": _wide(difference),
            "lowest": lowest["group"],
            "highest": highest["group"],
        }
    return gaps
