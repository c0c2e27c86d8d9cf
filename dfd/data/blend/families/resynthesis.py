"""Resynthesis: a face, or its mouth alone, brought to a smaller size and drawn again by a learnt up-sampler.

Generators draw a picture from a smaller one, and how they enlarge it leaves periodic traces: transposed convolutions,
convolutions after nearest or bilinear enlargement, and sub-pixel shuffling each have their own (Odena and others 2016;
Frank and others, ICML 2020). Here such an up-sampler is trained on the clip itself: the first frame is made small, and
the kernels that give it back best are found by least squares. One up-sampler draws all frames of a clip. A trained
autoencoder can draw them as well: ``weights`` names a file of ``dfd fingerprint``.

A renderer is cleaner than a camera, so what is drawn again is sometimes smoothed along its edges. The real clip and the
target are each as often a view of another sharpness, so a soft picture alone says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dfd.base.types import FloatArray, FrameArray
from dfd.data.blend.geometry import BlendedPair, deformed, drawn, mask_of, pose_of
from dfd.data.blend.settings import OUTLINES, check_probabilities, check_ranges, check_weights, is_number
from dfd.data.blend.views import resharpened
from dfd.models.networks.systems.autoencoder import read_autoencoders, resynthesised

UPSAMPLERS = ("transposed", "nearest", "bilinear", "shuffle")
AUTOENCODER = "autoencoder"
WHOLE = "whole"
"""Region of a picture that is drawn again altogether."""
REGIONS = (WHOLE, "face", "mouth")
REACH = {"transposed": 1, "nearest": 2, "bilinear": 2, "shuffle": 2}
"""Pixels to each side that the kernels of an up-sampler see."""

LEAST_CHANGE = 1.0
"""Mean change, of 255, below which a view of another sharpness is not drawn again: nothing would be learnt from it."""

_Kernels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ResynthesisSettings:
    """Settings of resynthesised fakes; values are drawn once per clip.

    Args:
        upsamplers: weight of each up-sampler by its name in ``UPSAMPLERS``, and of ``autoencoder``, which needs
            ``weights``.
        regions: weight of each part that is drawn again: ``whole``, ``face`` or ``mouth``.
        twice_prob: probability that the picture is made small and enlarged by the same up-sampler two times over.
        ridge: range of the pull of the kernels towards zero, drawn on a logarithmic scale, as a fraction of the
            pictures' variance: the higher, the worse an up-sampler is trained.
        clean_prob: probability that what is drawn again is smoothed along its edges.
        grow, deform, feather: of the mask, as for the other families.
        altered_prob: probability, for the real clip and for the target, of a view of another sharpness.
        min_resize: smallest intermediate size of a view that is resized, as a fraction.
        weights: file of autoencoders that ``dfd fingerprint`` wrote; None: there are none.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    upsamplers: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(UPSAMPLERS, 1.0))
    regions: Mapping[str, float] = field(default_factory=lambda: {"whole": 0.3, "face": 0.4, "mouth": 0.3})
    twice_prob: float = 0.4
    ridge: Sequence[float] = (1e-4, 1e-2)
    clean_prob: float = 0.5
    grow: Sequence[float] = (0.9, 1.08)
    deform: float = 0.05
    feather: Sequence[float] = (0.04, 0.2)
    altered_prob: float = 0.5
    min_resize: float = 0.3
    weights: str | None = None

    def __post_init__(self) -> None:
        check_weights("upsamplers", self.upsamplers, (*UPSAMPLERS, AUTOENCODER))
        check_weights("regions", self.regions, REGIONS)
        check_probabilities(self, "twice_prob", "clean_prob", "altered_prob")
        check_ranges(self, ridge=1e-6, grow=0.1, feather=0.0)
        if not is_number(self.deform) or self.deform < 0:
            raise ValueError(f"deform must be a number from 0, got {self.deform!r}")
        if not is_number(self.min_resize) or not 0 < self.min_resize <= 1:
            raise ValueError(f"min_resize must be above 0 and at most 1, got {self.min_resize!r}")
        if self.weights is not None and not isinstance(self.weights, str):
            raise ValueError(f"weights must be the name of a file, got {self.weights!r}")
        if self.upsamplers.get(AUTOENCODER) and self.weights is None:
            raise ValueError(
                f"weights must name a file of autoencoders for upsamplers.{AUTOENCODER}; make one from your own real "
                "faces: dfd fingerprint store=DIR output=FILE"
            )


