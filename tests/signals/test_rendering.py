"""Statistics of a face against its own frame: on drawn frames whose regions differ in one thing."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dfd.signals.rendering.features import TooShort, feature_names, rendering_features, rendering_statistics
from dfd.signals.rendering.regions import PAIRS, REGIONS, SIDE

FACE = REGIONS["face"]
NUM_FRAMES = 12


def clip(*, drawn_once: bool = False, flicker: float = 0.0, smooth: float = 0.0, shift: int = 0) -> np.ndarray:
    """A patterned picture under a camera's noise of 4 levels, ``(T, SIDE, SIDE, 3)``.

    Args:
        drawn_once: the face alone has the noise of the first frame in all of them.
        flicker: deviation of the face's brightness from frame to frame.
        smooth: deviation of a Gaussian, in pixels, over the face.
        shift: pixels that the whole picture moves to the right in each frame.
    """
    draw = np.random.default_rng(0)
    pattern = gaussian_filter(draw.normal(size=(SIDE, SIDE)), 3)
    picture = 120 + 20 * pattern / pattern.std()
    noise = draw.normal(scale=4, size=(NUM_FRAMES, SIDE, SIDE))
    if drawn_once:
        noise[:, FACE] = noise[0, FACE]
    frames = np.stack([np.roll(picture, shift * place, axis=1) for place in range(NUM_FRAMES)]) + noise
    if smooth:
        frames[:, FACE] = np.stack([gaussian_filter(one, smooth) for one in frames])[:, FACE]
    frames[:, FACE] += flicker * draw.normal(size=(NUM_FRAMES, 1))
    return np.repeat(np.clip(frames.round(), 0, 255).astype(np.uint8)[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def even() -> dict[str, float]:
    return rendering_statistics(clip())


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_noise_that_is_alike_all_over_a_frame_has_a_ratio_of_one(even: dict[str, float], one: str, other: str) -> None:
    assert even[f"flat_noise({one}/{other})"] == pytest.approx(0, abs=0.08)
    if other != "background":  # which is not aligned, and therefore not interpolated
        assert even[f"fine_change({one}/{other})"] == pytest.approx(0, abs=0.08)


def test_a_face_that_is_cleaner_than_its_frame_has_less_noise(even: dict[str, float]) -> None:
    found = rendering_statistics(clip(smooth=1.0))
    for name in ("flat_noise(face/background)", "octave_0(face/ring)", "fine_change(face/background)"):
        assert found[name] < even[name] - 0.5, name


def test_noise_that_stays_in_the_face_persists_there(even: dict[str, float]) -> None:
    assert even["persistence(face)"] == pytest.approx(0, abs=0.1)
    found = rendering_statistics(clip(drawn_once=True))
    assert found["persistence(face)"] > 0.8
    assert found["persistence(face/background)"] > 0.8
    assert found["time_to_space(face/background)"] < even["time_to_space(face/background)"] - 1


def test_a_face_that_flickers_alone_is_seen(even: dict[str, float]) -> None:
    found = rendering_statistics(clip(flicker=5))
    assert found["flicker(face/background)"] > even["flicker(face/background)"] + 1
    assert found["flicker(mouth/face)"] == pytest.approx(even["flicker(mouth/face)"], abs=1)


def test_a_picture_that_moves_as_a_whole_moves_alike_everywhere() -> None:
    found = rendering_statistics(clip(shift=1))
    assert found["speed(face/background)"] == pytest.approx(0, abs=0.3)
    assert found["bending(face)"] < -0.5


def test_brightness_alone_changes_no_statistic_but_the_levels_of_quality() -> None:
    frames = clip()
    change = rendering_features(frames - 20) - rendering_features(frames)
    changed = {name for name, size in zip(feature_names(), np.abs(change), strict=True) if size > 0.05}
    assert changed == {"red", "green", "blue"}


def test_features_of_an_empty_clip_are_numbers_and_have_the_names() -> None:
    found = rendering_features(np.zeros((8, 40, 40, 3), np.uint8))
    assert found.shape == (len(feature_names()),)
    assert np.isfinite(found).all()
    assert len(set(feature_names())) == len(feature_names())


def test_few_frames_are_refused() -> None:
    with pytest.raises(TooShort, match="7 frames are too few to measure anything over time, 8 are needed"):
        rendering_features(np.zeros((7, SIDE, SIDE, 3), np.uint8))
