"""Several detectors score the same videos as each would alone, and are combined as they say."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp, log
from pathlib import Path
from statistics import fmean

import pytest
import torch

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.machine import num_cores
from dfd.base.types import Status, Verdict
from dfd.config.compose import predict_config
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.predictions.rows import json_of, score_of
from dfd.predictions.verdicts import tellers_of, told_anew
from dfd.scoring.detector import Detector
from dfd.scoring.options import detector_options, start_workers
from dfd.scoring.panel import Ensemble, Panel, load_panel
from dfd.scoring.runtimes.expected import START_SECONDS, TUNED, expected_seconds
from dfd.video.encode import write_video
from tests.conftest import TINY_MODEL, drawn_frames

VIEWS = ({"crop_size": 64, "margin_fraction": 0.0}, {"crop": {"kind": "letterbox", "size": 64}})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three detectors of random weights: two calibrated ones with a crop of their own, and an adopted one with none."""
    folder = tmp_path_factory.mktemp("detectors")
    made = []
    for seed, (temperature, clip_len, extraction) in enumerate(
        [(1.0, 4, VIEWS[0]), (2.0, 1, VIEWS[1]), (None, 1, VIEWS[1])]
    ):
        torch.manual_seed(seed)
        model = build_model(TINY_MODEL)
        crop = {"extraction": extraction, "face_detector": {"name": "fixed_box"}}
        origin = {} if temperature else {"name": "published"}
        card = DetectorCard(model=model.config, image_size=64, clip_len=clip_len, crop=crop, temperature=temperature)
        save_safetensors(folder / f"{seed}.safetensors", model, replace(card, threshold=0.5, origin=origin))
        made.append(folder / f"{seed}.safetensors")
    return made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, drawn_frames(0, num_frames=30), fps=25)
    return path


@pytest.fixture(scope="module")
def panel(files: list[Path]) -> Iterator[Panel]:
    panel = load_panel(files, device="cpu", num_workers=1, max_windows=5)
    assert isinstance(panel, Panel)
    with panel:
        yield panel


def test_each_detector_finds_what_it_finds_alone(panel: Panel, files: list[Path], clip: Path) -> None:
    together = panel.score(clip)
    assert len(together.detectors) == 3
    for path, found in zip(files, together.detectors, strict=True):
        with Detector.load(path, device="cpu", num_workers=1, max_windows=5) as detector:
            alone = detector.score(clip)
        assert found.model == alone.model
        assert found.prob_fake == pytest.approx(alone.prob_fake, abs=1e-6)
        assert [len(track.windows) for track in found.tracks] == [len(track.windows) for track in alone.tracks]


def test_the_combined_score_is_the_mean_of_the_log_odds_of_the_calibrated(panel: Panel, clip: Path) -> None:
    score = panel.score(clip)
    first, second, adopted = (found.prob_fake for found in score.detectors)
    assert None not in (first, second, adopted)
    mean = fmean(log(prob / (1 - prob)) for prob in (first, second))  # type: ignore[operator]
    assert score.prob_fake == pytest.approx(1 / (1 + exp(-mean)), abs=1e-9)
    assert score.detectors[2].verdict is None
    assert "no verdict: published is not calibrated" in score.detectors[2].message


def test_weights_move_the_combined_score_and_one_of_0_has_no_part(files: list[Path], clip: Path) -> None:
    with load_panel(files[:2], weights=[0, 1], device="cpu", num_workers=1, max_windows=5) as panel:
        score = panel.score(clip)
    assert score.prob_fake == pytest.approx(score.detectors[1].prob_fake)


def test_without_a_calibrated_detector_there_is_a_score_and_no_verdict(files: list[Path], clip: Path) -> None:
    with Detector.load(files[2], device="cpu", num_workers=1) as detector:
        score = detector.score(clip)
    assert (score.status, score.verdict) == (Status.OK, Verdict.UNCERTAIN)
    assert score.prob_fake is not None
    assert "no verdict" in score.message


def test_each_detector_without_verdicts_says_why(files: list[Path], tmp_path: Path) -> None:
    model, card = load_model(files[2])
    silent = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in silent:
        save_safetensors(path, model, replace(card, no_verdict=f"{path.stem} was never measured"))
    with load_panel(silent, device="cpu", num_workers=1) as panel:
        assert panel.describe()["no_verdict"] == "a was never measured; b was never measured"


def test_a_score_of_several_detectors_is_read_as_it_was_written(panel: Panel, clip: Path) -> None:
    score = panel.score(clip)
    assert score_of(json_of(score)) == score


@pytest.fixture(scope="module")
def known(files: list[Path]) -> list[Path]:
    """The detectors, of which the first two know labelled videos."""
    found = []
    for number, path in enumerate(files):
        model, card = load_model(path)
        labelled = {"real": [0.1] * 12 + [0.5] * (number + 1), "fake": [0.4] * 4 + [0.8] * 11}
        calibration = {"aggregation": "max_of_means", "labelled": labelled} if card.temperature else {}
        made = path.with_name(f"known-{number}.safetensors")
        save_safetensors(made, model, replace(card, calibration=calibration))
        found.append(made)
    return found


