"""A compiled training leaves what any other leaves: checkpoints to go on from, and a detector to score and export."""

import csv
from pathlib import Path

import pytest
import torch

from dfd.models.files.checkpoint import load_model
from tests.commands.test_commands import run

OPTIONS = [
    *("backbone=timm", "backbone.name=test_resnet", "backbone.pretrained=false", "temporal.hidden_features=8"),
    *("data=clips", "data.clip_len=2", "data.batch_size=4", "data.num_workers=0", "trainer=cpu", "compile=true"),
    *("callbacks.progress_bar.refresh_rate=0", "test=false", "num_sample_clips=0"),
]


@pytest.mark.slow
def test_a_compiled_training_goes_on_from_its_checkpoint_and_its_detector_is_exported(
    tiny_store: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = [*OPTIONS, f"data.store={tiny_store}", f"hydra.run.dir={folder}"]
    run("train", *options, "trainer.max_epochs=1")
    first = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert not any("_orig_mod" in name for name in first["state_dict"])
    run("train", *options, "trainer.max_epochs=2", "ckpt_path=last")
    with (folder / "metrics.csv").open(newline="") as file:
        epochs = {row["epoch"] for row in csv.DictReader(file)}
    assert epochs == {"1", "2"}
    second = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert second["global_step"] == 2 * first["global_step"] > 0
    model, card = load_model(folder / "detector.safetensors")
    frames = torch.randint(0, 256, (1, card.clip_len, 3, card.image_size, card.image_size), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(frames).softmax(-1)
    detector = folder / "detector.safetensors"
    run("dfd.export", f"checkpoint={detector}", "format=torch_export", f"output={tmp_path / 'a.pt2'}")
    exported = torch.export.load(tmp_path / "a.pt2").module()(frames)
    torch.testing.assert_close(exported, expected, rtol=1e-3, atol=1e-4)
