"""Drawn films of a head that moves, in which copies and other takes can be told apart."""

import cv2
import numpy as np

from dfd.base.types import FrameArray

FPS = 25
SIDE = 128


def film(motion: int, *, background: int = 0, num_frames: int = 150) -> FrameArray:
    """A head that sways before a still background, each from its own seed: ``(N, SIDE, SIDE, 3)``."""
    scene = np.random.default_rng(1000 + background).uniform(40, 200, (6, 6, 3)).astype(np.float32)
    picture = cv2.resize(scene, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    generator = np.random.default_rng(motion)
    phases, rates = generator.uniform(0, 2 * np.pi, (3, 4)), generator.uniform(0.2, 2.5, (3, 4))
    seconds = np.arange(num_frames)[:, None] / FPS
    x, y, size = (
        np.sin(2 * np.pi * rate * seconds + phase).mean(axis=1) for rate, phase in zip(rates, phases, strict=True)
    )
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    frames = []
    for dx, dy, ds in zip(x, y, size, strict=True):
        distance = ((columns - 0.5 - 0.1 * dx) ** 2 + (rows - 0.5 - 0.08 * dy) ** 2) / (0.04 * (1 + 0.3 * ds))
        frames.append(picture + (230 - picture) * np.exp(-(distance**2))[..., None])
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)
