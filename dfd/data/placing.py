"""Placing pieces that must stay whole so that every data set's real and fake videos are divided as asked."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Stratum = tuple[str, str]
"""(data set, label); ("", label) is the pool of what is too small to be divided by itself."""
MIN_DIVISIBLE = 20
"""No three videos are 15 % of fewer. Alone, data sets of a few videos would all go to train, so they are pooled."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Videos that stay together, their split if it is fixed, and the sides that some of their source ids have."""

    videos: Sequence[str]
    split: str | None
    sides: Mapping[str, str]


def shuffle_key(seed: int, key: str) -> str:
    """Sorting by this shuffles: the same way each time, whatever else there is to sort."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def place(
    pieces: Sequence[Piece], strata: Mapping[str, Stratum], shares: Mapping[str, float], *, seed: int
) -> dict[str, str]:
    """The split of every piece's videos: each stratum divided by ``shares`` as nearly as that can be.

    Args:
        pieces: those without a split are placed.
        strata: (data set, label) of every video.
        shares: the wanted share of each split, together 1.
        seed: of the order of pieces of one size.
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
    # Large ones first, while there is room for them; the small ones then fill the gaps.
    free = sorted(
        set(range(len(pieces))) - chosen.keys(),
        key=lambda index: (-len(pieces[index].videos), shuffle_key(seed, pieces[index].videos[0])),
    )
    for index in free:
        chosen[index] = balance.best(counts[index])
        balance.add(counts[index], chosen[index])
    # Then single moves, the small ones first, for as long as they help.
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
    """How far the counts are from the wanted ones: the sum of squared distances, weighted, over the strata."""

    def __init__(self, counts: Iterable[Counter[Stratum]], shares: Mapping[str, float]) -> None:
        self.total: Counter[Stratum] = Counter()
        for count in counts:
            self.total.update(count)
        self.shares = shares
        self.here: dict[str, Counter[Stratum]] = {split: Counter() for split in shares}
        self.num_of_label: dict[str, Counter[str]] = {split: Counter() for split in shares}
        # The pool weighs as much as the data sets in it, each divided by its own size.
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
        """The split that ``count`` fits best; among equals ``current``, else the earlier one.

        With ``current`` (a move), a label that a split lacks counts above all else. In the first round it must not: the
        second largest component would fill val only because val is still empty.
        """
        candidates = [split for split, share in self.shares.items() if share > 0]
        if current in candidates:
            candidates = [current, *(split for split in candidates if split != current)]

        def cost(split: str) -> float:
            lacking = sum(self.num_of_label[split][label] <= 0 for label in _labels(count)) if current else 0
            # Rounded, so that a sum in another order (rows come in any) does not decide between equals.
            return round(self._cost(count, split) - 1e6 * lacking, 6)

        return min(candidates, key=cost)

    def _cost(self, count: Counter[Stratum], split: str) -> float:
        """By how much the distance grows if ``count`` joins ``split``."""
        cost = 0.0
        for stratum, number in count.items():
            short = self.shares[split] * self.total[stratum] - self.here[split][stratum]
            cost += number * (number - 2 * short) * self.weight[stratum]
        return cost


def _labels(count: Counter[Stratum]) -> Counter[str]:
    """How many videos of each label."""
    labels: Counter[str] = Counter()
    for (dataset, label), number in count.items():
        if dataset:
            labels[label] += number
    return labels