def resynthesis_blend(
    frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator, settings: ResynthesisSettings
) -> BlendedPair:
    """Make a real and a fake clip from the same frames, uint8 (T, H, W, 3), and their landmarks (T, 5, 2) in pixels."""
    poses = [pose_of(points) for points in landmarks.astype(np.float64)]
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    region = drawn(settings.regions, rng)
    upsampler = drawn(settings.upsamplers, rng)
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    outline = deformed(OUTLINES.get(region, OUTLINES["face"]), rng, grow=settings.grow, deform=settings.deform)
    ridge = float(np.exp(rng.uniform(*np.log(settings.ridge))))
    times = 2 if rng.random() < settings.twice_prob else 1
    is_clean = rng.random() < settings.clean_prob
    altered = resharpened(frames, rng, min_resize=settings.min_resize)
    real, target = (altered if rng.random() < settings.altered_prob else frames for _ in range(2))
    chosen = int(rng.integers(2**31))

    def again_of(clip: FrameArray) -> FrameArray:
        if upsampler == AUTOENCODER and settings.weights is not None:
            return _by_autoencoder(clip, settings.weights, chosen)
        return drawn_again(clip, upsampler, times=times, ridge=ridge)

    again = again_of(target)
    if target is altered and np.abs(again[0].astype(np.float32) - target[0]).mean() < LEAST_CHANGE:
        target, again = frames, again_of(frames)  # that view has no detail left to lose
    fake, masks = np.empty_like(frames), np.ones(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        if region != WHOLE:
            masks[i] = mask_of(outline @ pose[:, :2].T + pose[:, 2], height, width, feather)
        new = cv2.bilateralFilter(again[i], 5, 12, 2) if is_clean else again[i]
        mixed = target[i] + masks[i][..., None] * (new.astype(np.float32) - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
    return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=region)


def drawn_again(frames: FrameArray, upsampler: str, *, times: int = 1, ridge: float = 1e-3) -> FrameArray:
    """Make frames, uint8 (T, H, W, 3), half as large ``times`` over, and enlarge them by a trained up-sampler.

    The up-sampler's kernels are those that give the first frame back best, in the sense of least squares.
    """
    height, width = frames.shape[1:3]
    step = 2**times
    ends = (0, -height % step, 0, -width % step)
    padded = [cv2.copyMakeBorder(frame, *ends, cv2.BORDER_REPLICATE) for frame in frames]
    whole = np.stack(padded).astype(np.float32)
    half = _halved(whole[:1])
    kernels = _trained(half[0], whole[0], upsampler, ridge)
    small = whole
    for _ in range(times):
        small = _halved(small)
    for _ in range(times):
        small = np.stack([_enlarged(one, upsampler, kernels) for one in small])
    return np.clip(np.rint(small[:, :height, :width]), 0, 255).astype(np.uint8)


def _halved(frames: FloatArray) -> FloatArray:
    height, width = frames.shape[1:3]
    half = (width // 2, height // 2)
    return np.stack([np.asarray(cv2.resize(one, half, None, 0, 0, cv2.INTER_AREA), np.float32) for one in frames])


def _phases(upsampler: str) -> list[tuple[int, int]]:
    """Places in each block of 2 x 2 pixels that have kernels of their own; one for kernels that all share."""
    return [(0, 0)] if upsampler in ("nearest", "bilinear") else [(0, 0), (0, 1), (1, 0), (1, 1)]


def _seen(small: FloatArray, upsampler: str) -> FloatArray:
    """Neighbourhood that the kernels see at each place, (H, W, K, 3)."""
    if upsampler in ("nearest", "bilinear"):
        how = cv2.INTER_NEAREST if upsampler == "nearest" else cv2.INTER_LINEAR
        height, width = small.shape[:2]
        small = np.asarray(cv2.resize(small, (2 * width, 2 * height), None, 0, 0, how), np.float32)
    reach = REACH[upsampler]
    height, width = small.shape[:2]
    bordered = cv2.copyMakeBorder(small, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    side = range(2 * reach + 1)
    return np.stack([bordered[y : y + height, x : x + width] for y in side for x in side], axis=2)


def _trained(small: FloatArray, whole: FloatArray, upsampler: str, ridge: float) -> _Kernels:
    """Kernels (P, K) that give ``whole`` back from ``small`` with the least squared error, one for each phase."""
    seen = _seen(small, upsampler)
    kernels = []
    for y, x in _phases(upsampler):
        wanted = whole if len(_phases(upsampler)) == 1 else whole[y::2, x::2]
        # Colours share the kernels; the mean is not to be learnt.
        inputs = seen.transpose(0, 1, 3, 2).reshape(-1, seen.shape[2]).astype(np.float64)
        outputs = wanted.reshape(-1).astype(np.float64)
        middle = inputs.mean(axis=1, keepdims=True)
        inputs, outputs = inputs - middle, outputs - middle[:, 0]
        square = inputs.T @ inputs
        square[np.diag_indices_from(square)] += ridge * max(1.0, float(np.trace(square)))
        kernels.append(np.linalg.solve(square, inputs.T @ outputs))
    return np.stack(kernels)


def _enlarged(small: FloatArray, upsampler: str, kernels: _Kernels) -> FloatArray:
    seen = _seen(small, upsampler)
    middle = seen.mean(axis=2)
    parts = [middle + np.einsum("hwkc,k->hwc", seen - middle[:, :, None], kernel, optimize=True) for kernel in kernels]
    if len(parts) == 1:
        return np.asarray(parts[0], np.float32)
    height, width = small.shape[:2]
    large = np.empty((2 * height, 2 * width, 3), np.float32)
    for (y, x), part in zip(_phases(upsampler), parts, strict=True):
        large[y::2, x::2] = part
    return large


def _by_autoencoder(frames: FrameArray, weights: str, chosen: int) -> FrameArray:
    """Clip as one of the autoencoders of a file draws it."""
    networks = [*read_autoencoders(Path(weights)).networks.values()]
    clip = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    again = resynthesised(networks[chosen % len(networks)], clip)
    return np.ascontiguousarray(again.numpy().transpose(0, 2, 3, 1))