@pytest.mark.parametrize("anew", [{"threshold": 0.2}, {"uncertain_margin": 0.0}, {"prevalence": 0.02}])
def test_verdicts_of_several_told_anew_are_those_that_scoring_would_give(
    known: list[Path], clip: Path, anew: dict[str, float]
) -> None:
    options = {"device": "cpu", "num_workers": 1, "max_windows": 3, "weights": [1, 2, 1], "moments_per_face": 0}
    before, after = load_panel(known, **options), load_panel(known, **options, **anew)
    with before, after:
        line, expected = json_of(before.score(clip)), after.score(clip)
    assert [one.alike is not None for one in expected.detectors] == [True, True, False]
    settings = {"threshold": after.threshold, "uncertain_margin": 0.1, **anew}
    for described, threshold in ((after.describe(), None), (before.describe(), anew.get("threshold"))):
        found = score_of(told_anew(line, settings, tellers_of(described, votes=[1, 2, 1], threshold=threshold)))
        same = {"seconds": expected.seconds, "scored_at": expected.scored_at}
        assert replace(found, **same) == expected


def test_a_video_that_cannot_be_scored_has_one_row(panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    score = panel.score(tmp_path / "text.mp4")
    assert (score.status, score.prob_fake, score.detectors) == (Status.UNREADABLE, None, ())


def test_networks_of_an_ensemble_are_averaged_window_by_window(files: list[Path], clip: Path) -> None:
    networks = [Detector.load(path, device="cpu", num_workers=1, max_windows=5) for path in files[1:]]
    with Ensemble(networks, name="both") as ensemble:
        score = ensemble.score(clip)
    singles = []
    for path in files[1:]:
        with Detector.load(path, device="cpu", num_workers=1, max_windows=5) as detector:
            singles.append(detector.score(clip))
    assert score.prob_fake == pytest.approx(fmean(single.prob_fake for single in singles if single.prob_fake), abs=1e-6)
    windows = zip(*(single.tracks[0].windows for single in singles), strict=True)
    expected = [fmean(window.prob_fake for window in same) for same in windows]
    assert [window.prob_fake for window in score.tracks[0].windows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weights", [[1], [0, 0], [-1, 2]])
def test_weights_that_do_not_fit_are_refused(files: list[Path], weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="votes"):
        load_panel(files[:2], weights=weights, device="cpu")


def test_an_ensemble_is_loaded_whole_and_no_part_of_it_alone(files: list[Path], clip: Path, tmp_path: Path) -> None:
    for path, name in zip(files[1:], ("b7.safetensors", "b7.2.safetensors"), strict=True):
        model, card = load_model(path)
        save_safetensors(
            tmp_path / name, model, replace(card, origin={"name": "b7", "num_networks": 2}, temperature=None)
        )
    with load_panel([tmp_path / "b7.safetensors"], device="cpu", num_workers=1, max_windows=5) as ensemble:
        assert isinstance(ensemble, Ensemble)
        assert len(ensemble.detectors) == 2
        assert ensemble.score(clip).verdict is Verdict.UNCERTAIN
    with pytest.raises(CheckpointError, match="one of 2 networks"):
        Detector.load(tmp_path / "b7.safetensors", device="cpu")


def test_a_detector_is_named_once(files: list[Path]) -> None:
    with pytest.raises(ConfigError, match="name each detector once"):
        load_panel([files[0], files[0]], device="cpu")


def test_videos_begun_while_several_detectors_load_are_scored_by_all_of_them(
    panel: Panel, files: list[Path], clip: Path
) -> None:
    expected = panel.score(clip)
    config = predict_config(str(files[0]), ["num_workers=1", "max_windows=5", "device=cpu"])
    with start_workers(config, files, [clip], begin=True) as pool:
        begun = [one.payload for _, _, one in pool._ahead]
        assert len(begun) == 1
        with load_panel(files, pool=pool, **detector_options(config)) as ahead:
            assert [one.payload for _, _, one in pool._ahead] == begun, "the workers' settings are the panel's own"
            found = ahead.score(clip)
    assert [one.prob_fake for one in found.detectors] == pytest.approx([one.prob_fake for one in expected.detectors])


def test_heat_maps_are_computed_for_the_first_network_only(files: list[Path], clip: Path) -> None:
    with load_panel(files[:2], device="cpu", num_workers=1, max_windows=2) as panel:
        assert [one.heatmaps for one in panel.detectors] == [True, False]
        score = panel.score(clip)
    assert score.moments
    assert all(moment.heatmap is not None for moment in score.moments)


def test_the_time_is_estimated_from_what_all_cards_say_a_crop_takes(files: list[Path], tmp_path: Path) -> None:
    model, card = load_model(files[2])
    costly = replace(card, origin={"seconds_per_crop": 2.0}, scoring={"max_windows": 8})
    save_safetensors(tmp_path / "costly.safetensors", model, costly)
    config = predict_config(str(files[0]), ["device=cpu"])
    one, two = (expected_seconds(config, [tmp_path / "costly.safetensors"], number) for number in (1, 2))
    assert one is not None
    assert two is not None
    of_a_video = two - one
    assert of_a_video == pytest.approx(TUNED * 2.0 * (8 + 3) / num_cores())
    assert one == pytest.approx(START_SECONDS + of_a_video)
    assert expected_seconds(config, files[:1], 1) is None, "its card does not say it"
    assert (
        expected_seconds(predict_config(str(files[0]), ["device=cuda"]), [tmp_path / "costly.safetensors"], 1) is None
    )
