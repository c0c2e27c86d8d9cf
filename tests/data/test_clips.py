"""Clips hold the frames they should, are drawn anew in training, and never stand in for one another."""

import gc
import logging
import pickle
import shutil
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from dfd.base.errors import StoreError
from dfd.data.augment.transforms import clip_augmentation
from dfd.data.clips.batches import collate
from dfd.data.clips.dataset import ClipDataset, eval_stride, stride_range
from dfd.data.clips.module import ClipDataModule
from dfd.data.clips.reader import READERS
from dfd.data.clips.samplers import ClipSampler, EvalShare, Repeat, TrainingShare, drawing_weights
from dfd.data.store.tables import build_index, read_index
from tests.data.conftest import SIZE, add_video, frame_numbers, make_row


@pytest.fixture
def index(small_store: Path) -> pd.DataFrame:
    return read_index(small_store)


@pytest.fixture
def without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of the frames are what is tested, often: they are made up, in the way of the store's."""

    def made_up(clip: Path, indices: list[int], *, reader: str) -> np.ndarray:
        assert clip.is_file()
        assert 0 <= min(indices) <= max(indices) < 30
        return np.broadcast_to(4 * np.array(indices, np.uint8)[:, None, None, None], (len(indices), 8, 8, 3)).copy()

    monkeypatch.setattr("dfd.data.clips.dataset.read_frames", made_up)


def starts(dataset: ClipDataset, items: list[tuple[int, int]]) -> list[int]:
    return [frame_numbers(dataset[item]["frames"])[0] for item in items]


def test_an_item_is_a_clip_of_the_frames_asked_for_with_its_video(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=5, clip_stride=3)
    assert len(dataset) == 12
    for number, item in enumerate(dataset):
        row = index[index["is_main"]].iloc[number]
        assert item["frames"].shape == (5, 3, SIZE, SIZE)
        assert item["frames"].dtype == torch.uint8
        assert frame_numbers(item["frames"]) == [0, 3, 6, 9, 12]
        assert round(float(item["frames"][:, 1].float().mean()) / 20) == int(row["video_id"].split("-")[0])
        assert (item["video_id"], item["track"]) == (row["video_id"], row["track"])
        assert item["label"] == ["real", "fake"].index(row["label"])
        assert (item["dataset"], item["method"]) == (row["dataset"], row["method"])


def test_colours_are_in_rgb_order(small_store: Path, index: pd.DataFrame) -> None:
    frames = ClipDataset(small_store, index, clip_len=1)[5]["frames"].float().mean(dim=(0, 2, 3))
    number = int(index[index["is_main"]].iloc[5]["video_id"].split("-")[0])
    assert torch.allclose(frames, torch.tensor([0.0, 20.0 * number, 100.0]), atol=3)


def test_evaluation_clips_are_spread_evenly_and_never_change(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=10, num_eval_clips=3, transform=clip_augmentation(flip_prob=1))
    assert len(dataset) == 36
    for _ in range(2):
        assert [frame_numbers(dataset[item]["frames"])[0] for item in range(3)] == [0, 10, 20]


def test_all_faces_or_the_main_one(small_store: Path, index: pd.DataFrame) -> None:
    assert len(ClipDataset(small_store, index, tracks="all")) == 24
    assert {item["track"] for item in ClipDataset(small_store, index, tracks="all", clip_len=1)} == {0, 1}
    assert len(ClipDataset(small_store, index, tracks="main")) == 12


@pytest.mark.usefixtures("without_decoding")
def test_training_draws_every_start_and_stays_inside_the_video(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=10, clip_stride=2, training=True)
    drawn = set(starts(dataset, [(0, seed) for seed in range(200)]))
    assert drawn == set(range(30 - 19 + 1))


@pytest.mark.usefixtures("without_decoding")
def test_a_range_of_strides_is_drawn_from(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4, clip_stride=(1, 3), training=True)
    clips = [frame_numbers(dataset[0, seed]["frames"]) for seed in range(40)]
    assert {clip[1] - clip[0] for clip in clips} == {1, 2, 3}
    assert all(len(set(np.diff(clip))) == 1 for clip in clips)


