"""Face-warping artefacts: a face brought to the size of a generator's output, smoothed, and warped back.

Based on Y. Li and S. Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", CVPR Workshops 2019: tools of
that time made faces of a fixed small size and warped them into the frame, which leaves less detail in the face than
around it. A similarity brings the face to a small upright square; there it is blurred, then it is warped back by the
inverse and shown within a mask.

Beyond the paper: the similarity is that of five landmarks; the face is smoothed before it is made small, as a generator
of that size would give it, without the aliasing of a plain resampling; the mask has a soft border; and a clip has one
size, one mask and one change of colours, with one matrix per frame, which follows the landmarks. What the whole picture
shows says nothing: the colours of the real and the fake clip change alike, and each of the two is as often a view of
another sharpness, so neither a sharp nor a soft background gives the label away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.geometry import BlendedPair, deformed, drawn, mask_of, pose_of
from dfd.data.blend.settings import Points, check_probabilities, check_ranges, check_weights, is_number
from dfd.data.blend.views import recolored, resharpened

SQUARE_CENTRE = np.array([0.0, 0.52])
SQUARE_SIDE = 2.9
"""The upright square that a generator would see, in distances between the eyes: hair to chin, ear to ear."""

WARP_OUTLINES: dict[str, Points] = {
    # All that the generator gave.
    "square": SQUARE_CENTRE + SQUARE_SIDE / 2 * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),
    # The convex hull of the brows and the lower lip.
    "hull": np.array(
        [
            *[(-0.92, -0.28), (-0.5, -0.48), (0.5, -0.48), (0.92, -0.28), (0.41, 1.15), (0.22, 1.36), (0.0, 1.42)],
            *[(-0.22, 1.36), (-0.41, 1.15)],
        ]
    ),
}
"""Masks as closed outlines, in the units of ``MEAN_LANDMARKS``."""


@dataclass(frozen=True, slots=True)
class WarpSettings:
    """Settings of warped fakes; values are drawn once per clip.

    Args:
        side: range of the small square's side in pixels, drawn on a logarithmic scale. It is never larger than the
            square is in the crop, so that the face is never enlarged.
        blur: side of the Gaussian kernel in the small square, in pixels; odd, 1 is none.
        masks: weight of each mask, by its name in ``WARP_OUTLINES``, with any sum.
        grow: range of the mask's scale.
        deform: standard deviation of its outline's random deformation, as a fraction of its radius.
        feather: range of the standard deviation of its border's blur, in distances between the eyes.
        color_prob: probability that the colours of both clips change, and alike.
        brightness, contrast, saturation: by how much at most: levels of 255; fraction; fraction.
        altered_prob: probability, for each of the two clips, that it is made from a view of another sharpness.
        min_resize: smallest intermediate size of a view that is resized, as a fraction.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    side: Sequence[float] = (32, 128)
    blur: int = 5
    masks: Mapping[str, float] = field(default_factory=lambda: {"square": 1.0, "hull": 1.0})
    grow: Sequence[float] = (0.9, 1.05)
    deform: float = 0.04
    feather: Sequence[float] = (0.02, 0.12)
    color_prob: float = 0.5
    brightness: float = 25.0
    contrast: float = 0.15
    saturation: float = 0.3
    altered_prob: float = 0.5
    min_resize: float = 0.3

    def __post_init__(self) -> None:
        check_ranges(self, side=8, grow=0.1, feather=0.0)
        check_weights("masks", self.masks, WARP_OUTLINES)
        check_probabilities(self, "color_prob", "altered_prob")
        if not isinstance(self.blur, int) or self.blur < 1 or self.blur % 2 == 0:
            raise ValueError(f"blur must be an odd whole number from 1, got {self.blur!r}")
        for name in ("deform", "brightness"):
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a number from 0, got {getattr(self, name)!r}")
        for name in ("contrast", "saturation"):
            if not is_number(getattr(self, name)) or not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)!r}")
        if not is_number(self.min_resize) or not 0 < self.min_resize <= 1:
            raise ValueError(f"min_resize must be above 0 and at most 1, got {self.min_resize!r}")


def warp_blend(
    frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator, settings: WarpSettings
) -> BlendedPair:
    """Make a real and a fake clip from the same frames, uint8 (T, H, W, 3), and their landmarks (T, 5, 2) in pixels."""
    poses = [pose_of(points) for points in landmarks.astype(np.float64)]
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    side = float(np.exp(rng.uniform(np.log(settings.side[0]), np.log(settings.side[1]))))
    name = drawn(settings.masks, rng)
    outline = deformed(WARP_OUTLINES[name], rng, grow=settings.grow, deform=settings.deform)
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    view = frames
    if rng.random() < settings.color_prob:
        colors = {"brightness": settings.brightness, "contrast": settings.contrast, "saturation": settings.saturation}
        view = recolored(frames, rng, **colors)
    altered = resharpened(view, rng, min_resize=settings.min_resize)
    real, target = (altered if rng.random() < settings.altered_prob else view for _ in range(2))

    fake, masks = np.empty_like(frames), np.empty(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        masks[i] = mask_of(outline @ pose[:, :2].T + pose[:, 2], height, width, feather)
        mixed = target[i] + masks[i][..., None] * (_warped(target[i], pose, side, settings.blur) - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
    return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=name)


def _warped(frame: FrameArray, pose: Points, side: float, blur: int) -> FloatArray:
    """Bring the face to a square of at most ``side`` pixels, blur it there, and warp it back, float32 (H, W, 3)."""
    height, width = frame.shape[:2]
    there = SQUARE_SIDE * float(np.hypot(*pose[:, 0]))  # side of the square in the frame
    side = min(side, there)
    pixels = max(1, round(side))
    # From the small square to the face's coordinates, and on to the frame.
    scale = SQUARE_SIDE / side
    corner = SQUARE_CENTRE - SQUARE_SIDE / 2
    to_frame = np.column_stack([pose[:, :2] * scale, pose[:, :2] @ corner + pose[:, 2]])
    shrinks = there / side
    # A resampling that skips pixels would alias; this blur keeps about what the small square can hold.
    smooth = cv2.GaussianBlur(frame, (0, 0), 0.5 * np.sqrt(shrinks**2 - 1)) if shrinks > 1.05 else frame
    reflect = cv2.BORDER_REFLECT_101
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    small = np.asarray(cv2.warpAffine(smooth, to_frame, (pixels, pixels), flags=flags, borderMode=reflect), np.float32)
    if blur > 1:
        small = np.asarray(cv2.GaussianBlur(small, (blur, blur), 0, borderType=reflect), np.float32)
    back = cv2.warpAffine(small, to_frame, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.float32)
