"""Convolutional traces: the golden properties of the method."""

import numpy as np
import pytest

from dfd.signals.traces import smallest_side, trace, traces


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A picture whose amplitudes fall with the frequency, 0..255, 120 x 60 px."""
    spectrum = np.fft.rfft2(np.random.default_rng(0).normal(size=(120, 60)))
    distance = np.hypot(np.fft.fftfreq(120)[:, None], np.fft.rfftfreq(60)[None])
    distance[0, 0] = 1
    values = np.fft.irfft2(spectrum / distance, (120, 60))
    return (values - values.min()) / np.ptp(values) * 255


@pytest.fixture(scope="module")
def enlarged(picture: np.ndarray) -> np.ndarray:
    """The picture, twice as wide by linear interpolation."""
    wide = np.repeat(picture, 2, axis=1)
    wide[:, 1:-1:2] = (picture[:, :-1] + picture[:, 1:]) / 2
    return wide


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_an_enlarged_picture_shows_its_interpolation_from_every_start(enlarged: np.ndarray, seed: int | None) -> None:
    start = None if seed is None else np.random.default_rng(seed).uniform(0, 0.25, 8)
    found = trace(enlarged, tolerance=1e-5, start=start)
    assert found.coefficients[[3, 4]] == pytest.approx([0.5, 0.5], abs=1e-3)  # left and right
    # The rows above and below are not determined: any multiple of (1, -2, 1) fits. Their sum is.
    assert found.coefficients.sum() == pytest.approx(1, abs=1e-3)
    assert found.combined == pytest.approx(0.504, abs=0.01)  # every other pixel was interpolated


def test_white_noise_has_no_structure() -> None:
    found = trace(np.random.default_rng(0).integers(0, 256, (60, 120)).astype(float), tolerance=1e-5)
    assert found.sigma == pytest.approx(62, abs=3)
    assert np.ptp(found.coefficients) < 0.15


def test_a_mirrored_picture_has_mirrored_coefficients(picture: np.ndarray) -> None:
    mirror = [2, 1, 0, 4, 3, 7, 6, 5]
    found = [trace(one, tolerance=1e-5).coefficients for one in (picture, picture[:, ::-1])]
    assert found[1] == pytest.approx(found[0][mirror], abs=2e-6)


def test_brightness_changes_nothing_and_the_coefficients_sum_to_one(picture: np.ndarray) -> None:
    found = [trace(one, tolerance=1e-5).coefficients for one in (picture, picture + 20)]
    assert found[1] == pytest.approx(found[0], abs=5e-4)
    assert found[0].sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("tolerance", "spread"), [(0.01, 0.01), (1e-5, 1e-5)])
def test_the_result_does_not_depend_on_the_start(picture: np.ndarray, tolerance: float, spread: float) -> None:
    starts = np.random.default_rng(0).uniform(0, 0.25, (5, 8))
    found = [trace(picture, tolerance=tolerance, start=start).coefficients for start in starts]
    assert np.ptp(found, axis=0).max() < spread


@pytest.mark.parametrize(("window", "num_features"), [(3, 24), (5, 72), (7, 144)])
def test_three_channels_have_three_times_the_neighbours(window: int, num_features: int) -> None:
    side = smallest_side(window)
    colours = np.random.default_rng(0).integers(1, 256, (3, side, side), np.uint8)
    assert traces(colours, window=window).shape == (num_features,)
    with pytest.raises(ValueError, match="give a larger picture or a smaller window"):
        traces(colours[:, 1:, 1:], window=window)


def test_the_black_border_of_a_crop_is_no_part_of_the_picture(picture: np.ndarray) -> None:
    bordered = np.zeros((140, 90))
    picture = np.maximum(picture, 9)
    bordered[10:130, 20:80] = picture
    assert (trace(bordered).coefficients == trace(picture).coefficients).all()