@pytest.mark.usefixtures("without_decoding")
def test_a_stride_is_not_drawn_so_large_that_frames_repeat(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=15, clip_stride=(1, 9), training=True)
    assert all(len(set(frame_numbers(dataset[0, seed]["frames"]))) == 15 for seed in range(10))


def test_the_same_seed_gives_the_same_clip_and_another_gives_another(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4, training=True, transform=clip_augmentation())
    assert (dataset[2, 7]["frames"] == dataset[2, 7]["frames"]).all()
    assert any((dataset[2, 7]["frames"] != dataset[2, seed]["frames"]).any() for seed in range(5))


def test_drawing_a_clip_leaves_the_global_generator_alone_when_seeded(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4, training=True, transform=clip_augmentation())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    dataset[0, 1]
    assert (torch.rand(3) == expected).all()


@pytest.mark.usefixtures("without_decoding")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_plain_shuffling_loader_draws_anew_each_epoch_and_again_from_its_seed(
    small_store: Path, index: pd.DataFrame, num_workers: int
) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4, training=True)

    def two_epochs() -> list[torch.Tensor]:
        torch.manual_seed(3)
        loader = DataLoader(
            dataset, batch_size=4, num_workers=num_workers, collate_fn=collate, persistent_workers=num_workers > 0
        )
        return [torch.cat([batch["frames"] for batch in loader]) for _ in range(2)]

    first, again = two_epochs(), two_epochs()
    assert (first[0] != first[1]).any()
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()


def test_a_short_video_repeats_its_last_frame_which_is_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, num_frames in enumerate([3, 1, 20]):
        add_video(tmp_path, make_row(number), number, num_frames=num_frames)
    index = build_index(tmp_path)
    with caplog.at_level(logging.INFO):
        dataset = ClipDataset(tmp_path, index, clip_len=5, training=True, num_eval_clips=4)
    assert [r.message for r in caplog.records] == [
        "2 of 3 face tracks have fewer than the 5 frames that a clip spans; they repeat their last frame"
    ]
    by_video = {dataset[n, 0]["video_id"][0]: frame_numbers(dataset[n, 0]["frames"]) for n in range(3)}
    assert by_video["0"] == [0, 1, 2, 2, 2]
    assert by_video["1"] == [0, 0, 0, 0, 0]
    assert len(set(by_video["2"])) == 5
    assert len(ClipDataset(tmp_path, index, clip_len=5, num_eval_clips=4)) == 1 + 1 + 4


