"""Fine-tuning: what is taken from a detector, what is new, and what its card then says."""

import logging
from pathlib import Path

import pytest
import torch

from dfd.base.errors import CheckpointError, WeightsMissing
from dfd.models.backbones import timm
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors
from dfd.training.learning.starting import Start
from tests.commands.test_commands import TINY, UNTESTED, run
from tests.conftest import TINY_MODEL

OTHER_HEAD = {**TINY_MODEL, "temporal": {"_target_": "dfd.models.temporal.gru", "hidden_features": 12}}


def test_a_model_of_the_same_shapes_starts_as_the_detector(tiny_checkpoint: Path) -> None:
    model, theirs = build_model(TINY_MODEL).eval(), load_model(tiny_checkpoint)[0]
    frames = torch.rand(2, 4, 3, 64, 64)
    assert not torch.equal(model(frames), theirs(frames))
    (lineage,) = Start.of(str(tiny_checkpoint)).copy_into(model)
    assert torch.equal(model(frames), theirs(frames))
    assert lineage["copied"] == ["backbone", "temporal", "classify"]
    assert lineage["detector"] == tiny_checkpoint.stem


def test_a_head_of_other_shapes_is_new_and_said_to_be(tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = build_model(OTHER_HEAD)
    temporal = {name: tensor.clone() for name, tensor in model.temporal.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        (lineage,) = Start.of(str(tiny_checkpoint)).copy_into(model)
    assert lineage["copied"] == ["backbone"]
    assert "the temporal head is new" in caplog.text
    assert "the last layers are new" in caplog.text
    assert all(torch.equal(tensor, temporal[name]) for name, tensor in model.temporal.state_dict().items())
    theirs = load_checkpoint(tiny_checkpoint)[1]
    assert all(torch.equal(tensor, theirs[f"backbone.{n}"]) for n, tensor in model.backbone.state_dict().items())


def test_another_backbone_is_refused_with_the_one_to_choose(tiny_checkpoint: Path) -> None:
    model = build_model({**TINY_MODEL, "backbone": {**TINY_MODEL["backbone"], "name": "test_vit"}})
    said = r"do not fit this backbone .* trained with backbone=timm backbone\.name=test_resnet"
    with pytest.raises(CheckpointError, match=said):
        Start.of(str(tiny_checkpoint)).copy_into(model)


def test_a_plain_detector_starts_a_run_with_lora(tmp_path: Path) -> None:
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_vit", "pretrained": False, "img_size": 32}
    plain = {**TINY_MODEL, "backbone": backbone, "temporal": {"_target_": "dfd.models.temporal.mean"}}
    model = build_model(plain).eval()
    save_safetensors(tmp_path / "a.safetensors", model, DetectorCard(model=model.config, image_size=32, clip_len=2))
    changed = build_model({**plain, "backbone": {**backbone, "lora": 2}}).eval()
    Start.of(str(tmp_path / "a.safetensors")).copy_into(changed)
    frames = torch.rand(1, 2, 3, 32, 32)
    assert torch.allclose(changed(frames), model(frames), atol=1e-6)


def test_the_command_fine_tunes_and_the_card_tells_the_lineage(
    tiny_store: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options = [*TINY, *UNTESTED, "trainer.max_epochs=1", f"data.store={tiny_store}", f"init_from={tiny_checkpoint}"]
    once, twice = tmp_path / "once", tmp_path / "twice"
    run("train", *options, f"hydra.run.dir={once}")
    card, _ = load_checkpoint(once / "detector.safetensors")
    assert [each["detector"] for each in card.lineage] == [tiny_checkpoint.stem]
    again = [word for word in options if not word.startswith("init_from")]
    run("train", *again, f"init_from={once / 'checkpoints' / 'best.ckpt'}", f"hydra.run.dir={twice}")
    card, _ = load_checkpoint(twice / "detector.safetensors")
    assert [each["detector"] for each in card.lineage] == ["best", tiny_checkpoint.stem]
    assert card.lineage[0]["store"] == tiny_store.name
    resumed = run("train", *again, f"init_from={once / 'gone.ckpt'}", f"hydra.run.dir={twice}", check=False)
    assert resumed.returncode == 1
    assert "there is no such file or folder" in resumed.stderr


@pytest.mark.parametrize("form", [".safetensors", ".ckpt"])
def test_a_backbone_takes_its_weights_from_any_file_that_holds_them(
    tiny_checkpoint: Path, tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_checkpoint
    if form == ".ckpt":
        path = tmp_path / "a.ckpt"
        tensors = {f"model.{name}": tensor for name, tensor in load_checkpoint(tiny_checkpoint)[1].items()}
        torch.save({"state_dict": tensors}, path)
    with caplog.at_level(logging.INFO):
        backbone = timm(name="test_resnet", weights=str(path))
    theirs = load_checkpoint(tiny_checkpoint)[1]
    assert all(torch.equal(tensor, theirs[f"backbone.{n}"]) for n, tensor in backbone.state_dict().items())
    assert "backbone.network.* fit the backbone" in caplog.text
    with pytest.raises(WeightsMissing, match="does not fit this backbone: missing"):
        timm(name="test_vit", weights=str(path))
