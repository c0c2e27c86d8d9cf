"""Search for copies of one video on two sides of a split or under two labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.base.errors import SplitLeak
from dfd.data.copies.compare import EQUAL, Copy
from dfd.data.splits.people import SOURCE, SPLITS, _listed
from dfd.data.store.records import PLAN_NAME, SPLITS_NAME, IndexVideo
from dfd.data.store.tables import read_copies, read_names, videos_without_content

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """A pair of copies and its description in words."""

    copy: Copy
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ContentFindings:
    """Copies among the videos of a store's index.

    ``contradictions`` are equal videos under two labels; ``leaks`` are copies in two splits (near copies only if they
    share no source id); ``others`` do not affect the split. ``num_unknown`` of ``num_videos`` cannot be compared,
    because they were prepared before records had fingerprints.
    """

    contradictions: list[Finding]
    leaks: list[Finding]
    others: list[Finding]
    num_unknown: int
    num_videos: int

    @property
    def caveat(self) -> str:
        """Sentence that says what could not be checked; empty if everything was."""
        if not self.num_unknown:
            return ""
        return (
            f"{self.num_unknown} of {self.num_videos} videos were prepared by an earlier dfd and have no fingerprint, "
            "so copies of them are not found; run the same python -m dfd.preprocess again where their files are: it "
            "reads these files once and keeps the clips"
        )

    def check(self, store: str | Path, mode: str = SOURCE) -> None:
        """Refuse contradictions, and leaks that the split's ``mode`` rules out.

        Mode ``source`` allows no copies in two splits, ``official`` no equal ones; other leaks are logged.

        Raises:
            SplitLeak: there are such copies; the message names the pairs.
        """
        refused = [leak for leak in self.leaks if mode == "source" or (mode == "official" and leak.copy.kind in EQUAL)]
        found = [*self.contradictions, *refused]
        if found:
            raise SplitLeak("\n  ".join([_listed(f"{store}: {_HEADLINE}", [*map(str, found)]), _REMEDY]))
        if self.leaks:
            logger.warning(
                f"{store}: split={mode} has {len(self.leaks)} pairs of copies in two splits, such as: {self.leaks[0]}"
            )


_HEADLINE = "copies of one video are in two splits, or have two labels"
_REMEDY = (
    f"to mend it, delete {SPLITS_NAME} and {PLAN_NAME} in the store and run the same preprocessing again: it keeps "
    "copies on one side, and the clips (splits that a manifest or folders give are changed there). Or give both the "
    "same source_ids, or take one out of the manifest and the store"
)


def find_leaks(store: str | Path, videos: Sequence[IndexVideo]) -> ContentFindings:
    """Find the copies among a store's videos in its table of copies, sorted by their effect on the splits.

    Raises:
        StoreError: a table of the store is missing or damaged.
    """
    by_id = {video.video_id: video for video in videos}
    names = read_names(store)
    contradictions, leaks, others = list[Finding](), list[Finding](), list[Finding]()
    for copy in read_copies(store):
        if copy.video_id not in by_id or copy.copy_id not in by_id:
            continue  # its folder was deleted
        one, other = by_id[copy.video_id], by_id[copy.copy_id]
        finding = Finding(copy, f"{_named(one, names)} and {_named(other, names)} {copy}")
        if copy.kind in EQUAL and one.label is not other.label:
            contradictions.append(finding)
        elif _is_leak(copy, one, other):
            leaks.append(finding)
        else:
            others.append(finding)
    unknown = by_id.keys() & set(videos_without_content(store))
    return ContentFindings(contradictions, leaks, others, len(unknown), len(by_id))


def _is_leak(copy: Copy, one: IndexVideo, other: IndexVideo) -> bool:
    if one.split == other.split or not {one.split, other.split} <= set(SPLITS):
        return False
    return copy.kind in EQUAL or not set(one.source_ids) & set(other.source_ids)


def _named(video: IndexVideo, names: Mapping[str, str]) -> str:
    return f"{names.get(video.video_id, video.video_id)!r} ({video.split or 'no split'}, {video.label})"
