"""The section of a report that shows a study: the table of its configurations, and the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfd.outcomes import Outcome
from dfd.report.document import Cell, Gallery, Picture, Section, Table, Text
from dfd.report.formatting import DASH, number
from dfd.report.repetitions import SEEDS_NOTE, Spread, spread
from dfd.report.results import Result, known
from dfd.report.study import MAX_COMPARED, Study
from dfd.report.study_groups import WORDS, Group, joined, shortened, test_numbers, total

BEST_NOTE = "A configuration is called the best only if every seed of it has a result; the others stand behind."
MAX_REMARKS = 12
MAX_SHOWN = 50
"""Rows of the table on the page."""


def study_section(study: Study, results: Sequence[Result], folder: Path) -> Section:
    """The table of all configurations, and the figures. ``results``: of the runs that are compared below."""
    tested = {result.run.folder: result for result in results if result.is_tested}
    keys = study.keys  # of several, each has a column; of one, it names the row

    def test_cell(group: Group, metric: str) -> Cell:
        values = [
            tested[job.run.folder].estimate(metric)[0] if job.run.folder in tested else test_numbers(job).get(metric)
            for job in group.finished or group.jobs
        ]
        return _cell(spread(map(known, values)))

    rows: list[list[Cell | str]] = [
        [
            *([group.name, group.folders] if len(keys) < 2 else [group.folders]),
            *([shortened(group.choices.get(key, DASH)) for key in keys] if len(keys) > 1 else []),
            group.outcome_words(WORDS),
            *([f"{len(group.finished)} of {len(group.jobs)}"] if study.is_repeated else []),
            _cell(group.spread),
            *(test_cell(group, metric) for metric in ("auc", "accuracy")),
            joined([job.num_epochs for job in group.jobs]) or DASH,
            _duration(total([job.record.seconds for job in group.jobs])),
            *([] if study.is_repeated else [group.message(with_pruned=False) or DASH]),
        ]
        for group in study.groups
    ]
    has_pruned = any(row.is_pruned for row in study.rows)
    metric = study.record.metric
    seeds = ["seeds"] if study.is_repeated else []
    table = Table(
        "table_study",
        f"Every {'configuration' if study.is_repeated else 'job'} of the study, best first by {metric}",
        [
            *(["choice", "job"] if len(keys) < 2 else ["job", *(key.rpartition(".")[2] for key in keys)]),
            *("outcome", *seeds, metric, "test AUC", "test accuracy", "epochs", "time"),
            *([] if study.is_repeated else ["remark"]),
        ],
        rows,
        [
            *([f"{SEEDS_NOTE} {BEST_NOTE}"] if study.is_repeated else []),
            f"{metric} is of the chosen epoch; of a job that did not come to its end, of its last one. It is of the "
            "validation split, by which both epoch and order are chosen, so it flatters; the test numbers are per "
            "video and choose nothing. study.csv has all choices and numbers, study_jobs.csv those of every job.",
            *_remarks(study),
            *(["Pruned: by then, its best value was worse than the median of the others'."] if has_pruned else []),
        ],
        max_shown=MAX_SHOWN,
        has_short_labels=len(keys) > 1,
    )
    blocks: list[Table | Picture | Gallery | Text] = [table, *_pictures(study, folder)]
    if len(study.finished) > MAX_COMPARED:
        things = "configurations" if study.is_repeated else "runs"
        blocks.append(
            Text(f"What follows is about the {MAX_COMPARED} best of the {len(study.finished)} finished {things}.")
        )
    return Section("The study", blocks)


def _remarks(study: Study) -> list[str]:
    """Why seeds have no result: below the table, where the reasons of several have room."""
    if not study.is_repeated:
        return []
    found = [f"{group.name}, {told}" for group in study.groups if (told := group.message(with_pruned=False))]
    more = [f"{len(found) - MAX_REMARKS} more are in study.csv."] if len(found) > MAX_REMARKS else []
    return [*found[:MAX_REMARKS], *more]


def _pictures(study: Study, folder: Path) -> list[Picture]:
    from dfd import plots

    record, keys = study.record, study.keys
    points = [
        plots.StudyPoint(
            group.choices,
            group.value,
            _kind(group),
            group.spread.deviation if group.spread and group.finished else None,
        )
        for group in study.groups
        if set(group.choices) == set(keys)
    ]
    if not keys or not points:
        return []
    options: dict[str, Any] = {"metric": record.metric, "minimize": record.is_minimized, "log": record.log_scale}
    words = "; ".join(f"{group.name}: {number(group.value)}" for group in study.groups[:MAX_COMPARED])
    path = plots.save(plots.metric_by_parameter(points, **options), folder / "metric_by_parameter.png")
    of_seeds = " Of several seeds: the mean, with one standard deviation to either side." if study.is_repeated else ""
    crosses = " A job without a result is a cross at the lower edge." if any(p.kind == "failed" for p in points) else ""
    pictures = [
        Picture(
            path,
            f"{record.metric} against each parameter.{of_seeds}{crosses}",
            f"{record.metric} against {', '.join(keys)}. {words}",
            narrow=len(keys) < 2,
        )
    ]
    if len(keys) > 1:
        path = plots.save(plots.parallel_coordinates(points, **options), folder / "parallel_coordinates.png")
        what, reached = ("configuration", "mean ") if study.is_repeated else ("job", "")
        pictures.append(
            Picture(
                path,
                f"Each {what} is a line, through what it chose to the {reached}{record.metric} it reached; the "
                "darker, the better.",
                f"Parallel coordinates of {', '.join(keys)} and {record.metric}. {words}",
            )
        )
    return pictures


def _kind(group: Group) -> str:
    if group.finished and not group.is_whole:
        return "incomplete"
    return str(group.outcome) if group.outcome in (Outcome.FINISHED, Outcome.PRUNED) else "failed"


def _cell(found: Spread | None) -> Cell:
    return found.cell() if found else Cell(DASH)


def _duration(seconds: float | None) -> str:
    """The value in the words of a person.

    >>> _duration(42.4), _duration(600), _duration(7500), _duration(None)
    ('42 s', '10 min', '2 h 05', '–')
    """
    if seconds is None:
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02}"
