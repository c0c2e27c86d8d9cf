"""Settings of self-blended fakes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


MEAN_LANDMARKS: Points = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.57), (-0.41, 1.15), (0.41, 1.15)])
"""Landmarks of a mean face, in units of the eye distance, relative to the point between the eyes; y points down."""


OUTLINES: dict[str, Points] = {
    # From the hair to the chin, without the ears.
    "face": np.array(
        [
            *[(0.0, -0.85), (0.55, -0.78), (0.95, -0.45), (1.08, 0.0), (1.04, 0.5), (0.92, 1.0), (0.72, 1.42)],
            *[(0.4, 1.78), (0.0, 1.92), (-0.4, 1.78), (-0.72, 1.42), (-0.92, 1.0), (-1.04, 0.5), (-1.08, 0.0)],
            *[(-0.95, -0.45), (-0.55, -0.78)],
        ]
    ),
    # From the brows to below the mouth: the region pasted by tools that align by inner features.
    "inner": np.array(
        [
            *[(0.0, -0.42), (0.5, -0.48), (0.9, -0.28), (0.92, 0.1), (0.82, 0.6), (0.68, 1.1), (0.42, 1.48)],
            *[(0.0, 1.58), (-0.42, 1.48), (-0.68, 1.1), (-0.82, 0.6), (-0.92, 0.1), (-0.9, -0.28), (-0.5, -0.48)],
        ]
    ),
    # Below the eyes: the region that lip-sync models redraw.
    "lower": np.array(
        [
            *[(0.0, 0.3), (0.5, 0.32), (0.98, 0.42), (0.98, 0.8), (0.85, 1.2), (0.6, 1.6), (0.3, 1.84), (0.0, 1.92)],
            *[(-0.3, 1.84), (-0.6, 1.6), (-0.85, 1.2), (-0.98, 0.8), (-0.98, 0.42), (-0.5, 0.32)],
        ]
    ),
    "mouth": np.array([(0.66 * np.cos(a), 1.18 + 0.42 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
    "eyes": np.array([(0.98 * np.cos(a), -0.04 + 0.38 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
    "nose": np.array([(0.36 * np.cos(a), 0.38 + 0.5 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
}
"""Parts of the mean face as closed outlines, in the units of ``MEAN_LANDMARKS``."""


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """Settings of self-blended fakes; values are drawn uniformly from ranges, once per clip.

    Lengths are in units of the eye distance, which makes them independent of the crop.

    Args:
        regions: weight of each part of the face, by its name in ``OUTLINES``, with any sum.
        opacity: opacities of the source in the mask, one of which is drawn.
        deform: standard deviation of the outline's random deformation, as a fraction of its radius.
        grow: range of the outline's scale; below 1 erodes it.
        feather: range of the standard deviation of the mask border's blur.
        shift, scale, rotation: largest shift, scale (1 ± scale) and rotation (radians) of the source, in both
            directions.
        color_prob: probability that the altered view differs in colour. If neither colour nor sharpness is drawn, both
            differ.
        brightness, contrast, saturation, tint, gamma: largest change in colour: levels of 255; fraction; fraction;
            levels of 255 per channel; exponent 1 ± gamma.
        sharpness_prob: probability that it differs in sharpness: mostly less sharp (resized or blurred), else sharpened
            or noisy.
        min_resize: smallest intermediate size when resizing, as a fraction.
        source_prob: probability that the source is the altered view, rather than the target.
        real_is_altered_prob: probability that the real clip is the altered view.
        jitter: standard deviation of the source's position between frames, like a face detector's.
        drift: standard deviation of the source's position after ten frames.
        flicker: standard deviation of the source's brightness between frames, in levels of 255.
        steady_prob: probability of no jitter, drift or flicker, as in a good forgery.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    regions: Mapping[str, float] = field(
        default_factory=lambda: {"face": 0.45, "inner": 0.3, "lower": 0.12, "mouth": 0.08, "eyes": 0.03, "nose": 0.02}
    )
    opacity: Sequence[float] = (0.5, 0.75, 1.0, 1.0, 1.0)
    deform: float = 0.06
    grow: Sequence[float] = (0.85, 1.08)
    feather: Sequence[float] = (0.02, 0.22)
    shift: float = 0.07
    scale: float = 0.05
    rotation: float = 0.03
    color_prob: float = 0.7
    brightness: float = 25.0
    contrast: float = 0.15
    saturation: float = 0.3
    tint: float = 12.0
    gamma: float = 0.2
    sharpness_prob: float = 0.7
    min_resize: float = 0.3
    source_prob: float = 0.5
    real_is_altered_prob: float = 0.5
    jitter: float = 0.012
    drift: float = 0.03
    flicker: float = 2.0
    steady_prob: float = 0.3

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if name == "regions":
                form, fits = "weights by name, {mouth: 1}", is_weights(value)
            elif name in ("opacity", "grow", "feather"):
                form, fits = "a list of numbers", isinstance(value, list | tuple) and all(map(is_number, value))
            else:
                form, fits = "a number", is_number(value)
            if not fits:
                raise ValueError(f"{name} must be {form}, got {value!r}")
        check_probabilities(self, "color_prob", "sharpness_prob", "source_prob", "real_is_altered_prob", "steady_prob")
        for name in ("deform", "shift", "scale", "rotation", "brightness", "tint", "jitter", "drift", "flicker"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("contrast", "saturation", "gamma", "scale"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        check_ranges(self, grow=0.1, feather=0.0)
        if not 0 < self.min_resize <= 1:
            raise ValueError(f"min_resize must be above 0 and at most 1, got {self.min_resize}")
        if not self.opacity or not all(0 < value <= 1 for value in self.opacity):
            raise ValueError(f"opacity must be values above 0 and at most 1, got {list(self.opacity)}")
        check_weights("regions", self.regions, OUTLINES)


def check_probabilities(settings: object, *names: str) -> None:
    """Refuse attributes of settings that are no numbers from 0 to 1.

    Raises:
        ValueError: one is not; the message names it.
    """
    for name in names:
        value = getattr(settings, name)
        if not is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {value!r}")


def check_ranges(settings: object, **least: float) -> None:
    """Refuse attributes of settings that are no ranges ``[low, high]`` from the given least value.

    Raises:
        ValueError: one is not; the message names it.
    """
    for name, low in least.items():
        values = getattr(settings, name)
        fits = isinstance(values, list | tuple) and len(values) == 2 and all(map(is_number, values))
        if not fits or not low <= values[0] <= values[1]:
            given = list(values) if isinstance(values, list | tuple) else values
            raise ValueError(f"{name} must be a range [low, high] from {low}, got {given!r}")


def check_weights(name: str, weights: object, known: Iterable[str]) -> None:
    """Refuse a mapping that does not give known names weights from 0, some above it.

    Raises:
        ValueError: it does not; the message names ``name``, the known names, or what it got.
    """
    if not isinstance(weights, Mapping) or not is_weights(weights):
        raise ValueError(f"{name} must be weights by name, got {weights!r}")
    known = list(known)
    if unknown := sorted(set(map(str, weights)) - set(known)):
        raise ValueError(f"{name}: there is no {unknown[0]!r}, only {', '.join(known)}")
    if not all(weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ValueError(f"{name} must have weights from 0, some above it, got {dict(weights)}")


def is_weights(value: object) -> bool:
    """Whether ``value`` is a mapping to numbers."""
    return isinstance(value, Mapping) and all(map(is_number, value.values()))


def is_number(value: object) -> bool:
    """Whether ``value`` is a whole number or a decimal one."""
    return isinstance(value, int | float) and not isinstance(value, bool)
