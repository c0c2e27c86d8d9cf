"""K-fold cross-validation by source: each video is tested once, by a detector that knows none of its people."""

import re
from collections.abc import Iterable, Sequence

from dfd.base.errors import SplitError
from dfd.data.splits.people import Splittable, components
from dfd.data.splits.placing import Piece, place

MIN_FOLDS = 3
"""Smallest number of folds: one is test, one val, the others train."""

_FOLD = re.compile(r"(\d+)/(\d+)")


def parse_fold(split: str) -> tuple[int, int] | None:
    """Number of the fold, from 0 on, and number of folds; None if ``split`` is no fold.

    >>> parse_fold("1/5"), parse_fold("random_video")
    ((1, 5), None)

    Raises:
        ValueError: there is no such fold, or there are too few.
    """
    match = _FOLD.fullmatch(split)
    if match is None:
        return None
    fold, number = map(int, match.groups())
    if number < MIN_FOLDS or fold >= number:
        raise ValueError(f"split={split}: folds are 0/K to K-1/K, with K of {MIN_FOLDS} or more, as in split=0/5")
    return fold, number


def fold_splits(
    videos: Sequence[Splittable], fold: int, number: int, *, seed: int, copies: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Split of every video, by id, for one of ``number`` folds: the fold is test, the next one val, the others train.

    The folds are the same for every ``fold``. Videos that share a source, and copies, are in one fold; within that,
    each data set's real and fake videos are divided as evenly as possible.

    Args:
        videos: videos to divide.
        fold: number of the fold that is test, from 0 on.
        number: number of folds.
        seed: seed of the order in which videos are placed.
        copies: pairs of ids of videos that show the same.

    Raises:
        SplitError: there are fewer groups of videos than folds.
    """
    by_id = {video.video_id: video for video in videos}
    group_of = {video_id: index for index, group in enumerate(components(videos)) for video_id in group}
    for one, other in copies:
        if one in by_id and other in by_id and group_of[one] != group_of[other]:
            joined, kept = group_of[other], group_of[one]
            group_of = {video_id: kept if group == joined else group for video_id, group in group_of.items()}
    groups: dict[int, list[str]] = {}
    for video_id, group in group_of.items():
        groups.setdefault(group, []).append(video_id)
    if len(groups) < number:
        raise SplitError(
            f"{number} folds need {number} groups of videos that share no source, and there are {len(groups)}: name "
            "the sources in the manifest (source_ids), or take fewer folds"
        )
    pieces = [Piece(sorted(group), None, {}) for group in groups.values()]
    strata = {video_id: (video.dataset, str(video.label)) for video_id, video in by_id.items()}
    shares = {str(index): 1 / number for index in range(number)}
    roles = {str(fold): "test", str((fold + 1) % number): "val"}
    placed = place(sorted(pieces, key=lambda piece: piece.videos[0]), strata, shares, seed=seed)
    return {video_id: roles.get(name, "train") for video_id, name in placed.items()}
