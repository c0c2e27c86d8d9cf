"""Configurations: runs that differ only in their seed are repetitions of one and are summarised together."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, TypeVar

from dfd.base.words import show_setting
from dfd.figures.style import Estimate, Interval
from dfd.metrics.videos import Metrics
from dfd.report.comparison.results import FIT_METRICS, SEEDS, Result, known, shown_settings
from dfd.report.page.document import Cell
from dfd.report.page.formatting import DASH, estimate, interval_words, number
from dfd.runs.folder import names

COUNTS = ("tp", "fn", "fp", "tn")
SEEDS_NOTE = (
    "With several seeds: mean and sample standard deviation (n - 1) over the seeds, which are runs that differ in "
    "nothing else. A seed that failed or is not finished is not in the mean; the column of seeds says so."
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a number over repetitions."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1); None for a single value."""
    count: int

    @property
    def ends(self) -> Interval | None:
        """Interval of one standard deviation around the mean."""
        return None if self.deviation is None else (self.mean - self.deviation, self.mean + self.deviation)

    def words(self) -> str:
        """Deviation in words for a sentence, without the mean.

        >>> spread([0.5, 0.7]).words()
        '± 0.141 over 2 seeds'
        """
        return "one seed" if self.deviation is None else f"± {self.deviation:.3f} over {self.count} seeds"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the known values; None if there is none.

    >>> spread([1.0, None, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    found = [value for value in values if value is not None]
    if not found:
        return None
    return Spread(fmean(found), stdev(found) if len(found) > 1 else None, len(found))


def spread_cell(found: Spread | None, expected: int = 0) -> Cell:
    """Cell of a table; says so if there are fewer values than the ``expected`` number of seeds."""
    if found is None:
        return Cell(DASH)
    details = [] if found.deviation is None else [f"± {found.deviation:.3f}"]
    details += [f"n = {found.count}"] if found.count < expected else []
    return Cell(number(found.mean), ", ".join(details))


def repetitions(
    items: Iterable[T], *, settings_of: Callable[[T], object], seed_of: Callable[[T], object]
) -> list[list[T]]:
    """Group items with the same settings, in order of first occurrence.

    A second item with the same settings *and* seed is not a repetition and starts a new group. A seed of None counts as
    different each time.

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
    """Result of one configuration: that of its only run, or means over its seeds.

    For several runs, ``overall`` has means, except for sums of the counts of the confusion matrix, and the ends of an
    interval are means of the runs' ends. ``run`` is the first one that finished.
    """

    results: Sequence[Result] = field(default=())

    @property
    def is_repeated(self) -> bool:
        """Whether the configuration was run with several seeds."""
        return len(self.results) > 1

    @property
    def tested(self) -> list[Result]:
        """Runs that have scored their test videos."""
        return [result for result in self.results if result.is_tested]

    @property
    def failed(self) -> list[Result]:
        """Runs that failed."""
        return [result for result in self.results if result.run.failure]

    @property
    def counting(self) -> Sequence[Result]:
        """Runs whose training counts: all, except failed ones if there are several seeds."""
        return [result for result in self.results if not result.run.failure] if self.is_repeated else self.results

    @property
    def is_fair(self) -> bool:
        """Whether all tests are on new people, the model is usable, and no seed failed."""
        return not self.failed and all(result.is_fair for result in self.results)

    @property
    def thresholds(self) -> set[float]:
        """Probabilities from which the runs call a video fake."""
        return {result.threshold for result in self.tested}

    def fit(self, metric: str) -> float | None:
        """Training metric at the chosen epoch, as the mean over the seeds."""
        found = self.fit_spread(metric)
        return None if found is None else found.mean

    def fit_spread(self, metric: str) -> Spread | None:
        """Training metric at the chosen epoch, over the seeds."""
        return spread(result.fit(metric) for result in self.counting)

    def spread(self, metric: str) -> Spread | None:
        """Test metric over the seeds."""
        return spread(result.estimate(metric)[0] for result in self.tested)

    def whisker(self, metric: str) -> Estimate:
        """Test metric for a figure: mean and one deviation over several seeds, or else value and interval."""
        found = self.spread(metric)
        return (found.mean, found.ends) if found and self.is_repeated else self.estimate(metric)

    def cell(self, metric: str) -> Cell:
        """Test metric for a table."""
        is_mean = self.is_repeated and self.spread(metric)
        return spread_cell(self.spread(metric), len(self.tested)) if is_mean else estimate(*self.estimate(metric))

    def group_cell(self, group: str) -> Cell:
        """AUC of a data set or method for a table."""
        found = [result.groups.get(group, ({}, None)) for result in (self.results if self.is_repeated else [self])]
        values = [known(metrics.get("auc")) for metrics, _ in found]
        return spread_cell(spread(values), len(self.tested)) if self.is_repeated else estimate(values[0], found[0][1])

    def words(self, metric: str) -> str:
        """Uncertainty of a test metric, for a sentence."""
        found = self.spread(metric)
        return found.words() if found and self.is_repeated else interval_words(self.intervals.get(metric))

    def counted(self, number: int | None = None) -> str:
        """Number of seeds out of all, such as ``2 of 3``; None: of those that were tested."""
        number, total = len(self.tested) if number is None else number, len(self.results)
        return str(total) if number == total else f"{number} of {total}"


def configurations(results: Sequence[Result]) -> list[Configuration]:
    """Group results by configuration, with runs in the order of their seeds."""
    complete = {_config(result): _settings(result) for result in reversed(results) if result.run.summary}
    groups = repetitions(
        results,
        # A failed run has no summary; it belongs to the runs with the same config.
        settings_of=lambda r: _settings(r) if r.run.summary else complete.get(_config(r), _settings(r)),
        seed_of=lambda result: seed_of(result.run.settings),
    )
    groups = [sorted(group, key=lambda result: _in_order(result.run.settings.get("seed"))) for group in groups]
    titles = names([_first(group).run for group in groups], ignoring=SEEDS)
    return [_configuration(name, _named(name, group)) for name, group in zip(titles, groups, strict=True)]


def seed_of(settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Seeds of a run, by which it is paired with runs of other configurations; None if it had none."""
    found = tuple(show_setting(settings.get(key)) for key in SEEDS)
    return None if settings.get("seed") is None else found


def seed_words(result: Result) -> str:
    """Seed of a run, for a sentence."""
    given = {key: result.run.settings[key] for key in SEEDS if key in result.run.settings}
    return ", ".join(f"{key}={show_setting(value)}" for key, value in given.items()) or result.run.place


def best_of_seeds(items: Sequence[T], values: Sequence[float | None], *, minimized: bool) -> T | None:
    """Choose the seed to use: the median by the validation metric, the better one of two.

    The mean of the configuration describes this seed. The seed with the best validation was partly lucky, and would do
    worse on new videos.

    >>> best_of_seeds(["a", "b", "c", "d"], [0.9, 0.7, 0.8, 0.6], minimized=False)
    'c'
    """
    ranked = sorted(
        (index for index, value in enumerate(values) if value is not None),
        key=lambda index: (values[index] or 0.0) * (1 if minimized else -1),
    )
    return items[ranked[(len(ranked) - 1) // 2]] if ranked else None


def _settings(result: Result) -> object:
    """Key that repetitions share; a run without a config shares it with no other."""
    run = result.run
    return (run.model, shown_settings(run, ignoring=SEEDS)) if run.settings else run.folder


def _config(result: Result) -> object:
    """Key from the run's config alone, without settings that only a finished run's summary adds."""
    run = result.run
    added = ("data.split", "data.index")
    return (show_setting(run.split_setting), shown_settings(run, ignoring=(*SEEDS, *added))) if run.settings else None


def _named(name: str, group: Sequence[Result]) -> Sequence[Result]:
    """Name the runs after their configuration and seed."""
    if len(group) == 1:
        return group
    start = f"{name[:-1]}, " if name.endswith(")") else f"{name} ("
    return [replace(result, name=f"{start}{seed_words(result)})") for result in group]


def _first(group: Sequence[Result]) -> Result:
    """Run that represents the group: the first one that finished."""
    return next((result for result in group if result.run.summary), group[0])


def _in_order(seed: object) -> tuple[float, str]:
    return (float(seed), "") if isinstance(seed, int | float) else (float("inf"), str(seed))


def _configuration(name: str, results: Sequence[Result]) -> Configuration:
    tested = [result for result in results if result.is_tested]
    if len(results) == 1 or len(tested) == 1:
        (one,) = tested or results
        return Configuration(_first(results).run, name, one.overall, one.intervals, one.groups, results)
    intervals = {key: _mean_ends([r.intervals.get(key) for r in tested]) for r in tested for key in r.intervals}
    found = {group: [r.groups[group] for r in tested if group in r.groups] for r in tested for group in r.groups}
    groups = {group: (_means([m for m, _ in each]), _mean_ends([e for _, e in each])) for group, each in found.items()}
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
    """Row of configurations.csv: mean, deviation and count of each metric, unrounded."""
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
