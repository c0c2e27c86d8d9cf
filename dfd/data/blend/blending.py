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

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.geometry import BlendedPair, check_landmarks, deformed, drawn, mask_of, pose_of
from dfd.data.blend.settings import MEAN_LANDMARKS, OUTLINES, BlendSettings, Points
from dfd.data.blend.views import recolored, resharpened


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
    check_landmarks(frames, landmarks)
    poses = [pose_of(points) for points in landmarks.astype(np.float64)]
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    altered = _altered(frames, rng, settings)
    source, target = (altered, frames) if rng.random() < settings.source_prob else (frames, altered)
    real = altered if rng.random() < settings.real_is_altered_prob else frames

    region = drawn(settings.regions, rng)
    outline = deformed(OUTLINES[region], rng, grow=settings.grow, deform=settings.deform)
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    opacity = float(rng.choice(list(settings.opacity)))
    moves, flicker = _motion(len(frames), rng, settings)

    fake, masks = np.empty_like(frames), np.empty(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        mask = mask_of(outline @ pose[:, :2].T + pose[:, 2], height, width, feather) * np.float32(opacity)
        # The motion is in the face's coordinates; in pixels it is pose * move * pose^-1.
        to_pixels = np.vstack([pose, (0, 0, 1)])
        warp = (to_pixels @ moves[i] @ np.linalg.inv(to_pixels))[:2]
        moved = cv2.warpAffine(source[i], warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        mixed = target[i] + mask[..., None] * (moved.astype(np.float32) + np.float32(flicker[i]) - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
        masks[i] = mask
    return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=region)


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
        altered = recolored(
            altered,
            rng,
            brightness=settings.brightness,
            contrast=settings.contrast,
            saturation=settings.saturation,
            tint=settings.tint,
            gamma=settings.gamma,
        )
    if sharpness:
        altered = resharpened(altered, rng, min_resize=settings.min_resize)
    return altered
