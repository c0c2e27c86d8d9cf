"""Other divisions of a store than the one that it was made with: dealt out at random, or in folds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfd.base.types import Label
from dfd.data.splits.folds import fold_splits, parse_fold
from dfd.data.splits.people import RANDOM_VIDEO
from dfd.data.splits.placing import shuffle_key
from dfd.data.store.records import IndexVideo
from dfd.data.store.tables import read_copies


def divided_anew(store: Path, videos: Sequence[IndexVideo], split: str, seed: int) -> list[IndexVideo]:
    """Divide the videos of a store in another way than it was made: dealt out at random, or as a fold.

    Raises:
        SplitError: there are too few groups of videos for the folds.
    """
    fold = parse_fold(split)
    if fold is None:
        return dealt_out(videos, seed)
    copies = [(copy.video_id, copy.copy_id) for copy in read_copies(store)]
    splits = fold_splits(videos, *fold, seed=seed, copies=copies)
    return [replace(video, split=splits[video.video_id]) for video in videos]


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
