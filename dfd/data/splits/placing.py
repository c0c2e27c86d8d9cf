"""Placement of indivisible pieces so that every data set's real and fake videos are divided as wanted."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Stratum = tuple[str, str]
"""(data set, label); ("", label) is the pool of data sets that are too small to be divided alone."""
MIN_DIVISIBLE = 20
"""Smallest stratum that is divided alone.

With fewer videos, 15 % is less than three. Small data sets would all go to train, so they are pooled.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """Videos that stay together, their split if it is fixed, and the known sides of their source ids."""

    videos: Sequence[str]
    split: str | None
    sides: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Share of each split, with sum 1, and the seed of the order in which videos are placed."""

    shares: Mapping[str, float]
    seed: int


def shuffle_key(seed: int, key: str) -> str:
    """Sort key for a reproducible shuffle that does not depend on the other items."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def place(
    pieces: Sequence[Piece], strata: Mapping[str, Stratum], shares: Mapping[str, float], *, seed: int
) -> dict[str, str]:
    """Split of every piece's videos, with each stratum divided by ``shares`` as closely as possible.

    Args:
        pieces: pieces of videos; those without a split are placed.
        strata: (data set, label) of every video.
        shares: wanted share of each split, with sum 1.
        seed: seed of the order among pieces of equal size.
    """
    sizes = Counter(strata[video_id] for piece in pieces for video_id in piece.videos)
    counts: list[Counter[Stratum]] = []
    for piece in pieces:
        here = Counter(strata[video_id] for video_id in piece.videos)
        for (dataset, label), number in list(here.items()):
            if sizes[dataset, label] < MIN_DIVISIBLE:
                here["", label] += number
        counts.append(here)
    balance = _Balance(counts, shares)
    chosen: dict[int, str] = {}
    for index, piece in enumerate(pieces):
        if piece.split is not None:
            balance.add(counts[index], piece.split)
            chosen[index] = piece.split
    # Large pieces first, while there is room for them; small ones fill the gaps.
    free = sorted(
        set(range(len(pieces))) - chosen.keys(),
        key=lambda index: (-len(pieces[index].videos), shuffle_key(seed, pieces[index].videos[0])),
    )
    for index in free:
        chosen[index] = balance.best(counts[index])
        balance.add(counts[index], chosen[index])
    # Then single moves, small pieces first, while they help.
    for _ in range(10):
        moved = False
        for index in reversed(free):
            balance.remove(counts[index], chosen[index])
            better = balance.best(counts[index], current=chosen[index])
            balance.add(counts[index], better)
            moved |= better != chosen[index]
            chosen[index] = better
        if not moved:
            break
    return {video_id: chosen[index] for index, piece in enumerate(pieces) for video_id in piece.videos}


class _Balance:
    """Distance of the counts from the wanted ones: the weighted sum of squares over the strata."""

    def __init__(self, counts: Iterable[Counter[Stratum]], shares: Mapping[str, float]) -> None:
        self.total: Counter[Stratum] = Counter()
        for count in counts:
            self.total.update(count)
        self.shares = shares
        self.here: dict[str, Counter[Stratum]] = {split: Counter() for split in shares}
        self.num_of_label: dict[str, Counter[str]] = {split: Counter() for split in shares}
        # A stratum has weight 1 / size; the pool has the weight of as many data sets as it contains.
        pooled = Counter(label for (dataset, label), total in self.total.items() if dataset and total < MIN_DIVISIBLE)
        self.weight = {
            stratum: (1 if stratum[0] else pooled[stratum[1]]) / total for stratum, total in self.total.items()
        }

    def add(self, count: Counter[Stratum], split: str) -> None:
        self.here[split].update(count)
        self.num_of_label[split].update(_labels(count))

    def remove(self, count: Counter[Stratum], split: str) -> None:
        self.here[split].subtract(count)
        self.num_of_label[split].subtract(_labels(count))

    def best(self, count: Counter[Stratum], *, current: str | None = None) -> str:
        """Split that ``count`` fits best; ties go to ``current``, then to the earlier split.

        With ``current`` (a move), a label that a split lacks outweighs everything else. During placement it must not,
        or the second largest component would go to val only because val is still empty.
        """
        candidates = [split for split, share in self.shares.items() if share > 0]
        if current in candidates:
            candidates = [current, *(split for split in candidates if split != current)]

        def cost(split: str) -> float:
            lacking = sum(self.num_of_label[split][label] <= 0 for label in _labels(count)) if current else 0
            # Rounded, so that the order of summation does not decide between equal costs.
            return round(self._cost(count, split) - 1e6 * lacking, 6)

        return min(candidates, key=cost)

    def _cost(self, count: Counter[Stratum], split: str) -> float:
        """Increase of the distance if ``count`` joins ``split``."""
        cost = 0.0
        for stratum, number in count.items():
            short = self.shares[split] * self.total[stratum] - self.here[split][stratum]
            cost += number * (number - 2 * short) * self.weight[stratum]
        return cost


def _labels(count: Counter[Stratum]) -> Counter[str]:
    """Number of videos of each label."""
    labels: Counter[str] = Counter()
    for (dataset, label), number in count.items():
        if dataset:
            labels[label] += number
    return labels