def test_a_clip_that_cannot_be_read_is_an_error_that_names_it_never_another_clip(
    small_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    index = read_index(store)
    clip = store / index[index["is_main"]].iloc[0]["path"]
    whole = clip.read_bytes()
    dataset = ClipDataset(store, index, clip_len=4)
    for damaged in (whole[:-400], b"", b"text"):
        clip.write_bytes(damaged)
        with pytest.raises(StoreError, match=str(clip)):
            dataset[0]
    clip.unlink()
    with pytest.raises(StoreError, match="run the preprocessing again"):
        dataset[0]
    assert frame_numbers(dataset[1]["frames"]) == [0, 1, 2, 3]


def test_a_clip_shorter_than_the_index_says_is_an_error(tmp_path: Path) -> None:
    add_video(tmp_path, make_row(0), 0, num_frames=5)
    index = build_index(tmp_path).assign(num_frames=50)
    with pytest.raises(StoreError, match=r"shorter than index\.csv says"):
        ClipDataset(tmp_path, index, clip_len=10)[0]


def test_a_damaged_frame_is_an_error_that_names_its_clip(small_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(small_store, tmp_path / "store"))
    index = read_index(store)
    clip = store / index["path"][0]
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + 400
    data[middle : middle + 300] = bytes(300)
    clip.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{clip}: .*damaged.*run the preprocessing again"):
        ClipDataset(store, index, clip_len=10)[0]


def test_a_clip_is_checked_once_in_a_run_whoever_reads_it(small_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(small_store, tmp_path / "store"))
    dataset = ClipDataset(store, read_index(store), clip_len=4)
    assert len(list(DataLoader(dataset, batch_size=None, num_workers=2))) == 12
    assert bool(dataset._is_checked.all())  # by the worker processes, for this one and for those of the next epoch
    (store / dataset.choose(0).path).with_name("record.json").unlink()
    assert frame_numbers(dataset[0]["frames"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("reader", READERS)
def test_both_readers_read_the_store(reader: str, small_store: Path, index: pd.DataFrame) -> None:
    assert frame_numbers(ClipDataset(small_store, index, clip_len=4, reader=reader)[3]["frames"]) == [0, 1, 2, 3]


def test_an_unknown_reader_is_refused_with_those_there_are(small_store: Path, index: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="reader must be one of decord, pyav, got 'opencv'"):
        ClipDataset(small_store, index, reader="opencv")


def test_a_store_whose_name_is_odd_is_read(small_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "-o dd ünï\n%d"
    shutil.copytree(small_store, store)
    assert frame_numbers(ClipDataset(store, read_index(store), clip_len=3)[0]["frames"]) == [0, 1, 2]


def test_a_batch_has_the_shapes_of_the_contract(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4)
    batch = collate([dataset[0], dataset[1], dataset[2]])
    assert batch["frames"].shape == (3, 4, 3, SIZE, SIZE)
    assert batch["frames"].dtype == torch.uint8
    assert batch["frames"].is_contiguous()
    assert batch["label"].dtype == torch.int64
    assert [len(batch[key]) for key in ("label", "video_id", "track", "dataset", "method")] == [3] * 5


def test_an_augmentation_that_changes_shape_or_type_is_refused(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=4, training=True, transform=lambda frames: frames.float())
    with pytest.raises(ValueError, match="it must keep both"):
        dataset[0, 0]


def test_the_sampler_gives_each_item_once_in_an_order_of_seed_and_epoch() -> None:
    sampler = ClipSampler(50, seed=1)
    epochs = [list(sampler), list(sampler)]
    assert all(sorted(item for item, _ in epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len({seed for epoch in epochs for _, seed in epoch}) == 100
    sampler.set_epoch(0)
    assert list(sampler) == epochs[0]
    assert list(ClipSampler(50, seed=1, epoch=1)) == epochs[1]
    assert list(ClipSampler(50, seed=2)) != epochs[0]


@pytest.mark.parametrize(("num_items", "num_replicas"), [(12, 2), (5, 2), (7, 3), (1, 4), (3, 3)])
def test_the_shares_of_a_split_count_each_item_once_and_are_of_one_size(num_items: int, num_replicas: int) -> None:
    shares = [list(EvalShare(num_items, num_replicas=num_replicas, rank=rank)) for rank in range(num_replicas)]
    counted = [item for share in shares for item in share if not isinstance(item, Repeat)]
    assert sorted(counted) == list(range(num_items))
    sizes = {len(EvalShare(num_items, num_replicas=num_replicas, rank=rank)) for rank in range(num_replicas)}
    assert {len(share) for share in shares} == sizes == {-(-num_items // num_replicas)}


def test_a_repeat_is_the_same_clip_and_says_so(small_store: Path, index: pd.DataFrame) -> None:
    dataset = ClipDataset(small_store, index, clip_len=3)
    batch = collate([dataset[1], dataset[Repeat(1)]])
    assert torch.equal(batch["frames"][0], batch["frames"][1])
    assert batch["is_repeat"].tolist() == [False, True]


@pytest.mark.parametrize("weights", [None, torch.tensor([5.0, 1, 1, 1, 1, 1, 1])])
def test_the_shares_of_an_epoch_are_its_items_and_new_ones_in_the_next(weights: torch.Tensor | None) -> None:
    def shares(epoch: int) -> list[list[tuple[int, int]]]:
        found = []
        for rank in range(2):
            share = TrainingShare(ClipSampler(7, seed=3, weights=weights), num_replicas=2, rank=rank)
            share.set_epoch(epoch)
            found.append(list(share))
            assert len(found[-1]) == len(share) == 4
        return found

    alone = ClipSampler(7, seed=3, weights=weights)
    alone.set_epoch(2)
    whole = list(alone)
    first, second = shares(2)
    assert [item for pair in zip(first, second, strict=True) for item in pair] == [*whole, whole[0]]
    assert shares(2) == [first, second]
    assert shares(3) != [first, second]


def test_balanced_sampling_draws_both_labels_equally_often() -> None:
    labels = [1] * 10 + [0] * 990
    sampler = ClipSampler(
        1000, weights=drawing_weights(["a"] * len(labels), labels, [""] * len(labels), balance_labels=True)
    )
    drawn = [labels[item] for item, _ in sampler]
    assert len(drawn) == 1000
    assert 420 < sum(drawn) < 580


def num_objects(root: object) -> int:
    """Python objects that can be reached from one, classes and modules aside."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
            seen.add(id(one))
            waiting += gc.get_referents(one)
    return len(seen)


@pytest.mark.parametrize("training", [True, False])
def test_a_dataset_holds_no_python_object_for_each_clip(small_store: Path, index: pd.DataFrame, training: bool) -> None:
    """A forked worker would come to copy them all, by looking at them."""
    small = ClipDataset(small_store, index, training=training)
    large = ClipDataset(small_store, pd.concat([index] * 100), training=training)
    assert len(large) == 100 * len(small)
    assert num_objects(large) == num_objects(small)
    assert torch.equal(large[13, 1]["frames"], small[1, 1]["frames"])
    assert len(pickle.dumps(large)) < 100 * len(large)


@pytest.mark.parametrize("stride", [0, -1, (2, 1), (0, 3), (1, 2, 3), (1.5, 2)])
def test_a_stride_that_is_none_is_refused(stride: object) -> None:
    with pytest.raises(ValueError, match="clip_stride must be"):
        stride_range(stride)  # type: ignore[arg-type]


def test_evaluation_takes_the_middle_of_a_range_of_strides() -> None:
    assert [eval_stride(value) for value in (1, 4, (1, 3), [2, 5])] == [1, 4, 2, 3]


@pytest.mark.parametrize("arguments", [{"tracks": "best"}, {"clip_len": 0}, {"num_eval_clips": 0}])
def test_arguments_out_of_range_are_refused_by_name(
    small_store: Path, index: pd.DataFrame, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ClipDataset(small_store, index, **arguments)  # type: ignore[arg-type]


def test_data_sets_labels_and_methods_are_drawn_as_asked_for_each_within_the_one_before() -> None:
    rows = [("a", 0, "")] * 60 + [("a", 1, "swap")] * 30 + [("a", 1, "mouth")] * 10 + [("b", 0, "")] * 80
    rows += [("b", 1, "whole")] * 20
    datasets, labels, methods = zip(*rows, strict=True)

    def shares(**options: Any) -> dict[tuple[str, int, str], float]:
        weights = drawing_weights(datasets, labels, methods, **options)
        return {
            row: float(sum(w for w, r in zip(weights.tolist(), rows, strict=True) if r == row)) for row in set(rows)
        }

    found = shares(proportions={"a": 3, "b": 1}, balance_labels=True, balance_methods=True)
    assert found["a", 0, ""] == pytest.approx(3 / 8)
    assert [found["a", 1, name] for name in ("swap", "mouth")] == pytest.approx([3 / 16] * 2)
    assert [found["b", 0, ""], found["b", 1, "whole"]] == pytest.approx([1 / 8] * 2)
    found = shares(balance_labels=True)
    assert found["a", 0, ""] + found["b", 0, ""] == pytest.approx(1 / 2)
    assert found["a", 1, "swap"] == pytest.approx(3 / 12)
    found = shares(balance_methods=True)
    assert found["a", 0, ""] + found["b", 0, ""] == pytest.approx(1 / 4)
    assert found["a", 1, "mouth"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("proportions", "said"),
    [({"tny": 1.0}, "names 'tny', but the training split has videos of tiny"), ({"tiny": 0, "x": 1}, "names 'x'")],
)
def test_proportions_of_a_data_set_that_there_is_not_are_refused(
    tiny_store: Path, proportions: dict[str, float], said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        ClipDataModule(tiny_store, clip_len=2, proportions=proportions).setup("fit")
