"""Sections of a model card about what was measured: training data, metrics, verdict and input."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfd.base.types import Label
from dfd.models.files.card import DetectorCard
from dfd.models.files.markdown import (
    UNKNOWN,
    _counts,
    _flat,
    _mapping,
    _plain,
    _range,
    _table,
    _value,
    escaped,
)
from dfd.models.files.scope import KINDS, MIN_FAKES, Scope

_IDENTITIES = {
    "index_sha256": "SHA-256 of the store's index",
    "manifest_sha256": "SHA-256 of the manifest",
    "videos_sha256": "SHA-256 of the list of videos and splits",
}


def data_section(card: DetectorCard) -> str:
    """Training data: store, splits, data sets, methods, and whether people are kept apart."""
    data = card.data
    if not data:
        return "Unknown: the card says nothing about it."
    parts = [f"Clip store: {_value(data, 'store')}."]
    splits = {name: part for name, part in _mapping(data, "splits").items() if isinstance(part, Mapping)}
    if splits:
        rows = [
            [
                escaped(name),
                _value(part, "num_videos"),
                *(_value(_mapping(part, "labels"), str(label)) for label in Label),
                _counts(_mapping(part, "datasets")),
                _counts(_mapping(part, "methods")),
            ]
            for name, part in splits.items()
        ]
        heads = ["split", "videos", *(str(label) for label in Label), "data sets (videos)", "methods (videos)"]
        parts.append(_table(heads, rows))
    else:
        parts.append("How many videos and of what kind: unknown.")
    if data.get("blend"):
        parts.append(
            "It was trained on the real videos, and on fakes made from them by blending (Shiohara and Yamasaki, CVPR "
            "2022); numbers on splits of this store are on such fakes, too."
        )
    parts.append(_apartness(_mapping(data, "split")))
    known = [f"- {words}: `{_plain(data[key])}`" for key, words in _IDENTITIES.items() if data.get(key)]
    parts.append("\n".join(known) if known else "Hash of the manifest or index: unknown.")
    return "\n\n".join(parts)


def _apartness(split: Mapping[str, Any]) -> str:
    """Sentence on whether a person or source is in two splits."""
    if not split:
        return "How the splits were made, and whether they share people or sources: unknown."
    shared = [
        f"{escaped(pair)} share {_value(numbers, 'num_source_ids')} people or sources"
        for pair, numbers in _mapping(split, "overlap").items()
        if isinstance(numbers, Mapping) and numbers.get("num_source_ids")
    ]
    mode = f"Split by `split={_plain(split.get('mode', UNKNOWN))}`"
    if shared:
        return f"{mode}: **{'; '.join(shared)}**, so its metrics are better than on new people."
    if not split.get("overlap"):
        return f"{mode}; whether the splits share people or sources: unknown."
    return f"{mode}; no person or source that the manifest names is in two of them."


def metrics_section(card: DetectorCard) -> str:
    """Metrics on validation and test."""
    if not card.metrics:
        return _test(card) or "Unknown: the card holds none."
    val = _mapping(_mapping(card.data, "splits"), "val")
    labels = _mapping(val, "labels")
    counted = ", ".join(f"{_value(labels, str(label))} {label}" for label in Label)
    blends = ", and its fakes are blends of the training's own making" if card.data.get("blend") else ""
    return "\n\n".join(
        [
            f"On the validation split ({_value(val, 'num_videos')} videos: {counted}), when the weights were saved. "
            f"The epoch was chosen on it{blends}, so expect lower values on other videos. Fake is the positive class. "
            "These are figures for experts: they compare trainings, and say little about videos of another origin."
            + ("" if card.test else " The card holds no result of a test."),
            _table(["metric", "value"], [[escaped(name), f"{value:.4g}"] for name, value in card.metrics.items()]),
            *([_test(card)] if card.test else []),
        ]
    )


def _test(card: DetectorCard) -> str:
    """Result on a test split that influenced no choice; empty if there is none."""
    test = card.test
    if not test:
        return ""
    intervals = _mapping(test, "intervals")
    rows = [
        [escaped(name), _flat(value), _range(intervals.get(name))] for name, value in _mapping(test, "metrics").items()
    ]
    unscored = test.get("num_unscored")
    lost = f" {escaped(unscored)} more have no score and count neither as right nor as wrong." if unscored else ""
    return "\n\n".join(
        [
            f"On the {_value(test, 'split')} split of the store {_value(test, 'store')}, which chose nothing, per "
            f"{_value(test, 'level')}: {_value(test, 'num_real')} real and {_value(test, 'num_fake')} fake ones, each "
            f"scored by up to {_value(test, 'windows_per_track')} clips of a face, and called fake from a probability "
            f"of {_flat(test.get('threshold', UNKNOWN))} on.{lost} Index of that store: "
            f"`{_plain(test.get('index_sha256') or UNKNOWN)}`.",
            _table(["metric", "value", "95 % interval"], rows),
            *_points(test),
        ]
    )


def _points(test: Mapping[str, Any]) -> list[str]:
    """Operating points: what is found at a bearable rate of false alarms, and what an alarm is worth in use."""
    found = test.get("operating_points")
    points = [point for point in found if isinstance(point, Mapping)] if isinstance(found, list) else []
    if not points:
        return []
    heads = ["at", "threshold", "fakes found", "real videos called fake", "PPV", "NPV", "real videos per fake found"]
    rows = []
    for point in points:
        limit = point.get("max_fpr")
        at = "its threshold" if limit is None else f"false positive rate up to {_flat(limit)}"
        names = ("tpr", "fpr", "ppv")
        shares = [f"{_flat(point.get(name))} ({_range(point.get(f'{name}_interval'))})" for name in names]
        rest = [UNKNOWN if point.get(name) is None else _flat(point[name]) for name in ("npv", "real_per_fake")]
        threshold = point.get("threshold")
        rows.append([at, "–" if threshold is None else _flat(threshold), *shares, *rest])
    return [
        f"Operating points on these videos, with 95 % intervals. PPV is the share of fakes among the videos that are "
        f"called fake, NPV that of real ones among the others, if the share of fakes among all videos is "
        f"{_value(test, 'prevalence')}.",
        _table(heads, rows),
    ]


def scope_section(card: DetectorCard) -> str:
    """Kinds of fakes that it was measured on."""
    scope = Scope.of(card.scope)
    if not scope.kinds:
        return "On which kinds of fakes it works was not measured (`dfd evaluate update_scope=true`)."
    rows = [
        [
            words,
            f"{one.auc:.3f}",
            _range(list(one.interval)),
            str(one.num_fake),
            str(one.num_real),
            UNKNOWN if one.found is None else f"{one.found:.0%}",
            "yes" if one.is_shown else "no",
        ]
        if (one := scope.kinds.get(kind))
        else [words, "not measured", "", "", "", "", "no"]
        for kind, words in KINDS.items()
    ]
    heads = ["kind", "video AUC", "95 % interval", "fake", "real", "found at the threshold", "shown to work"]
    alarms = "" if scope.false_alarms is None else f" It calls {scope.false_alarms:.0%} of the real videos fake."
    data = scope.data
    where = f"{_value(data, 'split')} split of the store {_value(data, 'store')}"
    sets = f"data sets: {_counts(_mapping(data, 'datasets'))}; forgeries: {_counts(_mapping(data, 'methods'))}"
    left_out = f"{_value(data, 'checked')}; {_value(data, 'left_out')} left out"
    return "\n\n".join(
        [
            f"Measured on the {where} ({sets}). Videos that made the detector: {left_out}.{alarms}",
            _table(heads, rows),
            f"A kind is shown to work where at least {MIN_FAKES} fakes and {MIN_FAKES} real videos were measured and "
            "the whole interval is above 0.5. The detector calls a video real only if every kind is shown and at least "
            "half of its fakes are found; else a low score is uncertain.",
        ]
    )


def verdict_section(card: DetectorCard) -> str:
    """How a score becomes a verdict."""
    order = ", ".join(f"{int(label)} is {label}" for label in Label)
    temperature = (
        "1, not calibrated: a score of 0.9 need not be right nine times in ten"
        if card.temperature is None
        else f"{card.temperature:.4g}, by which the logits are divided before the softmax"
    )
    lines = [
        f"- Order of the two probabilities: {order}; the softmax of two logits.",
        f"- Temperature: {temperature}.",
        f"- Threshold: {card.threshold:.4g}; from this probability of {Label.FAKE} on, a video is called fake.",
        "- A video's probability is the mean over a face's windows, and the maximum over its faces, unless other "
        "options are given.",
    ]
    if card.calibration:
        lines += [
            f"- Calibration, {escaped(name)}: {_flat(value)}"
            for name, value in card.calibration.items()
            if name != "labelled"
        ]
    else:
        lines.append("- How temperature and threshold were found: unknown; the card does not say.")
    return "\n".join(lines)


def input_section(card: DetectorCard) -> str:
    """What the network is shown."""
    extraction = _mapping(card.crop, "extraction")
    # Version 0.1 knew the square crop only, and wrote its options beside the others.
    crop = _mapping(extraction, "crop") or {"kind": "square", "margin_fraction": extraction.get("margin_fraction")}
    options = ", ".join(
        f"{escaped(key)} {UNKNOWN if value is None else _flat(value)}"
        for key, value in crop.items()
        if key not in ("kind", "size")
    )
    detector = _mapping(card.crop, "face_detector")
    others = ", ".join(
        f"{escaped(key)} {_flat(Path(str(value)).name if key == 'weights' and value else value)}"
        for key, value in detector.items()
        if key != "name"
    )
    return "\n".join(
        [
            f"- Square RGB pictures, uint8, {card.image_size} x {card.image_size} px.",
            f"- Clips of {card.clip_len} frames, {card.clip_stride} apart.",
            f"- Crop: {escaped(crop.get('kind', UNKNOWN))}{f' ({options})' if options else ''}.",
            f"- Face detector: {_value(detector, 'name')}{f' ({others})' if others else ''}.",
        ]
    )
