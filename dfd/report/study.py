"""A study as a whole: every job, best first, also those that failed or were pruned, and the metric by each choice."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.errors import ReportError
from dfd.outcomes import JobRecord, Outcome, StudyRecord
from dfd.report.conclusions import FEW_VIDEOS
from dfd.report.document import Gallery, Picture, Section, Table, Text
from dfd.report.formatting import DASH, number
from dfd.report.results import Result, known
from dfd.report.runs import Run, read_run

MAX_COMPARED = 12
"""Runs that the report compares one by one: more could neither be read nor told apart."""
MAX_SHOWN = 50
WORDS = {
    Outcome.FINISHED: "finished",
    Outcome.PRUNED: "pruned",
    Outcome.FAILED: "failed",
    Outcome.STOPPED: "stopped",
    Outcome.RUNNING: "not ended",
    Outcome.WAITING: "not begun",
}
"""In the order of the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A job: its folder, what became of it, and what it chose."""

    run: Run
    record: JobRecord
    choices: Mapping[str, str]
    value: float | None
    """The metric: of the chosen epoch; of a job that did not come to its end, of its last one."""

    @property
    def name(self) -> str:
        """What it chose, by the last parts of the keys."""
        chosen = [f"{key.rpartition('.')[2]}={_short(value)}" for key, value in self.choices.items()]
        return ", ".join(chosen) or f"job {self.run.folder.name}"

    @property
    def num_epochs(self) -> int | None:
        """That were validated."""
        written, history = self.run.summary.get("num_epochs"), self.run.history
        if written is not None:
            return int(written)
        if history is None or "val/loss" not in history:
            return None
        return int(history["val/loss"].notna().sum())


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A multirun's folder: what it is, and its jobs, best first."""

    folder: Path
    record: StudyRecord
    rows: Sequence[Row]

    @property
    def compared(self) -> list[Path]:
        """The folders of the runs to compare one by one, in the order of their numbers: the best that are finished."""
        finished = [row for row in self.rows if row.record.outcome is Outcome.FINISHED][:MAX_COMPARED]
        order = [row.run.folder for row in sorted(finished, key=lambda row: _number(row.run.folder))]
        return order

    def counts(self) -> str:
        """How many jobs came to what."""
        found = Counter(row.record.outcome for row in self.rows)
        parts = [f"{found[outcome]} {word}" for outcome, word in WORDS.items() if found[outcome]]
        return f"{len(self.rows)} job{'s' if len(self.rows) != 1 else ''}: {', '.join(parts)}"

    def summary(self) -> list[str]:
        """What came out, by the metric that the study looks for."""
        best = self.rows[0]
        if best.record.outcome is not Outcome.FINISHED or best.value is None:
            return [f"No job of the study has a {self.record.metric} yet."]
        ties = [row for row in self.rows if row.record.outcome is Outcome.FINISHED and row.value == best.value]
        shown = f"{self.record.metric} {number(best.value)}"
        if len(ties) > 1:
            named = [*(row.name for row in ties[:5]), *([f"and {len(ties) - 5} more"] if len(ties) > 5 else [])]
            return [f"The best {shown} is shared by {len(ties)} jobs: {'; '.join(named)}."]
        return [f"Best of the study: {best.name}, with {shown} on the validation split, which chose it."]

    def warnings(self) -> list[str]:
        """Jobs that have no result, and an order that few videos made."""
        lines = []
        num_val = known(self.rows[0].run.data("splits", "val", "num_videos"))
        if num_val is not None and num_val < FEW_VIDEOS and len(self.rows) > 1:
            lines.append(
                f"The order of the study's jobs is by {num_val:.0f} validation videos: so few leave it to chance."
            )
        failed = [row for row in self.rows if row.record.outcome is Outcome.FAILED]
        if failed:
            lines.append(f"{len(failed)} of {len(self.rows)} jobs failed; the table says why.")
        left = [row for row in self.rows if row.record.outcome in (Outcome.RUNNING, Outcome.WAITING, Outcome.STOPPED)]
        if left:
            lines.append(
                f"{len(left)} of {len(self.rows)} jobs have not ended: the study is still running or was stopped; its "
                f"command with hydra.sweep.dir set to this folder goes on with it."
            )
        return lines

    def write_csv(self, path: Path) -> None:
        """Every job and all of its choices as numbers and text, best first."""
        from dfd.predictions import write_table

        rows = [
            {
                "job": row.run.folder.name,
                "outcome": str(row.record.outcome),
                self.record.metric: row.value,
                **row.choices,
                **{f"test/{metric}": _tested(row).get(metric) for metric in ("auc", "accuracy")},
                "num_epochs": row.num_epochs,
                "started": row.record.started,
                "seconds": row.record.seconds,
                "message": row.record.message,
            }
            for row in self.rows
        ]
        write_table(path, rows, dict.fromkeys(column for row in rows for column in row))


def read_study(folder: Path) -> Study | None:
    """The study of a multirun's folder; None if it is not one.

    Raises:
        ReportError: a file of it is damaged.
    """
    record = StudyRecord.read(folder)
    if record is None:
        return None
    rows = []
    for path in sorted((path for path in folder.iterdir() if path.is_dir()), key=_number):
        job = JobRecord.read(path)
        if job is not None:
            run = read_run(path)
            rows.append(Row(run, job, record.choices(job.overrides), _value(run, job, record.metric)))
    if not rows:
        raise ReportError(f"{folder}: no job of this study has begun")
    order = list(WORDS)

    def rank(row: Row) -> tuple[int, bool, float]:
        value = row.value or 0.0
        return order.index(row.record.outcome), row.value is None, value if record.is_minimized else -value

    return Study(folder, record, sorted(rows, key=rank))


