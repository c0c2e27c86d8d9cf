"""The pulse: on drawn cells of skin whose heart is known."""

from functools import cache

import numpy as np
import pytest

from dfd.signals.pulse import NUM_CELLS, NoPulse, chrom, evenly_timed, frame_rate, green, peak_hertz
from dfd.signals.pulse_features import FEATURES, log_shifted, pulse_features, pulse_map

RATE = 30.0


def skin(seed: int, *, amplitude: float, num_frames: int, alone: bool = False) -> tuple[float, np.ndarray]:
    """Hertz of a pulse, and colours (T, 32, 3) of cells of 90 px under slowly changing light, with noise of 2 levels.

    ``alone``: each cell has a phase of its own.
    """
    draw = np.random.default_rng(seed)
    hertz, seconds = draw.uniform(0.9, 2), np.arange(num_frames) / RATE
    phase = draw.uniform(0, 2 * np.pi, NUM_CELLS) if alone else np.zeros(NUM_CELLS)
    beat = np.sin(2 * np.pi * hertz * seconds[:, None] + phase)[..., None] * amplitude * np.array([0.43, 1, 0.69])
    light = 1 + 0.05 * np.sin(2 * np.pi * 0.1 * seconds)[:, None, None]
    colours = draw.uniform(90, 180, (NUM_CELLS, 3)) * [1, 0.8, 0.7] * light + beat
    return hertz, colours + draw.normal(size=colours.shape) * 2 / 90**0.5


@cache
def frames(hertz: float = 1.2, num_frames: int = 128) -> np.ndarray:
    """Aligned crops of 40 px whose colour beats."""
    draw = np.random.default_rng(0)
    beat = np.sin(2 * np.pi * hertz * np.arange(num_frames) / RATE)[:, None, None, None] * np.array([1.3, 3, 2])
    noise = draw.normal(size=(num_frames, 40, 40, 3)) * 2
    return np.clip(np.array([170, 130, 110]) + beat + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("num_frames", [128, 300])
@pytest.mark.parametrize("amplitude", [1, 0.5, 0.25])
def test_the_mean_of_the_cells_beats_as_the_heart_does(num_frames: int, amplitude: float) -> None:
    for seed in range(10):
        hertz, colours = skin(seed, amplitude=amplitude, num_frames=num_frames)
        assert peak_hertz(chrom(colours, RATE).mean(axis=1), RATE) == pytest.approx(hertz, abs=0.05)


@pytest.mark.parametrize(("alone", "low", "high"), [(False, 0.5, 1), (True, -0.2, 0.2)])
def test_cells_of_one_face_beat_together(alone: bool, low: float, high: float) -> None:
    for seed in range(10):
        signals = chrom(skin(seed, amplitude=1, num_frames=128, alone=alone)[1], RATE)
        assert low < np.corrcoef(signals.T)[np.triu_indices(NUM_CELLS, 1)].mean() < high


def test_half_the_brightness_gives_the_same_peak() -> None:
    _, colours = skin(0, amplitude=1, num_frames=128)
    peaks = [peak_hertz(chrom(one, RATE).mean(axis=1), RATE) for one in (colours, colours / 2)]
    assert peaks[0] == peaks[1]


def test_the_green_signal_beats_too() -> None:
    hertz, colours = skin(1, amplitude=1, num_frames=300)
    assert peak_hertz(green(colours, RATE).mean(axis=1), RATE) == pytest.approx(hertz, abs=0.05)


def test_a_variable_frame_rate_is_brought_to_even_steps() -> None:
    draw = np.random.default_rng(0)
    seconds = np.cumsum(draw.uniform(0.02, 0.046, 200))
    colours = np.ones((200, 3, 3)) * 100 + np.sin(2 * np.pi * 1.5 * seconds)[:, None, None] * [0.4, 1, 0.7]
    even, rate = evenly_timed(colours, seconds)
    assert peak_hertz(chrom(even, rate).mean(axis=1), rate) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (np.arange(40) / 30, "40 consecutive frames, and a pulse needs 64"),
        (np.minimum(np.arange(128), 50) / 30, "51 consecutive frames"),
        (np.arange(128) / 5, "5.0 frames a second"),
        (np.concatenate([np.arange(64), np.arange(164, 228)]) / 30, "no frame for 3.37 s"),
    ],
)
def test_frames_without_a_pulse_are_refused(seconds: np.ndarray, words: str) -> None:
    with pytest.raises(NoPulse, match=words):
        frame_rate(seconds)


def test_the_features_are_numbers_and_bear_names() -> None:
    found = pulse_features(frames(), np.arange(128) / RATE)
    assert found.shape == (len(FEATURES),) == (96,)
    assert np.isfinite(found).all()
    assert len(set(FEATURES)) == 96


def test_a_still_face_has_features_too() -> None:
    still = np.repeat(frames()[:1], 128, axis=0)
    assert np.isfinite(pulse_features(still, np.arange(128) / RATE)).all()


def test_logarithms_of_signals_with_negative_values_differ() -> None:
    assert np.ptp(log_shifted(np.array([-3.0, 0.0, 2.0]))) == pytest.approx(np.log(2))


def test_a_map_shows_signals_above_spectra() -> None:
    drawn = pulse_map(frames(hertz=1.25), np.arange(128) / RATE)
    assert drawn.shape == (64, 128)
    assert drawn.dtype == np.uint8
    strongest = drawn[32:].mean(axis=0).argmax() / 127 * 5  # a spectrum's columns go from 0 to 5 Hz
    assert strongest == pytest.approx(1.25, abs=0.1)


def test_a_map_of_a_short_video_ends_in_grey() -> None:
    seconds = np.minimum(np.arange(128), 89) / RATE
    drawn = pulse_map(frames(), seconds)
    assert (drawn[:32, 90:] == 128).all()
    assert (drawn[:32, :90] != 128).any(axis=1).all()
