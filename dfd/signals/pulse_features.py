"""Features of a clip's pulse for a classifier, and the picture of it for a network.

FakeCatcher's text (arXiv 1901.02212) does not define its features one by one, so the list and every formula here are
ours: :data:`FEATURES`. Signals are G-PPG and C-PPG of the left cheek, the middle and the right cheek; differences are
those between the three C-PPG.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from dfd.signals.pulse import NUM_CELLS, Array, cell_colours, chrom, evenly_timed, green, power_spectrum, three_regions

SIGNALS = ("green_left", "green_middle", "green_right", "chrom_left", "chrom_middle", "chrom_right")
DIFFERENCES = ("left_middle", "left_right", "middle_right")
PAIRS = ((0, 1), (0, 2), (1, 2))
"""Pairs of regions whose C-PPG are subtracted, and pairs of these differences."""
SHAPES = ("num_pulses", "num_lines", "pulse_seconds", "spectral_autocorrelation")
SPREADS = ("std", "sdann", "rmssd", "sdnn_index", "sdsd", "mean_autocorrelation", "entropy")
FEATURES = (
    *(
        f"{DIFFERENCES[one]}*{DIFFERENCES[other]}.{part}_cross_power"
        for one, other in PAIRS
        for part in ("mean", "max")
    ),
    *(f"log({name}).{part}" for name in SIGNALS for part in SHAPES),
    *(f"autocorrelation({name}).{part}" for name in DIFFERENCES for part in SHAPES),
    *(f"{name}.{part}" for name in SIGNALS for part in SPREADS),
    *(f"autocorrelation({name}).{part}" for name in SIGNALS for part in ("mean", "max")),
)
"""Names of the 96 features of :func:`pulse_features`, in order; the functions below define them."""
NARROW_SECONDS = 0.5
"""Width at half height below which a peak of a signal counts as a narrow pulse."""
LINE_FRACTION = 0.1
"""Share of the strongest power above which a peak of the spectrum counts as a line."""
NUM_BINS = 16
MAP_HERTZ = 5.0
"""Highest frequency of a map's spectra."""
MIDDLE = 128
"""Value of a map where a signal is 0."""


def pulse_features(frames_THWC: NDArray[np.uint8], seconds_T: Array) -> Array:
    """Compute the features ``(96,)`` of aligned crops and the time of each.

    Raises:
        NoPulse: when the frames are too few, too far apart or too small.
    """
    cells_TRC, rate = evenly_timed(cell_colours(frames_THWC), seconds_T)
    return features_of(three_regions(cells_TRC), rate)


def features_of(regions_TRC: Array, rate: float) -> Array:
    """Compute the features ``(96,)`` of the mean colours of three regions, ``(T, 3, 3)``."""
    chrom_TR = chrom(regions_TRC, rate)
    signals = [*green(regions_TRC, rate).T, *chrom_TR.T]
    differences = [chrom_TR[:, one] - chrom_TR[:, other] for one, other in PAIRS]
    found: list[float] = []
    for one, other in PAIRS:
        found += _cross_power(log_shifted(differences[one]), log_shifted(differences[other]))
    for signal_T in signals:
        found += _shape(log_shifted(signal_T), rate)
    for difference_T in differences:
        found += _shape(autocorrelation(difference_T), rate)
    for signal_T in signals:
        found += _spread(signal_T, rate)
    for signal_T in signals:
        rest = autocorrelation(signal_T)[1:]
        found += [float(rest.mean()), float(rest.max())]
    return np.array(found)


