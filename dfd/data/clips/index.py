"""Checks, splits and counts of a store's index, for data modules."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dfd.base.errors import ConfigError, StoreError
from dfd.base.types import LABEL_NAMES, Label
from dfd.data.clips.reader import READERS
from dfd.data.leaks.find import find_leaks
from dfd.data.splits.assign import assign_splits
from dfd.data.splits.folds import parse_fold
from dfd.data.splits.people import RANDOM_VIDEO, SPLITS, audit
from dfd.data.store.folders import read_record
from dfd.data.store.records import PLAN_NAME, SPLITS_NAME, IndexVideo
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


def long_enough(store: Path, index: pd.DataFrame, min_frames: int) -> pd.DataFrame:
    """Rows of the face tracks that have at least so many frames; the number of those left out is logged.

    Raises:
        StoreError: none has.
    """
    is_long = index["num_frames"] >= min_frames
    if not is_long.any():
        longest = int(index["num_frames"].max())
        raise StoreError(
            f"{store}: data.min_frames={min_frames}, and the longest face track has {longest} frames; prepare longer "
            "videos with num_frames=null"
        )
    if not is_long.all():
        logger.warning(
            "%s: %d of %d face tracks have fewer than data.min_frames=%d frames and are left out of all splits",
            *(store, (~is_long).sum(), len(index), min_frames),
        )
    return index[is_long].reset_index(drop=True)


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


def check_labels(store: Path, index: pd.DataFrame) -> None:
    """Check that the training split has both labels.

    Raises:
        StoreError: the training split has one label only.
    """
    labels = set(index.loc[index["split"] == "train", "label"])
    if len(labels) < len(LABEL_NAMES):
        only = labels.pop()
        hint = "; data=blend makes the fakes itself" if only == str(Label.REAL) else ""
        raise StoreError(f"{store}: the training split has only {only} videos; a detector needs both labels{hint}")


def kept(
    store: Path, videos: Sequence[IndexVideo], by: Literal["methods", "datasets"], names: Sequence[str]
) -> list[IndexVideo]:
    """Leave the fakes of other methods, or the videos of other data sets, out of train and val; test keeps them.

    Raises:
        StoreError: no fake of train is of one of the methods, or no video of one of the data sets.
    """
    of = {video: video.method if by == "methods" else video.dataset for video in videos}
    counted = [video for video in videos if by == "datasets" or video.label is Label.FAKE]
    there = sorted({of[video] for video in counted if video.split == "train"} - {""})
    if unknown := [name for name in names if name not in there]:
        whose = "the fakes" if by == "methods" else "the videos"
        raise StoreError(
            f"{store}: data.{by} names {unknown[0]!r}, and {whose} of the training split are of "
            f"{', '.join(there) or 'no named one'}"
        )
    left_out = {video for video in counted if video.split != "test" and of[video] not in names}
    return [video for video in videos if video not in left_out]


def check_proportions(store: Path, index: pd.DataFrame, proportions: Mapping[str, float] | None) -> None:
    """Refuse weights that are not those of the training split's data sets, each of which needs one.

    Raises:
        StoreError: a name is of no data set, or a data set has no weight.
    """
    if proportions is None:
        return
    there = sorted(set(index.loc[index["split"] == "train", "dataset"]))
    listed = f"the training split has videos of {', '.join(there)}"
    if unknown := sorted(set(proportions) - set(there)):
        raise StoreError(f"{store}: data.proportions names {unknown[0]!r}, but {listed}")
    if without := sorted(set(there) - set(proportions)):
        raise StoreError(
            f"{store}: data.proportions has no weight for {without[0]!r}, and {listed}; give each one (0 leaves it out)"
        )
    if not any(proportions[name] for name in there):
        raise StoreError(f"{store}: data.proportions leaves out everything, and {listed}")


def summary_of(
    data: Any, index: pd.DataFrame, leaks: Mapping[str, Any], num_shared: int, hashes: Mapping[str, str]
) -> dict[str, Any]:
    """Description of the data for checkpoints and logs, as plain values.

    Args:
        data: the :class:`~dfd.data.clips.module.ClipDataModule`.
        index: its used rows.
        leaks: overlap of its splits.
        num_shared: number of videos that share a source with another; if it is 0, no split overlaps.
        hashes: of the index, the manifest and the used videos.
    """
    record = read_record((data.store / index["path"].iloc[0]).parent)
    settings = dict(record.settings) if record else {}
    used = index if data.tracks == "all" else index[index["is_main"]]
    return {
        "store": data.store.resolve().name,
        **hashes,
        "clip_len": data.clip_len,
        "clip_stride": list(data.train_strides),
        "tracks": data.tracks,
        "image_size": data.image_size,
        # With the names of a detector's card, for prediction to use the same crops.
        "crop": {"extraction": settings.get("faces", {}), "face_detector": settings.get("face_detector", {})},
        "preprocessing": settings,
        "split": {
            "mode": data.split_mode,
            "overlap": leaks,
            # Number of videos that share a source with another; if it is 0, the overlap is empty for any split.
            "num_shared_sources": num_shared,
        },
        # Options that reproduce this choice of videos and splits with the same index.
        "selection": {
            "split": data.split,
            "per_label": dict(data.per_label) if isinstance(data.per_label, Mapping) else data.per_label,
            "fractions": [float(fraction) for fraction in data.fractions],
            "split_seed": data.split_seed,
            "allow_fewer": data.allow_fewer,
            **{by: list(names) for by, names in data.kept.items()},
        },
        **({"blend": settings["blends"]} if "blends" in settings else {}),  # of a store that dfd blend wrote
        **({"drawing": data.drawing.facts()} if data.drawing.facts() else {}),
        "splits": {split: counts(used[used["split"] == split]) for split in SPLITS},
    }


def check_options(*, batch_size: int, split: str | None, reader: str) -> None:
    """Refuse options of a data module that are out of range.

    Raises:
        ValueError: an option is not one of the possible values.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if split not in (None, RANDOM_VIDEO) and parse_fold(str(split)) is None:
        raise ValueError(
            f"split must be {RANDOM_VIDEO}, a fold such as 0/5, or null for the store's own, got {split!r}; to "
            f"divide a store again, delete its {SPLITS_NAME} and {PLAN_NAME} and rerun python -m dfd.preprocess "
            "with split=source or split=official (the clips stay)"
        )
    if reader not in READERS:
        raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")


