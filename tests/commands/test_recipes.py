"""Recipes at a small width: what learns, on which batches, and that the detector is kept."""

from pathlib import Path

import pytest
import torch

from dfd.models.files.checkpoint import load_checkpoint
from tests.commands.test_commands import UNTESTED, history, run

SMALL = [
    *("backbone.name=test_vit", "backbone.pretrained=false", "backbone.img_size=64", "data.batch_size=4"),
    *("data.num_workers=0", "data.augmentation=null", "trainer=cpu", "trainer.max_epochs=1", *UNTESTED),
]


@pytest.mark.parametrize("experiment", ["gend", "gend_blend"])
def test_a_recipe_of_gend_trains_norms_and_head_alone(experiment: str, tiny_store: Path, tmp_path: Path) -> None:
    words = [f"experiment={experiment}", *SMALL, f"data.store={tiny_store}", "trainer.log_every_n_steps=1"]
    run("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    card, tensors = load_checkpoint(tmp_path / "run" / "detector.safetensors")
    assert card.clip_len == 1
    assert card.model["head"]["_target_"] == "dfd.models.heads.linear_norm"
    # The seed is the run's, so that a network which learns nothing shows the initial weights.
    run("train", *words, "optimizer.lr=1e-30", f"hydra.run.dir={tmp_path / 'still'}")
    initial = load_checkpoint(tmp_path / "still" / "detector.safetensors")[1]
    changed = {name for name, tensor in tensors.items() if not torch.equal(tensor, initial[name])}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} >= {"norm1", "norm2", "classify"}
    assert all("norm" in name for name in changed if name.startswith("backbone."))
    logged = {key for row in history(tmp_path / "run") for key, value in row.items() if value}
    assert {f"train/loss_{name}_step" for name in ("cross_entropy", "alignment", "uniformity")} <= logged


@pytest.mark.slow
def test_the_recipe_of_a_gpu_can_be_tried_on_a_cpu(tiny_store: Path, tmp_path: Path) -> None:
    small = [
        "backbone.name=test_efficientnet",
        "backbone.pretrained=false",
        "backbone.input_size=64",
        "data.batch_size=8",
    ]
    words = ["experiment=starter_gpu", "trainer=cpu", "debug=one_batch", *small, f"data.store={tiny_store}"]
    done = run("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0