def pulse_map(frames_THWC: NDArray[np.uint8], seconds_T: Array) -> NDArray[np.uint8]:
    """Draw the pulse of 32 cells of the skin: 32 rows of C-PPG over time above their 32 power spectra, ``(64, T)``.

    A signal's strongest moment is 1 or 255, and 128 is none; a spectrum runs from 0 to 5 Hz, its strongest line is 255.
    Where the last frames only repeat one, the signals' rows end in 128.

    Raises:
        NoPulse: when the frames are too few, too far apart or too small.
    """
    width = len(frames_THWC)
    cells_TRC, rate = evenly_timed(cell_colours(frames_THWC), seconds_T)
    signals_TR = chrom(cells_TRC, rate)
    rows = np.full((2 * NUM_CELLS, width), float(MIDDLE))
    largest_R = np.abs(signals_TR).max(axis=0)
    rows[:NUM_CELLS, : len(signals_TR)] += 127 * (signals_TR / np.where(largest_R > 0, largest_R, 1)).T
    wanted = np.linspace(0, MAP_HERTZ, width)
    for cell, signal_T in enumerate(signals_TR.T):
        hertz, power = power_spectrum(signal_T, rate, num_points=2048)
        rows[NUM_CELLS + cell] = 255 * np.interp(wanted, hertz, power) / (power.max() or 1)
    return np.clip(np.round(rows), 0, 255).astype(np.uint8)


def log_shifted(signal_T: Array) -> Array:
    """Logarithm of a signal with negative values: ``log(1 + (s - min) / (max - min))``."""
    low, high = float(signal_T.min()), float(signal_T.max())
    shifted: Array = np.log1p((signal_T - low) / (high - low if high > low else 1))
    return shifted


def autocorrelation(signal_T: Array) -> Array:
    """Autocorrelation of a signal less its mean, for delays of up to half its length; 1 without delay.

    >>> autocorrelation(np.array([1.0, -1.0, 1.0, -1.0])).tolist()
    [1.0, -0.75, 0.5]
    """
    centred = signal_T - signal_T.mean()
    size = 2 ** int(np.ceil(np.log2(2 * len(centred))))
    full = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2, size)[: len(centred) // 2 + 1]
    return np.round(full / full[0], 12) if full[0] > 0 else np.zeros(len(full))


def _cross_power(one_T: Array, other_T: Array) -> list[float]:
    """Mean and maximum of the magnitude of two signals' cross spectrum."""
    spectra = [np.fft.rfft((signal - signal.mean()) * np.hanning(len(signal))) for signal in (one_T, other_T)]
    power = np.abs(spectra[0] * np.conj(spectra[1])) / len(one_T)
    return [float(power.mean()), float(power.max())]


def _shape(signal_T: Array, rate: float) -> list[float]:
    """Number of narrow pulses, number of spectral lines, mean width of a pulse, autocorrelation of the spectrum."""
    peaks = scipy.signal.find_peaks(signal_T)[0]
    widths = scipy.signal.peak_widths(signal_T, peaks)[0] / rate if len(peaks) else np.zeros(0)
    _, power = power_spectrum(signal_T, rate)
    lines = scipy.signal.find_peaks(power, height=LINE_FRACTION * power.max())[0] if power.max() > 0 else []
    return [
        float((widths < NARROW_SECONDS).sum()),
        float(len(lines)),
        float(widths.mean()) if len(widths) else 0.0,
        float(autocorrelation(power)[1:].max()),
    ]


def _spread(signal_T: Array, rate: float) -> list[float]:
    """Measures of the variability of a heart's beat, taken of the signal itself, with parts of a second.

    Standard deviation; that of the parts' means (SDANN); root mean square of successive differences (RMSSD); mean of
    the parts' deviations (SDNN index); deviation of successive differences (SDSD); mean autocorrelation; entropy.
    """
    parts = np.array_split(signal_T, max(1, round(len(signal_T) / rate)))
    steps = np.diff(signal_T)
    shares = np.histogram(signal_T, NUM_BINS)[0] / len(signal_T)
    shares = shares[shares > 0]
    return [
        float(signal_T.std()),
        float(np.std([part.mean() for part in parts])),
        float(np.sqrt((steps**2).mean())),
        float(np.mean([part.std() for part in parts])),
        float(steps.std()),
        float(autocorrelation(signal_T).mean()),
        float(-(shares * np.log2(shares)).sum()),
    ]
