"""Tables of an evaluation's report; every number has its count of videos and, where there is one, its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfd.metrics.groups import BY_GROUP
from dfd.metrics.intervals import MIN_OF_LABEL
from dfd.metrics.segments import IOUS, MAX_PROPOSALS
from dfd.metrics.significance import holm
from dfd.report.page.document import Cell, Table
from dfd.report.page.formatting import DASH, estimate, interval_of, number, p_value

NO_BREAK = "\u00a0"
SEEN = {True: "trained on", False: "new", None: "not known"}
METRICS = {
    **{"auc": "AUC", "ap": "AP", "eer": "EER", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
    **{"recall": "fakes found", "recall_real": "real left alone"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A detector with its scored videos and what :func:`dfd.evaluation.labelled.measured.measured` found."""

    name: str
    table: pd.DataFrame
    metrics: Mapping[str, Any]
    threshold: float
    origin: str
    """Where the scores come from: the detector's file, or the table of scores."""


def videos_table(subjects: Sequence[Subject]) -> Table:
    """Metrics over all videos."""
    names = ("auc", "ap", "eer", "balanced_accuracy", "accuracy", "recall", "recall_real")
    rows: list[list[Cell | str]] = [
        [
            subject.name,
            _counts(subject.metrics["overall"]),
            *(_estimated(subject.metrics["overall"], subject.metrics["intervals"], name) for name in names),
        ]
        for subject in subjects
    ]
    thresholds = "; ".join(f"{subject.name} {subject.threshold:g}" for subject in subjects)
    unscored = [
        f"{subject.name}: {missing} videos have no score and are left out"
        for subject in subjects
        if (missing := subject.metrics["overall"]["num_unscored"])
    ]
    return Table(
        "table_videos",
        "All videos, with 95 % intervals; fake is the positive class",
        ["detector", "real / fake", *(METRICS[name] for name in names)],
        rows,
        [
            f"Thresholds: {thresholds}. AUC, AP and EER do not depend on them.",
            "Intervals: percentile bootstrap of 1000 resamples within each label (200 above 20,000 videos), exact "
            "where that has no width. Videos of one person are not independent, so the true intervals are wider.",
            *(f"{sentence}." for sentence in unscored),
        ],
    )


def points_table(subjects: Sequence[Subject]) -> Table | None:
    """What is found at each bearable rate of false alarms, and what that means at the stated share of fakes."""
    rows: list[list[Cell | str]] = []
    for subject in subjects:
        for point in subject.metrics["operating_points"]:
            limit = point["max_fpr"]
            at = "its threshold" if limit is None else f"FPR ≤ {100 * limit:g}{NO_BREAK}%"
            rows.append(
                [
                    subject.name,
                    at,
                    DASH if point["threshold"] is None else f"{point['threshold']:.4g}",
                    estimate(point["tpr"], point["tpr_interval"]),
                    Cell(f"{point['fp']} of {point['num_real']}", "–".join(f"{e:.4f}" for e in point["fpr_interval"])),
                    estimate(point["ppv"], point["ppv_interval"]),
                    Cell(_fine(point["npv"]), _ends(point["npv_interval"], 4)),
                    Cell(_few(point["real_per_fake"]), _ends(point["real_per_fake_interval"], 1)),
                ]
            )
    if not rows:
        return None
    prevalence = float(subjects[0].metrics["prevalence"])
    num_real = min(point["num_real"] for subject in subjects for point in subject.metrics["operating_points"])
    notes = [
        f"PPV: share of fakes among the videos that are called fake, NPV: share of real ones among the others, both "
        f"where {100 * prevalence:g} % of all videos are fake (prevalence={prevalence:g}). Real per fake: how many "
        "real videos somebody sees for each fake found, who looks at every video that is called fake.",
        "The threshold of a row is the lowest score of these videos that keeps the rate of false alarms; on other "
        "videos it keeps another. Intervals of PPV, NPV and real per fake are draws from Jeffreys' distribution of "
        "both rates (Mossman and Berger 2001): where no real video was called fake, PPV is 1 and its interval below.",
    ]
    if num_real < 1000:
        notes.append(
            f"With {num_real} real videos, a rate of 0.1 % allows no false alarm at all"
            + (", and 1 % none either" if num_real < 100 else "")
            + "; take these rows as rough."
        )
    head = ["detector", "at", "threshold", "fakes found (TPR)", "false alarms", "PPV", "NPV", "real per fake"]
    return Table("table_points", "Operating points", head, rows, notes, num_labels=2)


