"""The face in the crop: where it is, masks of its parts, and the pair of a real clip and its fake."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.settings import MEAN_LANDMARKS, Points

_OUTLINE_POINTS = 48
_MAX_MOTION = 0.04
"""Largest drift of a still that is turned into a clip, as a fraction of its side."""


@dataclass(frozen=True, slots=True)
class BlendedPair:
    """A real clip and the fake made from it, uint8 (T, H, W, 3), with its mask and region.

    ``target`` is the view that the fake shows outside the mask; ``real`` is either the target or the source before it
    was moved. ``mask`` is (T, H, W), 0..1, including the opacity. ``region`` names the blended part of the face.
    """

    real: FrameArray
    fake: FrameArray
    target: FrameArray
    mask: FloatArray
    region: str
    method: str = ""
    """Name of the family that made the fake, as in the column ``method``; :class:`dfd.data.blend.families.Blends`."""
    landmarks: FloatArray | None = None
    """Landmarks of the frames, (T, 5, 2), in pixels, which it sets, too."""


def check_landmarks(frames: FrameArray, landmarks: FloatArray) -> None:
    """Refuse landmarks that are not five points for each frame.

    Raises:
        ValueError: there are not five landmarks for each frame.
    """
    if landmarks.shape != (len(frames), 5, 2):
        raise ValueError(f"landmarks must be ({len(frames)}, 5, 2), got {landmarks.shape}")


def drawn(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw a name by its weight, with any sum."""
    names = list(weights)
    shares = np.array([weights[name] for name in names], np.float64)
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def moving_still(
    picture: FrameArray, landmarks: FloatArray, clip_len: int, rng: np.random.Generator
) -> tuple[FrameArray, FloatArray]:
    """Turn one picture into a clip with slight camera motion; the unchanged picture if ``clip_len`` is 1.

    Without motion, a temporal network would recognise photographs by their stillness.

    Args:
        picture: uint8 (H, W, 3).
        landmarks: (5, 2), in pixels.
        clip_len: number of frames T.
        rng: source of the motion.

    Returns:
        The frames, (T, H, W, 3), and their landmarks, (T, 5, 2).
    """
    if clip_len == 1:
        return picture[None], landmarks[None]
    height, width = picture.shape[:2]
    times = np.linspace(-0.5, 0.5, clip_len)
    # Smooth motion: a linear drift and a slow swing, as fractions of the side; the zoom likewise.
    drift = rng.normal(0, _MAX_MOTION / 2, 3)
    swing, phase = rng.normal(0, _MAX_MOTION / 4, 3), rng.uniform(0, 2 * np.pi, 3)
    way = np.clip(
        times[:, None] * drift + np.sin(2 * np.pi * times[:, None] + phase) * swing, -_MAX_MOTION, _MAX_MOTION
    )
    frames, points = np.empty((clip_len, *picture.shape), np.uint8), np.empty((clip_len, 5, 2), np.float32)
    for i, (x, y, zoom) in enumerate(way):
        factor = 1 + zoom
        warp = np.array(
            [[factor, 0, (1 - factor) * width / 2 + x * width], [0, factor, (1 - factor) * height / 2 + y * height]]
        )
        frames[i] = cv2.warpAffine(
            picture, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        points[i] = landmarks @ warp[:, :2].T + warp[:, 2]
    return frames, points


def pose_of(landmarks: Points) -> Points:
    """Least-squares similarity (2, 3) from the mean face to five landmarks (Umeyama, 1991).

    Coinciding landmarks give a face of one pixel.
    """
    mean, mean_face = landmarks.mean(axis=0), MEAN_LANDMARKS.mean(axis=0)
    there, here = landmarks - mean, MEAN_LANDMARKS - mean_face
    # With points as complex numbers, rotation and scale are one factor.
    a, b = here @ (1, 1j), there @ (1, 1j)
    factor = complex(np.vdot(a, b) / np.vdot(a, a))
    if abs(factor) < 1:
        factor = 1 + 0j
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, mean - linear @ mean_face])


def deformed(outline: Points, rng: np.random.Generator, *, grow: Sequence[float], deform: float) -> Points:
    """Resample the outline (N, 2), scale it, and deform it by a few waves around its centre."""
    middle = outline.mean(axis=0)
    closed = np.vstack([outline, outline[:1]])
    places = np.linspace(0, len(outline), _OUTLINE_POINTS, endpoint=False)
    points = np.column_stack([np.interp(places, np.arange(len(closed)), closed[:, i]) for i in (0, 1)]) - middle
    angles = np.arctan2(points[:, 1], points[:, 0])
    radius = np.full(len(points), rng.uniform(grow[0], grow[1]))
    for wave in range(1, 6):
        size, phase = rng.normal(0, deform / np.sqrt(wave)), rng.uniform(0, 2 * np.pi)
        radius += size * np.cos(wave * angles + phase)
    # Each axis is stretched separately, as in profiles and partly hidden faces.
    stretch = 1 + rng.normal(0, deform, 2)
    return np.asarray(points * radius[:, None].clip(0.3) * stretch + middle)


def mask_of(outline: Points, height: int, width: int, feather: float) -> FloatArray:
    """Filled outline (N, 2), in pixels, as float32 (H, W) with a soft border that lies mostly inside."""
    mask = np.zeros((height, width), np.uint8)
    fraction_bits = 4
    cv2.fillPoly(mask, [np.rint(outline * 2**fraction_bits).astype(np.int32)], 255, cv2.LINE_AA, fraction_bits)
    soft: FloatArray = mask.astype(np.float32) / np.float32(255)
    if feather >= 0.5:
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), feather), np.float32)
        # Half of the blur reaches outside; the paper erodes by a second blur, this code by clipping low values.
        soft = np.clip((soft - 0.15) / 0.85, 0, 1).astype(np.float32)
    return soft
