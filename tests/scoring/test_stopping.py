"""Early stopping: bounds that hold for any windows, and videos that are given up scoring without another verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfd.base.errors import ConfigError
from dfd.base.types import Verdict, VideoScore
from dfd.scoring.aggregation import max_of_means, max_of_shrunk_means, mean_of_windows, verdict
from dfd.scoring.detector import Detector
from dfd.scoring.panel import load_panel
from dfd.scoring.video.stopping import MEANS, EarlyStop, lower_bound, upper_bound
from dfd.video.encode import write_video
from tests.conftest import drawn_frames

POPULATIONS = {
    "one value": np.full(24, 0.3),
    "a fake moment": np.r_[np.full(20, 0.05), np.full(4, 1.0)],
    "every other window": np.tile([0.0, 1.0], 12),
    "a ramp": np.linspace(0, 1, 24),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_mean_of_all_windows_is_above_the_bound_at_any_time_as_seldom_as_was_allowed(name: str) -> None:
    probs, chance, trials = POPULATIONS[name], 0.1, 80
    rng, missed = np.random.default_rng(0), 0
    for _ in range(trials):
        order = rng.permutation(probs).tolist()
        missed += any(upper_bound(order[:seen], 24, chance) < probs.mean() for seen in range(1, 24, 2))
    assert missed <= trials * chance + 3 * (trials * chance * (1 - chance)) ** 0.5


@pytest.mark.parametrize("chance", [0.0, 0.001, 0.05])
def test_bounds_close_in_on_the_mean_with_each_window_and_meet_there(chance: float) -> None:
    probs = np.random.default_rng(1).random(16).tolist()
    low = [lower_bound(probs[:seen], 16, chance) for seen in range(1, 17)]
    high = [upper_bound(probs[:seen], 16, chance) for seen in range(1, 17)]
    assert all(np.diff(low) >= -1e-6)
    assert all(np.diff(high) <= 1e-6)
    assert (low[-1], high[-1]) == pytest.approx((np.mean(probs), np.mean(probs)), abs=1e-6)


def test_with_no_chance_the_bound_is_that_of_windows_that_are_all_alike() -> None:
    assert upper_bound([0.0] * 19, 32, 0.0) == 13 / 32
    assert upper_bound([0.0] * 19, 32, 0.001) < 0.25


def call(prob_fake: float) -> Verdict:
    return verdict(prob_fake, threshold=0.5, margin=0.1)


@pytest.mark.parametrize("rule", MEANS)
def test_a_verdict_that_is_settled_without_chance_is_that_of_all_windows(rule: Any) -> None:
    rng, settled = np.random.default_rng(2), 0
    stop = EarlyStop(0.0, rule, call)
    for _ in range(60):
        faces = [(rng.beta(0.3, 0.3) * 0.2 + rng.random(n) * 0.8).clip(0, 1).tolist() for n in rng.integers(1, 12, 2)]
        expected = call(rule(faces)[1])
        for seen in range(1, 12):
            if stop.is_settled([face[:seen] for face in faces], list(map(len, faces)), [False, False]):
                settled += any(seen < len(face) for face in faces)
                assert call(rule([face[:seen] + [1.0] * (len(face) - seen) for face in faces])[1]) == expected
                assert call(rule([face[:seen] + [0.0] * (len(face) - seen) for face in faces])[1]) == expected
    assert settled > 10


def test_a_face_without_a_scored_window_settles_nothing_and_a_weak_one_does_not_hold_it_up() -> None:
    stop = EarlyStop(0.001, max_of_means, call)
    assert not stop.is_settled([[1.0] * 20, []], [24, 8], [False, False])
    assert stop.is_settled([[1.0] * 20, [0.5]], [24, 2], [False, True])
    assert not stop.is_settled([[0.0] * 20, [0.5]], [24, 2], [False, False])


def test_an_uncertain_verdict_can_be_settled_too() -> None:
    stop = EarlyStop(0.0, mean_of_windows, call)
    assert stop.is_settled([[0.5] * 30], [32], [False])
    assert not stop.is_settled([[0.5] * 20], [32], [False])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 4 frames."""
    path = tmp_path_factory.mktemp("stopping") / "a.mp4"
    write_video(path, drawn_frames(0, num_frames=96), fps=25)
    return path


@pytest.fixture(scope="module")
def scores(tiny_checkpoint: Path, video: Path) -> dict[float | None, VideoScore]:
    """Scores of the video by the chance that is allowed, where it is clearly real."""
    found = {}
    for chance in (None, 0.001):
        options: dict[str, Any] = {"face_detector": {"name": "fixed_box"}, "threshold": 0.95, "heatmaps": False}
        with Detector.load(
            tiny_checkpoint, device="cpu", num_workers=1, batch_size=2, stop_early=chance, **options
        ) as one:
            found[chance] = one.score(video)
    return found


def test_windows_are_left_out_and_the_verdict_stands(scores: dict[float | None, VideoScore]) -> None:
    full, early = scores[None], scores[0.001]
    windows = early.tracks[0].windows
    assert len(full.tracks[0].windows) == 24
    assert len(windows) < 16
    assert f"{len(windows)} of 24 windows were scored (stop_early=0.001)" in early.message
    assert "stop_early" not in full.message
    assert early.prob_fake == pytest.approx(full.prob_fake, abs=0.1)
    assert (early.verdict, early.num_windows) == (full.verdict, full.num_windows)


def test_the_bar_moves_with_each_batch_of_what_waited(tiny_checkpoint: Path, video: Path) -> None:
    options: dict[str, Any] = {"face_detector": {"name": "fixed_box"}, "uncertain_margin": 0.0, "heatmaps": False}
    shares: list[float] = []
    with Detector.load(tiny_checkpoint, device="cpu", num_workers=1, batch_size=2, stop_early=0.0, **options) as one:
        one.score(video, on_progress=lambda _, share: shares.append(share))
    while_waiting = [share for share in shares if share > 0.1]
    assert while_waiting == sorted(while_waiting)
    assert len(while_waiting) > 4


def test_windows_that_were_scored_have_their_scores_in_order_of_time_and_so_have_moments(
    scores: dict[float | None, VideoScore],
) -> None:
    full = {window.start_seconds: window.prob_fake for window in scores[None].tracks[0].windows}
    windows = scores[0.001].tracks[0].windows
    starts = [window.start_seconds for window in windows]
    assert starts == sorted(starts)
    assert [window.prob_fake for window in windows] == pytest.approx([full[start] for start in starts], abs=1e-5)
    for moment in scores[0.001].moments:
        window = windows[moment.window]
        assert window.start_seconds <= moment.seconds < window.end_seconds
        assert window.prob_fake == moment.prob_fake


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_early": 0.5}, r"stop_early must be null or a probability in 0\.\.0\.1.*0\.5"),
        ({"stop_early": 0.001, "aggregation": "share"}, "aggregation is none of max_of_means.*stop_early=null"),
    ],
)
def test_what_no_bound_is_known_for_is_refused(tiny_checkpoint: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Detector.load(tiny_checkpoint, device="cpu", **options)


def test_several_detectors_are_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="several vote here: set stop_early=null"):
        load_panel([tiny_checkpoint, tiny_checkpoint], device="cpu", stop_early=0.0)


def test_a_mean_that_leans_towards_all_is_bounded_as_well() -> None:
    stop = EarlyStop(0.001, max_of_shrunk_means, call)
    assert stop.is_settled([[0.05] * 16, [0.1] * 8], [24, 12], [False, False])
