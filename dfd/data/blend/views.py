"""Altered views of a clip: other colours, another sharpness."""

import cv2
import numpy as np

from dfd.base.types import FrameArray


def recolored(
    frames: FrameArray,
    rng: np.random.Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    tint: float = 0.0,
    gamma: float = 0.0,
) -> FrameArray:
    """Change brightness, contrast, tint and gamma by a lookup table per channel, then the saturation.

    Each changes by at most the given amount, with one draw for all frames.
    """
    levels = np.arange(256, dtype=np.float64)
    slope = 1 + rng.uniform(-contrast, contrast)
    offset = rng.uniform(-brightness, brightness)
    tints = rng.uniform(-tint, tint, 3)
    exponent = 1 + rng.uniform(-gamma, gamma)
    factor = 1 + rng.uniform(-saturation, saturation)
    curve = 255 * (levels / 255) ** exponent
    curve = (curve - 128) * slope + 128 + offset
    table = np.clip(np.rint(curve[:, None] + tints), 0, 255).astype(np.uint8)[None]
    # Luma (ITU-R BT.601) stays; the rest of each colour is scaled.
    luma = np.array([0.299, 0.587, 0.114])
    mix = (factor * np.eye(3) + (1 - factor) * luma[None]).astype(np.float32)
    changed = np.empty_like(frames)
    for i, frame in enumerate(frames):
        changed[i] = cv2.transform(cv2.LUT(frame, table), mix)
    return changed


def resharpened(frames: FrameArray, rng: np.random.Generator, *, min_resize: float) -> FrameArray:
    """Change the sharpness, with one draw for all frames: resized down and up, blurred, sharpened or noisy."""
    height, width = frames.shape[1:3]
    kind = rng.choice(["resized", "blurred", "sharpened", "noisy"], p=[0.35, 0.25, 0.25, 0.15])
    changed = np.empty_like(frames)
    if kind == "resized":
        fraction = rng.uniform(min_resize, 0.9)
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
