"""Checks, splits and counts of a store's index, for data modules."""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import StoreError
from dfd.base.types import LABEL_NAMES, Label
from dfd.data.leaks.find import find_leaks
from dfd.data.splits.assign import assign_splits
from dfd.data.splits.people import RANDOM_VIDEO, audit
from dfd.data.splits.placing import shuffle_key
from dfd.data.store.records import SPLITS_NAME, IndexVideo
from dfd.data.store.tables import index_videos

MAX_NAMED = 10
LOOK_SECONDS = 3.0
"""Time limit for checking that the index and the clips on disk agree.

A local disk needs less for 100,000 clips; a network file system would need minutes.
"""

logger = logging.getLogger(__name__)


def check_alike(store: Path, index: pd.DataFrame) -> None:
    """Check that all clips were made alike, so that a model cannot learn how they were made instead of the fakes.

    Raises:
        StoreError: clips differ in size or in preprocessing settings.
    """
    for column, what in {"size": "crop sizes", "settings_hash": "preprocessing settings"}.items():
        counts = Counter(str(value) for value in index[column])
        if len(counts) > 1:
            found = ", ".join(f"{value} ({count} clips)" for value, count in counts.most_common(5))
            raise StoreError(
                f"{store}: its clips were made with different {what}: {found}; run the preprocessing with one set of "
                "settings for all its videos, or use a store for each"
            )


def with_splits(store: Path, index: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Complete the splits, and audit them if they are by source.

    Raises:
        SplitLeak: splits overlap.
        StoreError: splits are not by source, and some videos have none.
    """
    videos = index_videos(index)
    if mode == "source":
        audit(videos)
    _audit_copies(store, videos, mode)
    lacking = {video.video_id for video in videos if not video.split}
    if not lacking:
        return index
    lack = f"{store}: {len(lacking)} of {len(videos)} videos have no split in {SPLITS_NAME}"
    if mode != "source":
        raise StoreError(f"{lack}; run the preprocessing again, with split={mode} as before")
    logger.warning("%s; they are divided now, for this run", lack)
    splits = assign_splits(videos)
    videos = [replace(video, split=splits[video.video_id]) for video in videos]
    audit(videos)
    _audit_copies(store, videos, mode)
    return index.assign(split=index["video_id"].map(splits))


def _audit_copies(store: Path, videos: Sequence[IndexVideo], mode: str) -> None:
    """Refuse copies across splits where ``mode`` rules them out, and log what could not be compared.

    Raises:
        SplitLeak: copies of one video are in two splits, or equal videos have two labels.
    """
    findings = find_leaks(store, videos)
    findings.check(store, mode)
    if findings.caveat:
        logger.warning("%s: %s", store, findings.caveat)


def dealt_out(videos: Sequence[IndexVideo], seed: int) -> list[IndexVideo]:
    """Permute the splits among the videos of each (data set, label), keeping all counts."""
    strata: dict[tuple[str, Label], list[IndexVideo]] = defaultdict(list)
    for video in videos:
        strata[video.dataset, video.label].append(video)
    dealt = []
    for members in strata.values():
        # Not the order of the draw, in which the first drawn of each split would always be the first dealt.
        shuffled = sorted(members, key=lambda video: shuffle_key(seed, f"{RANDOM_VIDEO}:{video.video_id}"))
        splits = sorted(video.split for video in members)
        dealt += [replace(video, split=split) for video, split in zip(shuffled, splits, strict=True)]
    return dealt


def videos_sha256(index: pd.DataFrame) -> str:
    """Hash of the used videos and their splits."""
    videos = sorted(set(zip(index["video_id"], index["split"], strict=True)))
    return hashlib.sha256(json.dumps(videos).encode()).hexdigest()


def num_sharing(index: pd.DataFrame) -> int:
    """Number of videos that share a source id with another."""
    sources = {video.video_id: video.source_ids for video in index_videos(index)}
    holders = Counter(source_id for source_ids in sources.values() for source_id in source_ids)
    return sum(any(holders[source_id] > 1 for source_id in source_ids) for source_ids in sources.values())


def counts(rows: pd.DataFrame) -> dict[str, Any]:
    """Numbers of videos and tracks, and of videos by label, data set and method."""
    videos = rows.drop_duplicates("video_id")
    return {
        "num_videos": len(videos),
        "num_tracks": len(rows),
        "labels": {name: int((videos["label"] == name).sum()) for name in LABEL_NAMES},
        "datasets": dict(sorted(Counter(videos["dataset"].tolist()).items())),
        "methods": dict(sorted(Counter(method for method in videos["method"].tolist() if method).items())),
    }
