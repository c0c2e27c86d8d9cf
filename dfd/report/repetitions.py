"""Configurations: runs that differ only in their seed are repetitions of one, and count together."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, TypeVar

from dfd.metrics import Metrics
from dfd.plots import Estimate, Interval
from dfd.report.document import Cell
from dfd.report.formatting import DASH, estimate, interval_words, number
from dfd.report.results import FIT_METRICS, SEEDS, Result, known, shown_settings
from dfd.report.runs import names, show_setting

COUNTS = ("tp", "fn", "fp", "tn")
SEEDS_NOTE = (
    "With several seeds: the mean and the standard deviation (of a sample, n - 1) over the seeds, which are runs that "
    "differ in nothing else. A seed that failed or is not done is not in the mean; the column of seeds says so."
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a number over repetitions."""

    mean: float
    deviation: float | None
    """Standard deviation of a sample (divided by n - 1); None of a single value."""
    count: int

    @property
    def ends(self) -> Interval | None:
        """The mean less and plus one standard deviation."""
        return None if self.deviation is None else (self.mean - self.deviation, self.mean + self.deviation)

    def cell(self, expected: int | None = None) -> Cell:
        """For a table. ``expected``: of how many seeds it should be; it says so if it is of fewer."""
        details = [] if self.deviation is None else [f"± {self.deviation:.3f}"]
        details += [f"n = {self.count}"] if expected is not None and self.count < expected else []
        return Cell(number(self.mean), ", ".join(details))

    def words(self) -> str:
        """For a sentence, without the mean.

        >>> spread([0.5, 0.7]).words()
        '± 0.141 over 2 seeds'
        """
        return "one seed" if self.deviation is None else f"± {self.deviation:.3f} over {self.count} seeds"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that are known; None if none is.

    >>> spread([1.0, None, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    found = [value for value in values if value is not None]
    if not found:
        return None
    return Spread(fmean(found), stdev(found) if len(found) > 1 else None, len(found))


def repetitions(
    items: Iterable[T], *, settings_of: Callable[[T], object], seed_of: Callable[[T], object]
) -> list[list[T]]:
    """Items of the same settings together, in the order of the first of each.

    Two of the same settings *and* the same seed are no repetition, which would be the same again: the second begins a
    group of its own. A seed of None is another each time.

    >>> repetitions(["a0", "b0", "a1", "a0"], settings_of=lambda x: x[0], seed_of=lambda x: x[1])
    [['a0', 'a1'], ['b0'], ['a0']]
    """
    groups: dict[object, list[T]] = {}
    seen: Counter[object] = Counter()
    for item in items:
        settings, seed = settings_of(item), seed_of(item)
        place = (settings, seed)
        groups.setdefault((settings, seen[place]), []).append(item)
        seen[place] += seed is not None
    return list(groups.values())


@dataclass(frozen=True, slots=True, eq=False)
class Configuration(Result):
    """What the runs of one configuration came to: the result of its only run, or the means over its seeds.

    Of several runs, ``overall`` has means, but for the counts of a confusion matrix, which are sums; an interval's ends
    are the means of the runs' ends. ``run`` is the first one that ended.
    """

    results: Sequence[Result] = field(default=())

    @property
    def is_repeated(self) -> bool:
        """Whether it was run with several seeds."""
        return len(self.results) > 1

    @property
    def tested(self) -> list[Result]:
        """Its runs that have scored their test videos."""
        return [result for result in self.results if result.is_tested]

    @property
    def failed(self) -> list[Result]:
        """Its runs that did not come to a result."""
        return [result for result in self.results if result.run.failure]

    @property
    def counting(self) -> Sequence[Result]:
        """Its runs whose training counts: all of them, but for those of several seeds that failed."""
        return [result for result in self.results if not result.run.failure] if self.is_repeated else self.results

    @property
    def is_fair(self) -> bool:
        """Each of its tests says something about new people, its model may be used, and no seed of it failed."""
        return not self.failed and all(result.is_fair for result in self.results)

    @property
    def thresholds(self) -> set[float]:
        """Probability from which on its runs call a video fake."""
        return {result.threshold for result in self.tested}

    def fit(self, metric: str) -> float | None:
        """A number of the training at the chosen epoch; the mean over its seeds."""
        found = self.fit_spread(metric)
        return None if found is None else found.mean

    def fit_spread(self, metric: str) -> Spread | None:
        """A number of the training at the chosen epoch, over its seeds."""
        return spread(result.fit(metric) for result in self.counting)

    def spread(self, metric: str) -> Spread | None:
        """A number of the test, over its seeds."""
        return spread(result.estimate(metric)[0] for result in self.tested)

    def whisker(self, metric: str) -> Estimate:
        """A number of the test for a figure: of several seeds the mean and one deviation, else with its interval."""
        found = self.spread(metric)
        return (found.mean, found.ends) if found and self.is_repeated else self.estimate(metric)

    def cell(self, metric: str) -> Cell:
        """A number of the test for a table."""
        found = self.spread(metric)
        return found.cell(len(self.tested)) if found and self.is_repeated else estimate(*self.estimate(metric))

    def group_cell(self, group: str) -> Cell:
        """The AUC of a data set or method for a table."""
        if not self.is_repeated:
            metrics, interval = self.groups.get(group, ({}, None))
            return estimate(known(metrics.get("auc")), interval)
        found = spread(known(result.groups.get(group, ({}, None))[0].get("auc")) for result in self.results)
        return found.cell(len(self.tested)) if found else Cell(DASH)

    def words(self, metric: str) -> str:
        """How sure a number of the test is, for a sentence."""
        found = self.spread(metric)
        return found.words() if found and self.is_repeated else interval_words(self.intervals.get(metric))

    def counted(self) -> str:
        """How many seeds it was tested with, such as ``2 of 3``."""
        total = len(self.results)
        return str(total) if len(self.tested) == total else f"{len(self.tested)} of {total}"


def configurations(results: Sequence[Result]) -> list[Configuration]:
    """The results by configuration, each of its runs in the order of their seeds."""
    complete = {_config(result): _settings(result) for result in reversed(results) if result.run.summary}
    groups = repetitions(
        results,
        # A run that failed wrote down less of itself: it belongs to those with the same config.
        settings_of=lambda r: _settings(r) if r.run.summary else complete.get(_config(r), _settings(r)),
        seed_of=lambda result: seed_of(result.run.settings),
    )
    groups = [sorted(group, key=lambda result: _in_order(result.run.settings.get("seed"))) for group in groups]
    titles = names([_first(group).run for group in groups], ignoring=SEEDS)
    return [_configuration(name, _named(name, group)) for name, group in zip(titles, groups, strict=True)]


def seed_of(settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The seeds of a run, by which it is paired with those of other configurations; None if it had none."""
    found = tuple(show_setting(settings.get(key)) for key in SEEDS)
    return None if settings.get("seed") is None else found


def seed_words(result: Result) -> str:
    """The seed of a run, for a sentence."""
    given = {key: result.run.settings[key] for key in SEEDS if key in result.run.settings}
    return ", ".join(f"{key}={show_setting(value)}" for key, value in given.items()) or result.run.place


def best_of_seeds(items: Sequence[T], values: Sequence[float | None], *, minimized: bool) -> T | None:
    """The one to hand on of several seeds: the middle one by the validation metric, of two middle ones the better.

    The mean of a configuration describes it. The luckiest seed is chosen by the luck of its validation, and would
    disappoint.

    >>> best_of_seeds(["a", "b", "c", "d"], [0.9, 0.7, 0.8, 0.6], minimized=False)
    'c'
    """
    ranked = sorted(
        (index for index, value in enumerate(values) if value is not None),
        key=lambda index: (values[index] or 0.0) * (1 if minimized else -1),
    )
    return items[ranked[(len(ranked) - 1) // 2]] if ranked else None


def _settings(result: Result) -> object:
    """What repetitions have in common; a run without a config has nothing in common with any."""
    run = result.run
    return (run.model, shown_settings(run, ignoring=SEEDS)) if run.settings else run.folder


def _config(result: Result) -> object:
    """What its config says, without what only the summary of a run that ended adds to it."""
    run = result.run
    added = ("data.split", "data.index")
    return (show_setting(run.split_setting), shown_settings(run, ignoring=(*SEEDS, *added))) if run.settings else None


def _named(name: str, group: Sequence[Result]) -> Sequence[Result]:
    """The runs by the name of their configuration and their seed."""
    if len(group) == 1:
        return group
    start = f"{name[:-1]}, " if name.endswith(")") else f"{name} ("
    return [replace(result, name=f"{start}{seed_words(result)})") for result in group]


def _first(group: Sequence[Result]) -> Result:
    """The one that stands for the others: the first that ended."""
    return next((result for result in group if result.run.summary), group[0])


def _in_order(seed: object) -> tuple[float, str]:
    return (float(seed), "") if isinstance(seed, int | float) else (float("inf"), str(seed))


def _configuration(name: str, results: Sequence[Result]) -> Configuration:
    tested = [result for result in results if result.is_tested]
    if len(results) == 1 or len(tested) == 1:
        (one,) = tested or results
        return Configuration(_first(results).run, name, one.overall, one.intervals, one.groups, results)
    intervals = {key: _mean_ends([r.intervals.get(key) for r in tested]) for r in tested for key in r.intervals}
    groups = {
        group: (
            _means([r.groups[group][0] for r in tested if group in r.groups]),
            _mean_ends([r.groups[group][1] for r in tested if group in r.groups]),
        )
        for r in tested
        for group in r.groups
    }
    return Configuration(_first(results).run, name, _means([r.overall for r in tested]), intervals, groups, results)


def _means(found: Sequence[Metrics]) -> Metrics:
    merged: Metrics = {}
    for key in dict.fromkeys(key for metrics in found for key in metrics):
        values = [value for metrics in found if (value := metrics.get(key)) is not None]
        if not values:
            merged[key] = None
        elif key in COUNTS:
            merged[key] = sum(values)
        elif key.startswith("num_"):
            merged[key] = max(values)
        else:
            merged[key] = fmean(values)
    return merged


def _mean_ends(found: Sequence[Interval | None]) -> Interval | None:
    ends = [interval for interval in found if interval is not None]
    if not ends or len(ends) < len(found):
        return None
    return fmean(low for low, _ in ends), fmean(high for _, high in ends)


def numbers_of(configuration: Configuration, metrics: Sequence[str]) -> dict[str, Any]:
    """Mean, deviation and count of its numbers, unrounded: a row of configurations.csv."""
    row: dict[str, Any] = {
        "name": configuration.name,
        "num_seeds": len(configuration.results),
        "num_failed": len(configuration.failed),
        "runs": " ".join(result.run.place for result in configuration.results),
    }
    found = {f"{metric}_over_clips": configuration.fit_spread(metric) for metric in FIT_METRICS}
    found |= {f"test_{metric}": configuration.spread(metric) for metric in metrics}
    for name, value in found.items():
        if value is not None:
            row |= {f"{name}_mean": value.mean, f"{name}_std": value.deviation, f"{name}_n": value.count}
    return row
