"""Quality of a clip: resizing, codec and colour, whatever it shows.

No statistic here looks at a face. A linear probe on them shows whether real and fake videos differ in what has nothing
to do with forgery; and a statistic of a face tells more if it is compared with real video of the same quality.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUALITY = (
    *("band_1", "band_2", "band_3", "band_4", "doubled", "grid_8", "grid_8_chroma", "noise"),
    *("red", "red_spread", "green", "green_spread", "blue", "blue_spread", "saturation"),
)
"""Names of the statistics, in order."""


def quality(frames_THWC: NDArray[np.generic]) -> dict[str, float]:
    """Compute the statistics of a clip's frames, RGB in 0..255, by name.

    They are the logarithms of the energy in four bands of frequency, the difference of every other second difference
    that interpolation by two leaves (Gallagher 2005), the steps at a grid of 8 pixels in brightness and colour, noise,
    and the levels and spreads of the colours.
    """
    pictures = frames_THWC.astype(np.float64)
    grey = pictures.mean(axis=-1)
    spectra = np.abs(np.fft.rfft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2
    spectrum = spectra.mean(axis=0) + 1e-9
    height, width = grey.shape[1:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    bands = [spectrum[(radius >= low) & (radius < low + 0.1)].mean() for low in (0.05, 0.15, 0.25, 0.35)]
    base = spectrum[radius < 0.05].mean()
    second = np.abs(np.diff(grey, 2, axis=2)).mean(axis=(0, 1))
    doubled = abs(float(np.log((second[::2].mean() + 1e-3) / (second[1::2].mean() + 1e-3))))
    red, green, blue = np.moveaxis(pictures, -1, 0)
    high = grey - (np.roll(grey, 1, 1) + np.roll(grey, -1, 1) + np.roll(grey, 1, 2) + np.roll(grey, -1, 2)) / 4
    values = {f"band_{number}": float(np.log(band / base)) for number, band in enumerate(bands, 1)}
    values |= {"doubled": doubled, "grid_8": _grid_step(grey), "grid_8_chroma": _grid_step(red - blue)}
    values["noise"] = float(np.log(np.median(np.abs(high)) + 0.1))
    for name, channel in (("red", red), ("green", green), ("blue", blue)):
        values |= {name: float(channel.mean()), f"{name}_spread": float(channel.std())}
    values["saturation"] = float((pictures.max(axis=-1) - pictures.min(axis=-1)).mean())
    return values


def _grid_step(channel_THW: Floats) -> float:
    """How much larger steps between columns are at one place of each eight than elsewhere, as a logarithm."""
    steps = np.abs(np.diff(channel_THW, axis=2)).mean(axis=(0, 1))
    steps = steps[: len(steps) // 8 * 8].reshape(-1, 8).mean(axis=0) + 1e-3
    return float(np.log(steps.max() / np.median(steps)))
