"""A detector that is no network through the usual doors: trained, resumed, calibrated, evaluated, scored."""

from pathlib import Path

import pytest

from dfd.models.files.checkpoint import load_checkpoint
from dfd.scoring.detector import Detector
from tests.commands.test_commands import history, run

pytestmark = pytest.mark.slow
SMALL = ["experiment=traces", "data.num_workers=0", "head.num_trees=5", "trainer=cpu", "num_sample_clips=0"]


@pytest.fixture(scope="module")
def trained(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two epochs, resumed after the first."""
    folder = tmp_path_factory.mktemp("run") / "run"
    words = [*SMALL, f"data.store={tiny_store}", f"hydra.run.dir={folder}"]
    run("train", *words, "trainer.max_epochs=1", "test=false", "calibrate=false")
    run("train", *words, "trainer.max_epochs=2", "ckpt_path=last")
    return folder


def test_a_forest_is_trained_resumed_and_tested_as_a_network_is(trained: Path) -> None:
    card, tensors = load_checkpoint(trained / "detector.safetensors")
    assert card.model["head"]["_target_"] == "dfd.models.heads.forest"
    assert card.test
    assert tensors["classify.is_fitted"]
    assert [row["epoch"] for row in history(trained) if row["train/loss"]] == ["1", "2"]


def test_such_a_detector_scores_videos_and_stills_alike(trained: Path, tiny_videos: Path) -> None:
    video = sorted(tiny_videos.parent.rglob("*.mp4"))[0]
    with Detector.load(trained / "detector.safetensors", num_workers=1) as detector:
        score = detector.score(video)
    assert score.prob_fake is not None
    assert 0 <= score.prob_fake <= 1
    assert all(moment.heatmap is None for moment in score.moments)
