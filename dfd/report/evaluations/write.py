"""Writing the report of an evaluation: one page, its tables for papers, and figures as vectors."""

from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import dfd
from dfd.evaluation.labelled.measured import SEGMENTS, compared
from dfd.figures import style as plots
from dfd.figures.comparison import Dot, dots_with_intervals, roc_overlay
from dfd.figures.curves import reliability_diagram
from dfd.figures.timelines import timelines
from dfd.metrics.segments import parse_segments
from dfd.report.evaluations import tables
from dfd.report.evaluations.tables import Subject
from dfd.report.page.document import Document, Gallery, Picture, Section, Table, Text, write_csv, write_page
from dfd.report.page.formatting import estimate, listed, number
from dfd.report.page.latex import write_latex

MAX_TIMELINES = 6


def write_evaluation(
    subjects: Sequence[Subject], folder: Path, *, title: str, notes: Sequence[str] = (), made: Sequence[str] = ()
) -> Path:
    """Write ``report.html``, ``report.md``, ``tables.tex``, ``table_*.csv`` and the figures (PNG and PDF).

    Args:
        subjects: detectors on the same labelled videos.
        folder: output folder, created if missing.
        title: title of the report.
        notes: sentences about the data, such as names that fit no video.
        made: sentences on how the numbers came about.

    Returns:
        Path of report.html.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = evaluation_document(subjects, folder, title=title, notes=notes, made=made)
    for table in document.tables():
        write_csv(table, folder)
    write_latex(document.tables(), folder / "tables.tex")
    return write_page(document, folder)


def evaluation_document(
    subjects: Sequence[Subject], folder: Path, *, title: str, notes: Sequence[str] = (), made: Sequence[str] = ()
) -> Document:
    """Build the report, and write its figures to ``folder``."""
    pairs = _pairs(subjects)
    columns = list(dict.fromkeys(name for subject in subjects for name in subject.metrics.get("groups", {})))
    frames, points, kinds = tables.frames_table(subjects), tables.points_table(subjects), tables.kinds_table(subjects)
    sections = [
        _section("All videos", tables.videos_table(subjects), *_roc(subjects, folder)),
        _section("Operating points", points),
        _section("Frames and videos", frames),
        _section("Kinds of fakes", kinds, *_kinds_figures(subjects, folder)),
        _section("One source, worst group", tables.sources_table(subjects)),
        _section("Groups", *(tables.groups_table(subjects, name) for name in columns)),
        _section("Where in the video", tables.segments_table(subjects), *_timelines(subjects, folder)),
        _section("Calibration", *_reliability(subjects, folder)),
        _section("Detectors compared", tables.pairs_table(pairs)),
        Section("How this was made", [*map(Text, made), Text(_made(subjects))]),
    ]
    warnings = [*notes]
    for subject in subjects:
        warnings += [f"{s}." for found in subject.metrics.get("groups", {}).values() for s in found["warnings"]]
        if "splits" in subject.metrics and "train" in subject.metrics["splits"]:
            warnings.append(
                f"{subject.name}: all splits are measured together. A detector that was trained on this store has seen "
                "the videos of train, and its numbers are too good."
            )
    subtitle = (
        f"{len(subjects[0].table)} labelled videos · written {datetime.now():%Y-%m-%d %H:%M} · dfd {dfd.__version__}"
    )
    return Document(
        title,
        subtitle,
        [_summary(subject) for subject in subjects],
        list(dict.fromkeys(warnings)),
        [section for section in sections if section],
    )


def _section(heading: str, *blocks: Table | Picture | Gallery | None) -> Section | None:
    found = [block for block in blocks if block is not None]
    return Section(heading, found) if found else None


def _summary(subject: Subject) -> str:
    overall, intervals = subject.metrics["overall"], subject.metrics["intervals"]
    auc = estimate(overall["auc"], intervals.get("auc"))
    text = f"{subject.name}: AUC {auc} over {overall['num_real']} real and {overall['num_fake']} fake videos"
    for point in subject.metrics["operating_points"]:
        if point["max_fpr"] == 0.01 and overall["num_real"] >= 100:  # of fewer, 1 % is less than one video
            text += f". With at most 1 % of the real videos called fake it finds {number(point['tpr'])} of the fakes"
            if point["real_per_fake"] is not None:
                text += (
                    f"; where {100 * subject.metrics['prevalence']:g} % of all videos are fake, whoever looks at its "
                    f"alarms sees {point['real_per_fake']:.1f} real videos for each fake"
                )
    sides = subject.metrics["kinds"]
    means = [f"{words} {number(sides[side]['auc'])}" for side, words in _SIDES.items() if sides[side]]
    return f"{text}. Mean AUC over kinds of fakes, {listed(means)}." if means else f"{text}."


_SIDES = {"seen": "those of its training:", "unseen": "new ones:", "unknown": "not known whether new:"}


def _pairs(subjects: Sequence[Subject]) -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for first, second in combinations(subjects, 2):
        both = compared(first.table, second.table, thresholds=(first.threshold, second.threshold))
        if both is not None:
            found.append((first.name, second.name, both))
    return found


def _save(figure: Figure, folder: Path, name: str) -> Path:
    """Save a figure as PNG for the page, and as PDF for a paper; returns the PNG."""
    plots.save(figure, folder / f"{name}.pdf")
    return plots.save(figure, folder / f"{name}.png")


def _both(subject: Subject) -> pd.DataFrame | None:
    scored = subject.table[subject.table["prob_fake"].notna()]
    return scored if scored["label"].nunique() == 2 else None


def _roc(subjects: Sequence[Subject], folder: Path) -> list[Picture]:
    scores = {s.name: [(t["prob_fake"], t["label"])] for s in subjects if (t := _both(s)) is not None}
    if not scores:
        return []
    words = "; ".join(f"{s.name}: AUC {number(s.metrics['overall']['auc'])}" for s in subjects)
    caption = "ROC curves: fakes found against real videos called fake, over all thresholds."
    return [Picture(_save(roc_overlay(scores), folder, "roc"), caption, f"ROC curves. {words}.", narrow=True)]


def _reliability(subjects: Sequence[Subject], folder: Path) -> list[Picture | Gallery]:
    pictures = []
    for place, subject in enumerate(subjects, start=1):
        scored = _both(subject)
        if scored is not None:
            figure = reliability_diagram({subject.name: scored["prob_fake"]}, scored["label"])
            error = number(subject.metrics["overall"]["ece"])
            caption = f"{subject.name}: share of fakes against the score; calibration error {error}."
            pictures.append(Picture(_save(figure, folder, f"reliability_{place}"), caption, caption, narrow=True))
    return [Gallery(pictures)] if len(pictures) > 1 else [*pictures]


def _kinds_figures(subjects: Sequence[Subject], folder: Path) -> list[Picture]:
    pictures = []
    for place, subject in enumerate(subjects, start=1):
        kinds = subject.metrics["kinds"]["kinds"]
        if len(kinds) < 2:
            continue
        order = sorted(kinds, key=lambda kind: (kind["seen"] is not True, kind["seen"] is None, -(kind["auc"] or 0)))
        dots = [
            Dot(
                f"{kind['dataset']} / {kind['method']}",
                (kind["auc"], kind["interval"]),
                f"{kind['num_real']} real, {kind['num_fake']} fake",
                is_known=bool(kind["seen"]),
            )
            for kind in order
        ]
        figure = dots_with_intervals(dots, quantity="AUC at video level", title=subject.name, known_as="kind")
        caption = f"{subject.name}: AUC of each kind; hollow: it was trained on this kind."
        words = "; ".join(f"{dot.name} {number(dot.estimate[0])}" for dot in dots)
        pictures.append(Picture(_save(figure, folder, f"kinds_{place}"), caption, f"{caption} {words}"))
    return pictures


def _timelines(subjects: Sequence[Subject], folder: Path) -> list[Picture]:
    pictures = []
    for place, subject in enumerate(subjects, start=1):
        if "segments" not in subject.metrics:
            continue
        rows = subject.table[subject.table[SEGMENTS].fillna("").astype(str).str.strip() != ""]
        chosen = [row for row in rows.to_dict("records") if isinstance(row.get("windows"), list)][:MAX_TIMELINES]
        curves = {
            str(row.get("name") or row["video_id"]): (row["windows"], parse_segments(str(row[SEGMENTS])))
            for row in chosen
        }
        figure = timelines(curves, threshold=subject.threshold)
        caption = f"{subject.name}: score over time of the first {len(curves)} videos with labelled segments (shaded)."
        pictures.append(Picture(_save(figure, folder, f"timelines_{place}"), caption, caption))
    return pictures


def _made(subjects: Sequence[Subject]) -> str:
    origins = "; ".join(f"{subject.name}: {subject.origin}" for subject in subjects)
    return (
        f"Scores: {origins}. Every table is also in table_*.csv and in tables.tex (booktabs), every figure also as PDF "
        "(vectors; lines of 1.5 points, text of 8 to 10 points, and Okabe and Ito's palette, which readers with any "
        "colour vision can tell apart). metrics.json holds every number unrounded."
    )
