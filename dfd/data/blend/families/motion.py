"""Motion: a face whose parts move otherwise than the rest of the picture.

Three kinds, one per clip. ``still``: one frame is held, as a talking head is driven from one photograph, and the head,
the mouth and the eyes are moved by smooth warps while the background rests. ``lag``: a part of the face shows an
earlier or later frame, and its brightness flickers from frame to frame, as where a network draws each frame anew.
``mouth``: the mouth is that of another moment, opened or closed a little, as in a dubbed video.

The real clip and the target are each as often a view of another sharpness, so what interpolation smooths says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.geometry import BlendedPair, deformed, drawn, mask_of, pose_of
from dfd.data.blend.settings import OUTLINES, Points, check_probabilities, check_ranges, check_weights, is_number
from dfd.data.blend.views import resharpened

KINDS = ("still", "lag", "mouth")
LAGGING = ("face", "inner", "lower", "mouth", "eyes")
MOUTH = np.array([0.0, 1.15])
HEAD = np.array([0.0, 0.5])
EYES = (np.array([-0.5, 0.0]), np.array([0.5, 0.0]))

_Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """Settings of fakes that move wrongly; values are drawn once per clip, lengths in distances between the eyes.

    Args:
        kinds: weight of each kind: ``still``, ``lag``, ``mouth``.
        sway: range of how far the head of a still moves.
        opening: range of how far a mouth opens or closes, and half of that for the eyes.
        frames_late: range of the frames by which a part lags.
        flicker: range of the change of its brightness from frame to frame, of 255.
        grow, deform, feather: of the mask, as for the other families.
        altered_prob: probability, for the real clip and for the target, of a view of another sharpness.
        min_resize: smallest intermediate size of a view that is resized, as a fraction.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    kinds: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 1.0))
    sway: Sequence[float] = (0.04, 0.16)
    opening: Sequence[float] = (0.05, 0.2)
    frames_late: Sequence[float] = (1, 3)
    flicker: Sequence[float] = (1.5, 5.0)
    grow: Sequence[float] = (0.9, 1.05)
    deform: float = 0.04
    feather: Sequence[float] = (0.05, 0.2)
    altered_prob: float = 0.5
    min_resize: float = 0.3

    def __post_init__(self) -> None:
        check_weights("kinds", self.kinds, KINDS)
        check_probabilities(self, "altered_prob")
        check_ranges(self, sway=0.0, opening=0.0, frames_late=1, flicker=0.0, grow=0.1, feather=0.0)
        if not is_number(self.deform) or self.deform < 0:
            raise ValueError(f"deform must be a number from 0, got {self.deform!r}")
        if not is_number(self.min_resize) or not 0 < self.min_resize <= 1:
            raise ValueError(f"min_resize must be above 0 and at most 1, got {self.min_resize!r}")


