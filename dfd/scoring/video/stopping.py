"""Early stopping: a video's windows go through the network in random order until the verdict is settled.

The windows that a video would be scored with are known before the first of them is scored. Those scored so far are a
random sample of them, drawn without replacement, and bound the mean over all of them by a betting argument
(Waudby-Smith and Ramdas, NeurIPS 2020). It holds for any scores in 0..1, however alike neighbouring windows are: the
only chance in it is that of the order.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from dfd.base.errors import ConfigError
from dfd.base.types import Verdict
from dfd.faces.found import FaceWindow
from dfd.scoring.aggregation import (
    Aggregation,
    check_chance,
    max_of_means,
    max_of_shrunk_means,
    mean_of_windows,
    without_weak,
)
from dfd.scoring.video.state import LOOKING, NETWORK, _Video, weaknesses

MEANS: tuple[Aggregation, ...] = (max_of_means, max_of_shrunk_means, mean_of_windows)
"""Rules in which a video's score follows from the means of its appearances, and rises with each of them."""

MOST_HELD = 512
"""Windows of a video that wait in memory until all are known; a video with more is scored whole."""

STAKES = {1.0: 0.8, 0.5: 0.2}
"""Shares of the largest bet that may be placed on the next window, and how much of the capital bets so.

The largest bet wins soonest, and loses all at a window that is surely of the other kind."""


def upper_bound(probs: Sequence[float], number: int, chance: float) -> float:
    """Bound that the mean of ``number`` values in 0..1 exceeds with a probability of at most ``chance``.

    ``probs`` are the first of the values in an order that was drawn at random. The probability is that of exceeding it
    at any time while values are added. With ``chance`` 0 it is what the mean is if all others are 1.

    >>> upper_bound([0.0, 0.5], 4, 0.0)
    0.625
    >>> round(upper_bound([0.1] * 8, 32, 0.001), 2), round(upper_bound([0.1] * 16, 32, 0.001), 2)
    (0.57, 0.34)
    """
    taken, sums = np.asarray(probs, dtype=np.float64), np.cumsum([0.0, *probs])
    left = number - np.arange(len(taken))
    certain = (sums[-1] + number - len(taken)) / number
    if chance <= 0:
        return float(certain)

    def is_refuted(mean: float) -> bool:
        """Whether bets against this mean, or a larger one, would have won too much."""
        expected = (number * mean - sums[:-1]) / left
        if expected.max() >= 1:
            return True  # all that are left would have to be 1, and more
        growth = 1 + np.multiply.outer([*STAKES], (expected - taken) / (1 - expected))
        return bool(([*STAKES.values()] @ np.cumprod(growth, axis=1)).max() >= 1 / chance)

    low, high = float(sums[-1]) / number, float(certain)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if is_refuted(middle) else (middle, high)
    return high


def lower_bound(probs: Sequence[float], number: int, chance: float) -> float:
    """Bound that the mean is below with a probability of at most ``chance``; see :func:`upper_bound`.

    >>> lower_bound([1.0, 0.5], 4, 0.0)
    0.375
    """
    return 1 - upper_bound([1 - prob for prob in probs], number, chance)


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Rule that ends the scoring of a video.

    Args:
        chance: largest probability with which the verdict may be another than that of all windows; 0: none.
        aggregation: rule from windows to the video's score.
        call: verdict of a score.

    Raises:
        ConfigError: ``chance`` is out of range, or the rule is none of :data:`MEANS`.
    """

    chance: float
    aggregation: Aggregation
    call: Callable[[float], Verdict]

    def __post_init__(self) -> None:
        check_chance(self.chance)
        if self.aggregation not in MEANS:
            names = ", ".join(rule.__name__ for rule in MEANS)
            raise ConfigError(
                f"stop_early bounds means over windows, and this detector's aggregation is none of {names}: "
                "set stop_early=null, or one of these"
            )

    def holds(self, video: _Video) -> bool:
        """Whether a video's windows wait until all of them are known; False: there are too many."""
        return not video.tracks and len(video.waiting) <= MOST_HELD

    def run(self, video: _Video, look: Callable[[list[FaceWindow]], list[float]], batch_size: int) -> Iterator[float]:
        """Score the windows that wait until the verdict is settled; yields the share of the work that is done, 0..1.

        ``look`` gives windows their probability, and the video their scores.
        """
        if video.tracks or not video.waiting:
            return
        windows, video.waiting = video.waiting, []
        groups = list(video.grouped({window.track for window in windows}))
        group_of = {track: place for place, one in enumerate(groups) for track in one.tracks}
        order = _drawn([group_of[window.track] for window in windows], seed=video.file.sha256 if video.file else "")
        numbers = [0] * len(groups)
        for window in windows:
            numbers[group_of[window.track]] += 1
        is_weak = list(map(bool, weaknesses(groups, numbers)))
        probs: list[list[float]] = [[] for _ in groups]
        done = 0
        while done < len(order) and not self.is_settled(probs, numbers, is_weak):
            batch = [windows[place] for place in order[done : done + batch_size]]
            for window, prob in zip(batch, look(batch), strict=True):
                probs[group_of[window.track]].append(prob)
            done += len(batch)
            yield LOOKING + NETWORK * done / len(order)
        video.leave_out(windows[place] for place in order[done:])
        if done < len(order):
            video.remark = f"{done} of {len(order)} windows were scored (stop_early={self.chance:g})"

    def is_settled(self, probs: Sequence[Sequence[float]], numbers: Sequence[int], is_weak: Sequence[bool]) -> bool:
        """Whether the windows that are left would change the verdict with no more than the chance.

        Args:
            probs: what the windows of each appearance came to so far, in the order in which they were drawn.
            numbers: windows of each appearance, those left included.
            is_weak: whether an appearance has no part in the score; see :func:`~dfd.scoring.aggregation.weakness`.
        """
        if not all(probs):
            return False
        chance = self.chance / (2 * len(probs))
        each = list(zip(probs, numbers, strict=True))
        low = [lower_bound(seen, number, chance) for seen, number in each]
        high = [upper_bound(seen, number, chance) for seen, number in each]
        calls = set()
        for means in (low, high, list(map(fmean, probs))):
            repeated = [[mean] * number for mean, number in zip(means, numbers, strict=True)]
            calls.add(self.call(without_weak(self.aggregation, repeated, is_weak)[1]))
        return len(calls) == 1


def _drawn(groups: Sequence[int], *, seed: str) -> list[int]:
    """Places of windows in an order drawn at random: the first of each group, then the second of each, and so on.

    A copy of a video has the order of the video.
    """
    digest = hashlib.sha256(f"stop_early {seed}".encode()).digest()
    shuffled = np.random.default_rng(list(digest)).permutation(len(groups)).tolist()
    seen: dict[int, int] = {}
    rounds: dict[int, int] = {}
    for place in shuffled:
        rounds[place] = seen[groups[place]] = seen.get(groups[place], -1) + 1
    return sorted(shuffled, key=rounds.__getitem__)