def frames_table(subjects: Sequence[Subject]) -> Table | None:
    """Frame level beside video level, as published tables have it."""
    rows: list[list[Cell | str]] = []
    for subject in subjects:
        found = subject.metrics.get("frames")
        if not found:
            continue
        overall, ends = subject.metrics["overall"], subject.metrics["intervals"]
        cells = [(found, found["intervals"], found["unit"]), (overall, ends, "video")]
        for values, intervals, level in cells:
            shown = [_estimated(values, intervals, name) for name in ("auc", "ap", "eer")]
            rows.append([subject.name, level, _counts(values), *shown])
    if not rows:
        return None
    note = (
        "Each frame (or window of a clip) has its video's label. Intervals resample whole videos, since the frames of "
        "a video are alike. A video's score is made by the detector's own rule; of a table of scores, it is the mean."
    )
    head = ["detector", "level", "real / fake", "AUC", "AP", "EER"]
    return Table("table_frames", "Frame level beside video level", head, rows, [note], num_labels=2)


def kinds_table(subjects: Sequence[Subject]) -> Table | None:
    """AUC by kind of fake, those that a detector was trained on apart from new ones."""
    rows: list[list[Cell | str]] = []
    for subject in subjects:
        found = subject.metrics["kinds"]
        for side in (True, False, None):
            kinds = [kind for kind in found["kinds"] if kind["seen"] is side]
            for kind in kinds:
                shown = estimate(kind["auc"], kind["interval"])
                name = f"{kind['dataset']} / {kind['method']}"
                numbers = [number(kind[key]) for key in ("ap", "eer", "tpr_at_fpr_0.01")]
                rows.append([subject.name, SEEN[side], name, _counts(kind), shown, *numbers])
            mean = found[{True: "seen", False: "unseen", None: "unknown"}[side]]
            if mean and len(kinds) > 1:
                label = f"mean of {mean['num_kinds']}"
                rows.append([subject.name, SEEN[side], label, "", estimate(mean["auc"], mean["interval"]), *[DASH] * 3])
    if not rows:
        return None
    notes = [
        "A kind's fakes are compared with all real videos of their data set. Trained on: the detector's card names the "
        "method among those of its training; new: it names others. A mean counts each kind once, and never mixes the "
        "two.",
        f"No interval: fewer than {MIN_OF_LABEL} real or fake videos, or every resample gave the same number. AP, EER "
        "and TPR of a kind are of as few videos as its AUC.",
    ]
    head = [
        "detector",
        "kind is",
        "data set / method",
        "real / fake",
        "AUC",
        "AP",
        "EER",
        f"TPR at FPR{NO_BREAK}1{NO_BREAK}%",
    ]
    return Table("table_kinds", "By kind of fake", head, rows, notes, num_labels=3)


def sources_table(subjects: Sequence[Subject]) -> Table | None:
    """AUC within one source, and the worst group."""
    rows: list[list[Cell | str]] = []
    for subject in subjects:
        paired, worst = subject.metrics.get("paired"), subject.metrics.get("worst")
        if paired:
            counts = f"{paired['num_sources']} sources, {paired['num_pairs']} pairs"
            rows.append([subject.name, "within one source", counts, estimate(paired["auc"], paired["interval"])])
        if worst:
            shown = estimate(worst["auc"], worst["interval"])
            rows.append([subject.name, f"worst: {worst['what']}", _counts(worst), shown])
    if not rows:
        return None
    note = (
        "Within one source, a fake is only compared with real videos of the same person or source video: camera, place "
        "and person cannot tell them apart. Each source counts once, and sources are resampled. Worst: the lowest AUC "
        f"of a kind or group with {MIN_OF_LABEL} videos of each label or more; of many, one is low by chance, too."
    )
    head = ["detector", "videos", "number", "AUC"]
    return Table("table_sources", "Within one source, and worst group", head, rows, [note], num_labels=2)


