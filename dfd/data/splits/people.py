"""Split names, and checks that people and sources are not in two splits."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Protocol

from dfd.base.errors import SplitLeak
from dfd.base.types import Label

SPLITS = ("train", "val", "test")


ALL = "all"
"""Name of all splits together, in an evaluation."""


UNUSED = "unused"
"""Split of a video that must not be used."""


RANDOM_VIDEO = "random_video"


SOURCE = "source"


SPLIT_MODES = (SOURCE, "official", RANDOM_VIDEO)


DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)
"""Shares of train, val and test."""


MAX_NAMED = 10
"""Number of leaks listed in a message; the rest are counted."""


def check_fractions(fractions: Sequence[float]) -> None:
    """Check the shares of train, val and test.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1.
    """
    if len(fractions) != len(SPLITS) or not all(math.isfinite(f) and 0 <= f <= 1 for f in fractions):
        raise ValueError(f"fractions must be three numbers from 0 to 1 (train, val, test), got {list(fractions)}")
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must add up to 1, got {list(fractions)}, together {sum(fractions):g}")


class HasSplit(Protocol):
    """Video that can be audited, such as a manifest's row or a store's video."""

    @property
    def video_id(self) -> str:
        """Id that is unique in a store."""

    @property
    def source_ids(self) -> tuple[str, ...]:
        """People and source videos that the video is made from."""

    @property
    def split(self) -> str:
        """One of ``SPLITS``, ``UNUSED``, or empty."""


class Splittable(HasSplit, Protocol):
    """Video that can be assigned to a split."""

    @property
    def label(self) -> Label:
        """Label of the video."""

    @property
    def dataset(self) -> str:
        """Data set that the video comes from."""


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
        # Prefixes distinguish a source id from an equal video id.
        nodes = [f"v:{row.video_id}", *(f"s:{source_id}" for source_id in row.source_ids)]
        for node in nodes:
            parent.setdefault(node, node)
            parent[root(node)] = root(nodes[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for video_id in sorted(video_ids):
        groups[root(f"v:{video_id}")].append(video_id)
    return list(groups.values())


def overlap(rows: Iterable[HasSplit]) -> dict[str, dict[str, int]]:
    """Overlap of each pair of splits as plain values; all zeros if no source id is on two sides.

    For ``train-test``: the number of source ids in both, and the number of test videos with an id that is in train.

    >>> from dfd.data.sources.manifest import VideoRow, Path
    >>> row = lambda name, split, *ids: VideoRow(Path(name), name, Label.REAL, source_ids=ids, split=split)
    >>> overlap([row("1", "train", "a"), row("2", "test", "a"), row("3", "test", "a", "b")])["train-test"]
    {'num_source_ids': 1, 'num_videos': 2}
    """
    rows = list(rows)
    found = {}
    for first, second in combinations(SPLITS, 2):
        shared = shared_sources(rows, first, second)
        videos = {row.video_id for row in rows if row.split == second and shared.intersection(row.source_ids)}
        found[f"{first}-{second}"] = {"num_source_ids": len(shared), "num_videos": len(videos)}
    return found


def shared_sources(rows: Iterable[HasSplit], first: str, second: str) -> set[str]:
    """Source ids that two splits have in common."""
    ids: dict[str, set[str]] = {first: set(), second: set()}
    for row in rows:
        if row.split in ids:
            ids[row.split].update(row.source_ids)
    return ids[first] & ids[second]


def audit(rows: Iterable[HasSplit]) -> None:
    """Check that no source id and no video is in two splits; rows in no split are ignored.

    Raises:
        SplitLeak: splits overlap; the message names the ids and their videos.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.split in SPLITS:
            for key in (f"video {row.video_id!r}", *(f"source id {source_id!r}" for source_id in row.source_ids)):
                holders[key].setdefault(row.split, row.video_id)
    leaks = [
        f"{key} is in " + " and in ".join(f"{split} (video {where[split]!r})" for split in SPLITS if split in where)
        for key, where in holders.items()
        if len(where) > 1
    ]
    if leaks:
        raise SplitLeak(_listed("the splits overlap", sorted(leaks)))


def describe_overlap(found: Mapping[str, Mapping[str, int]]) -> str:
    """Describe the result of :func:`overlap` in words.

    >>> describe_overlap({"train-val": {"num_source_ids": 0, "num_videos": 0},
    ...                   "train-test": {"num_source_ids": 2, "num_videos": 7}})
    'train and test share 2 source ids (7 videos of test have one of them)'
    """
    return "; ".join(
        f"{' and '.join(pair.split('-'))} share {numbers['num_source_ids']} source ids "
        f"({numbers['num_videos']} videos of {pair.split('-')[1]} have one of them)"
        for pair, numbers in found.items()
        if numbers["num_source_ids"]
    )


def _listed(headline: str, items: Sequence[str]) -> str:
    more = [f"and {len(items) - MAX_NAMED} more"] if len(items) > MAX_NAMED else []
    return "\n  ".join([f"{headline}:", *items[:MAX_NAMED], *more])