def motion_blend(
    frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator, settings: MotionSettings
) -> BlendedPair:
    """Make a real and a fake clip from the same frames, uint8 (T, H, W, 3), and their landmarks (T, 5, 2) in pixels."""
    poses = [pose_of(points) for points in landmarks.astype(np.float64)]
    kind = drawn(settings.kinds, rng)
    region = drawn(dict.fromkeys(LAGGING, 1.0), rng)
    altered = resharpened(frames, rng, min_resize=settings.min_resize)
    real, target = (altered if rng.random() < settings.altered_prob else frames for _ in range(2))
    if kind == "still":
        target = np.repeat(target[:1], len(frames), axis=0)
        fake, masks = _animated(target, poses[0], rng, settings)
        return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=kind)
    outline = deformed(
        OUTLINES["mouth" if kind == "mouth" else region], rng, grow=settings.grow, deform=settings.deform
    )
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    part = _other_mouth(target, poses, rng, settings) if kind == "mouth" else _lagging(target, rng, settings)
    fake, masks = np.empty_like(frames), np.empty(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        masks[i] = mask_of(outline @ pose[:, :2].T + pose[:, 2], height, width, feather)
        mixed = target[i] + masks[i][..., None] * (part[i] - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
    return BlendedPair(
        real=real, fake=fake, target=target, mask=masks, region=kind if kind == "mouth" else f"lag of {region}"
    )


def _swings(num_frames: int, rng: np.random.Generator, number: int) -> _Times:
    """Smooth ways through -1..1, (number, T): each a slow and a quicker swing of its own."""
    # In frames of some 25 a second: heads take one to three seconds, lips a third of one.
    times = np.arange(num_frames)
    periods, phases = rng.uniform([[20], [7]], [[60], [14]], (2, number)), rng.uniform(0, 2 * np.pi, (2, number))
    waves = np.sin(2 * np.pi * times / periods[..., None] + phases[..., None])
    return np.asarray(0.6 * waves[0] + 0.4 * waves[1])


def _animated(
    still: FrameArray, pose: Points, rng: np.random.Generator, settings: MotionSettings
) -> tuple[FrameArray, FloatArray]:
    """Move the parts of a face in frames (T, H, W, 3) that all show the same; returns them and where they moved."""
    num_frames, height, width = still.shape[:3]
    unit = float(np.hypot(*pose[:, 0]))
    ways = _swings(num_frames, rng, 4)
    sway = rng.uniform(settings.sway[0], settings.sway[1]) * unit
    opening = rng.uniform(settings.opening[0], settings.opening[1]) * unit
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    places = np.stack([columns, rows], axis=-1)
    to_face = np.linalg.inv(pose[:, :2])
    face = (places - pose[:, 2].astype(np.float32)) @ to_face.T.astype(np.float32)  # in the face's coordinates

    def bump(centre: Points, wide: float, high: float) -> FloatArray:
        apart = (face - centre.astype(np.float32)) / np.array([wide, high], np.float32)
        # Ends at zero, so that what is far away rests.
        return np.asarray(np.clip(1 - (apart**2).sum(axis=-1), 0, 1) ** 2, np.float32)

    head, mouth = bump(HEAD, 1.5, 1.9), bump(MOUTH, 0.75, 0.55)
    eyes = sum((bump(centre, 0.38, 0.25) for centre in EYES), np.zeros((height, width), np.float32))
    # Evenly from one lip or lid to the other: a step would fold the picture.
    side = np.clip((face[..., 1] - MOUTH[1]) / 0.35, -1, 1)
    lid = np.clip((face[..., 1] - EYES[0][1]) / 0.15, -1, 1)
    axes = [direction.astype(np.float32) for direction in (pose[:, 0] / unit, pose[:, 1] / unit)]
    fake = np.empty_like(still)
    for i, (turn, nod, open_, blink) in enumerate(ways.T):
        up = sway * nod * head + opening * open_ * mouth * side + 0.5 * opening * blink * eyes * lid
        across = sway * turn * head
        moved = places - across[..., None] * axes[0] - up[..., None] * axes[1]
        columns_from, rows_from = (np.ascontiguousarray(moved[..., axis], np.float32) for axis in (0, 1))
        fake[i] = cv2.remap(still[i], columns_from, rows_from, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    covers = np.maximum(np.maximum(head, mouth), eyes)
    return fake, np.repeat(covers[None], num_frames, axis=0)


def _lagging(frames: FrameArray, rng: np.random.Generator, settings: MotionSettings) -> FloatArray:
    """Earlier or later frames, each with a brightness of its own, float32 (T, H, W, 3)."""
    num_frames = len(frames)
    late = int(rng.integers(int(settings.frames_late[0]), int(settings.frames_late[1]) + 1))
    late = late if rng.random() < 0.5 else -late
    shown = np.clip(np.arange(num_frames) - late, 0, num_frames - 1)
    size = rng.uniform(settings.flicker[0], settings.flicker[1])
    # Never near zero: a part that does not flicker where nothing moves would be no fake.
    change = size * rng.choice([-1, 1], num_frames) * rng.uniform(0.6, 1.4, num_frames)
    return np.asarray(frames[shown] + change[:, None, None, None], np.float32)


def _other_mouth(
    frames: FrameArray, poses: Sequence[Points], rng: np.random.Generator, settings: MotionSettings
) -> FloatArray:
    """Faces of other moments brought to the place of each frame's, the mouth opened or closed, float32."""
    num_frames, height, width = frames.shape[:3]
    away = int(rng.integers(num_frames // 3, max(num_frames // 3, num_frames - num_frames // 3) + 1))
    opening = rng.uniform(settings.opening[0], settings.opening[1])
    way = _swings(num_frames, rng, 1)[0]
    # The mouth of the mean face is some 0.8 high with its surroundings.
    stretch = 1 + opening / 0.8 * np.where(np.abs(way) < 0.3, np.sign(way) * 0.3 + (way == 0) * 0.3, way)
    others = np.empty(frames.shape, np.float32)
    for i in range(num_frames):
        j = (i + away) % num_frames
        here, there = (np.vstack([pose, (0, 0, 1)]) for pose in (poses[i], poses[j]))
        open_ = np.array([[1, 0, 0], [0, stretch[i], MOUTH[1] * (1 - stretch[i])], [0, 0, 1]])
        warp = (here @ open_ @ np.linalg.inv(there))[:2]
        others[i] = cv2.warpAffine(
            frames[j], warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    return others
