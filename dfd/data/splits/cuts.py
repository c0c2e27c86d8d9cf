"""Cutting of a group of videos that share people, so that each side of the cut has its own people.

In Celeb-DF v2, 59 people are swapped with one another in 5639 videos. All of these are connected, and kept whole they
would leave nothing to test on. So the people are divided instead of the videos; a video of people from two sides is
lost.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

NUM_STARTS = 8
"""Number of starts of the hill climbing, of which the best result is kept.

On graphs like Celeb-DF v2 (tried with 1, 4, 8 and 32), 1 loses up to a tenth more fakes than 8, and 32 gains only a few
videos.
"""
MAX_ROUNDS = 50
EMPTY = 0.1
"""Number of videos that an empty side counts as: far worse than 1, but still comparable."""


@dataclass(frozen=True, slots=True)
class Member:
    """A video of the group: its source ids and its stratum, (data set, label)."""

    source_ids: tuple[str, ...]
    stratum: tuple[str, str]


def divide_sources(
    members: Iterable[Member], fractions: Mapping[str, float], *, seed: int = 0, fixed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Choose the side of every source id; a video belongs to the side that all its ids are on, or to none.

    Maximises the sum of ``fraction * log(videos)`` over sides and strata, with equal weight for real and fake. If no
    video has to be lost, the optimum is ``fractions``; otherwise the number of lost videos is balanced against the
    proportions, and no side goes without a stratum that it can have. The search is a hill climbing that moves one id at
    a time, from several seeded starts. The order of the members does not matter.

    Args:
        members: the videos.
        fractions: wanted share of each side.
        seed: seed of the starts.
        fixed: sides of ids that must not change.
    """
    search = _Search(members, fractions, fixed or {})
    best: tuple[float, dict[str, str]] | None = None
    for start in range(NUM_STARTS if search.free else 1):
        score = search.climb(random.Random(f"{seed}:{start}"))
        if best is None or score > best[0]:
            best = score, dict(search.side)
    assert best is not None
    return dict(sorted(best[1].items()))


def common_side(source_ids: Sequence[str], sides: Mapping[str, str]) -> str | None:
    """Side that all ``source_ids`` are on; None if they are on several.

    >>> common_side(["a", "b"], {"a": "train", "b": "train"}), common_side(["a", "b"], {"a": "train", "b": "val"})
    ('train', None)
    """
    found = {sides[source_id] for source_id in source_ids}
    return found.pop() if len(found) == 1 else None


class _Search:
    """Search state: the side of each id, and the resulting number of videos of each stratum on each side."""

    def __init__(self, members: Iterable[Member], fractions: Mapping[str, float], fixed: Mapping[str, str]) -> None:
        self.shares = {side: fraction for side, fraction in fractions.items() if fraction > 0}
        # Videos of the same people and stratum are handled as one bundle.
        bundles = Counter((tuple(sorted(set(m.source_ids))), m.stratum) for m in members)
        self.bundles = [(*key, number) for key, number in sorted(bundles.items())]
        self.of_id: dict[str, list[int]] = defaultdict(list)
        sizes: Counter[tuple[str, str]] = Counter()
        alone: Counter[str] = Counter()
        for index, (source_ids, stratum, number) in enumerate(self.bundles):
            sizes[stratum] += number
            for source_id in source_ids:
                self.of_id[source_id].append(index)
            if len(source_ids) == 1:
                alone[source_ids[0]] += number
        labels: Counter[str] = Counter()
        for (_, label), size in sizes.items():
            labels[label] += size
        self.weight = {stratum: size / labels[stratum[1]] for stratum, size in sizes.items()}
        self.fixed = {source_id: fixed[source_id] for source_id in self.of_id if source_id in fixed}
        self.free = sorted(self.of_id.keys() - self.fixed.keys())
        # Videos of one person alone are never lost, so their number measures the person's part of the group.
        self.size = {
            source_id: alone[source_id] or sum(self.bundles[index][2] for index in indexes)
            for source_id, indexes in self.of_id.items()
        }
        self.side: dict[str, str] = {}
        self.counts: dict[tuple[str, str], Counter[str]] = {}

    def climb(self, generator: random.Random) -> float:
        """Start over, then move ids while that helps; returns the score reached."""
        order = generator.sample(self.free, len(self.free))
        self._begin(order)
        for _ in range(MAX_ROUNDS):
            if not any([self._move(source_id) for source_id in order]):
                break
        # Rounded, so that the order of summation does not decide between equal scores.
        return round(sum(self._value(stratum, self.counts[stratum]) for stratum in sorted(self.weight)), 9)

    def _begin(self, order: Sequence[str]) -> None:
        """Assign each free id to the side that lacks most."""
        self.side = dict(self.fixed)
        have: Counter[Hashable] = Counter()
        for source_id, side in self.fixed.items():
            have[side] += self.size[source_id]
        total = sum(self.size.values())
        for source_id in order:
            side = max(self.shares, key=lambda side: self.shares[side] * total - have[side])
            self.side[source_id] = side
            have[side] += self.size[source_id]
        self.counts = {stratum: Counter() for stratum in self.weight}
        for source_ids, stratum, number in self.bundles:
            side_or_none = common_side(source_ids, self.side)
            if side_or_none is not None:
                self.counts[stratum][side_or_none] += number

    def _move(self, source_id: str) -> bool:
        """Move an id to its best side; returns whether that is a different one."""
        # Number of videos by stratum and by the side of their other ids ("" for videos of this id alone).
        partners: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for index in self.of_id[source_id]:
            source_ids, stratum, number = self.bundles[index]
            others = {self.side[other] for other in source_ids if other != source_id}
            if len(others) <= 1:
                partners[stratum]["".join(others)] += number
        here = self.side[source_id]
        without = {}
        for stratum, number_by_side in partners.items():
            without[stratum] = self.counts[stratum].copy()
            without[stratum][here] -= number_by_side[""] + number_by_side[here]

        def gain(side: str) -> float:
            value = 0.0
            for stratum, counts in without.items():
                joining = partners[stratum][""] + partners[stratum][side]
                value += self._value(stratum, counts, {side: joining})
            return round(value, 9)

        best = max([here, *(side for side in self.shares if side != here)], key=gain)
        if best == here:
            return False
        for stratum, counts in without.items():
            counts[best] += partners[stratum][""] + partners[stratum][best]
            self.counts[stratum] = counts
        self.side[source_id] = best
        return True

    def _value(
        self, stratum: tuple[str, str], counts: Mapping[str, int], more: Mapping[str, int] | None = None
    ) -> float:
        more = more or {}
        return self.weight[stratum] * sum(
            share * math.log(max(counts[side] + more.get(side, 0), EMPTY)) for side, share in self.shares.items()
        )
