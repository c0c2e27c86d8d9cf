"""Changes to whole clips, uint8 (T, 3, H, W), that keep shape and type: of their pixels, their frames, their cut."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dfd.data.augment.recode import _check_clip, recode

PLATFORM_CRF = 28
"""x264 CRF at every level of ``platform``: shared videos are both smaller and more compressed."""


def resized(frames_TCHW: Tensor, scale: float, *, codec: str | None = None, crf: int = PLATFORM_CRF) -> Tensor:
    """Downscale a clip and scale it back; with ``codec``, encode the small version in between, as platforms do.

    Downscaling is antialiased bicubic, FFmpeg's default; upscaling is bilinear, as in players. Each side keeps at
    least one pixel.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        scale: factor for both sides, above 0 and at most 1.
        codec: codec name as in :func:`~dfd.data.augment.recode.recode`; None skips encoding.
        crf: constant rate factor of the encoding.

    Raises:
        ValueError: ``scale`` is out of range, or as in :func:`~dfd.data.augment.recode.recode`.
        DisturbanceError: as in :func:`~dfd.data.augment.recode.recode`.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be above 0 and at most 1, got {scale}")
    _check_clip(frames_TCHW)
    size = list(frames_TCHW.shape[-2:])
    if scale == 1:
        return frames_TCHW if codec is None else recode(frames_TCHW, codec=codec, crf=crf)
    small = tv.resize(
        frames_TCHW, [max(1, round(side * scale)) for side in size], InterpolationMode.BICUBIC, antialias=True
    )
    if codec is not None:
        small = recode(small, codec=codec, crf=crf)
    whole: Tensor = tv.resize(small, size, InterpolationMode.BILINEAR, antialias=True)
    return whole


def blurred(frames_TCHW: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with ``sigma`` in pixels and a kernel radius of three sigma.

    Raises:
        ValueError: ``sigma`` is not positive, or the clip has another shape or type.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    _check_clip(frames_TCHW)
    smooth: Tensor = tv.gaussian_blur(frames_TCHW, [2 * max(1, round(3 * sigma)) + 1] * 2, [sigma, sigma])
    return smooth


def noisy(frames_TCHW: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise, drawn independently for each frame, pixel and channel, like a sensor's.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        std: standard deviation in levels of 255, 0 or more; the same for the whole clip.
        generator: source of randomness; None uses torch's global generator.

    Raises:
        ValueError: ``std`` is negative, or the clip has another shape or type.
    """
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    _check_clip(frames_TCHW)
    noise = torch.randn(frames_TCHW.shape, generator=generator)
    return frames_TCHW.float().add_(noise, alpha=std).round_().clamp_(0, 255).to(torch.uint8)


def with_gamma(frames_TCHW: Tensor, gamma: float) -> Tensor:
    """Map each value ``x`` in 0..1 to ``x ** gamma``: darker above 1, brighter below.

    Raises:
        ValueError: ``gamma`` is not positive, or the clip has another shape or type.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma}")
    _check_clip(frames_TCHW)
    curve = (torch.arange(256).div(255) ** gamma * 255).round().to(torch.uint8)
    return curve[frames_TCHW.long()]


def jpeg(frames_TCHW: Tensor, quality: int) -> Tensor:
    """Encode each frame as a JPEG of ``quality`` 1 to 100 and decode it.

    Raises:
        ValueError: ``quality`` is out of range, or the clip has another shape or type.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    _check_clip(frames_TCHW)
    compressed: Tensor = tv.jpeg(frames_TCHW, quality)
    return compressed


def held(frames_TCHW: Tensor, rate: float) -> Tensor:
    """Convert a clip to a lower frame rate and back, each time to the nearest frame, as FFmpeg's ``fps`` filter does.

    >>> held(torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1), 0.5)[:, 0, 0, 0].tolist()
    [0, 0, 2, 2, 4, 4]

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        rate: new rate as a fraction of the clip's, above 0 and at most 1.

    Raises:
        ValueError: ``rate`` is out of range, or the clip has another shape or type.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate must be above 0 and at most 1, got {rate}")
    _check_clip(frames_TCHW)
    # A frame just between two is given the earlier one.
    kept = (torch.arange(len(frames_TCHW), dtype=torch.float64) * rate + 0.5 - 1e-6).floor()
    return frames_TCHW[(kept / rate).round().long().clamp(max=len(frames_TCHW) - 1)]


def dropped(frames_TCHW: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Lose frames at random, as over a bad line; the one before stays on the screen. The first is never lost.

    A frame that is lost at one ``fraction`` is lost at every higher one, for the same draws.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        fraction: expected share of lost frames, from 0 up to but not including 1.
        generator: source of randomness; None uses torch's global generator.

    Raises:
        ValueError: ``fraction`` is out of range, or the clip has another shape or type.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be at least 0 and below 1, got {fraction}")
    _check_clip(frames_TCHW)
    is_lost = torch.rand(len(frames_TCHW), generator=generator) < fraction
    is_lost[0] = False
    shown = torch.arange(len(frames_TCHW)).masked_fill(is_lost, 0).cummax(0).values
    return frames_TCHW[shown]


def mirror_cropped(
    frames_TCHW: Tensor, area: float, generator: torch.Generator | None = None, *, mirror: bool = True
) -> Tensor:
    """Mirror a clip, cut a part out of it and enlarge that to the whole size, as re-uploads do to escape recognition.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        area: share of the picture that the part keeps, above 0 and at most 1.
        generator: source of the part's place; None uses torch's global generator.
        mirror: whether to mirror it.

    Raises:
        ValueError: ``area`` is out of range, or the clip has another shape or type.
    """
    if not 0 < area <= 1:
        raise ValueError(f"area must be above 0 and at most 1, got {area}")
    _check_clip(frames_TCHW)
    height, width = frames_TCHW.shape[-2:]
    part = [max(1, round(side * area**0.5)) for side in (height, width)]
    down, right = torch.rand(2, generator=generator).tolist()
    top, left = round(down * (height - part[0])), round(right * (width - part[1]))
    frames = frames_TCHW.flip(-1) if mirror else frames_TCHW
    cut = frames[..., top : top + part[0], left : left + part[1]]
    whole: Tensor = tv.resize(cut, [height, width], InterpolationMode.BILINEAR, antialias=True)
    return whole
