"""Section of a report that shows a study: a table of its configurations, and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfd.figures import style as plots
from dfd.figures.studies import StudyPoint, metric_by_parameter, parallel_coordinates
from dfd.report.comparison.repetitions import SEEDS_NOTE, spread, spread_cell
from dfd.report.comparison.results import Result, known
from dfd.report.page import wording
from dfd.report.page.document import Cell, Gallery, Picture, Section, Table, Text
from dfd.report.page.formatting import DASH, number
from dfd.report.studies.groups import WORDS, Group, joined, mean_cost, shortened, sizes, test_numbers, total
from dfd.report.studies.study import MAX_COMPARED, Study
from dfd.runs.records import Outcome

BEST_NOTE = "Only a configuration with a result of every seed is called the best; the others follow."
COST_NOTE = (
    "s / video: seconds for a video of the test on the machine of the run, from decoding its clips to the score; "
    "finding the faces of a new video comes on top."
)
MAX_REMARKS = 12
MAX_REMARK = 40
"""Length of a remark in the table; longer ones are below it as a whole."""
MAX_SHOWN = 50
"""Number of rows of the table on the page."""


def study_section(study: Study, results: Sequence[Result], folder: Path) -> Section:
    """Section with a table of all configurations and the figures; ``results`` are those of the compared runs."""
    tested = {result.run.folder: result for result in results if result.is_tested}
    keys = study.keys  # several keys get a column each; a single one names the row

    def test_cell(group: Group, metric: str) -> Cell:
        values = [
            tested[job.run.folder].estimate(metric)[0] if job.run.folder in tested else test_numbers(job).get(metric)
            for job in group.counting
        ]
        return spread_cell(spread(map(known, values)))

    compares_networks = len({*sizes(study.rows)} - {None}) > 1

    rows: list[list[Cell | str]] = [
        [
            *([group.name, group.folders] if len(keys) < 2 else [group.folders]),
            *([shortened(group.choices.get(key, DASH)) for key in keys] if len(keys) > 1 else []),
            group.outcome_words(WORDS),
            *([f"{len(group.finished)} of {len(group.jobs)}"] if study.is_repeated else []),
            spread_cell(group.spread),
            *(test_cell(group, metric) for metric in ("auc", "accuracy")),
            joined([job.num_epochs for job in group.jobs]) or DASH,
            _duration(total([job.record.seconds for job in group.jobs])),
            *(_costs(group) if compares_networks else []),
            *([] if study.is_repeated else [wording.shortened(group.message(with_pruned=False), MAX_REMARK) or DASH]),
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
            *(["parameters", "s / video"] if compares_networks else []),
            *([] if study.is_repeated else ["remark"]),
        ],
        rows,
        [
            *([f"{SEEDS_NOTE} {BEST_NOTE}"] if study.is_repeated else []),
            f"{metric} is that of the chosen epoch, or of the last one if a job did not finish. It is measured on the "
            "validation split, which also chose epoch and order, so it is too good; test results are per video and "
            "choose nothing. study.csv has all choices and numbers, study_jobs.csv those of every job.",
            *([COST_NOTE] if compares_networks else []),
            *_remarks(study),
            *(["Pruned: the best value so far was worse than the median of the others."] if has_pruned else []),
        ],
        max_shown=MAX_SHOWN,
        has_short_labels=len(keys) > 1,
    )
    blocks: list[Table | Picture | Gallery | Text] = [table, *_pictures(study, folder)]
    if (num_finished := len(study.finished)) > MAX_COMPARED:
        things = "configurations" if study.is_repeated else "runs"
        blocks.append(Text(f"The following is about the {MAX_COMPARED} best of the {num_finished} finished {things}."))
    return Section("The study", blocks)


def _costs(group: Group) -> list[Cell | str]:
    """Cells with the size of the networks and the seconds that a video of the test took."""
    shown = joined([size and round(size) for size in sizes(group.counting)])
    cost = mean_cost(group.counting)
    return [f"{int(shown):,}".replace(",", "\u202f") if shown.isdecimal() else shown or DASH, number(cost)]


def _remarks(study: Study) -> list[str]:
    """Reasons why jobs have no result, shown below the table; without seeds only those too long for a row."""
    told = [(group, group.message(with_pruned=False)) for group in study.groups]
    if study.is_repeated:
        found = [f"{group.name}, {message}" for group, message in told if message]
    else:
        found = [f"{group.name} [{group.folders}]: {message}" for group, message in told if len(message) > MAX_REMARK]
    more = [f"{len(found) - MAX_REMARKS} more are in study.csv."] if len(found) > MAX_REMARKS else []
    return [*found[:MAX_REMARKS], *more]


def _pictures(study: Study, folder: Path) -> list[Picture]:
    record, keys = study.record, study.keys
    tried = [group for group in study.groups if group.outcome is not Outcome.LEFT_OUT]
    points = [_point(group) for group in tried if set(group.choices) == set(keys)]
    if not keys or not points:
        return []
    options: dict[str, Any] = {"metric": record.metric, "minimize": record.is_minimized, "log": record.log_scale}
    words = "; ".join(f"{group.name}: {number(group.value)}" for group in study.groups[:MAX_COMPARED])
    path = plots.save(metric_by_parameter(points, **options), folder / "metric_by_parameter.png")
    of_seeds = " For several seeds: mean and one standard deviation to either side." if study.is_repeated else ""
    crosses = " A job without a result is a cross at the lower edge." if any(p.kind == "failed" for p in points) else ""
    caption = f"{record.metric} against each parameter.{of_seeds}{crosses}"
    first = Picture(path, caption, f"{record.metric} against {', '.join(keys)}. {words}", narrow=len(keys) < 2)
    if len(keys) < 2:
        return [first]
    path = plots.save(parallel_coordinates(points, **options), folder / "parallel_coordinates.png")
    what, reached = ("configuration", "mean ") if study.is_repeated else ("job", "")
    caption = f"Each {what} is a line through its choices to the {reached}{record.metric} it reached; darker is better."
    return [first, Picture(path, caption, f"Parallel coordinates of {', '.join(keys)} and {record.metric}. {words}")]


def _point(group: Group) -> StudyPoint:
    kind = str(group.outcome) if group.outcome in (Outcome.FINISHED, Outcome.PRUNED) else "failed"
    kind = "incomplete" if group.finished and not group.is_whole else kind
    deviation = group.spread.deviation if group.spread and group.finished else None
    return StudyPoint(group.choices, group.value, kind, deviation)


def _duration(seconds: float | None) -> str:
    """Format a duration for people.

    >>> _duration(42.4), _duration(600), _duration(7500), _duration(None)
    ('42 s', '10 min', '2 h 05', '–')
    """
    if seconds is None:
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02}"