def groups_table(subjects: Sequence[Subject], column: str) -> Table | None:
    """Metrics of groups of people or cameras, with the gap between the extremes."""
    rows: list[list[Cell | str]] = []
    warnings: list[str] = []
    for subject in subjects:
        found = subject.metrics.get("groups", {}).get(column)
        if not found:
            continue
        for group in found["groups"]:
            cells = [estimate(group[name], group[f"{name}_interval"]) for name in BY_GROUP]
            rows.append(
                [subject.name, group["group"] + (" (few)" if group["is_small"] else ""), _counts(group), *cells]
            )
        if found["gaps"]:
            gaps = [estimate(found["gaps"][name]["gap"], found["gaps"][name]["interval"]) for name in BY_GROUP]
            rows.append([subject.name, "gap, highest less lowest", "", *gaps])
        warnings += [f"{sentence}." for sentence in found["warnings"] if f"{sentence}." not in warnings]
    if not rows:
        return None
    note = (
        "Real left alone: share of real videos that are not called fake. The gap's interval is that of the two groups "
        "that are highest and lowest here; with many groups, some gap appears by chance."
    )
    head = ["detector", column, "real / fake", *(METRICS[name] for name in BY_GROUP)]
    return Table(f"table_groups_{column}", f"By {column}", head, rows, [note, *warnings], num_labels=2)


def segments_table(subjects: Sequence[Subject]) -> Table | None:
    """Temporal AP and AR, and the moments that a report would show."""
    rows: list[list[Cell | str]] = []
    for subject in subjects:
        found = subject.metrics.get("segments")
        if found:
            counts = f"{found['num_segments']} in {found['num_with_segments']} of {found['num_videos']} videos"
            moments = Cell(
                f"{found['moments_inside']} of {found['num_with_segments']}", interval_of(found["moments_interval"])
            )
            for place, iou in enumerate(f"{one:g}" for one in IOUS):
                values = [estimate(found[name][iou], found[f"{name}_intervals"][iou]) for name in ("ap", "ar")]
                once: list[Cell | str] = [DASH, DASH] if place else [counts, moments]
                rows.append([subject.name, iou, once[0], *values, once[1]])
    if not rows:
        return None
    note = (
        "Proposals are runs of windows above a level, ranked by their mean and by how far they stand out of the rest; "
        f"at most {MAX_PROPOSALS} of a video count. AP and AR at an overlap (IoU): area under precision and recall of "
        "all proposals, and share of the segments that any proposal finds. Highest moment: share of these videos whose "
        "highest window lies mostly in a labelled segment. With few windows a video (data.num_eval_clips) no proposal "
        "can fit well."
    )
    head = ["detector", "overlap (IoU)", "labelled segments", "AP", "AR", "highest moment inside"]
    return Table("table_segments", "Where in the video", head, rows, [note], num_labels=2)


def pairs_table(pairs: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Table | None:
    """Differences between detectors on the same videos."""
    if not pairs:
        return None
    adjusted = holm([found["p_value"] for _, _, found in pairs])
    rows: list[list[Cell | str]] = [
        [
            *(first, second, _counts(found)),
            f"{number(found['auc_first'])} / {number(found['auc_second'])}",
            estimate(found["difference"], found["interval"]),
            *(str(found["only_first_right"]), str(found["only_second_right"])),
            *(p_value(found["p_value"]), p_value(after)),
        ]
        for (first, second, found), after in zip(pairs, adjusted, strict=True)
    ]
    head = ["first", "second", "real / fake of both", "AUC", "difference of AUC"]
    head += ["only first right", "only second right", "p", "p after Holm"]
    note = (
        "On the videos that both scored. The difference's interval resamples videos for both at once. p is McNemar's "
        "exact test of whether the verdicts at the two thresholds are right equally often."
    )
    return Table("table_pairs", "Detectors on the same videos", head, rows, [note], num_labels=2)


def _counts(values: Mapping[str, Any]) -> str:
    return f"{values['num_real']} / {values['num_fake']}"


def _estimated(values: Mapping[str, Any], intervals: Mapping[str, Any], name: str) -> Cell:
    return estimate(values[name], intervals.get(name))


def _fine(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _few(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _ends(interval: tuple[float, float] | None, decimals: int) -> str:
    return "" if interval is None else "–".join(f"{end:.{decimals}f}" for end in interval)
