"""Statistics of single frames: what the regions of one picture have in noise, detail, colour and texture.

A camera's noise and an encoder's loss are alike all over a frame; a face that was drawn by a network need not share
them. All values are logarithms of ratios, correlations or shares.
"""

from itertools import pairwise

import numpy as np

from dfd.signals.rendering.regions import NAMES, REGIONS, Array, Statistics, against, correlation, filtered, log, means
from dfd.signals.rendering.regions import smoothed as smooth

SIGMAS = (0.7, 1.4, 2.8, 5.6)
"""Deviations of Gaussians, in pixels, whose differences are octaves of detail."""
RESIDUAL = np.array(
    [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]], np.float32
) / np.float32(12)
"""Error of predicting a pixel from its neighbours, a filter of steganalysis (Fridrich and Kodovsky 2012)."""
FLAT_SHARE = 30
"""Per cent of a region's pixels, those of the smallest gradient, in which noise is measured."""
QUANTILES = (20, 50, 90)
OFFSET = 0.3
"""Grey levels that are added before the logarithm of single pixels."""


def still_statistics(light_THW: Array, blue_THW: Array, red_THW: Array) -> Statistics:
    """Compute the statistics of frames as YCbCr in grey levels, each ``(T, SIDE, SIDE)``."""
    residual_THW = np.abs(filtered(light_THW, RESIDUAL))
    gradient_THW = _gradient(light_THW)
    return {
        **_octaves(light_THW),
        **_noise(residual_THW, gradient_THW, light_THW),
        **_colour(light_THW, blue_THW, red_THW),
        **_texture(light_THW),
    }


def _gradient(light_THW: Array) -> Array:
    across_THW, down_THW = (np.gradient(smooth(light_THW, 1.0), axis=axis) for axis in (2, 1))
    length: Array = np.hypot(across_THW, down_THW)
    return length


def _octaves(light_THW: Array) -> Statistics:
    """Detail of each octave, and its fall from one octave to the next."""
    smoothed = [light_THW, *(smooth(light_THW, sigma) for sigma in SIGMAS)]
    levels = []
    for fine_THW, coarse_THW in pairwise(smoothed):
        energy = means((fine_THW - coarse_THW) ** 2)
        levels.append({name: 0.5 * log(energy[name].mean()) for name in NAMES})
    found: Statistics = {}
    for number, level in enumerate(levels):
        found |= against(f"octave_{number}", level)
        if number:
            found |= against(f"fall_{number}", {name: levels[number - 1][name] - level[name] for name in NAMES})
    return found


def _noise(residual_THW: Array, gradient_THW: Array, light_THW: Array) -> Statistics:
    """Residual in flat places, its quantiles, its tail, and how it follows gradient and brightness."""
    flat, follows, tail = {}, {}, {}
    quantiles: dict[int, dict[str, float]] = {share: {} for share in QUANTILES}
    for name, mask in REGIONS.items():
        residual_TP, gradient_TP = residual_THW[:, mask], gradient_THW[:, mask]
        flat[name] = log(residual_TP[gradient_TP <= np.percentile(gradient_TP, FLAT_SHARE)].mean())
        follows[name] = correlation(np.log(residual_TP + OFFSET), np.log(gradient_TP + OFFSET))
        half, most = np.percentile(residual_TP, (50, 95))
        tail[name] = log(most) - log(half)
        for share, values in zip(QUANTILES, np.percentile(residual_TP, QUANTILES), strict=True):
            quantiles[share][name] = log(values)
    found = {**against("flat_noise", flat), **against("tail", tail), "tail(face)": float(tail["face"])}
    for share in QUANTILES:
        found |= against(f"residual_{share}", quantiles[share])
    face = REGIONS["face"]
    found["noise_by_gradient(face)"] = follows["face"]
    found["noise_by_gradient(face/background)"] = follows["face"] - follows["background"]
    found["noise_by_level(face)"] = correlation(np.log(residual_THW[:, face] + OFFSET), light_THW[:, face])
    return found


def _colour(light_THW: Array, blue_THW: Array, red_THW: Array) -> Statistics:
    """Fine detail of the colours beside that of the brightness."""
    fine = {
        name: values - smooth(values, SIGMAS[1])
        for name, values in (("light", light_THW), ("blue", blue_THW), ("red", red_THW))
    }
    energy = {name: means(values**2) for name, values in fine.items()}
    found: Statistics = {}
    for name in ("blue", "red"):
        found |= against(f"detail_of_{name}", {region: 0.5 * log(energy[name][region].mean()) for region in NAMES})
    with_light, with_blue = {}, {}
    for region in ("face", "ring", "background"):
        mask = REGIONS[region]
        colours = energy["blue"][region].mean() + energy["red"][region].mean()
        found[f"colour_to_light({region})"] = 0.5 * float(log(colours) - log(energy["light"][region].mean()))
        with_light[region] = correlation(fine["red"][:, mask], fine["light"][:, mask])
        with_blue[region] = correlation(fine["red"][:, mask], fine["blue"][:, mask])
        found |= {f"red_with_light({region})": with_light[region], f"red_with_blue({region})": with_blue[region]}
    found["red_with_light(face/background)"] = with_light["face"] - with_light["background"]
    found["red_with_blue(face/background)"] = with_blue["face"] - with_blue["background"]
    return found


def _texture(light_THW: Array) -> Statistics:
    """Direction of the detail, and how residuals beside each other go together, in units of their own spread."""
    residual_THW = filtered(light_THW, RESIDUAL)
    across_THW = np.abs(np.diff(light_THW, axis=2))[:, :-1]
    down_THW = np.abs(np.diff(light_THW, axis=1))[:, :, :-1]
    direction, found = {}, {}
    for name, mask in REGIONS.items():
        inside = mask[:-1, :-1]
        direction[name] = log(across_THW[:, inside].mean()) - log(down_THW[:, inside].mean())
    for one, other in (("face", "background"), ("face", "ring"), ("ring", "background")):
        found[f"direction({one}/{other})"] = float(direction[one] - direction[other])
    for name in ("face", "mouth", "ring", "background"):
        both = REGIONS[name][:, :-1] & REGIONS[name][:, 1:]
        left, right = residual_THW[:, :, :-1][:, both], residual_THW[:, :, 1:][:, both]
        unit = np.median(np.abs(left)) + 0.2
        left, right = (np.clip(np.round(side / unit), -2, 2) for side in (left, right))
        found[f"neighbours_of_one_sign({name})"] = float((left * right > 0).mean())
        found[f"neighbours_at_zero({name})"] = float(((left == 0) & (right == 0)).mean())
        found[f"neighbours_far_off({name})"] = float(((np.abs(left) == 2) & (np.abs(right) == 2)).mean())
    return found
