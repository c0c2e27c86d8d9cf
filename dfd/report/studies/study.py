"""Study as a whole: every configuration, best first, including failed and pruned ones.

Jobs that differ only in their seed are one configuration.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dfd.base.errors import ReportError
from dfd.report.comparison.conclusions import FEW_VIDEOS
from dfd.report.comparison.repetitions import Spread, best_of_seeds, repetitions, spread
from dfd.report.comparison.results import SEEDS, is_fold, known
from dfd.report.page.formatting import DASH, number
from dfd.report.studies.groups import WORDS, Group, Row, joined, mean_cost, sizes, test_numbers, total
from dfd.runs.folder import Run, read_run
from dfd.runs.records import JobRecord, Outcome, StudyRecord

MAX_COMPARED = 12
"""Number of configurations that the report compares; more would be unreadable."""


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A multirun's folder, its description, and its jobs by configuration, best first."""

    folder: Path
    record: StudyRecord
    groups: Sequence[Group]

    @property
    def rows(self) -> list[Row]:
        """All jobs, in the order of their configurations."""
        return [job for group in self.groups for job in group.jobs]

    @property
    def is_repeated(self) -> bool:
        """Whether any configuration has several seeds."""
        return any(group.is_repeated for group in self.groups)

    @property
    def keys(self) -> list[str]:
        """Keys that the study varies, except seeds."""
        return [key for key in self.record.swept if key not in SEEDS]

    @property
    def is_cross_validation(self) -> bool:
        """Whether the jobs are the folds of one configuration, of which none is better than another."""
        return self.keys == ["data.split"] and all(is_fold(row.choices.get("data.split", "")) for row in self.rows)

    @property
    def finished(self) -> list[Group]:
        """Configurations with a finished job."""
        return [group for group in self.groups if group.outcome is Outcome.FINISHED]

    @property
    def compared(self) -> list[Path]:
        """Folders of the runs to compare, in the order of their numbers.

        These are the best configurations with all their seeds, including failed ones.
        """
        chosen = [job for group in self.finished[:MAX_COMPARED] for job in group.jobs]
        return [job.run.folder for job in sorted(chosen, key=lambda job: _number(job.run.folder))]

    def counts(self) -> str:
        """Numbers of jobs by outcome, in words."""
        found = Counter(row.record.outcome for row in self.rows)
        parts = [f"{found[outcome]} {word}" for outcome, word in WORDS.items() if found[outcome]]
        return f"{len(self.rows)} job{'s' if len(self.rows) != 1 else ''}: {', '.join(parts)}"

    def summary(self) -> list[str]:
        """Conclusions by the study's metric; none of folds, which are no choices."""
        if self.is_cross_validation:
            return []
        metric = self.record.metric
        jobs, mean = ("configurations", "mean ") if self.is_repeated else ("jobs", "")
        whole = [group for group in self.groups if group.is_whole]
        if not whole:
            some = [f"{group.name}: {_value_words(group)}" for group in self.groups[:5] if group.finished]
            if not some:
                return [f"No job of the study has a {metric} yet."]
            start = f"No configuration of the study has a {metric} of all its seeds, so none is the best"
            return [f"{start}: {'; '.join(some)}."]
        best, is_minimized = whole[0], self.record.is_minimized
        ties = [group for group in whole if group.value == best.value]
        if len(ties) > 1:
            named = [*(group.name for group in ties[:5]), *([f"and {len(ties) - 5} more"] if len(ties) > 5 else [])]
            shared = f"is shared by {len(ties)} {jobs}: {'; '.join(named)}"
            lines = [f"The best {mean}{metric} {number(best.value)} {shared}."]
        else:
            shown = f"{metric} {_value_words(best)}"
            lines = [f"Best of the study: {best.name}, with {shown} on the validation split, which chose it."]
            take = best_of_seeds(best.jobs, [job.value for job in best.jobs], minimized=is_minimized)
            if best.is_repeated and take:
                lines.append(
                    f"Its detector to use is {take.run.folder.name}/detector.safetensors ({take.seed_words}): the "
                    f"median of its seeds by {metric}, {number(take.value)}. The mean describes this one; the seed "
                    "with the best validation was partly lucky."
                )
        sign = -1 if is_minimized else 1
        lines += [
            f"{group.name} has a better {metric}, {_value_words(group)}, but is not chosen, since only "
            f"{len(group.finished)} of its {len(group.jobs)} seeds have a result."
            for group in self.groups
            if group.finished and not group.is_whole and sign * (group.value or 0.0) > sign * (best.value or 0.0)
        ]
        return lines

    def warnings(self) -> list[str]:
        """Warnings about unequal numbers of seeds, few validation videos, and jobs without a result."""
        lines = []
        counts = Counter(len(group.jobs) for group in self.groups)
        if len(counts) > 1:
            lines.append(
                f"The configurations have from {min(counts)} to {max(counts)} seeds. A mean of few seeds is less "
                "certain, and the best of many such means is partly luck."
            )
        num_val = known(self.rows[0].run.data("splits", "val", "num_videos"))
        if num_val is not None and num_val < FEW_VIDEOS and len(self.rows) > 1 and not self.is_cross_validation:
            by = f"only {num_val:.0f} validation videos"
            lines.append(f"The study's jobs are ordered by {by}, so the order is largely chance.")
        outcomes = Counter(row.record.outcome for row in self.rows)
        if failed := outcomes[Outcome.FAILED]:
            lines.append(f"{failed} of {len(self.rows)} jobs failed; the table says why.")
        if left := sum(outcomes[one] for one in (Outcome.RUNNING, Outcome.WAITING, Outcome.STOPPED)):
            lines.append(
                f"{left} of {len(self.rows)} jobs have not finished: the study is still running or was stopped; "
                f"its command with hydra.sweep.dir set to this folder continues it."
            )
        return lines

    def records(self) -> list[dict[str, Any]]:
        """Rows of study.csv: each configuration with its choices, means, deviations and counts, best first."""
        return [
            {
                "job": group.folders,
                "outcome": group.outcome_words({outcome: str(outcome) for outcome in WORDS}),
                **_numbers(self.record.metric, group.spread, with_deviation=self.is_repeated),
                **({"num_seeds": len(group.jobs)} if self.is_repeated else {}),
                **(group.choices if group.is_repeated else group.jobs[0].choices),
                **self._test_numbers(group, "auc"),
                **self._test_numbers(group, "accuracy"),
                "num_epochs": joined([job.num_epochs for job in group.jobs]),
                "started": group.jobs[0].record.started,
                "seconds": total([job.record.seconds for job in group.jobs]),
                "num_parameters": joined(sizes(group.counting)),
                "seconds_per_video": mean_cost(group.counting),
                "message": group.message(),
            }
            for group in self.groups
        ]

    def _test_numbers(self, group: Group, metric: str) -> dict[str, float | None]:
        found = spread(known(test_numbers(job).get(metric)) for job in group.counting)
        return _numbers(f"test/{metric}", found, with_deviation=self.is_repeated)

    def job_records(self) -> list[dict[str, Any]]:
        """Rows of study_jobs.csv: each job with all its choices, in the order of the configurations."""
        return [
            {
                "job": row.run.folder.name,
                "outcome": str(row.record.outcome),
                self.record.metric: row.value,
                **row.choices,
                **{f"test/{metric}": test_numbers(row).get(metric) for metric in ("auc", "accuracy")},
                "num_epochs": row.num_epochs,
                "started": row.record.started,
                "seconds": row.record.seconds,
                "message": row.record.message,
            }
            for row in self.rows
        ]


