"""Self-blended fakes: a real face blended with an altered view of itself, from which a detector learns blending traces.

Based on K. Shiohara and T. Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: a real picture gives a
source view :math:`I_s` and a target view :math:`I_t`; one of them is altered in colour or sharpness, and the source is
moved slightly. With a mask ``M`` of the face, :math:`I_{SB} = I_s M + I_t (1 - M)` (their equation 1). The result has
the traces that forgery tools leave (a border, mismatched colours or sharpness, features slightly out of place) without
the style of any one tool.

Beyond the paper: the mask is derived from five landmarks, which every face detector gives, by fitting a mean face to
them; parts of the face are blended as well (the mouth alone, as in lip-syncs); and clips are altered coherently, with
the drift, detection jitter and flicker of a face swapped frame by frame. The real clip of a pair is one of the two
views, so altered colour or sharpness does not reveal the label.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.settings import MEAN_LANDMARKS, OUTLINES, BlendSettings, Points

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


def self_blend(
    frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator, settings: BlendSettings
) -> BlendedPair:
    """Make a real and a fake clip from the same frames.

    Args:
        frames: uint8 (T, H, W, 3), the crops of one real face.
        landmarks: (T, 5, 2), in pixels of the crops, in the order of :class:`dfd.base.types.FaceBox`.
        rng: source of all random draws.
        settings: how the fake is made.

    Raises:
        ValueError: there are not five landmarks for each frame.
    """
    if landmarks.shape != (len(frames), 5, 2):
        raise ValueError(f"landmarks must be ({len(frames)}, 5, 2), got {landmarks.shape}")
    poses = [_pose(points) for points in landmarks.astype(np.float64)]
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    altered = _altered(frames, rng, settings)
    source, target = (altered, frames) if rng.random() < settings.source_prob else (frames, altered)
    real = altered if rng.random() < settings.real_is_altered_prob else frames

    names = list(settings.regions)
    weights = np.array([settings.regions[name] for name in names], np.float64)
    region = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    outline = _deformed(OUTLINES[region], rng, settings)
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    opacity = float(rng.choice(list(settings.opacity)))
    moves, flicker = _motion(len(frames), rng, settings)

    fake, masks = np.empty_like(frames), np.empty(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        mask = _mask(outline @ pose[:, :2].T + pose[:, 2], height, width, feather) * np.float32(opacity)
        # The motion is in the face's coordinates; in pixels it is pose * move * pose^-1.
        to_pixels = np.vstack([pose, (0, 0, 1)])
        warp = (to_pixels @ moves[i] @ np.linalg.inv(to_pixels))[:2]
        moved = cv2.warpAffine(source[i], warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        mixed = target[i] + mask[..., None] * (moved.astype(np.float32) + np.float32(flicker[i]) - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
        masks[i] = mask
    return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=region)


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


def _pose(landmarks: Points) -> Points:
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


def _deformed(outline: Points, rng: np.random.Generator, settings: BlendSettings) -> Points:
    """Resample the outline (N, 2), scale it, and deform it by a few waves around its centre."""
    middle = outline.mean(axis=0)
    closed = np.vstack([outline, outline[:1]])
    places = np.linspace(0, len(outline), _OUTLINE_POINTS, endpoint=False)
    points = np.column_stack([np.interp(places, np.arange(len(closed)), closed[:, i]) for i in (0, 1)]) - middle
    angles = np.arctan2(points[:, 1], points[:, 0])
    radius = np.full(len(points), rng.uniform(settings.grow[0], settings.grow[1]))
    for wave in range(1, 6):
        size, phase = rng.normal(0, settings.deform / np.sqrt(wave)), rng.uniform(0, 2 * np.pi)
        radius += size * np.cos(wave * angles + phase)
    # Each axis is stretched separately, as in profiles and partly hidden faces.
    stretch = 1 + rng.normal(0, settings.deform, 2)
    return np.asarray(points * radius[:, None].clip(0.3) * stretch + middle)


def _mask(outline: Points, height: int, width: int, feather: float) -> FloatArray:
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


def _motion(
    num_frames: int, rng: np.random.Generator, settings: BlendSettings
) -> tuple[list[Points], NDArray[np.float64]]:
    """Motion of the source in each frame, (3, 3) in the face's coordinates, and its change in brightness."""
    base = np.array(
        [
            *rng.uniform(-settings.shift, settings.shift, 2),
            rng.uniform(-settings.scale, settings.scale),
            rng.uniform(-settings.rotation, settings.rotation),
        ]
    )
    way, flicker = np.tile(base, (num_frames, 1)), np.zeros(num_frames)
    # A single picture has no jitter, but the draw is made anyway so that earlier draws do not depend on the length.
    if rng.random() >= settings.steady_prob and num_frames > 1:
        sizes = np.array([1.0, 1.0, 0.5, 0.5])
        amount = rng.uniform(0.3, 1.7)
        steps = rng.normal(0, settings.drift / np.sqrt(10), (num_frames, 4)) * sizes
        jitter = rng.normal(0, settings.jitter, (num_frames, 4)) * sizes
        way = way + amount * (np.cumsum(steps, axis=0) + jitter)
        flicker = amount * rng.normal(0, settings.flicker, num_frames)
    centre = MEAN_LANDMARKS.mean(axis=0)
    moves = []
    for x, y, zoom, angle in way:
        factor = (1 + zoom) * np.exp(1j * angle)
        linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        shift = centre - linear @ centre + (x, y)
        moves.append(np.vstack([np.column_stack([linear, shift]), (0, 0, 1)]))
    return moves, flicker


