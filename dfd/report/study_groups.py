"""The jobs of a study, and those of one configuration, which differ in their seed only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfd.outcomes import JobRecord, Outcome
from dfd.report.repetitions import Spread, spread
from dfd.report.results import SEEDS
from dfd.report.runs import Run

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
    def is_pruned(self) -> bool:
        """Whether it was ended early, since others were better."""
        return self.record.outcome is Outcome.PRUNED

    @property
    def seed_words(self) -> str:
        """The seeds that it chose, or its folder."""
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
    """The jobs of one configuration, by their seeds; a job whose choices no other has is one of its own."""

    jobs: Sequence[Row]

    @property
    def choices(self) -> dict[str, str]:
        """What its jobs have in common."""
        return {key: value for key, value in self.jobs[0].choices.items() if key not in SEEDS}

    @property
    def is_repeated(self) -> bool:
        """Whether there are several seeds of it."""
        return len(self.jobs) > 1

    @property
    def finished(self) -> list[Row]:
        """Its jobs that came to a result."""
        return [job for job in self.jobs if job.record.outcome is Outcome.FINISHED and job.value is not None]

    @property
    def is_whole(self) -> bool:
        """Each of its jobs came to a result. One of which a seed failed is never the best, whatever the others are."""
        return len(self.finished) == len(self.jobs)

    @property
    def spread(self) -> Spread | None:
        """The metric over the seeds that came to a result; else over what the others had reached, as it was pruned."""
        return spread(job.value for job in self.finished or self.jobs)

    @property
    def value(self) -> float | None:
        """The metric, of several seeds their mean."""
        return self.spread.mean if self.spread else None

    @property
    def name(self) -> str:
        """What it chose, by the last parts of the keys."""
        chosen = [f"{key.rpartition('.')[2]}={shortened(value)}" for key, value in self.choices.items()]
        if not chosen and not self.is_repeated:
            chosen = [self.jobs[0].seed_words]
        return ", ".join(chosen) or "all seeds"

    @property
    def folders(self) -> str:
        """Numbers of its jobs."""
        return " ".join(job.run.folder.name for job in self.jobs)

    @property
    def outcome(self) -> Outcome:
        """What the best of its jobs came to, in the order of the table."""
        return min((job.record.outcome for job in self.jobs), key=list(WORDS).index)

    def outcome_words(self, words: Mapping[Outcome, str]) -> str:
        """What its jobs came to: how many to what, if that differs."""
        found = Counter(job.record.outcome for job in self.jobs)
        if len(found) == 1:
            return words[self.outcome]
        return ", ".join(f"{found[outcome]} {word}" for outcome, word in words.items() if found[outcome])

    def message(self, *, with_pruned: bool = True) -> str:
        """Why its jobs have no result; of several, each by its seed."""
        told = [job for job in self.jobs if job.record.message and (with_pruned or not job.is_pruned)]
        return "; ".join(
            f"{job.seed_words}: {job.record.message}" if self.is_repeated else job.record.message for job in told
        )


def joined(counts: Sequence[int | None]) -> str:
    """One count if all are alike, else each."""
    known_counts = [str(count) for count in counts if count is not None]
    return known_counts[0] if len(set(known_counts)) == 1 else ", ".join(known_counts)


def total(seconds: Sequence[float | None]) -> float | None:
    """The sum of the times that are known."""
    known_seconds = [value for value in seconds if value is not None]
    return round(sum(known_seconds), 1) if known_seconds else None


def test_numbers(row: Row) -> Mapping[str, Any]:
    """The test's numbers at video level."""
    from dfd.metrics import video_metrics

    test = row.run.test
    if test is None or not test["prob_fake"].notna().any():
        return {}
    scored = test[test["prob_fake"].notna()]
    return video_metrics(scored["prob_fake"], scored["label"], threshold=row.run.threshold or 0.5)


def shortened(value: str) -> str:
    """A number to three places; anything else as it is."""
    try:
        return value if value.lstrip("-").isdecimal() else f"{float(value):.3g}"
    except ValueError:
        return value
