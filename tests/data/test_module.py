"""The data module: what it loads, what it refuses before training, and that its draws do not depend on the machine."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from dfd.base.errors import DfdError, SplitError, SplitLeak, StoreError
from dfd.commands import audit
from dfd.data.augment.transforms import clip_augmentation
from dfd.data.clips.module import ClipDataModule
from dfd.data.store.folders import read_records, write_record
from dfd.data.store.plan import SplitPlan, write_split_plan, write_splits
from dfd.data.store.records import INDEX_NAME
from dfd.data.store.tables import build_index, manifest_sha256, read_index
from tests.data.conftest import SETTINGS, SIZE, add_video, make_row


def module(store: Path, **arguments: Any) -> ClipDataModule:
    return ClipDataModule(store, **({"clip_len": 4, "num_workers": 0} | arguments))


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(small_store, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of 20 people with a real and a fake video each: 12, 4 and 4 people in train, val and test."""
    store = tmp_path_factory.mktemp("stores") / "two_sets"
    splits = {}
    for number in range(80):
        person, dataset = number // 2 % 20, "ab"[number // 40]
        row = make_row(number, dataset=dataset, source_ids=(f"{dataset}{person}",))
        splits[row.video_id] = "train" if person < 12 else "val" if person < 16 else "test"
        add_video(store, row, 1, num_frames=2)
    write_splits(store, splits)
    build_index(store)
    return store


def used(data: ClipDataModule) -> dict[str, str]:
    table = data.used_videos()
    return dict(zip(table["video_id"], table["split"], strict=True))


def epoch(loader: Any) -> tuple[list[str], Tensor]:
    batches = list(loader)
    return [v for batch in batches for v in batch["video_id"]], torch.cat([batch["frames"] for batch in batches])


def test_each_split_holds_its_own_videos(small_store: Path) -> None:
    data = module(small_store)
    data.setup()
    videos = {name: set(epoch(getattr(data, f"{name}_dataloader")())[0]) for name in ("train", "val", "test")}
    assert [len(videos[name]) for name in ("train", "val", "test")] == [8, 2, 2]
    assert not videos["train"] & videos["val"] | videos["train"] & videos["test"] | videos["val"] & videos["test"]


def test_two_epochs_differ_and_a_seed_repeats_them(small_store: Path) -> None:
    loader = module(small_store, seed=1).train_dataloader()
    first, second = epoch(loader), epoch(loader)
    assert first[0] != second[0]
    again = module(small_store, seed=1).train_dataloader()
    assert epoch(again)[0] == first[0]
    assert (epoch(again)[1] == second[1]).all()
    assert epoch(module(small_store, seed=2).train_dataloader())[0] != first[0]


def test_without_a_seed_runs_differ(small_store: Path) -> None:
    torch.manual_seed(0)
    orders = [epoch(module(small_store, seed=None).train_dataloader())[0] for _ in range(3)]
    assert orders[0] != orders[1] or orders[0] != orders[2]


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_clips_do_not_depend_on_the_number_of_worker_processes(small_store: Path, context: str) -> None:
    arguments = {"seed": 1, "augmentation": clip_augmentation()}
    # Reading here first: a decoder that is open when the process forks must not hang the children.
    alone = module(small_store, **arguments).train_dataloader()
    with_workers = module(small_store, **arguments, num_workers=2, multiprocessing_context=context).train_dataloader()
    for _ in range(2):
        one, two = epoch(alone), epoch(with_workers)
        assert one[0] == two[0]
        assert (one[1] == two[1]).all()


def test_evaluation_is_the_same_each_time_in_the_order_of_the_index(small_store: Path) -> None:
    data = module(small_store, num_eval_clips=3, augmentation=clip_augmentation(flip_prob=1))
    loader = data.eval_dataloader("test")
    assert (epoch(loader)[1] == epoch(loader)[1]).all()
    index = data.index
    expected = index[(index["split"] == "test") & index["is_main"]]["video_id"]
    assert epoch(loader)[0] == [video for video in expected for _ in range(3)]


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4]), (3, [3, 3, 2]), (7, [7]), (1, [1] * 8), (16, [8])])
def test_a_last_training_batch_of_one_clip_is_left_out(small_store: Path, batch_size: int, sizes: list[int]) -> None:
    loader = module(small_store, batch_size=batch_size).train_dataloader()
    assert [len(batch["label"]) for batch in loader] == sizes


def test_no_evaluation_clip_is_ever_left_out(small_store: Path) -> None:
    loader = module(small_store, batch_size=3, num_eval_clips=2).eval_dataloader("test")
    assert [len(batch["label"]) for batch in loader] == [3, 1]