def _altered(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    """Alter the clip's colours, sharpness or both, with one draw for all frames."""
    color, sharpness = rng.random() < settings.color_prob, rng.random() < settings.sharpness_prob
    if not color and not sharpness:
        color = sharpness = True
    altered = frames
    if color:
        altered = _recolored(altered, rng, settings)
    if sharpness:
        altered = _resharpened(altered, rng, settings)
    return altered


def _recolored(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    """Change brightness, contrast, tint and gamma by a lookup table per channel, then the saturation."""
    levels = np.arange(256, dtype=np.float64)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = rng.uniform(-settings.brightness, settings.brightness)
    tint = rng.uniform(-settings.tint, settings.tint, 3)
    gamma = 1 + rng.uniform(-settings.gamma, settings.gamma)
    saturation = 1 + rng.uniform(-settings.saturation, settings.saturation)
    curve = 255 * (levels / 255) ** gamma
    curve = (curve - 128) * contrast + 128 + brightness
    table = np.clip(np.rint(curve[:, None] + tint), 0, 255).astype(np.uint8)[None]
    # Luma (ITU-R BT.601) stays; the rest of each colour is scaled.
    luma = np.array([0.299, 0.587, 0.114])
    mix = (saturation * np.eye(3) + (1 - saturation) * luma[None]).astype(np.float32)
    changed = np.empty_like(frames)
    for i, frame in enumerate(frames):
        changed[i] = cv2.transform(cv2.LUT(frame, table), mix)
    return changed


def _resharpened(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    height, width = frames.shape[1:3]
    kind = rng.choice(["resized", "blurred", "sharpened", "noisy"], p=[0.35, 0.25, 0.25, 0.15])
    changed = np.empty_like(frames)
    if kind == "resized":
        fraction = rng.uniform(settings.min_resize, 0.9)
        small = max(1, round(width * fraction)), max(1, round(height * fraction))
        back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        for i, frame in enumerate(frames):
            changed[i] = cv2.resize(
                cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height), None, 0, 0, back
            )
    elif kind == "noisy":
        noise = rng.normal(0, rng.uniform(2, 8), frames.shape).astype(np.float32)
        changed = np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)
    else:
        sigma = rng.uniform(0.4, 1.6) * width / 112
        amount = rng.uniform(0.3, 1.2)
        for i, frame in enumerate(frames):
            blurred = cv2.GaussianBlur(frame, (0, 0), sigma)
            changed[i] = blurred if kind == "blurred" else cv2.addWeighted(frame, 1 + amount, blurred, -amount, 0)
    return changed
