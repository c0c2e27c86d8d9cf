"""Cutting a group of videos that hang together by a few people, so that each side of the cut has people of its own.

In Celeb-DF v2 59 people are swapped with one another in 5639 videos: no video is apart from the others, and kept whole
they leave nothing to test on. Here the people are divided, not the videos; a video made of people of two sides is lost.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

NUM_STARTS = 8
"""The search climbs from so many first divisions and keeps the best end. On graphs like Celeb-DF v2 (tried with 1, 4, 8
and 32) one start loses up to a tenth more fakes than 8, and 32 gain a few videos."""
MAX_ROUNDS = 50
EMPTY = 0.1
"""An empty side counts as a tenth of a video: far worse than one, and still comparable."""


@dataclass(frozen=True, slots=True)
class Member:
    """A video of the group: what it is made of, and what it counts as, (data set, label)."""

    source_ids: tuple[str, ...]
    stratum: tuple[str, str]


def divide_sources(
    members: Iterable[Member], fractions: Mapping[str, float], *, seed: int = 0, fixed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The side of every source id; a video belongs to the side that all its ids are on, or else to none.

    It maximises the sum of ``fraction * log(videos)`` over the sides, and over the strata, real and fake weighing the
    same. For videos that cannot be lost the best division is just ``fractions``; where some must be, it weighs their
    number against the proportions, and no side is left without a stratum that it can have. The best is climbed towards
    by moving one id at a time, from several seeded starts. The order of the members does not matter.

    Args:
        members: the videos.
        fractions: the wanted share of each side.
        seed: of the starts.
        fixed: ids whose side is not free.
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
    """The side that all of ``source_ids`` are on; None if there are two.

    >>> common_side(["a", "b"], {"a": "train", "b": "train"}), common_side(["a", "b"], {"a": "train", "b": "val"})
    ('train', None)
    """
    found = {sides[source_id] for source_id in source_ids}
    return found.pop() if len(found) == 1 else None


class _Search:
    """A division under change: the side of each id, and how many videos of each stratum each side has by it."""

    def __init__(self, members: Iterable[Member], fractions: Mapping[str, float], fixed: Mapping[str, str]) -> None:
        self.shares = {side: fraction for side, fraction in fractions.items() if fraction > 0}
        # Videos that are made of the same people and count alike are one bundle.
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
        # The videos that show nobody else are never lost, so they tell how much of the group a person is.
        self.size = {
            source_id: alone[source_id] or sum(self.bundles[index][2] for index in indexes)
            for source_id, indexes in self.of_id.items()
        }
        self.side: dict[str, str] = {}
        self.counts: dict[tuple[str, str], Counter[str]] = {}

    def climb(self, generator: random.Random) -> float:
        """Begin anew, then move ids for as long as that helps; returns the score that was reached."""
        order = generator.sample(self.free, len(self.free))
        self._begin(order)
        for _ in range(MAX_ROUNDS):
            if not any([self._move(source_id) for source_id in order]):
                break
        # Rounded, so that sums in another order do not decide between equals.
        return round(sum(self._value(stratum, self.counts[stratum]) for stratum in sorted(self.weight)), 9)

    def _begin(self, order: Sequence[str]) -> None:
        """Deal the free ids out, each to the side that lacks most."""
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
        """Put an id where it is best; True if that is another side than before."""
        # By stratum: how many videos go wherever this id goes ("" for those that show nobody else).
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