def read_study(folder: Path) -> Study | None:
    """Read the study in a multirun's folder; None if it is not a study.

    Raises:
        ReportError: a file of the study is damaged, or no job has started.
    """
    record = StudyRecord.read(folder)
    if record is None:
        return None
    rows = []
    for path in sorted((path for path in folder.iterdir() if path.is_dir()), key=_number):
        job = JobRecord.read(path)
        if job is not None:
            run = read_run(path)
            if run.failure and job.outcome is Outcome.FINISHED:  # recorded so by an older version
                job = replace(job, outcome=Outcome.FAILED, value=None, message=run.failure)
            rows.append(Row(run, job, record.choices(job.overrides), _value(run, job, record.metric)))
    if not rows:
        raise ReportError(f"{folder}: no job of this study has started")
    found = repetitions(
        rows,
        settings_of=lambda row: tuple((key, value) for key, value in row.choices.items() if key not in SEEDS),
        seed_of=lambda row: tuple(row.choices.get(key) for key in SEEDS),
    )
    groups = [Group(sorted(jobs, key=lambda job: _number(job.run.folder))) for jobs in found]

    def rank(group: Group) -> tuple[int, bool, bool, float]:
        value = group.value or 0.0
        order, incomplete = list(WORDS).index(group.outcome), bool(group.finished) and not group.is_whole
        return order, incomplete, group.value is None, value if record.is_minimized else -value

    return Study(folder, record, sorted(groups, key=rank))


def _value_words(group: Group) -> str:
    found = group.spread
    if found is None:
        return DASH
    return f"{number(found.mean)} {found.words()}" if group.is_repeated else number(found.mean)


def _numbers(name: str, found: Spread | None, *, with_deviation: bool) -> dict[str, float | None]:
    """Columns of study.csv: the value and, if there are seeds, its deviation and count."""
    numbers: dict[str, float | None] = {name: found.mean if found else None}
    if with_deviation:
        numbers |= {f"{name}_std": found.deviation if found else None, f"{name}_n": found.count if found else 0}
    return numbers


def _value(run: Run, job: JobRecord, metric: str) -> float | None:
    if job.outcome is Outcome.FINISHED:
        return known(job.value)
    if run.history is None or metric not in run.history:
        return None
    values = run.history[metric].dropna()
    return known(values.iloc[-1]) if len(values) else None


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdecimal() else (10**9, folder.name)
