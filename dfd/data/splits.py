"""Dividing videos into train, val and test so that no person and no source video is on two sides.

Videos that share a source id, directly or through others, form a component; a component is never divided. A detector
tested on people it was trained on recognises the people, and its score says little about new ones.
"""

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dfd.errors import SplitLeak
from dfd.types import Label

SPLITS = ("train", "val", "test")
MAX_NAMED = 10
"""So many leaks are spelt out in a message; the rest are counted."""

logger = logging.getLogger(__name__)


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse what is no division into train, val and test.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1.
    """
    if len(fractions) != len(SPLITS) or not all(math.isfinite(f) and 0 <= f <= 1 for f in fractions):
        raise ValueError(f"fractions must be three numbers from 0 to 1 (train, val, test), got {list(fractions)}")
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must add up to 1, got {list(fractions)}, together {sum(fractions):g}")


class HasSplit(Protocol):
    """What an audit looks at; a manifest's row and a store's are such."""

    @property
    def video_id(self) -> str:
        """Unique in a store."""

    @property
    def source_ids(self) -> tuple[str, ...]:
        """People and source videos that it is made of."""

    @property
    def split(self) -> str:
        """Of ``SPLITS``, or empty."""


class Splittable(HasSplit, Protocol):
    """What an assignment looks at."""

    @property
    def label(self) -> Label:
        """Real or fake."""

    @property
    def dataset(self) -> str:
        """Where it comes from."""


def components(rows: Iterable[HasSplit]) -> list[list[str]]:
    """Video ids grouped by shared source ids; each group sorted, and the groups by their first id."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    video_ids: set[str] = set()
    for row in rows:
        video_ids.add(row.video_id)
        # Prefixes keep a source id that is spelt like a video id apart from it.
        nodes = [f"v:{row.video_id}", *(f"s:{source_id}" for source_id in row.source_ids)]
        for node in nodes:
            parent.setdefault(node, node)
            parent[root(node)] = root(nodes[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for video_id in sorted(video_ids):
        groups[root(f"v:{video_id}")].append(video_id)
    return list(groups.values())


def check_given_splits(rows: Iterable[HasSplit]) -> None:
    """Refuse rows whose given splits divide a component; rows without a split may join any.

    Raises:
        SplitLeak: naming the videos and what they share.
    """
    _fixed_splits(components(rows := list(rows)), rows, {})


def assign_splits(
    rows: Sequence[Splittable],
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    frozen: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of every video, by ``video_id``.

    Each (data set, label) is divided by ``fractions`` (train, val, test) as nearly as whole components allow, and each
    split gets both labels where that is possible; where not, a warning says so. The same rows in any order and the
    same ``seed`` give the same answer. A row's own ``split`` is kept, and so is a video's in ``frozen``, an earlier
    answer to which rows are being added (give the earlier rows again, too: they tie the new ones to their side).

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1.
        SplitLeak: given or frozen splits divide a component.
    """
    check_fractions(fractions)
    groups = components(rows)
    fixed = _fixed_splits(groups, rows, frozen or {})
    strata: dict[str, tuple[tuple[str, str], ...]] = {}
    for row in rows:
        strata[row.video_id] = ((row.dataset, str(row.label)), ("", str(row.label)))
    counts = [Counter(stratum for video_id in group for stratum in strata[video_id]) for group in groups]
    balance = _Balance(counts, fractions)

    def shuffled(index: int) -> tuple[int, str]:
        key = f"{seed}:{groups[index][0]}".encode()
        return -len(groups[index]), hashlib.sha256(key).hexdigest()

    chosen: dict[int, str] = {}
    for index, split in fixed.items():
        balance.add(counts[index], split)
        chosen[index] = split
    # Large ones first, while there is room for them; the small ones then fill the gaps.
    free = sorted(set(range(len(groups))) - fixed.keys(), key=shuffled)
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
    for split, fraction in zip(SPLITS, fractions, strict=True):
        for stratum in balance.lacking(split) if fraction > 0 else []:
            logger.warning(
                "split %r has no %s video: %d videos in %d groups of shared sources cannot be divided so that it has",
                split,
                stratum[1],
                len(strata),
                len(groups),
            )
    by_video = {video_id: chosen[index] for index, group in enumerate(groups) for video_id in group}
    _warn_if_far(Counter(by_video.values()), fractions, max(map(len, groups), default=0))
    return dict(sorted(by_video.items()))


def audit(rows: Iterable[HasSplit]) -> None:
    """Refuse any overlap: no source id and no video is in two splits. Rows without a split are not looked at.

    Raises:
        SplitLeak: naming the ids and the videos that carry them.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.split:
            for key in (f"video {row.video_id!r}", *(f"source id {source_id!r}" for source_id in row.source_ids)):
                holders[key].setdefault(row.split, row.video_id)
    leaks = [
        f"{key} is in " + " and in ".join(f"{split} (video {where[split]!r})" for split in SPLITS if split in where)
        for key, where in holders.items()
        if len(where) > 1
    ]
    if leaks:
        raise SplitLeak(_listed("the splits overlap", sorted(leaks)))


class _Balance:
    """How far the counts are from the wanted ones: the sum of squared distances, weighted, over the strata.

    A stratum is (data set, label), or ("", label) for a label as a whole.
    """

    def __init__(self, counts: Iterable[Counter[tuple[str, str]]], fractions: Sequence[float]) -> None:
        self.total: Counter[tuple[str, str]] = Counter()
        for count in counts:
            self.total.update(count)
        self.fraction = dict(zip(SPLITS, fractions, strict=True))
        self.here: dict[str, Counter[tuple[str, str]]] = {split: Counter() for split in SPLITS}
        self.labels = sorted(stratum for stratum in self.total if not stratum[0])
        # A label as a whole weighs as much as the data sets that have it, each divided by its own size: with twenty
        # data sets of two videos, each would else go to train, the best place for every one of them by itself.
        num_datasets = Counter(label for dataset, label in self.total if dataset)
        self.weight = {
            stratum: (1 if stratum[0] else num_datasets[stratum[1]]) / total for stratum, total in self.total.items()
        }

    def add(self, count: Counter[tuple[str, str]], split: str) -> None:
        self.here[split].update(count)

    def remove(self, count: Counter[tuple[str, str]], split: str) -> None:
        self.here[split].subtract(count)

    def best(self, count: Counter[tuple[str, str]], *, current: str | None = None) -> str:
        """The split that ``count`` fits best; among equals ``current``, else the earlier one.

        With ``current`` (a move), a label that a split lacks counts above all else. In the first round it must not: the
        second largest component would fill val only because val is still empty.
        """
        candidates = [split for split in SPLITS if self.fraction[split] > 0]
        if current in candidates:
            candidates = [current, *(split for split in candidates if split != current)]

        def cost(split: str) -> float:
            lacking = sum(1 for stratum in count if stratum in self.lacking(split)) if current else 0
            # Rounded, so that a sum in another order (rows come in any) does not decide between equals.
            return round(self._cost(count, split) - 1e6 * lacking, 6)

        return min(candidates, key=cost)

    def _cost(self, count: Counter[tuple[str, str]], split: str) -> float:
        """By how much the distance grows if ``count`` joins ``split``."""
        cost = 0.0
        for stratum, number in count.items():
            short = self.fraction[split] * self.total[stratum] - self.here[split][stratum]
            cost += number * (number - 2 * short) * self.weight[stratum]
        return cost

    def lacking(self, split: str) -> list[tuple[str, str]]:
        return [stratum for stratum in self.labels if self.here[split][stratum] <= 0]


def _fixed_splits(
    groups: Sequence[Sequence[str]], rows: Iterable[HasSplit], frozen: Mapping[str, str]
) -> dict[int, str]:
    """The split of each component that has one, by its index.

    Raises:
        SplitLeak: a component has two.
    """
    given: dict[str, tuple[str, str]] = {}
    sources: dict[str, tuple[str, ...]] = {}
    leaks = []
    for row in rows:
        sources[row.video_id] = row.source_ids
        earlier = frozen.get(row.video_id, "")
        if earlier and row.split and earlier != row.split:
            leaks.append(
                f"video {row.video_id!r} was assigned to {earlier} before and is given as {row.split} now; "
                "keep the earlier split or make a new store"
            )
        if earlier or row.split:
            given[row.video_id] = (earlier or row.split, "assigned before" if earlier else "given")
    fixed: dict[int, str] = {}
    for index, group in enumerate(groups):
        first: dict[str, str] = {}
        for video_id in group:
            if video_id in given:
                first.setdefault(given[video_id][0], video_id)
        if len(first) > 1:
            leaks.append(_describe(list(first.items()), given, sources, len(group)))
        elif first:
            fixed[index] = next(iter(first))
    if leaks:
        raise SplitLeak(_listed("the splits divide videos that share people or sources", leaks))
    return fixed


def _warn_if_far(sizes: Counter[str], fractions: Sequence[float], largest: int) -> None:
    """Say so when the splits are not what was asked for; a handful of videos cannot be near it."""
    total = sizes.total()
    if total < 20:
        return
    if any(abs(sizes[split] / total - fraction) > 0.1 for split, fraction in zip(SPLITS, fractions, strict=True)):
        logger.warning(
            "the splits hold %s of %d videos, where fractions %s were asked for; the largest group of shared sources "
            "has %d videos, and a group is never divided",
            ", ".join(f"{split} {sizes[split]}" for split in SPLITS),
            total,
            list(fractions),
            largest,
        )


def _describe(
    holders: Sequence[tuple[str, str]],
    given: Mapping[str, tuple[str, str]],
    sources: Mapping[str, tuple[str, ...]],
    num_videos: int,
) -> str:
    """Which two videos of a component are on different sides, and what joins them."""
    (_, a), (_, b) = holders[:2]
    shared = sorted(set(sources[a]) & set(sources[b]))
    link = f"both have source id {shared[0]!r}" if shared else f"joined through others of their {num_videos} videos"
    return f"video {a!r} ({given[a][1]}: {given[a][0]}) and video {b!r} ({given[b][1]}: {given[b][0]}): {link}"


def _listed(headline: str, items: Sequence[str]) -> str:
    more = [f"and {len(items) - MAX_NAMED} more"] if len(items) > MAX_NAMED else []
    return "\n  ".join([f"{headline}:", *items[:MAX_NAMED], *more])