def test_an_overlap_fails_the_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([f"store={store}"]) == 0
    assert "no source id and no video is in two splits" in capsys.readouterr().out
    index = read_index(store)
    test_source = index.loc[index["split"] == "test", "source_ids"].iloc[0]
    record = next(r for r in read_records(store) if r.source_ids[0] == "person0")
    write_record(store, replace(record, source_ids=("person0", test_source)))
    build_index(store)
    with pytest.raises(SplitLeak, match=test_source):
        module(store).setup("fit")
    assert audit.main([str(store)]) == 1
    assert test_source in capsys.readouterr().err


def test_videos_without_a_split_are_divided_with_their_people(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits = {r.video_id: "train" for r in read_records(store) if r.source_ids[0] in ("person0", "person1")}
    write_splits(store, splits)
    build_index(store)
    data = module(store)
    data.setup("fit")
    assert "10 of 12 videos have no split" in caplog.text
    index = data.index
    assert set(index["split"]) == {"train", "val", "test"}
    assert set(index[index["source_ids"].isin(["person0", "person1"])]["split"]) == {"train"}
    assert (index.groupby("video_id")["split"].nunique() == 1).all()


def test_missing_clips_are_named_at_setup(store: Path) -> None:
    paths = read_index(store)["path"].tolist()
    for path in paths[:12]:
        (store / path).unlink()
    with pytest.raises(StoreError, match=r"12 of 24 clips in index\.csv are missing") as caught:
        module(store).setup("fit")
    assert paths[9] in str(caught.value)
    assert paths[10] not in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_an_index_older_than_its_records_is_told(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    module(store).setup("fit")
    assert "older than" not in caplog.text
    add_video(store, make_row(20), 5)
    data = module(store)
    data.setup("fit")
    assert "index.csv is older than the records of 1 videos, such as drawn/20-" in caplog.text
    assert len(used(data)) == 12


def test_a_run_keeps_the_hashes_of_what_it_read(store: Path) -> None:
    data = module(store)
    before = data.summary()
    (store / INDEX_NAME).unlink()  # as a preprocessing does that goes on meanwhile
    assert data.summary() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [({"size": 48}, "different crop sizes: 32"), ({"settings": SETTINGS | {"fps": 30}}, "preprocessing settings")],
)
def test_a_store_of_clips_made_in_two_ways_is_refused(store: Path, change: dict[str, Any], message: str) -> None:
    add_video(store, make_row(20), 5, **change)
    build_index(store)
    with pytest.raises(StoreError, match=message):
        module(store).setup("fit")


def with_splits(store: Path, assign: dict[str, str]) -> None:
    """Give each label its split."""
    write_splits(store, {r.video_id: assign[str(r.label)] for r in read_records(store)})
    build_index(store)


def test_training_on_one_label_is_refused(store: Path) -> None:
    with_splits(store, {"real": "val", "fake": "train"})
    with pytest.raises(StoreError, match="the training split has only fake videos"):
        module(store).setup("fit")
    module(store).setup("validate")


@pytest.mark.parametrize(("stage", "split"), [("fit", "val"), ("test", "test"), ("validate", "val")])
def test_an_empty_split_is_refused_when_it_is_needed(store: Path, stage: str, split: str) -> None:
    with_splits(store, {"real": "train", "fake": "train"})
    with pytest.raises(StoreError, match=f"no video with a face in split '{split}'"):
        module(store).setup(stage)
    with pytest.raises(StoreError, match=f"no video with a face in split '{split}'"):
        module(store).eval_dataloader(split)


def test_a_folder_that_is_no_store_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DfdError, match=r"make it with: python -m dfd\.preprocess"):
        module(tmp_path).setup()
    assert audit.main([str(tmp_path)]) == 1


def test_the_summary_says_what_the_data_are_in_plain_values(small_store: Path) -> None:
    data = module(small_store, clip_stride=[1, 3])
    summary = data.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["store"] == "small"
    assert str(small_store) not in json.dumps(summary)
    assert len(summary["index_sha256"]) == 64
    assert (summary["clip_len"], summary["clip_stride"], summary["image_size"]) == (4, [1, 3], SIZE)
    assert (data.clip_stride, data.image_size) == (2, SIZE)
    assert summary["crop"]["extraction"] == SETTINGS["faces"]
    assert summary["splits"]["train"] == {
        "num_videos": 8,
        "num_tracks": 8,
        "labels": {"real": 4, "fake": 4},
        "datasets": {"drawn": 8},
        "methods": {"swap": 4},
    }


def test_class_weights_make_both_labels_weigh_the_same(store: Path) -> None:
    splits = {r.video_id: "train" if int(r.name[0]) in (0, 2, 4, 1) else "val" for r in read_records(store)}
    write_splits(store, splits)
    build_index(store)
    data = module(store)
    labels = data.dataset("train", training=True).labels
    weights = data.class_weights()
    assert weights[0] * labels.count(0) == pytest.approx(weights[1] * labels.count(1))
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))


