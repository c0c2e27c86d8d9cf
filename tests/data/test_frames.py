"""data.cache_frames: the same clips, from frames that were decoded once."""

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dfd.base.errors import StoreError
from dfd.data.clips.module import ClipDataModule
from dfd.data.clips.reader import READERS

from .conftest import SIZE


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    """The small store under a name of its own: frames are kept beside it."""
    (tmp_path / "store").symlink_to(small_store)
    return tmp_path / "store"


def brighter(frames: torch.Tensor) -> torch.Tensor:
    return frames + int(torch.randint(1, 9, ()))


@pytest.mark.parametrize("split", ["train", "val"])
def test_clips_are_the_same_with_and_without_the_cache(store: Path, split: str) -> None:
    loaders = []
    for cached in (False, True):
        data = ClipDataModule(store, clip_len=4, clip_stride=[1, 3], tracks="all", augmentation=brighter, num_workers=0)
        data.setup("fit")
        if cached:
            data.use_frames().fill()
        loaders.append(getattr(data, f"{split}_dataloader")())
    batches = list(zip(*loaders, strict=True))
    assert len(batches) == (4 if split == "train" else 1)
    for theirs, ours in batches:
        assert torch.equal(theirs["frames"], ours["frames"])
        assert theirs["video_id"] == ours["video_id"]


def test_with_the_cache_no_clip_is_decoded_but_those_of_test(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ClipDataModule(store, clip_len=4, num_workers=0)
    cache = data.use_frames()
    cache.fill()
    assert sorted(cache.folder.iterdir()) == sorted(cache.files.values())
    assert len(cache.files) == 10
    read: list[Path] = []

    def read_frames(clip: Path, indices: list[int], *, reader: str) -> np.ndarray:
        read.append(clip)
        return np.zeros((len(indices), SIZE, SIZE, 3), np.uint8)

    monkeypatch.setattr("dfd.data.clips.dataset.read_frames", read_frames)
    for split in ("train", "val"):
        assert data.dataset(split)[0]["frames"].shape == (4, 3, SIZE, SIZE)
    assert not read
    assert data.dataset("test")[0]["frames"].shape == (4, 3, SIZE, SIZE)
    assert len(read) == 1


def test_frames_that_another_reader_decoded_are_not_used(store: Path) -> None:
    """Nor those that an earlier version kept, whose names were of the clip alone."""
    one, other = (ClipDataModule(store, reader=reader).use_frames() for reader in READERS)
    one.fill()
    assert not one.missing()
    assert len(other.missing()) == len(other.files)
    assert not {file.name for file in one.files.values()} & {file.name for file in other.files.values()}


def test_workers_fill_it_and_a_filling_that_was_stopped_goes_on(store: Path) -> None:
    cache = ClipDataModule(store).use_frames()
    cache.fill(num_workers=2)
    lost, *kept = cache.files.values()
    expected = np.load(lost)
    assert expected.shape == (30, SIZE, SIZE, 3)
    lost.unlink()
    before = [file.stat().st_mtime_ns for file in kept]
    again = ClipDataModule(store).use_frames()
    assert len(again.missing()) == 1
    again.fill()
    np.testing.assert_array_equal(np.load(lost), expected)
    assert [file.stat().st_mtime_ns for file in kept] == before


def test_a_filling_that_is_interrupted_leaves_no_part_of_a_file(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: Path, array: np.ndarray) -> None:
        file.write_bytes(b"a part")
        raise KeyboardInterrupt

    cache = ClipDataModule(store).use_frames()
    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.fill()
    assert not list(cache.folder.iterdir())


def test_frames_are_kept_beside_a_store_that_one_is_in(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.parent / "here").symlink_to(store)
    monkeypatch.chdir(store.parent)
    beside = ClipDataModule("here").use_frames().folder
    assert beside == store.parent / "here.frames"
    monkeypatch.chdir("here")
    inside = ClipDataModule(".").use_frames().folder
    assert inside.name.endswith(".frames")
    assert inside.parent.resolve() == store.resolve().parent


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_clip_that_cannot_be_decoded_is_an_error_that_names_it(
    small_store: Path, tmp_path: Path, num_workers: int
) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    clip = store / next(iter(ClipDataModule(store).use_frames().files))
    clip.write_bytes(b"no video")
    with pytest.raises(StoreError) as raised:
        ClipDataModule(store).use_frames().fill(num_workers=num_workers)
    assert str(raised.value).startswith(f"clip cannot be read: {clip}: ")
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 50, 500])
def test_a_damaged_file_is_an_error_that_names_it(store: Path, length: int) -> None:
    data = ClipDataModule(store, clip_len=4)
    cache = data.use_frames()
    cache.fill()
    for file in cache.files.values():
        file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(
        StoreError, match=r"frames/\w+\.decord-[\d.]+\.npy: .*delete it, and the next run makes it again"
    ):
        data.dataset("val")[0]


def test_the_disk_that_it_takes_is_said_and_a_disk_without_room_refused_before_anything_is_decoded(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ClipDataModule(store).use_frames()
    needed = 10 * 30 * SIZE * SIZE * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(StoreError, match=r"store\.frames: the frames of 10 clips need .* GB.*data\.cache_frames=false"):
        cache.fill()
    assert len(cache.missing()) == 10
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    with caplog.at_level(logging.INFO):
        cache.fill()
    assert "decoding 10 clips once" in caplog.text
    assert not cache.missing()


def test_frames_and_features_are_not_both_kept(store: Path) -> None:
    with pytest.raises(ValueError, match="cache_frames=true is useless with cache_features=true"):
        ClipDataModule(store, cache_frames=True, cache_features=True)
