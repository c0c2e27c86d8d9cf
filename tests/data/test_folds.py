"""Each video is tested once in a cross-validation, by a detector that knows neither its people nor its copies."""

from collections import Counter
from pathlib import Path

import pytest

from dfd.base.errors import SplitError
from dfd.base.types import Label
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.folds import fold_splits, parse_fold
from dfd.data.splits.people import audit
from dfd.data.store.records import IndexVideo


def people(num: int = 40, *, of_each: int = 3) -> list[IndexVideo]:
    """Videos of ``num`` people, each with one real video and fakes of it."""
    return [
        IndexVideo(f"v{who}-{i}", (f"p{who}",), "train", Label.FAKE if i else Label.REAL, "lab", "swap" if i else "")
        for who in range(num)
        for i in range(of_each)
    ]


def test_every_video_is_in_test_once_and_in_val_once() -> None:
    videos = people()
    found = [fold_splits(videos, fold, 5, seed=0) for fold in range(5)]
    for video in videos:
        assert Counter(splits[video.video_id] for splits in found) == {"train": 3, "test": 1, "val": 1}


def test_people_stay_together_and_labels_are_divided_evenly() -> None:
    videos = people()
    for fold in range(5):
        splits = fold_splits(videos, fold, 5, seed=1)
        divided = [
            IndexVideo(v.video_id, v.source_ids, splits[v.video_id], v.label, v.dataset, v.method) for v in videos
        ]
        audit(divided)
        assert sum(splits[video.video_id] == "test" for video in videos if video.label is Label.REAL) == 8


def test_copies_are_in_one_fold() -> None:
    videos = people(12)
    copies = [(f"v{who}-0", f"v{who + 6}-0") for who in range(6)]
    for fold in range(3):
        splits = fold_splits(videos, fold, 3, seed=0, copies=copies)
        assert all(splits[one] == splits[other] for one, other in copies)


def test_fewer_people_than_folds_are_refused() -> None:
    with pytest.raises(SplitError, match="5 folds need 5 groups of videos that share no source, and there are 4"):
        fold_splits(people(4), 0, 5, seed=0)


@pytest.mark.parametrize("split", ["5/5", "0/2"])
def test_a_fold_that_does_not_exist_is_refused(split: str) -> None:
    with pytest.raises(ValueError, match="folds are 0/K to K-1/K"):
        parse_fold(split)


def test_the_folds_of_a_store_test_all_its_videos_and_are_repeated_by_their_selection(tiny_store: Path) -> None:
    tested: list[str] = []
    for fold in range(4):
        data = ClipDataModule(tiny_store, clip_len=4, split=f"{fold}/4", num_workers=0)
        data.setup("fit")
        videos = data.used_videos()
        tested += videos.loc[videos["split"] == "test", "video_id"].tolist()
        summary = data.summary()
        assert summary["selection"]["split"] == f"{fold}/4"
        assert not any(counts["num_source_ids"] for counts in summary["split"]["overlap"].values())
    assert sorted(tested) == sorted(data.used_videos()["video_id"])