def test_balanced_sampling_is_for_training_only(small_store: Path) -> None:
    data = module(small_store, balanced_sampling=True)
    assert len(epoch(data.train_dataloader())[0]) == 8
    assert len(set(epoch(data.val_dataloader())[0])) == 2


def test_arguments_out_of_range_are_refused(small_store: Path) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        module(small_store, batch_size=0)
    with pytest.raises(ValueError, match="split must be one of train, val, test, all, got 'dev'"):
        module(small_store).eval_dataloader("dev")


class Recorder(lightning.LightningModule):
    """A model that notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        self.seen: list[list[str]] = []

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch: Any) -> Tensor:
        self.seen[-1] += [f"{v} {int(f.sum())}" for v, f in zip(batch["video_id"], batch["frames"], strict=True)]
        score = self.layer(batch["frames"].float().mean(dim=(1, 2, 3, 4))[:, None])
        return nn.functional.cross_entropy(score, batch["label"])

    def validation_step(self, batch: Any) -> None:
        assert batch["frames"].shape[1:] == (4, 3, SIZE, SIZE)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(store: Path, folder: Path, epochs: int, **arguments: Any) -> Recorder:
    model = Recorder()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, module(store, seed=4, augmentation=clip_augmentation()), **arguments)
    trainer.save_checkpoint(folder / "last.ckpt", weights_only=False)
    return model


def test_a_resumed_training_sees_the_clips_of_one_that_was_never_stopped(small_store: Path, tmp_path: Path) -> None:
    whole = fit(small_store, tmp_path, 3)
    assert len({tuple(seen) for seen in whole.seen}) == 3
    first = fit(small_store, tmp_path, 2)
    rest = fit(small_store, tmp_path, 3, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert first.seen + rest.seen == whole.seen


def test_the_index_file_decides_the_hash_of_the_summary(store: Path) -> None:
    before = module(store).summary()["index_sha256"]
    text = (store / INDEX_NAME).read_text()
    (store / INDEX_NAME).write_text(text.replace("person0", "person99"))
    assert module(store).summary()["index_sha256"] != before


# Which videos are used, and in which split


def test_the_used_videos_are_listed_with_their_splits(small_store: Path) -> None:
    table = module(small_store, tracks="all").used_videos()
    assert table.columns.tolist() == [
        "video_id",
        "dataset",
        "method",
        "label",
        "source_ids",
        "split",
        "num_frames",
    ]
    assert len(table) == 12
    assert table["video_id"].is_monotonic_increasing
    assert set(table["num_frames"]) == {30}
    assert table["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}


def test_videos_in_no_split_are_in_no_loader(store: Path) -> None:
    splits = {r.video_id: "unused" if r.source_ids[0] == "person0" else "train" for r in read_records(store)}
    write_splits(store, splits)
    build_index(store)
    data = module(store)
    unused = next(video_id for video_id, split in splits.items() if split == "unused")
    assert unused not in set(data.index["video_id"])
    assert len(data.dataset("train")) == 11
    assert unused not in used(data)


def test_a_draw_takes_its_share_of_each_data_set_label_and_split(two_sets: Path) -> None:
    data = module(two_sets, per_label=10)
    table = data.used_videos()
    counts = table.groupby(["dataset", "label", "split"]).size()
    for dataset in "ab":
        for label in ("real", "fake"):
            assert [counts[dataset, label, split] for split in ("train", "val", "test")] == [6, 1, 3]
    frozen = used(module(two_sets))
    assert used(data).items() <= frozen.items()
    assert used(module(two_sets, per_label={"b": 10})).keys() == set(table.loc[table["dataset"] == "b", "video_id"])
    assert used(module(two_sets, per_label=10, split_seed=1)) != used(data)
    assert len(data.dataset("train")) == 24


def test_a_draw_of_more_than_there_is_is_refused_unless_allowed(two_sets: Path) -> None:
    with pytest.raises(SplitError, match="a, test: 4 real videos of 6"):
        module(two_sets, per_label=20).setup("fit")
    data = module(two_sets, per_label=20, allow_fewer=True)
    data.setup("fit")
    assert data.summary()["splits"]["test"]["labels"] == {"real": 8, "fake": 8}


def test_videos_dealt_out_anew_are_the_same_in_the_same_numbers_and_leak(
    two_sets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for draw in ({}, {"per_label": 10}):
        apart, dealt = module(two_sets, **draw), module(two_sets, **draw, split="random_video")
        columns = ["dataset", "label", "split"]
        assert used(apart).keys() == used(dealt).keys()
        assert used(apart) != used(dealt)
        numbers = [data.used_videos().groupby(columns).size().to_dict() for data in (apart, dealt)]
        assert numbers[0] == numbers[1]
        split = apart.summary()["split"]
        assert split["mode"] == "source"
        assert split["overlap"] == {
            pair: {"num_source_ids": 0, "num_videos": 0} for pair in ("train-val", "train-test", "val-test")
        }
        holders = Counter(source for sources in apart.used_videos()["source_ids"] for source in sources.split(";"))
        sharing = sum(
            any(holders[source] > 1 for source in sources.split(";")) for sources in apart.used_videos()["source_ids"]
        )
        assert split["num_shared_sources"] == sharing > 0
        assert apart.summary()["videos_sha256"] != dealt.summary()["videos_sha256"]
        split = dealt.summary()["split"]
        assert split["mode"] == "random_video"
        assert split["overlap"]["train-test"]["num_source_ids"] > 0
    assert "train, val and test are NOT separate: train and val share" in caplog.text
    assert used(module(two_sets, split="random_video")) == used(module(two_sets, split="random_video"))
    assert used(module(two_sets, split="random_video")) != used(module(two_sets, split="random_video", split_seed=1))


@pytest.mark.parametrize("mode", ["official", "random_video"])
def test_a_store_whose_overlap_was_asked_for_trains_with_a_warning(
    store: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = next(r for r in read_records(store) if r.source_ids[0] == "person0")
    write_record(store, replace(record, source_ids=("person0", "person11")))
    write_split_plan(store, SplitPlan(mode))
    build_index(store)
    data = module(store)
    data.setup("fit")
    assert f"split={mode}, so train, val and test are NOT separate: train and test share 1 source ids" in caplog.text
    assert data.summary()["split"]["mode"] == mode
    assert data.summary()["split"]["overlap"]["train-test"] == {"num_source_ids": 1, "num_videos": 1}


def test_a_video_without_a_split_is_not_guessed_a_side_where_people_overlap(store: Path) -> None:
    write_split_plan(store, SplitPlan("official"))
    write_splits(store, {r.video_id: "train" for r in read_records(store) if r.source_ids[0] != "person3"})
    build_index(store)
    with pytest.raises(StoreError, match=r"1 of 12 videos have no split in splits\.csv; run the preprocessing again"):
        module(store).setup("fit")


def test_the_selection_of_the_summary_selects_the_same_again(two_sets: Path) -> None:
    data = module(two_sets, split="random_video", per_label={"a": 10}, fractions=(0.5, 0.2, 0.3), split_seed=4)
    selection = json.loads(json.dumps(data.summary()["selection"]))
    assert selection == {
        "split": "random_video",
        "per_label": {"a": 10},
        "fractions": [0.5, 0.2, 0.3],
        "split_seed": 4,
        "allow_fewer": False,
    }
    assert used(module(two_sets, **selection)) == used(data)
    assert data.summary()["manifest_sha256"] == manifest_sha256(two_sets)


@pytest.mark.parametrize("split", ["official", "source", "random"])
def test_a_store_is_not_divided_anew_in_memory(two_sets: Path, split: str) -> None:
    with pytest.raises(ValueError, match=r"delete its splits\.csv and split\.json and rerun python -m dfd\.preprocess"):
        module(two_sets, split=split)


def test_videos_of_which_no_source_is_known_share_none(tmp_path: Path) -> None:
    """Else an empty overlap would be taken for people kept apart."""
    rows = [make_row(number, source_ids=()) for number in range(6)]
    for number, row in enumerate(rows):
        add_video(tmp_path, row, number, num_frames=8)
    write_splits(tmp_path, {row.video_id: ("train", "val", "test")[n // 2] for n, row in enumerate(rows)})
    build_index(tmp_path)
    assert module(tmp_path).summary()["split"]["num_shared_sources"] == 0


def test_paired_batches_hold_each_fake_and_a_real_video_of_one_of_its_sources(two_sets: Path) -> None:
    data = module(two_sets, clip_len=2, batch_size=2, paired_sampling=True)
    source = data.index.set_index("video_id")["source_ids"]
    fakes = []
    for batch in data.train_dataloader():
        assert batch["label"].tolist() == [1, 0]
        fake, real = batch["video_id"]
        assert source[fake] == source[real]
        fakes.append(fake)
    assert len(set(fakes)) == len(fakes) == 24
    with pytest.raises(ValueError, match="even batch_size, got 3"):
        module(two_sets, batch_size=3, paired_sampling=True)


def test_each_process_draws_whole_pairs(two_sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(ClipDataModule, "_process", (rank, 2))
        data = module(two_sets, clip_len=2, batch_size=2, paired_sampling=True)
        for batch in data.train_dataloader():
            assert batch["label"].tolist() == [1, 0]
            drawn.append(batch["video_id"][0])
    assert len(set(drawn)) == len(drawn) == 24
