"""`data=blend`: real clips beside the fakes made of them, of videos and photographs, and always the same ones."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dfd.base.errors import ConfigError, StoreError
from dfd.base.types import Label
from dfd.data.augment.transforms import clip_augmentation
from dfd.data.blend.dataset import BlendDataset, PairSampler, fake_id
from dfd.data.blend.module import BlendDataModule
from dfd.data.clips.module import ClipDataModule
from dfd.data.clips.samplers import ClipSampler, TrainingShare
from dfd.data.clips.tracks import read_landmarks
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.data.store.folders import read_record
from dfd.data.store.tables import build_index, read_index
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings
from tests.conftest import drawn_frames

SETTINGS = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64, margin_fraction=0.1)))


def module(store: Path, **arguments: Any) -> BlendDataModule:
    return BlendDataModule(store, **({"clip_len": 4, "batch_size": 4, "num_workers": 0} | arguments))


@pytest.fixture(scope="module")
def mixed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photographs of five people and six videos (two of them fake), in one store."""
    from dfd.video.encode import write_video

    folder, store = tmp_path_factory.mktemp("mixed"), tmp_path_factory.mktemp("stores") / "mixed"
    stills, videos = ["path,label,dataset,source_ids,split"], ["path,label,dataset,method,source_ids,split"]
    splits = ["train", "train", "train", "val", "test"]
    for number in range(10):
        Image.fromarray(drawn_frames(number, num_frames=1)[0]).save(folder / f"{number}.png")
        stills.append(f"{number}.png,real,photos,p{number // 2},{splits[number // 2]}")
    for number in range(6):
        write_video(folder / f"{number}.mp4", drawn_frames(100 + number, num_frames=12), fps=25)
        label = "fake,films,swap" if number > 3 else "real,films,"
        videos.append(f"{number}.mp4,{label},v{number},{['train', 'train', 'val', 'test', 'train', 'val'][number]}")
    for name, lines, is_still in (("stills", stills, True), ("videos", videos, False)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        settings = PreparationSettings(SETTINGS.face_detector, SETTINGS.faces, stills=is_still)
        prepare_store(read_manifest(folder / f"{name}.csv"), store, settings, num_workers=1)
    return store


def test_photographs_and_videos_lie_in_one_store(mixed_store: Path) -> None:
    index = read_index(mixed_store)
    assert index["settings_hash"].nunique() == 1
    assert sorted(index.loc[index["dataset"] == "photos", "num_frames"].unique()) == [1]
    assert len(index) == 16


def test_only_real_clips_are_used_and_each_has_a_fake(mixed_store: Path) -> None:
    data = module(mixed_store)
    data.setup("fit")
    dataset = data.dataset("train", training=True)
    assert dataset.num_pairs == 8  # 6 photographs and 2 videos; the fake video is left aside
    assert len(dataset) == 16
    assert dataset.labels == [0, 1] * 8
    for number in range(0, 16, 2):
        real, fake = dataset[(number, 7)], dataset[(number + 1, 7)]
        assert (real["label"], fake["label"]) == (Label.REAL, Label.FAKE)
        assert (dataset.video_ids[number], dataset.video_ids[number + 1]) == (real["video_id"], fake["video_id"])
        assert fake["video_id"] == fake_id(real["video_id"], "self_blend")
        assert (real["method"], fake["method"]) == ("", "self_blend")
        assert real["dataset"] == fake["dataset"]
        assert real["frames"].shape == fake["frames"].shape == (4, 3, 64, 64)
        assert not torch.equal(real["frames"], fake["frames"])


def test_a_photograph_moves(mixed_store: Path) -> None:
    dataset = module(mixed_store, augmentation=None).dataset("train", training=True)
    number = dataset.groups[0].index("photos")
    frames = dataset[(2 * number, 3)]["frames"]
    assert not torch.equal(frames[0], frames[-1])


def test_a_short_video_holds_its_last_frame_in_the_fake_as_in_the_real_clip(mixed_store: Path) -> None:
    dataset = module(mixed_store, clip_len=15, blend={"steady_prob": 0.0}).dataset("train", training=True)
    number = dataset.groups[0].index("films")
    for seed in range(4):
        pair, _ = dataset.blended((number, seed))
        for frames in (pair.real, pair.fake, pair.target, pair.mask):
            assert len(frames) == 15
            assert all(np.array_equal(frames[11], frame) for frame in frames[12:])
        assert not np.array_equal(pair.fake[10], pair.fake[11])


def test_batches_hold_both_of_each_pair_made_once(mixed_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    blended = BlendDataset.blended

    def counted(self: BlendDataset, item: Any) -> Any:
        made.append(item)
        return blended(self, item)

    monkeypatch.setattr(BlendDataset, "blended", counted)
    data = module(mixed_store)
    batches = list(data.train_dataloader())
    assert [len(batch["label"]) for batch in batches] == [4] * 4
    for batch in batches:
        assert batch["label"].tolist() == [0, 1, 0, 1]
        for real, fake in zip(batch["video_id"][::2], batch["video_id"][1::2], strict=True):
            assert fake == fake_id(real, "self_blend")
    assert len(made) == 8


def test_a_batch_has_landmarks_and_masks_on_demand_alone(mixed_store: Path) -> None:
    augmentation = clip_augmentation(crop_prob=1.0)
    plain = next(iter(module(mixed_store, augmentation=augmentation).train_dataloader()))
    assert not {"landmarks", "masks"} & set(plain)
    batch = next(iter(module(mixed_store, augmentation=augmentation, landmarks=True, masks=True).train_dataloader()))
    assert torch.equal(batch["frames"], plain["frames"])
    assert (batch["landmarks"].shape, batch["landmarks"].dtype) == ((4, 4, 5, 2), torch.float32)
    assert (batch["masks"].shape, batch["masks"].dtype) == ((4, 4, 64, 64), torch.float32)
    assert torch.equal(batch["landmarks"][::2], batch["landmarks"][1::2])
    assert batch["masks"][::2].max() == 0
    assert batch["masks"][1::2].amax(dim=(1, 2, 3)).min() > 0.4


def test_a_mask_is_where_the_fake_differs_from_the_real_clip(mixed_store: Path) -> None:
    same = {"real_is_altered_prob": 0.0, "source_prob": 1.0}  # the real clip is what the fake is blended into
    flip = clip_augmentation(flip_prob=1, crop_prob=0, color_prob=0, blur_prob=0, jpeg_prob=0)
    dataset = module(mixed_store, blend=same, augmentation=flip, masks=True).dataset("train", training=True)
    for number in range(0, 8, 2):
        real, fake = dataset[(number, 5)], dataset[(number + 1, 5)]
        differs = (real["frames"] != fake["frames"]).any(dim=1)
        assert differs.any()
        assert not differs[fake["masks"] == 0].any()


def test_the_landmarks_of_store_clips_lie_in_their_pictures_as_those_of_blends_do(mixed_store: Path) -> None:
    blends = module(mixed_store, landmarks=True).dataset("val")
    clips = ClipDataModule(mixed_store, clip_len=4, num_workers=0, landmarks=True).dataset("val")
    by_name = {clips[i]["video_id"]: clips[i]["landmarks"] for i in range(len(clips))}
    videos = [item for item in map(blends.__getitem__, range(len(blends))) if item["dataset"] == "films"]
    assert len(videos) == 2
    for item in videos:
        assert torch.equal(item["landmarks"], by_name[item["video_id"].partition("+")[0]])


def test_an_augmentation_that_would_leave_landmarks_behind_is_refused(mixed_store: Path) -> None:
    for what in ("landmarks", "masks"):
        with pytest.raises(ConfigError, match=rf"data\.{what}=true: the augmentation Identity has no method together"):
            module(mixed_store, own_augmentation=torch.nn.Identity(), **{what: True})
    with pytest.raises(ValueError, match="landmarks=true is useless with cache_features=true"):
        ClipDataModule(mixed_store, cache_features=True, landmarks=True)


def test_real_and_fake_get_one_draw_of_the_augmentation(mixed_store: Path) -> None:
    augmentation = clip_augmentation(flip_prob=0.5, crop_prob=0, color_prob=0, blur_prob=0, jpeg_prob=0)
    plain = module(mixed_store).dataset("train", training=True)
    turned = module(mixed_store, augmentation=augmentation).dataset("train", training=True)
    seen = set()
    for seed in range(12):
        flips = []
        for number in (0, 1):
            frames, before = turned[(number, seed)]["frames"], plain[(number, seed)]["frames"]
            assert torch.equal(frames, before) or torch.equal(frames, before.flip(-1))
            flips.append(torch.equal(frames, before.flip(-1)))
        assert flips[0] == flips[1]
        seen.add(flips[0])
    assert seen == {True, False}


def hashes(batches: Any) -> list[tuple[str, int]]:
    return [
        (name, int(frames.long().sum()))
        for batch in batches
        for name, frames in zip(batch["video_id"], batch["frames"], strict=True)
    ]


def test_blends_do_not_depend_on_the_workers_and_differ_by_epoch_and_seed(mixed_store: Path) -> None:
    here = module(mixed_store, seed=1).train_dataloader()
    first, second = hashes(here), hashes(here)
    assert first != second
    assert hashes(module(mixed_store, seed=1, num_workers=2).train_dataloader()) == first
    assert hashes(module(mixed_store, seed=2).train_dataloader()) != first


def test_blends_are_the_same_of_frames_that_are_kept_decoded(mixed_store: Path, tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(mixed_store)
    cached = module(tmp_path / "store", seed=1)
    cached.use_frames().fill()
    assert hashes(cached.train_dataloader()) == hashes(module(mixed_store, seed=1).train_dataloader())
    assert hashes(cached.val_dataloader()) == hashes(module(mixed_store, seed=1).val_dataloader())


def test_evaluation_blends_are_always_the_same_and_not_all_alike(mixed_store: Path) -> None:
    data = module(mixed_store, seed=1, num_eval_clips=2)
    first = hashes(data.val_dataloader())
    assert first == hashes(module(mixed_store, seed=2, num_eval_clips=2).val_dataloader())
    fakes = {name: value for name, value in first if name.endswith("self_blend")}
    assert len(set(fakes.values())) == len(fakes) == 3
    assert Counter(name for name, _ in first)[[name for name in fakes][-1]] in (1, 2)
    one_by_one = [data.dataset("val")[number]["frames"] for number in range(len(first))]
    assert [int(frames.long().sum()) for frames in one_by_one] == [value for _, value in first]


def test_all_windows_of_a_video_are_forged_in_one_way(mixed_store: Path) -> None:
    ways: dict[str, set[tuple[str, float]]] = {}
    num_windows = 0
    for split in ("train", "val", "test"):
        dataset = module(mixed_store, num_eval_clips=3).dataset(split)
        for number in range(dataset.num_pairs):
            pair, choice = dataset.blended(number)
            ways.setdefault(choice.facts["video_id"], set()).add((pair.region, round(float(pair.mask.max()), 2)))
            num_windows += 1
    assert num_windows > len(ways)
    assert {len(each) for each in ways.values()} == {1}
    assert len(set.union(*ways.values())) > 1


def test_data_sets_are_drawn_in_proportion(mixed_store: Path) -> None:
    data = module(mixed_store, proportions={"films": 3, "photos": 1})
    dataset = data.dataset("train", training=True)
    sampler = data._sampler(dataset, seed=0, epoch=0)
    drawn = Counter(dataset.groups[0][number] for _ in range(200) for number, _ in sampler)
    assert drawn["films"] / drawn.total() == pytest.approx(0.75, abs=0.04)
    with pytest.raises(StoreError, match=r"'paintings'.*films, photos"):
        module(mixed_store, proportions={"paintings": 1}).setup("fit")
    with pytest.raises(StoreError, match=r"no weight for 'photos'.*give each one \(0 leaves it out\)"):
        module(mixed_store, proportions={"films": 1}).setup("fit")


def test_processes_share_out_whole_pairs() -> None:
    shares = [list(PairSampler(TrainingShare(ClipSampler(5, seed=3), num_replicas=2, rank=rank))) for rank in range(2)]
    whole = list(PairSampler(ClipSampler(5, seed=3)))
    assert [len(share) for share in shares] == [6, 6]
    pairs = [list(zip(share[::2], share[1::2], strict=True)) for share in shares]
    for share in pairs:
        assert all(real[0] + 1 == fake[0] and real[1] == fake[1] for real, fake in share)
    woven = [item for both in zip(*pairs, strict=True) for pair in both for item in pair]
    assert woven[: len(whole)] == whole


def test_no_process_leaves_a_pair_out(mixed_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlendDataModule, "_process", (0, 6))
    loader = module(mixed_store, batch_size=2).train_dataloader()
    assert not loader.drop_last  # 8 pairs make 2 for each of 6, and no share of 3 clips
    assert [len(batch["label"]) for batch in loader] == [2, 2]


def test_the_summary_says_how_fakes_were_made_and_is_json(mixed_store: Path) -> None:
    summary = module(mixed_store, blend={"deform": 0.1}, proportions={"films": 1, "photos": 1}).summary()
    assert summary["blend"]["deform"] == 0.1
    assert summary["blend"]["proportions"] == {"films": 1, "photos": 1}
    assert summary["splits"]["train"]["labels"] == {"real": 8, "fake": 0}
    json.dumps(summary)


def test_landmarks_are_where_the_crop_shows_the_face(mixed_store: Path) -> None:
    index = read_index(mixed_store)
    row = index[index["dataset"] == "films"].iloc[0]
    clip = mixed_store / row["path"]
    points = read_landmarks(clip, [0, 5])
    assert points.shape == (2, 5, 2)
    assert ((points > 0) & (points < 1)).all()
    assert points[0, 0, 0] < points[0, 1, 0]  # the left eye is left of the right one
    assert points[0, 2, 1] < points[0, 3, 1]  # the nose above the mouth
    record = read_record(clip.parent)
    assert record is not None
    # The box and its margin fill the crop, so the landmarks keep their places in the box, drawn together.
    box = np.load(clip.with_suffix(".npy"))[0]
    within = (box[4:].reshape(5, 2) - box[:2]) / (box[2:4] - box[:2])
    if box[2] - box[0] == box[3] - box[1] and 1.2 * (box[2] - box[0]) <= min(record.width or 0, record.height or 0):
        assert np.allclose(points[0], (within + 0.1) / 1.2, atol=0.01)
    with pytest.raises(StoreError, match="shorter"):
        read_landmarks(clip, [100])


def copy_without(store: Path, copy: Path, **unwanted: str) -> Path:
    """The store without the videos whose row in the index has these values."""
    shutil.copytree(store, copy)
    for row in read_index(copy).to_dict("records"):
        if unwanted.items() <= row.items():
            shutil.rmtree((copy / row["path"]).parent, ignore_errors=True)
    build_index(copy)
    return copy


def test_a_store_without_a_real_video_is_refused(mixed_store: Path, tmp_path: Path) -> None:
    store = copy_without(mixed_store, tmp_path / "store", label="real")
    with pytest.raises(StoreError, match="no real video"):
        module(store).setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 3}, "even"),
        ({"proportions": {"a": -1.0}}, "proportions"),
        ({"proportions": 3}, "proportions must be a weight for each"),
        ({"blend": {"deform": -1}}, "deform"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(tmp_path, **arguments)


def test_a_detector_is_evaluated_on_blends(mixed_store: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    from dfd.evaluation.splits import evaluate_split
    from dfd.scoring.detector import Detector

    data = module(mixed_store)
    data.setup("test")
    detector = Detector.load(tiny_checkpoint)
    metrics = evaluate_split(detector, data, "test", tmp_path, threshold=0.5, checkpoint="x/tiny.safetensors")
    assert (metrics["overall"]["num_real"], metrics["overall"]["num_fake"]) == (3, 3)
    assert set(metrics["methods"]) == {"films/self_blend", "photos/self_blend"}
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert (table["label"] == "fake").sum() == 3


def test_the_sheet_is_drawn_and_a_film_written(mixed_store: Path, tmp_path: Path, capsys: Any) -> None:
    from dfd.commands.sheet.blend import main
    from dfd.video.file.probe import probe

    arguments = [str(mixed_store), "--output", str(tmp_path / "sheet.png"), "--pairs", "4", "--clip-len", "3"]
    main([*arguments, "--video", str(tmp_path / "film.mp4")])
    assert "4 of 8 faces of train" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 8 * 64
    assert probe(tmp_path / "film.mp4").width == 4 * 64


def test_a_sheet_of_no_store_is_an_error_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dfd.commands import sheet
    from dfd.commands.sheet import blend as blend_sheet

    for command in (blend_sheet.main, sheet.main):
        assert command([str(tmp_path / "absent")]) == 1
        assert "absent: there is no such clip store" in capsys.readouterr().err


def test_a_sheet_of_nothing_is_an_error_in_words(mixed_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dfd.commands import sheet
    from dfd.commands.sheet import blend as blend_sheet

    for command, option in ((blend_sheet, "--pairs"), (blend_sheet, "--clip-len"), (sheet, "--frames")):
        with pytest.raises(SystemExit):
            command.main([str(mixed_store), option, "0"])
        said = capsys.readouterr().err
        assert option in said
        assert "must be a whole number above 0, got 0" in said


def test_a_sheet_of_a_split_without_faces_names_the_split(
    mixed_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dfd.commands.sheet.blend import main

    store = copy_without(mixed_store, tmp_path / "store", split="val")
    assert main([str(store), "--split", "val"]) == 1
    assert "no real video with a face in split 'val'; --split takes another of" in capsys.readouterr().err