def write_study_report(folder: Path, output: Path | None = None, *, title: str | None = None) -> Path:
    """``report/`` of a multirun's folder: the study, and its runs beside each other.

    Raises:
        ReportError: there is nothing to report on, or a file is damaged.
    """
    from dfd.report import TITLE, write_report
    from dfd.report.runs import find_runs

    study = read_study(folder)
    output = output or folder / "report"
    if study is None:
        return write_report(find_runs([folder]), output, title=title or TITLE)
    return write_report(study.compared, output, title=title or study.record.name, study=study)


def study_section(study: Study, results: Sequence[Result], folder: Path) -> Section:
    """The table of all jobs, and the figures. ``results``: of the runs that are compared below."""
    tested = {result.run.folder: result for result in results if result.is_tested}
    keys = study.record.swept  # of several, each has a column; of one, it names the row
    rows = []
    for row in study.rows:
        result = tested.get(row.run.folder)
        auc, accuracy = (result.estimate(m)[0] if result else known(_tested(row).get(m)) for m in ("auc", "accuracy"))
        rows.append(
            [
                *([row.name, row.run.folder.name] if len(keys) < 2 else [row.run.folder.name]),
                *([_short(row.choices.get(key, DASH)) for key in keys] if len(keys) > 1 else []),
                WORDS[row.record.outcome],
                number(row.value),
                number(auc),
                number(accuracy),
                DASH if row.num_epochs is None else str(row.num_epochs),
                _duration(row.record.seconds),
                DASH if row.record.outcome is Outcome.PRUNED else row.record.message or DASH,
            ]
        )
    has_pruned = any(row.record.outcome is Outcome.PRUNED for row in study.rows)
    metric = study.record.metric
    table = Table(
        "table_study",
        f"Every job of the study, best first by {metric}",
        [
            *(["choice", "job"] if len(keys) < 2 else ["job", *(key.rpartition(".")[2] for key in keys)]),
            *("outcome", metric, "test AUC", "test accuracy", "epochs", "time", "remark"),
        ],
        rows,
        [
            f"{metric} is of the chosen epoch; of a job that did not come to its end, of its last one. It is of the "
            "validation split, by which both epoch and order are chosen, so it flatters; the test numbers are per "
            "video and choose nothing. study.csv has all choices and numbers.",
            *(["Pruned: by then, its best value was worse than the median of the others'."] if has_pruned else []),
        ],
        max_shown=MAX_SHOWN,
        has_short_labels=len(keys) > 1,
    )
    blocks: list[Table | Picture | Gallery | Text] = [table, *_pictures(study, folder)]
    num_finished = sum(row.record.outcome is Outcome.FINISHED for row in study.rows)
    if num_finished > len(study.compared):
        blocks.append(
            Text(f"What follows is about the {len(study.compared)} best of the {num_finished} finished runs.")
        )
    return Section("The study", blocks)


def _pictures(study: Study, folder: Path) -> list[Picture]:
    from dfd import plots

    record = study.record
    points = [
        plots.StudyPoint(row.choices, row.value, _kind(row))
        for row in study.rows
        if set(row.choices) == set(record.swept)
    ]
    if not record.swept or not points:
        return []
    options: dict[str, Any] = {"metric": record.metric, "minimize": record.is_minimized, "log": record.log_scale}
    words = "; ".join(f"{row.name}: {number(row.value)}" for row in study.rows[:MAX_COMPARED])
    path = plots.save(plots.metric_by_parameter(points, **options), folder / "metric_by_parameter.png")
    pictures = [
        Picture(
            path,
            f"{record.metric} against each parameter."
            + (
                " A job without a result is a cross at the lower edge."
                if any(p.kind == "failed" for p in points)
                else ""
            ),
            f"{record.metric} against {', '.join(record.swept)}. {words}",
            narrow=len(record.swept) < 2,
        )
    ]
    if len(record.swept) > 1:
        path = plots.save(plots.parallel_coordinates(points, **options), folder / "parallel_coordinates.png")
        pictures.append(
            Picture(
                path,
                f"Each job is a line, through what it chose to the {record.metric} it reached; the darker, the better.",
                f"Parallel coordinates of {', '.join(record.swept)} and {record.metric}. {words}",
            )
        )
    return pictures


def _kind(row: Row) -> str:
    if row.record.outcome in (Outcome.FINISHED, Outcome.PRUNED):
        return str(row.record.outcome)
    return "failed"


def _value(run: Run, job: JobRecord, metric: str) -> float | None:
    if job.outcome is Outcome.FINISHED:
        return known(job.value)
    if run.history is None or metric not in run.history:
        return None
    values = run.history[metric].dropna()
    return known(values.iloc[-1]) if len(values) else None


def _tested(row: Row) -> Mapping[str, Any]:
    """The test's numbers at video level."""
    from dfd.metrics import video_metrics

    test = row.run.test
    if test is None or not test["prob_fake"].notna().any():
        return {}
    scored = test[test["prob_fake"].notna()]
    return video_metrics(scored["prob_fake"], scored["label"], threshold=row.run.threshold or 0.5)


def _duration(seconds: float | None) -> str:
    """As a person says it.

    >>> _duration(42.4), _duration(600), _duration(7500), _duration(None)
    ('42 s', '10 min', '2 h 05', '–')
    """
    if seconds is None:
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02}"


def _short(value: str) -> str:
    """A number to three places; anything else as it is."""
    try:
        return value if value.lstrip("-").isdecimal() else f"{float(value):.3g}"
    except ValueError:
        return value


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdecimal() else (10**9, folder.name)
