"""Training calibrates what it leaves; ``python -m dfd.calibrate`` does so to any checkpoint."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dfd.evaluation.calibration import calibrate as calibrate_scores
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import ON_BLENDS
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors
from tests.commands.test_commands import Done, run, train


@pytest.fixture(scope="module")
def store(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real and five fake videos in val."""
    from dfd.data.prepare.store import prepare_store
    from dfd.data.prepare.video import PreparationSettings
    from dfd.data.sources.manifest import read_manifest
    from dfd.faces.crop import Square
    from dfd.faces.extract import ExtractionSettings

    store = tmp_path_factory.mktemp("store")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64, margin_fraction=0.0)))
    prepare_store(read_manifest(tiny_videos), store, settings, fractions=(0.3, 0.5, 0.2), num_workers=2)
    return store


@pytest.fixture(scope="module")
def calibrated(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("run")
    return folder, train(folder, store, "trainer.max_epochs=1")


def calibrate(checkpoint: Path, store: Path, folder: Path, *more: str, check: bool = True) -> Done:
    arguments = [f"checkpoint={checkpoint}", f"data.store={store}", "data.num_workers=0", f"hydra.run.dir={folder}"]
    return run("dfd.calibrate", *arguments, *more, check=check)


def test_a_run_leaves_a_calibrated_detector_and_tests_that_one(calibrated: tuple[Path, Done]) -> None:
    folder, done = calibrated
    card, _ = load_checkpoint(folder / "detector.safetensors")
    assert card.temperature is not None
    found = card.calibration
    assert (found["split"], found["windows_per_track"], found["aggregation"]) == ("val", 4, "max_of_means")
    assert (found["num_real"], found["num_fake"]) == (5, 5)
    assert {"ece", "brier", "nll", "balanced_accuracy"} == set(found["before"]) == set(found["after"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["calibration"] == {"temperature": card.temperature, "threshold": card.threshold, **found}
    tested = json.loads((folder / "test" / "metrics.json").read_text())
    assert (tested["temperature"], tested["threshold"]) == (card.temperature, card.threshold)
    assert tested["uncalibrated"]["auc"] is not None
    assert (folder / "test" / "reliability.png").is_file()
    assert "calibrated on 5 real and 5 fake videos of val" in done.stdout
    assert load_checkpoint(folder / "checkpoints" / "best.ckpt")[0].temperature is None


def test_the_command_finds_what_training_found(calibrated: tuple[Path, Done], store: Path, tmp_path: Path) -> None:
    folder, _ = calibrated
    best, output = folder / "checkpoints" / "best.ckpt", tmp_path / "mine.safetensors"
    done = calibrate(best, store, tmp_path / "run", f"output={output}")
    (ours, tensors), (theirs, expected) = load_checkpoint(output), load_checkpoint(folder / "detector.safetensors")
    assert ours.temperature == pytest.approx(theirs.temperature, rel=1e-3)
    assert ours.threshold == pytest.approx(theirs.threshold, rel=1e-3)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert "calibration error" in done.stdout
    assert f"the calibrated detector is {output}" in " ".join(done.stdout.split())


def test_a_detector_is_overwritten_only_if_asked_to(calibrated: tuple[Path, Done], store: Path, tmp_path: Path) -> None:
    model, card = load_model(calibrated[0] / "checkpoints" / "best.ckpt")
    path = tmp_path / "detector.safetensors"
    save_safetensors(path, model, card)
    before = path.read_bytes()
    done = calibrate(path, store, tmp_path / "run", f"output={path}", check=False)
    assert done.returncode == 1
    assert "is there already; give another name, or overwrite=true" in done.stderr
    assert path.read_bytes() == before
    calibrate(path, store, tmp_path / "run", f"output={path}", "overwrite=true")
    assert load_checkpoint(path)[0].temperature is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("split=train", "was trained on these videos"),
        ("split=validation", "split=validation is not one of train, val, test"),
        ("output=mine.ckpt", "let the name end in it"),
        ("split=test", "at least 5 of each"),
    ],
)
def test_what_cannot_be_calibrated_is_a_sentence_and_writes_nothing(
    calibrated: tuple[Path, Done], store: Path, tmp_path: Path, wrong: str, message: str
) -> None:
    done = calibrate(calibrated[0] / "detector.safetensors", store, tmp_path, wrong, check=False)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_detector_that_comes_with_dfd_can_be_calibrated(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = calibrate(Path("starter"), tmp_path / "empty", tmp_path, check=False)
    assert "empty: " in done.stderr


def test_labelled_videos_make_verdicts_of_scores_and_are_kept_in_the_card(
    tiny_checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    model, card = load_model(tiny_checkpoint)
    silent = tmp_path / "silent.safetensors"
    save_safetensors(silent, model, replace(card, no_verdict="it is too weak", caveat="Trained on paintings."))
    done = calibrate(silent, store, tmp_path / "run", f"output={tmp_path / 'mine.safetensors'}")
    after, _ = load_checkpoint(tmp_path / "mine.safetensors")
    assert (after.no_verdict, after.caveat) == ("", "Trained on paintings.")
    labelled = after.calibration["labelled"]
    assert {name: len(scores) for name, scores in labelled.items()} == {"real": 5, "fake": 5}
    assert all(scores == sorted(scores) for scores in labelled.values())
    assert "they come with verdicts from now on" in " ".join(done.stdout.split())


def test_the_store_of_the_training_tells_nothing_of_other_videos(calibrated: tuple[Path, Done]) -> None:
    card, _ = load_checkpoint(calibrated[0] / "detector.safetensors")
    assert "labelled" not in card.calibration
    assert card.caveat.startswith("This detector was trained on ")


def test_a_threshold_fitted_to_blends_makes_no_verdicts() -> None:
    found = calibrate_scores([[[value]] for value in (-2.0, -1.0, 1.0, 2.0) for _ in range(5)], [0] * 10 + [1] * 10)
    card = DetectorCard(model={}, image_size=64, clip_len=1)
    assert found.on(card, on_blends=True).no_verdict == ON_BLENDS
    assert found.on(replace(card, no_verdict="it is weak"), on_blends=True).no_verdict == "it is weak"
    assert found.on(replace(card, no_verdict=ON_BLENDS)).no_verdict == ""


def test_an_evaluation_on_the_videos_of_the_calibration_says_so(
    calibrated: tuple[Path, Done], store: Path, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={calibrated[0]}/detector.safetensors"
    arguments = [checkpoint, f"data.store={store}", "data.num_workers=0", f"output={tmp_path}/out"]
    on_val = run("dfd.evaluate", *arguments, "split=val", f"hydra.run.dir={tmp_path}/val")
    assert "were fitted on these videos" in on_val.stderr
    on_test = run("dfd.evaluate", *arguments, "split=test", f"hydra.run.dir={tmp_path}/test")
    assert "were fitted on these videos" not in on_test.stderr
    assert "uncalibrated" in on_test.stdout


def test_a_run_with_few_validation_videos_says_that_it_is_not_calibrated(tiny_store: Path, tmp_path: Path) -> None:
    done = train(tmp_path, tiny_store, "trainer.max_epochs=1", "test=false")
    card, _ = load_checkpoint(tmp_path / "detector.safetensors")
    assert (card.temperature, card.threshold) == (None, 0.5)
    assert "there are 2 real and 2 fake videos" in card.calibration["note"]
    assert card.calibration["note"] in " ".join(done.stderr.split())


def test_a_run_can_be_left_uncalibrated(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store, "trainer.max_epochs=1", "calibrate=false", "test=false")
    card, _ = load_checkpoint(tmp_path / "detector.safetensors")
    assert (card.temperature, card.threshold, card.calibration) == (None, 0.5, {})


def test_a_model_for_comparison_only_is_not_calibrated(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store, "trainer.max_epochs=1", "temporal=lstm_over_batch")
    calibration = json.loads((tmp_path / "summary.json").read_text())["calibration"]
    assert (calibration["temperature"], calibration["threshold"]) == (None, 0.5)
    assert "depends on the other videos" in calibration["note"]
    assert (tmp_path / "test" / "metrics.json").is_file()


def test_a_trial_run_without_checkpoints_has_nothing_to_calibrate(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store, "debug=one_batch")
    assert not (tmp_path / "detector.safetensors").exists()
