"""dfd from Python: the notebook runs, and what Lightning's users expect of a module works."""

import contextlib
import json
import shutil
from functools import partial
from pathlib import Path

import lightning
import pytest
import torch
from torch import nn

from dfd import Detector, api
from dfd.base.errors import CheckpointError, ConfigError
from dfd.data.clips.module import ClipDataModule
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, save_safetensors
from dfd.models.temporal import MeanHead
from dfd.training.module import DetectorModule
from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "python_api.ipynb"


@pytest.fixture(scope="module")
def ran(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The folder that the notebook ran in, and its variables."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copytree(tiny_videos.parent, folder / "videos")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    lines = "".join(["".join(cell["source"]) + "\n" for cell in cells])
    assert len(lines.splitlines()) <= 30
    variables: dict[str, object] = {}
    with contextlib.chdir(folder):
        exec(compile(lines, str(NOTEBOOK), "exec"), variables)
    return folder, variables


def test_the_notebook_leaves_a_detector_that_scores(ran: tuple[Path, dict[str, object]]) -> None:
    folder, variables = ran
    card, _ = load_checkpoint(folder / "run" / "detector.safetensors")
    assert card.calibration["split"] == "val"
    for name in ("metrics.csv", "summary.json", "checkpoints/best.ckpt", "test/predictions.csv", "test/metrics.json"):
        assert (folder / "run" / name).stat().st_size > 0
    score = variables["score"]
    assert str(score.status) == "ok"  # type: ignore[attr-defined]
    assert 0 <= score.prob_fake <= 1  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="has a run in it"):
        api.train(variables["model"], variables["data"], folder / "run", max_epochs=1)  # type: ignore[arg-type]


def test_a_checkpoint_is_loaded_and_predicts_as_lightning_does_it(ran: tuple[Path, dict[str, object]]) -> None:
    folder, _ = ran
    module = DetectorModule.load_from_checkpoint(folder / "run" / "checkpoints" / "best.ckpt")
    data = ClipDataModule(folder / "store", clip_len=4, batch_size=4, num_workers=0)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    found = torch.cat(trainer.predict(module, data))  # type: ignore[arg-type]
    expected = Detector.load(folder / "run" / "checkpoints" / "best.ckpt", device="cpu")
    clips = torch.cat([batch["frames"] for batch in data.eval_dataloader("test")])
    odds = torch.tensor(expected.log_odds_batch(clips))
    assert torch.allclose(found, odds.sigmoid().float(), atol=1e-5)


def test_a_module_says_what_it_was_built_from(ran: tuple[Path, dict[str, object]]) -> None:
    folder, _ = ran
    card = load_checkpoint(folder / "run" / "detector.safetensors")[0]
    written = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)["hyper_parameters"]
    optimizer = partial(torch.optim.SGD, lr=0.1)
    module = DetectorModule.load_from_checkpoint(
        folder / "run" / "checkpoints" / "best.ckpt", optimizer=optimizer, freeze_batchnorm=True, class_weights=(1, 3)
    )
    assert module.hparams["model"] == written["model"] == card.model
    assert (module.hparams["optimizer"], module.hparams["optimizer.lr"]) == ("SGD", "0.1")
    assert (module.hparams["freeze_batchnorm"], module.hparams["class_weights"]) == (True, [1, 3])
    assert written["optimizer"] == "AdamW"
    assert not any(isinstance(value, nn.Module) for value in module.hparams.values())


def own_network() -> ClipClassifier:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ClipClassifier(Backbone(layers, num_features=4), MeanHead(4))


def test_a_network_that_no_card_describes_trains_and_is_not_written(tiny_store: Path, tmp_path: Path) -> None:
    data = ClipDataModule(tiny_store, clip_len=2, batch_size=4, num_workers=0)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    detector = api.train(own_network(), data, tmp_path / "run", max_epochs=1, optimizer=optimizer, accelerator="cpu")
    assert api.evaluate(detector, data, tmp_path / "test", num_windows=1)["overall"]["num_real"] > 0
    assert not (tmp_path / "run" / "detector.safetensors").exists()
    card = DetectorCard(model={}, image_size=64, clip_len=2)
    with pytest.raises(CheckpointError, match="its card does not say how it is built: register its parts"):
        save_safetensors(tmp_path / "mine.safetensors", own_network(), card)


def test_a_part_that_there_is_not_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"dfd\.models\.backbones\.resnet' is not one of"):
        api.network("resnet")
    with pytest.raises(ConfigError, match="it needs the plug-in mypkg"):
        api.network("mypkg.nets.tiny")
