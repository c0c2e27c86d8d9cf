"""Test results of runs, settings that vary between them, and the effect of splits that do not separate people."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from dfd.base.types import Label
from dfd.base.words import show_setting
from dfd.figures.style import Estimate, Interval
from dfd.metrics.formulas import TPRS
from dfd.metrics.intervals import MIN_OF_LABEL, intervals
from dfd.metrics.videos import Metrics, metrics_by_group
from dfd.report.page.formatting import listed
from dfd.runs.folder import Run, epochs_counted_from, names
from dfd.runs.settings import differing

DEFAULT_THRESHOLD = 0.5
ESTIMATED = ("accuracy", "balanced_accuracy", "precision", "recall", "recall_real", "f1", "auc", "ap", "eer", *TPRS)
"""Metrics that get an interval."""
R = TypeVar("R", bound="Result")
FIT_METRICS = {
    "train/accuracy": "training accuracy",
    "train/loss": "training loss",
    "val/accuracy": "validation accuracy",
    "val/loss": "validation loss",
}
"""Metrics by which the original study compared models, and their names."""
SEEDS = ("seed", "data.seed")
"""Settings in which repetitions differ; ``data.split_seed`` is not one, since it draws other videos."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A run with its name and, if it was tested, its metrics over the test videos."""

    run: Run
    name: str
    overall: Metrics = field(default_factory=dict)
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    groups: Mapping[str, tuple[Metrics, Interval | None]] = field(default_factory=dict)
    """Metrics and interval of the AUC, by data set and by "data set/method"."""

    @property
    def is_tested(self) -> bool:
        """Whether any test video has a score."""
        return bool(self.num_scored)

    @property
    def num_scored(self) -> int:
        """Number of videos with a score."""
        return int(self.overall.get("num_real") or 0) + int(self.overall.get("num_fake") or 0)

    @property
    def threshold(self) -> float:
        """Probability from which a video is called fake."""
        return DEFAULT_THRESHOLD if self.run.threshold is None else float(self.run.threshold)

    @property
    def is_fair(self) -> bool:
        """Whether the test is on new people and the model is usable."""
        leaks_into_test = any("test" in pair for pair in overlap(self.run))
        return not self.run.summary.get("comparison_only") and not leaks_into_test

    def estimate(self, metric: str) -> Estimate:
        """Test metric with its interval."""
        return known(self.overall.get(metric)), self.intervals.get(metric)

    def fit(self, metric: str) -> float | None:
        """Training metric at the chosen epoch, such as ``train/loss`` or ``val/accuracy``."""
        part = self.run.summary.get(metric.partition("/")[0])
        if isinstance(part, Mapping) and metric in part:
            return known(part[metric])
        epoch, history = self.chosen_epoch, self.run.history
        if epoch is None or history is None or metric not in history:
            return None
        row = history.loc[history["epoch"] == epoch, metric]
        return known(row.iloc[-1]) if len(row) else None

    @property
    def chosen_epoch(self) -> int | None:
        """Chosen epoch, counted from 1; None if the run has not finished, or an older version did not record it."""
        epoch = self.run.summary.get("best_epoch")
        return None if epoch is None else int(epoch) + 1 - epochs_counted_from(self.run.summary)

    @property
    def num_epochs(self) -> int | None:
        """Number of trained epochs, if known."""
        written = self.run.summary.get("num_epochs")
        if written is not None:
            return int(written)
        history = self.run.history
        return None if history is None or history.empty else int(history["epoch"].max())


def known(value: Any) -> float | None:
    """Convert to a number; None for missing, nan and infinite values, such as the loss of a diverged training.

    >>> known("0.5"), known(None), known(float("nan")), known(float("inf"))
    (0.5, None, None, None)
    """
    if value is None or value == "":
        return None
    return float(value) if math.isfinite(float(value)) else None


def overlap(run: Run) -> dict[str, Mapping[str, int]]:
    """Pairs of splits, such as ``train-test``, that share source ids, with counts of the overlap.

    ``num_source_ids`` is the number of ids in both, and ``num_videos`` that of the second split's videos with one.
    """
    found = run.data("split", "overlap")
    pairs = found.items() if isinstance(found, Mapping) else ()
    return {pair: counts for pair, counts in pairs if isinstance(counts, Mapping) and counts.get("num_source_ids")}


def evaluate(runs: Sequence[Run]) -> list[Result]:
    """Compute the metrics of every run over its scored videos, with 95 % bootstrap intervals."""
    return [_evaluate(run, name) for run, name in zip(runs, names(runs), strict=True)]


def _evaluate(run: Run, name: str) -> Result:
    result = Result(run, name)
    if run.test is None or run.failure:
        return result
    found = metrics_by_group(run.test, threshold=result.threshold)
    table = run.test[run.test["prob_fake"].notna()]
    groups: dict[str, tuple[Metrics, Interval | None]] = {}
    for dataset, metrics in found["datasets"].items():
        rows = table[table["dataset"] == dataset]
        groups[dataset] = (metrics, _group_interval(rows, result.threshold))
        for method in sorted(rows.loc[rows["label"] == Label.FAKE, "method"].unique()):
            chosen = rows[(rows["label"] == Label.REAL) | (rows["method"] == method)]
            key = f"{dataset}/{method}"
            groups[key] = (found["methods"][key], _group_interval(chosen, result.threshold))
    ends = intervals(table["prob_fake"], table["label"], ESTIMATED, threshold=result.threshold)
    return Result(run, name, found["overall"], ends, groups)


