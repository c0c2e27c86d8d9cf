"""The pulse in the colour of skin, as FakeCatcher looks for it (Ciftci, Demir and Yin 2020, arXiv 1901.02212).

Blood changes the colour of a face a little with every beat. Means of regions over time give signals: G-PPG, the green
mean, and C-PPG, the chrominance of CHROM (de Haan and Jeanne 2013), in which changes of the light cancel out.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import scipy  # imports its parts once they are used: scipy.signal takes half as long as torch
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_FRAMES = 64
"""Consecutive frames that a pulse needs: two seconds at 30 frames a second, a beat or two of a resting heart."""
LEAST_RATE = 12.0
"""Frames a second that a pulse needs: more than twice the 5 Hz up to which signals are kept."""
LARGEST_GAP = 3.0
"""Longest time from one frame to the next, in typical ones: what lies between is interpolated."""
UNEVEN = 0.01
"""Deviation from even steps, in steps, from which on the signals are brought to even ones."""
WINDOW_SECONDS = 1.6
CHROM_BAND = 0.7, 2.5
"""Hertz: 42 to 150 beats a minute."""
GREEN_BAND = 0.8, 5.0
ROWS, COLUMNS = 4, 8
NUM_CELLS = ROWS * COLUMNS
REGION = 0.27, 0.50, 0.73, 0.70
"""Left, top, right and bottom of the skin between eyes and mouth, as fractions of an aligned crop's side
(``crop=five_points``: in its template the eyes are at 0.47 and the corners of the mouth at 0.75 of the height)."""


class NoPulse(ValueError):
    """A clip has too few frames, or frames at unusable times; the message says what it has."""


def frame_rate(seconds_T: Sequence[float] | Array) -> float:
    """Frames per second of frames that follow each other.

    Raises:
        NoPulse: when there are too few, they come too slowly, or one is missing for long.
    """
    seconds_T = np.asarray(seconds_T, np.float64)
    steps = np.diff(seconds_T)
    num_consecutive = len(seconds_T) if (steps > 0).all() else int(np.argmin(steps > 0)) + 1
    if num_consecutive < LEAST_FRAMES:
        raise NoPulse(f"{num_consecutive} consecutive frames, and a pulse needs {LEAST_FRAMES} or more")
    typical = float(np.median(steps[: num_consecutive - 1]))
    if steps[: num_consecutive - 1].max() > LARGEST_GAP * typical:
        raise NoPulse(f"no frame for {steps.max():.2f} s, where one comes every {typical:.3f} s")
    if 1 / typical < LEAST_RATE:
        raise NoPulse(f"{1 / typical:.1f} frames a second, and a pulse needs {LEAST_RATE:g} or more")
    return 1 / typical


def evenly_timed(colours_TRC: Array, seconds_T: Array) -> tuple[Array, float]:
    """Bring signals to even steps of time, and drop what only repeats the last frame of a short video.

    Args:
        colours_TRC: mean colours of R regions, ``(T, R, 3)``.
        seconds_T: time of each frame.

    Returns:
        The signals, as long as the frames last, and their rate.

    Raises:
        NoPulse: as :func:`frame_rate`.
    """
    rate = frame_rate(seconds_T)
    seconds_T = np.asarray(seconds_T, np.float64)
    steps = np.diff(seconds_T)
    count = len(seconds_T) if (steps > 0).all() else int(np.argmin(steps > 0)) + 1
    seconds_T, colours_TRC = seconds_T[:count], np.asarray(colours_TRC[:count], np.float64)
    even_T = np.linspace(seconds_T[0], seconds_T[-1], count)
    if np.abs(even_T - seconds_T).max() * rate <= UNEVEN:
        return colours_TRC, (count - 1) / (seconds_T[-1] - seconds_T[0])
    flat = colours_TRC.reshape(count, -1)
    even = np.stack([np.interp(even_T, seconds_T, signal) for signal in flat.T], axis=1)
    return even.reshape(colours_TRC.shape), (count - 1) / (seconds_T[-1] - seconds_T[0])


def cell_colours(frames_THWC: NDArray[np.uint8] | Array) -> Array:
    """Mean colours ``(T, 32, 3)`` of the 4 x 8 cells of :data:`REGION` in aligned crops ``(T, H, W, 3)``.

    Raises:
        NoPulse: when a cell has no pixel.
    """
    height, width = frames_THWC.shape[1:3]
    left, top, right, bottom = REGION
    ys = np.round(np.linspace(top * height, bottom * height, ROWS + 1)).astype(int)
    xs = np.round(np.linspace(left * width, right * width, COLUMNS + 1)).astype(int)
    if np.diff(ys).min() < 1 or np.diff(xs).min() < 1:
        raise NoPulse(f"crops of {width} x {height} px, and the 4 x 8 cells of the skin need 32 px or more")
    cells = [
        frames_THWC[:, y0:y1, x0:x1].mean(axis=(1, 2), dtype=np.float64)
        for y0, y1 in pairwise(ys)
        for x0, x1 in pairwise(xs)
    ]
    return np.stack(cells, axis=1)


def three_regions(cells_TRC: Array) -> Array:
    """Mean colours ``(T, 3, 3)`` of the left cheek, the middle and the right cheek, of those of the 32 cells."""
    grid = cells_TRC.reshape(-1, ROWS, COLUMNS, 3)
    parts = (grid[:, :, :2], grid[:, :, 2:6], grid[:, :, 6:])
    return np.stack([part.mean(axis=(1, 2)) for part in parts], axis=1)


def chrom(colours_TRC: Array, rate: float) -> Array:
    """C-PPG ``(T, R)`` of R regions: CHROM in windows of 1.6 s, Hann-weighted and overlapped by half.

    Per window, colours are divided by their mean; ``X = 3R - 2G`` and ``Y = 1.5R + G - 1.5B`` are band-passed, and the
    signal is ``X - Y std(X) / std(Y)``. The ends of the clip have half the weight of its middle; it is divided out.
    """
    return _overlapped(colours_TRC, rate, _chrom_window)


def green(colours_TRC: Array, rate: float) -> Array:
    """G-PPG ``(T, R)`` of R regions: the band-passed green mean less its slow trend, overlapped as :func:`chrom`."""
    green_TR = colours_TRC[..., 1]
    banded_TR = _banded(green_TR - green_TR.mean(axis=0), rate, GREEN_BAND)
    detrended_TR = np.stack([signal - slow_trend(signal, rate) for signal in banded_TR.T], axis=1)
    return _overlapped(detrended_TR, rate, lambda window_TR, _: window_TR - window_TR.mean(axis=0))


def slow_trend(signal_T: Array, rate: float) -> Array:
    """Trend of a signal by singular spectrum analysis: its first component, where that is slower than the pulse."""
    length = len(signal_T)
    lag = min(round(rate), length // 2)
    windows_KL = np.lib.stride_tricks.sliding_window_view(signal_T, lag)
    left_KR, values_R, right_RL = np.linalg.svd(windows_KL, full_matrices=False)
    first_KL = values_R[0] * np.outer(left_KR[:, 0], right_RL[0])
    trend_T, counts_T = np.zeros(length), np.zeros(length)
    for place in range(lag):  # the mean along the antidiagonals
        trend_T[place : place + len(first_KL)] += first_KL[:, place]
        counts_T[place : place + len(first_KL)] += 1
    trend_T /= counts_T
    return trend_T if peak_hertz(trend_T, rate) < GREEN_BAND[0] else np.zeros(length)


def _chrom_window(colours_TRC: Array, rate: float) -> Array:
    means = colours_TRC.mean(axis=0)
    scaled = colours_TRC / np.where(means > 0, means, 1)
    red, green_, blue = np.moveaxis(scaled, -1, 0)
    x_TR = _banded(3 * red - 2 * green_, rate, CHROM_BAND)
    y_TR = _banded(1.5 * red + green_ - 1.5 * blue, rate, CHROM_BAND)
    deviation = y_TR.std(axis=0)
    alpha_R = np.where(deviation > 0, x_TR.std(axis=0) / np.where(deviation > 0, deviation, 1), 0)
    signal_TR: Array = x_TR - alpha_R * y_TR
    centred: Array = signal_TR - signal_TR.mean(axis=0)
    return centred


def _overlapped(values: Array, rate: float, transform: Callable[[Array, float], Array]) -> Array:
    length = len(values)
    size = min(2 * max(round(WINDOW_SECONDS * rate / 2), 8), length)
    weight = np.hanning(size + 2)[1:-1, None]
    sums, weights = np.zeros(values.shape[:2]), np.zeros((length, 1))
    for start in [*range(0, length - size, size // 2), length - size]:
        sums[start : start + size] += weight * transform(values[start : start + size], rate)
        weights[start : start + size] += weight
    overlapped: Array = sums / weights
    return overlapped


@cache
def _band_pass(low: float, high: float, rate: float) -> Array:
    high = min(high, 0.45 * rate)
    sections: Array = scipy.signal.butter(4, (low, high), "bandpass", fs=rate, output="sos")
    return sections


def _banded(signal_TR: Array, rate: float, band: tuple[float, float]) -> Array:
    sections = _band_pass(*band, round(rate, 3))
    padding = min(3 * (2 * len(sections) + 1), len(signal_TR) - 1)
    filtered: Array = scipy.signal.sosfiltfilt(sections, signal_TR, axis=0, padlen=padding)
    return filtered


def power_spectrum(signal_T: Array, rate: float, *, num_points: int | None = None) -> tuple[Array, Array]:
    """Frequencies in hertz and the power there, of a Hann-weighted signal padded with zeros to ``num_points``."""
    weighted = (signal_T - signal_T.mean()) * np.hanning(len(signal_T))
    power: Array = np.abs(np.fft.rfft(weighted, num_points)) ** 2
    return np.asarray(np.fft.rfftfreq(num_points or len(signal_T), 1 / rate), np.float64), power


def peak_hertz(signal_T: Array, rate: float) -> float:
    """Frequency at which a signal is strongest, in hertz, from a spectrum padded with zeros to 8192 points."""
    hertz, power = power_spectrum(signal_T, rate, num_points=8192)
    return float(hertz[power.argmax()])
