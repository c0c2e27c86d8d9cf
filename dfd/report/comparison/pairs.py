"""Pairwise comparison of configurations, on the same videos and over the same seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binom, ttest_1samp

from dfd.base.types import Label
from dfd.metrics.significance import McNemar, holm, mcnemar
from dfd.report.comparison.repetitions import Configuration, Spread, seed_of, spread
from dfd.report.comparison.results import Result

COMPARED = ("accuracy", "auc")


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between two configurations over the same seeds (first minus second), with its significance."""

    spread: Spread
    p_value: float | None
    """P value of the paired t test; None if all differences are equal, for which it is not defined."""
    adjusted: float | None = None
    """P value after Holm's correction over all pairs."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Comparison of two configurations on their common scored videos, between runs of the same seed."""

    a: Configuration
    b: Configuration
    num_common: int
    num_contradicting: int
    """Number of common videos with contradicting labels, which are left out."""
    num_seeds: int = 0
    """Number of compared pairs of runs."""
    accuracy_a: float | None = None
    accuracy_b: float | None = None
    test: McNemar | None = None
    """Test over the videos; its counts are sums over the seeds."""
    adjusted: float | None = None
    """P value of ``test`` after Holm's correction over all pairs."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """Differences by metric, for at least two seeds."""


def compare(configurations: Sequence[Configuration]) -> list[Pair]:
    """Compare every two of the tested configurations."""
    pairs = [_compare(a, b) for a, b in combinations([found for found in configurations if found.is_tested], 2)]
    adjusted = iter(holm([pair.test.p_value for pair in pairs if pair.test]))
    pairs = [replace(pair, adjusted=next(adjusted)) if pair.test else pair for pair in pairs]
    for metric in COMPARED:
        found = [(pair, pair.differences[metric]) for pair in pairs if metric in pair.differences]
        p_values = {id(pair): one.p_value for pair, one in found if one.p_value is not None}
        after = dict(zip(p_values, holm(list(p_values.values())), strict=True))
        for pair, difference in found:
            pair.differences[metric] = replace(difference, adjusted=after.get(id(pair)))
    return pairs


def pair_runs(a: Configuration, b: Configuration) -> list[tuple[Result, Result]]:
    """Pairs of tested runs of two configurations with the same seed; two single runs pair whatever their seeds."""
    if not a.is_repeated and not b.is_repeated:
        return [(a.tested[0], b.tested[0])]
    by_seed = {seed: result for result in b.tested if (seed := seed_of(result.run.settings)) is not None}
    return [(one, by_seed[seed]) for one in a.tested if (seed := seed_of(one.run.settings)) in by_seed and seed]


def _compare(a: Configuration, b: Configuration) -> Pair:
    runs = pair_runs(a, b)
    tables, contradicting = [], set[str]()
    for one, other in runs:
        both = _verdicts(one).join(_verdicts(other), how="inner", lsuffix="_a", rsuffix="_b")
        agreed = both["label_a"] == both["label_b"]
        contradicting |= set(both.index[~agreed])
        tables.append(both[agreed])
    joined = pd.concat(tables) if tables else pd.DataFrame()
    differences = {
        metric: found
        for metric in COMPARED
        if (found := _difference([(r.estimate(metric)[0], s.estimate(metric)[0]) for r, s in runs])) is not None
    }
    pair = Pair(a, b, 0, len(contradicting), len(runs), differences=differences)
    if joined.empty:
        return pair
    right_a, right_b = joined["right_a"].to_numpy(bool), joined["right_b"].to_numpy(bool)
    test = mcnemar(right_a, right_b)
    if len(runs) > 1:  # each video counts once, however many seeds judged it
        gains = (joined["right_a"].astype(int) - joined["right_b"].astype(int)).groupby(level=0).sum()
        test = replace(test, p_value=sign_flip_p(gains.to_numpy()))
    num_common, (a_right, b_right) = joined.index.nunique(), (float(right.mean()) for right in (right_a, right_b))
    return replace(pair, num_common=num_common, test=test, accuracy_a=a_right, accuracy_b=b_right)


def _difference(values: Sequence[tuple[float | None, float | None]]) -> Difference | None:
    """Difference with a paired t test over seeds; None for fewer than two seeds."""
    gains = [a - b for a, b in values if a is not None and b is not None]
    found = spread(gains)
    if found is None or found.deviation is None:
        return None
    if found.deviation > 1e-12:
        return Difference(found, float(ttest_1samp(gains, 0.0).pvalue))
    return Difference(found, 1.0 if abs(found.mean) < 1e-12 else None)


def sign_flip_p(gains: ArrayLike) -> float:
    """Exact two-sided p value of the sum of gains if the sign of each is random.

    This is Fisher's randomisation test of paired values (1935); for gains of 1, 0 and -1 it is McNemar's test.

    >>> sign_flip_p([1, 1, 0]), sign_flip_p([3, 3, 3, -1])
    (0.5, 0.25)

    Args:
        gains: whole numbers, one per video, (N,).
    """
    whole = np.asarray(gains, dtype=int)
    sizes = np.abs(whole[whole != 0])
    chances = np.ones(1)  # distribution of the sum of the gains with sign +, from 0 on
    for size, count in sorted(Counter(sizes.tolist()).items()):
        of_size = np.zeros(size * count + 1)
        of_size[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, of_size)
    sums = 2 * np.arange(len(chances)) - int(sizes.sum())
    return min(1.0, float(chances[np.abs(sums) >= abs(int(whole.sum()))].sum()))


def _verdicts(result: Result) -> pd.DataFrame:
    """Label of each scored video, and whether its verdict was right."""
    assert result.run.test is not None
    table = result.run.test[result.run.test["prob_fake"].notna()].set_index("video_id")
    called_fake = table["prob_fake"] >= result.threshold
    return pd.DataFrame({"label": table["label"], "right": called_fake == (table["label"] == Label.FAKE)})