def used_videos(index: pd.DataFrame) -> pd.DataFrame:
    """Sorted table of the videos of an index.

    Columns: ``video_id``, ``dataset``, ``method``, ``label``, ``source_ids`` (separated by ;), ``split`` and
    ``num_frames`` (of the main face's clip).
    """
    columns = ["video_id", "dataset", "method", "label", "source_ids", "split", "num_frames"]
    return index.loc[index["is_main"], columns].sort_values(["dataset", "video_id"], ignore_index=True)


def check_moves_along(augmentation: object, **asked: bool) -> None:
    """Refuse an augmentation that would move pixels without the landmarks or masks that lie on them, if asked for.

    Raises:
        ConfigError: it has no method ``together``.
    """
    for what in (name for name, is_asked in asked.items() if is_asked):
        if augmentation is None or hasattr(augmentation, "together"):
            continue
        raise ConfigError(
            f"data.{what}=true: the augmentation {type(augmentation).__name__} has no method together(clip), which "
            "takes and returns frames with the landmarks and masks on them; add it (docs/extending.md), or set "
            f"data.{what}=false"
        )


def check_caches(*, cache_features: bool, cache_frames: bool, landmarks: bool) -> None:
    """Refuse two caches at once, and cached features where frames are needed.

    Raises:
        ValueError: both are asked for, or features and landmarks.
    """
    if cache_features and landmarks:
        raise ValueError("landmarks=true is useless with cache_features=true, which gives no frames; set one")
    if cache_features and cache_frames:
        raise ValueError("cache_frames=true is useless with cache_features=true, which reads no frames; set one")
