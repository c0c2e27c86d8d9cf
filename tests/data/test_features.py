import logging
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from dfd.base.errors import CheckpointError, ConfigError, StoreError
from dfd.data.clips.features import FeatureCache, FeatureDataset
from dfd.data.clips.module import ClipDataModule
from dfd.data.store.tables import read_index
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import save_safetensors
from dfd.training.module import DetectorModule
from dfd.training.resuming import take_backbone


def frozen_model(*, seed: int = 0, freeze: bool = True, **options: object) -> ClipClassifier:
    torch.manual_seed(seed)
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False, "freeze": freeze}
    backbone |= options
    temporal = {"_target_": "dfd.models.temporal.gru", "hidden_features": 8}
    return build_model({"backbone": backbone, "temporal": temporal, "dropout": 0.0})


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    """The small store under a name of its own: features are kept beside it."""
    (tmp_path / "store").symlink_to(small_store)
    return tmp_path / "store"


def cache_of(store: Path, model: ClipClassifier) -> FeatureCache:
    index = read_index(store)
    return FeatureCache(store, index[index["is_main"]], model)


def test_features_are_computed_anew_for_what_changes_them_and_is_not_in_the_weights(store: Path) -> None:
    changes: list[dict[str, object]] = [{}, {"resample": "bicubic"}, {"mean": [0.0, 0.0, 0.0]}, {"global_pool": "max"}]
    folders = {cache_of(store, frozen_model(**options)).folder for options in changes}
    assert len(folders) == len(changes)
    unchanged = cache_of(store, frozen_model(weights=None, drop_path_rate=None, unpadded_stem=False)).folder
    assert unchanged == cache_of(store, frozen_model()).folder


def darker(frames: torch.Tensor) -> torch.Tensor:
    return frames // 2


@pytest.mark.parametrize("training", [True, False])
def test_an_item_has_the_features_of_the_same_clip_without_augmentation(store: Path, training: bool) -> None:
    model = frozen_model()
    data = ClipDataModule(store, clip_len=4, clip_stride=[1, 3], num_workers=0, augmentation=None)
    cache = data.use_features(model)
    cache.fill()
    clips = data.dataset("train", training=training)
    items = FeatureDataset(clips, cache)
    assert len(items) == len(clips)
    for item in [(0, 5), (3, 7)] if training else [0, 1]:
        expected, ours = clips[item], items[item]
        with torch.inference_mode():
            features_BTD = model.eval().features(expected["frames"][None])
        torch.testing.assert_close(ours["features"], features_BTD[0], rtol=1e-4, atol=1e-4)
        assert {k: v for k, v in ours.items() if k != "features"} == {
            k: v for k, v in expected.items() if k not in ("frames", "seconds")
        }


def test_the_trainers_loaders_give_features_and_the_scoring_of_videos_goes_on_with_frames(store: Path, caplog) -> None:
    data = ClipDataModule(store, clip_len=4, num_workers=0, augmentation=darker)
    with caplog.at_level(logging.WARNING):
        data.use_features(frozen_model()).fill()
    assert "augmentation is OFF" in caplog.text
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert "frames" not in batch
        assert batch["features"].shape[1:] == (4, 96)
        assert len(batch["label"]) == len(batch["features"])
    assert "frames" in next(iter(data.eval_dataloader("val")))


def test_a_computation_that_was_stopped_goes_on(store: Path) -> None:
    cache = cache_of(store, frozen_model())
    cache.fill()
    files = sorted(cache.folder.glob("*.npy"))
    lost, kept = files[0], files[1:]
    expected = np.load(lost)
    lost.unlink()
    before = [file.stat().st_mtime_ns for file in kept]
    again = cache_of(store, frozen_model())
    assert len(again.missing()) == 1
    again.fill()
    np.testing.assert_array_equal(np.load(lost), expected)
    assert [file.stat().st_mtime_ns for file in kept] == before
    assert not cache_of(store, frozen_model()).missing()


def test_other_weights_have_other_features(store: Path) -> None:
    cache_of(store, frozen_model()).fill()
    assert len(cache_of(store, frozen_model(seed=1)).missing()) == 12


def test_a_clip_that_was_made_anew_has_no_features_yet(store: Path, tmp_path: Path) -> None:
    model = frozen_model()
    before = cache_of(store, model)
    index = read_index(store)
    copy = tmp_path / "copy"
    for path in index["path"]:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((store / path).read_bytes())
    same = FeatureCache(copy, index, model)
    path = index["path"].iloc[0]
    assert same.files[path].name == before.files[path].name
    with (copy / path).open("ab") as clip:
        clip.write(b"\0")
    assert FeatureCache(copy, index, model).files[path].name != before.files[path].name


def test_features_of_a_backbone_that_learns_are_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"backbone\.freeze=true"):
        cache_of(store, frozen_model(freeze=False))


def test_a_clip_that_a_worker_cannot_read_is_an_error_that_names_it_without_a_traceback(
    small_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    clip = store / read_index(store)["path"].iloc[0]
    clip.write_bytes(b"no video")
    with pytest.raises(StoreError) as raised:
        cache_of(store, frozen_model()).fill(num_workers=1)
    assert str(raised.value).startswith(f"clip cannot be read: {clip}: ")
    assert "Traceback" not in str(raised.value)


def test_damaged_features_are_an_error_that_names_the_file(store: Path) -> None:
    data = ClipDataModule(store, clip_len=4, num_workers=0)
    cache = data.use_features(frozen_model())
    cache.fill()
    for file in cache.folder.glob("*.npy"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"\.npy: the cached array of a clip cannot be read"):
        FeatureDataset(data.dataset("val"), cache)[0]


def test_a_resumed_run_has_features_of_the_backbone_that_it_began_with(store: Path, tmp_path: Path) -> None:
    begun, resumed = frozen_model(), frozen_model(seed=1)
    card = DetectorCard(model=begun.config, image_size=32, clip_len=4)
    save_safetensors(tmp_path / "begun.safetensors", begun, card)
    head = {name: tensor.clone() for name, tensor in resumed.temporal.state_dict().items()}
    assert cache_of(store, resumed).folder != cache_of(store, begun).folder
    take_backbone(resumed, str(tmp_path / "begun.safetensors"))
    assert cache_of(store, resumed).folder == cache_of(store, begun).folder
    assert all(torch.equal(tensor, head[name]) for name, tensor in resumed.temporal.state_dict().items())
    with pytest.raises(CheckpointError, match=r"backbone\.freeze=true; resume it with the same"):
        take_backbone(frozen_model(freeze=False), str(tmp_path / "begun.safetensors"))


@pytest.mark.parametrize("cached", [True, False])
def test_training_with_a_frozen_backbone_moves_the_head_only(store: Path, tmp_path: Path, cached: bool) -> None:
    model = frozen_model()
    data = ClipDataModule(store, clip_len=4, num_workers=0)
    data.setup("fit")
    if cached:
        data.use_features(model).fill()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    card = DetectorCard(model=model.config, image_size=data.image_size, clip_len=4)
    module = DetectorModule(model, optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True), card=card)
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/loss"].isfinite()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert not any(name.startswith("backbone.") for name in moved)