def _group_interval(table: pd.DataFrame, threshold: float) -> Interval | None:
    """Interval of the AUC of a data set or method."""
    num_real, num_fake = (int((table["label"] == label).sum()) for label in (Label.REAL, Label.FAKE))
    if min(num_real, num_fake) < MIN_OF_LABEL:
        return None
    return intervals(table["prob_fake"], table["label"], ["auc"], threshold=threshold)["auc"]


def videos_tested(result: Result) -> frozenset[str]:
    """Ids of the test videos, with or without a score."""
    return frozenset() if result.run.test is None else frozenset(result.run.test["video_id"])


@dataclass(frozen=True, slots=True)
class Leak:
    """The same model on a split by source and on one by single videos."""

    apart: Result
    dealt: Result
    label: str
    """Name of the model, with settings that distinguish it from other leaks."""

    @property
    def knows_no_source(self) -> bool:
        """Whether source ids are unknown, so that the split by source could not separate people either."""
        return self.apart.run.knows_no_source or self.dealt.run.knows_no_source

    @property
    def run_words(self) -> str:
        """Number of runs behind each value, in words."""
        counts = {len(getattr(result, "tested", [result])) for result in (self.apart, self.dealt)}
        return "one training run each" if counts == {1} else f"means of {' and '.join(map(str, sorted(counts)))} seeds"

    def gain(self, metric: str) -> float | None:
        """Increase of a metric on the split by video."""
        (high, _), (low, _) = self.dealt.estimate(metric), self.apart.estimate(metric)
        return None if high is None or low is None else high - low


def leaks(results: Sequence[Result]) -> list[Leak]:
    """Pairs of tested runs on the same clips that differ only in their split, one by source and one by video."""

    def alike(result: Result) -> tuple[Any, ...]:
        clips = result.run.data("index_sha256")
        return (result.run.model, clips, *shown_settings(result.run, ignoring=("data.split", *SEEDS)))

    tested = [result for result in results if result.is_tested]
    pairs = [
        (apart, dealt)
        for apart in tested
        for dealt in tested
        if apart.run.split_mode == "source" and dealt.run.split_mode == "random_video" and alike(apart) == alike(dealt)
    ]
    labels = names([apart.run for apart, _ in pairs], ignoring=("data.split", *SEEDS))
    return [Leak(apart, dealt, label) for (apart, dealt), label in zip(pairs, labels, strict=True)]


def why_no_leak(results: Sequence[Result]) -> str | None:
    """Reason why runs with different splits do not show the effect of the split; None if they do, or do not differ."""
    modes = sorted({result.run.split_mode for result in results})
    asked = {show_setting(result.run.split_setting) for result in results}
    if leaks(results) or (len(modes) < 2 and len(asked) < 2):
        return None
    start = "The effect of a split by video cannot be measured: that takes one run split by source and one by video"
    if "source" not in modes:
        return (
            f"{start} (random_video), but these were split by {listed(modes)}. data.split=null is the split that the "
            "store was prepared with, so use a store prepared with split=source."
        )
    if "random_video" not in modes:
        return f"{start} (random_video), but these were split by {listed(modes)}."
    return f"{start}, tested and otherwise alike. No two of these are."


def is_fold(value: str) -> bool:
    """Whether a value of ``data.split`` is a fold of a cross-validation.

    >>> is_fold("0/5"), is_fold("source")
    (True, False)
    """
    fold, slash, count = value.partition("/")
    return bool(slash) and fold.isdecimal() and count.isdecimal()


def shown_settings(run: Run, *, ignoring: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Settings in a form that can be compared and hashed."""
    return tuple(sorted((key, show_setting(value)) for key, value in run.settings.items() if key not in ignoring))


def varied_setting(runs: Sequence[Run]) -> str | None:
    """Only numeric setting that varies between runs, with three or more values; None unless there is exactly one."""
    settings = [run.settings for run in runs]
    found = []
    for key in differing(settings):
        values = [one.get(key) for one in settings]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if key not in (*SEEDS, "data.split_seed") and len(numbers) == len(runs) and len(set(numbers)) >= 3:
            found.append(key)
    return found[0] if len(found) == 1 else None


def series(results: Sequence[R], setting: str) -> dict[str, list[R]]:
    """Group runs that differ only in ``setting``, by a name for what they share."""
    groups: dict[tuple[Any, ...], list[R]] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for result in results:
        shared = (result.run.model, *shown_settings(result.run, ignoring=(setting, *SEEDS)))
        place = (*shared, show_setting(result.run.settings[setting]))
        groups.setdefault((seen[place], *shared), []).append(result)  # a repeated run starts a new series
        seen[place] += 1
    labels = names([group[0].run for group in groups.values()], ignoring=[setting, *SEEDS])
    return dict(zip(labels, groups.values(), strict=True))
