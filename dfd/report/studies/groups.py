"""Jobs of a study, grouped into configurations whose jobs differ only in their seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfd.metrics.videos import video_metrics
from dfd.report.comparison.repetitions import Spread, spread
from dfd.report.comparison.results import SEEDS
from dfd.runs.folder import Run
from dfd.runs.records import JobRecord, Outcome

WORDS = {
    Outcome.FINISHED: "finished",
    Outcome.PRUNED: "pruned",
    Outcome.FAILED: "failed",
    Outcome.STOPPED: "stopped",
    Outcome.RUNNING: "not finished",
    Outcome.WAITING: "not started",
    Outcome.LEFT_OUT: "left out",
}
"""Outcomes in words, in the order of the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A job of a study: its run, outcome, choices and metric."""

    run: Run
    record: JobRecord
    choices: Mapping[str, str]
    value: float | None
    """Metric at the chosen epoch, or at the last one if the job did not finish."""

    @property
    def is_pruned(self) -> bool:
        """Whether the job was stopped early because others were better."""
        return self.record.outcome is Outcome.PRUNED

    @property
    def seed_words(self) -> str:
        """Seeds of the job, or its folder."""
        chosen = [f"{key}={value}" for key, value in self.choices.items() if key in SEEDS]
        return ", ".join(chosen) or f"job {self.run.folder.name}"

    @property
    def num_epochs(self) -> int | None:
        """Number of epochs that were validated."""
        written, history = self.run.summary.get("num_epochs"), self.run.history
        if written is not None:
            return int(written)
        if history is None or "val/loss" not in history:
            return None
        return int(history["val/loss"].notna().sum())


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Jobs of one configuration, which differ only in their seeds."""

    jobs: Sequence[Row]

    @property
    def choices(self) -> dict[str, str]:
        """Choices that the jobs have in common."""
        return {key: value for key, value in self.jobs[0].choices.items() if key not in SEEDS}

    @property
    def is_repeated(self) -> bool:
        """Whether the configuration has several seeds."""
        return len(self.jobs) > 1

    @property
    def finished(self) -> list[Row]:
        """Jobs that have a result."""
        return [job for job in self.jobs if job.record.outcome is Outcome.FINISHED and job.value is not None]

    @property
    def is_whole(self) -> bool:
        """Whether all jobs have a result; a configuration with a failed seed is never called the best."""
        return len(self.finished) == len(self.jobs)

    @property
    def spread(self) -> Spread | None:
        """Metric over the seeds with a result, or over the last values of the others if there is none."""
        return spread(job.value for job in self.counting)

    @property
    def counting(self) -> Sequence[Row]:
        """Jobs whose numbers count: those with a result, or all if there is none."""
        return self.finished or self.jobs

    @property
    def value(self) -> float | None:
        """Metric, as the mean over several seeds."""
        return self.spread.mean if self.spread else None

    @property
    def name(self) -> str:
        """Choices in words, with the last parts of the keys."""
        chosen = [f"{key.rpartition('.')[2]}={shortened(value)}" for key, value in self.choices.items()]
        if not chosen and not self.is_repeated:
            chosen = [self.jobs[0].seed_words]
        return ", ".join(chosen) or "all seeds"

    @property
    def folders(self) -> str:
        """Folder names of the jobs."""
        return " ".join(job.run.folder.name for job in self.jobs)

    @property
    def outcome(self) -> Outcome:
        """Best outcome of the jobs, in the order of the table."""
        return min((job.record.outcome for job in self.jobs), key=list(WORDS).index)

    def outcome_words(self, words: Mapping[Outcome, str]) -> str:
        """Outcome of the jobs in words, with counts if they differ."""
        found = Counter(job.record.outcome for job in self.jobs)
        if len(found) == 1:
            return words[self.outcome]
        return ", ".join(f"{found[outcome]} {word}" for outcome, word in words.items() if found[outcome])

    def message(self, *, with_pruned: bool = True) -> str:
        """Reasons why jobs have no result, by seed if there are several."""
        told = [job for job in self.jobs if job.record.message and (with_pruned or not job.is_pruned)]
        return "; ".join((f"{job.seed_words}: " if self.is_repeated else "") + job.record.message for job in told)


def sizes(jobs: Sequence[Row]) -> list[int | None]:
    """Numbers of parameters of the jobs' networks."""
    return [row.run.summary.get("num_parameters") for row in jobs]


def mean_cost(jobs: Sequence[Row]) -> float | None:
    """Mean of the seconds that a test video took; None if it is not known."""
    found = spread(row.run.seconds_per_video for row in jobs)
    return found.mean if found else None


def joined(counts: Sequence[int | None]) -> str:
    """Counts as text: one number if all are equal, otherwise a list."""
    known_counts = [str(count) for count in counts if count is not None]
    return known_counts[0] if len(set(known_counts)) == 1 else ", ".join(known_counts)


def total(seconds: Sequence[float | None]) -> float | None:
    """Sum of the known times, in seconds; None if none is known."""
    known_seconds = [value for value in seconds if value is not None]
    return round(sum(known_seconds), 1) if known_seconds else None


def test_numbers(row: Row) -> Mapping[str, Any]:
    """Video-level test metrics of a job."""
    test = row.run.test
    if test is None or not test["prob_fake"].notna().any():
        return {}
    scored = test[test["prob_fake"].notna()]
    return video_metrics(scored["prob_fake"], scored["label"], threshold=row.run.threshold or 0.5)


def shortened(value: str) -> str:
    """Round a number to three significant digits; other text is unchanged."""
    try:
        return value if value.lstrip("-").isdecimal() else f"{float(value):.3g}"
    except ValueError:
        return value
