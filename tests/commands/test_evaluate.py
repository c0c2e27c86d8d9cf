"""An evaluation judges the numbers that a prediction would show, and says when they cannot be believed."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfd.base.errors import ConfigError
from dfd.data.blend.module import BlendDataModule
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.splits import data_for, score_split, score_windows, write_results
from dfd.evaluation.warnings import warn_if_one_sided
from dfd.report.evaluations.terminal import print_metrics, print_points
from dfd.scoring.aggregation import max_of_means
from dfd.scoring.detector import Detector


@pytest.fixture
def detector(tiny_checkpoint: Path) -> Detector:
    return Detector.load(tiny_checkpoint, device="cpu")


@pytest.fixture
def data(tiny_store: Path) -> ClipDataModule:
    return ClipDataModule(
        store=tiny_store, clip_len=4, batch_size=3, num_eval_clips=3, num_workers=0, split="random_video"
    )


def calibrated(detector: Detector, temperature: float) -> Detector:
    return Detector.of(detector.model, replace(detector.card, temperature=temperature), name="warm", device="cpu")


@pytest.mark.parametrize("temperature", [None, 2.5])
def test_a_videos_probability_is_the_aggregation_of_what_the_detector_gives_its_windows(detector, data, temperature):
    detector = detector if temperature is None else calibrated(detector, temperature)
    windows: dict[str, dict[int, list[float]]] = {}
    for batch in data.eval_dataloader("val"):
        probs = detector.prob_fake_batch(batch["frames"])
        for video, track, prob in zip(batch["video_id"], batch["track"], probs, strict=True):
            windows.setdefault(video, {}).setdefault(int(track), []).append(prob)
    table = score_split(detector, data, "val")
    assert list(table["video_id"]) == sorted(windows)
    expected = [max_of_means([*windows[video].values()])[1] for video in table["video_id"]]
    assert table["prob_fake"].to_numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert set(table["num_windows"]) == {3}
    assert set(table["num_faces"]) == {1}
    assert ("prob_uncalibrated" in table) == (temperature is not None)


def test_without_its_temperature_a_calibrated_detector_is_what_it_was(detector, data):
    before, after = score_split(detector, data, "val"), score_split(calibrated(detector, 3.0), data, "val")
    pd.testing.assert_series_equal(after["prob_uncalibrated"], before["prob_fake"], check_names=False)
    assert (abs(after["prob_fake"] - 0.5) < abs(before["prob_fake"] - 0.5)).all()
    windows = score_windows(calibrated(detector, 3.0), data, "val")
    assert windows["log_odds"].tolist() == score_windows(detector, data, "val")["log_odds"].tolist()


def test_blends_of_a_store_are_no_test_of_a_detector_that_was_trained_on_another_division_of_it(detector, data):
    config = {"_target_": "dfd.data.blend.module.BlendDataModule", "store": str(data.store), "num_workers": 0}
    blends = data_for(config, detector.card)
    assert isinstance(blends, BlendDataModule)
    with pytest.raises(ConfigError, match=r"split=random_video.*which data=blend cannot repeat"):
        data_for(config, replace(detector.card, data=data.summary()))


def scored(num=60, seed=0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    label = np.arange(num) % 2
    return pd.DataFrame(
        {
            "video_id": [f"v{index:03}" for index in range(num)],
            "dataset": "mine",
            "method": np.where(label == 1, "a_method_of_a_rather_long_name", ""),
            "label": label,
            "prob_fake": generator.uniform(0, 0.5, num) + 0.3 * label,
            "num_windows": 4,
            "num_faces": 1,
        }
    )


def write(table: pd.DataFrame, folder: Path) -> dict:
    return write_results(table, folder, threshold=0.4, facts={}, title="mine")


def test_the_results_of_a_calibrated_detector_have_the_numbers_before_and_after(tmp_path):
    table = scored()
    table["prob_uncalibrated"] = (table["prob_fake"] > 0.4).astype(float)
    table.loc[5, ["prob_fake", "prob_uncalibrated"]] = float("nan")
    metrics = write(table, tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["uncalibrated"] == metrics["uncalibrated"]
    for name in ("ece", "brier", "nll"):
        assert written["uncalibrated"][name] != written["overall"][name]
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "prob_uncalibrated" not in (tmp_path / "predictions.csv").read_text()


def test_the_results_of_an_uncalibrated_detector_claim_no_calibration(tmp_path):
    metrics = write(scored(), tmp_path)
    assert "uncalibrated" not in metrics
    assert metrics["overall"]["ece"] is not None
    assert (tmp_path / "reliability.png").is_file()


def test_no_reliability_is_drawn_of_one_label(tmp_path):
    write(scored().query("label == 1"), tmp_path)
    assert not (tmp_path / "reliability.png").exists()


def test_the_table_fits_a_terminal_of_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = scored(4000)
    table["prob_uncalibrated"] = table["prob_fake"]
    print_metrics(write(table, tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (head,) = [line for line in lines if "ECE" in line and "AUC" in line]
    assert head.split()[-5:] == ["AUC", "AP", "EER", "ECE", "Bri"]
    (before,) = [line for line in lines if line.strip().startswith("uncalib")]
    assert "2000" in before


def test_the_operating_points_fit_a_terminal_of_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_points(write(scored(4000), tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines if line.strip().startswith("FPR ") and "%" in line[:12]] == [
        ["FPR", "0.1"],
        ["FPR", "1"],
        ["FPR", "5"],
    ]
    assert "1 % of all videos are fake" in " ".join(" ".join(lines).split())


def one_sided(label: list[int], prob: list[float], caplog) -> str:
    with caplog.at_level(logging.WARNING):
        warn_if_one_sided(pd.DataFrame({"label": label, "prob_fake": prob}), 0.5)
    return caplog.text


def test_a_detector_that_calls_everything_real_is_pointed_out(caplog):
    text = one_sided([0, 1] * 20, [0.1] * 40, caplog)
    assert "40 of 40 scored videos have the verdict “no sign found”" in text


def test_videos_that_are_nearly_all_fake_may_be_called_so(caplog):
    assert one_sided([1] * 39 + [0], [0.9] * 40, caplog) == ""


def test_fakes_that_are_all_called_real_are_pointed_out(caplog):
    assert "the verdict “no sign found”" in one_sided([1] * 40, [0.1] * 40, caplog)


def test_a_video_without_a_score_has_no_verdict(caplog):
    assert one_sided([0, 1] * 20, [0.1] * 19 + [float("nan")] * 21, caplog) == ""
