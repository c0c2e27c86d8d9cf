"""Augmentation of whole clips: one draw per clip, so that frames do not flicker."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from dfd.data.augment.chains import CHAIN_NAMES
from dfd.data.augment.changes import noisy, resized, with_gamma
from dfd.data.augment.disturbances import NUM_LEVELS, by_name, chosen
from dfd.data.augment.fingerprint import HOW, RandomAutoencoder
from dfd.data.augment.moving import Mirror, Moving, ResizedCrop
from dfd.data.augment.recode import check_encoder


def clip_augmentation(
    *,
    flip_prob: float = 0.5,
    crop_prob: float = 0.5,
    crop_min_area: float = 0.8,
    crop_max_stretch: float = 1.1,
    color_prob: float = 0.5,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.0,
    blur_prob: float = 0.1,
    blur_sigma: Sequence[float] = (0.1, 1.5),
    jpeg_prob: float = 0.3,
    jpeg_quality: Sequence[int] = (40, 95),
    gamma_prob: float = 0.0,
    gamma: Sequence[float] = (0.7, 1.5),
    noise_prob: float = 0.0,
    noise_std: Sequence[float] = (2.0, 12.0),
    resize_prob: float = 0.0,
    resize_min_scale: float = 0.25,
    codec_prob: float = 0.0,
    codec_names: Sequence[str] = ("h264", "hevc"),
    codec_crf: Sequence[int] = (23, 40),
    chain_prob: float = 0.0,
    chain_names: Sequence[str] = CHAIN_NAMES,
    chain_levels: Sequence[int] = (1, 3),
    fingerprint_prob: float = 0.0,
    fingerprint_weights: str | None = None,
) -> "Augmentation":
    """Build the augmentation: a function from a clip, uint8 (T, 3, H, W), to a clip of the same shape and type.

    Each step is applied with its own probability, with one draw for all frames: horizontal flip; a crop of at least
    ``crop_min_area`` of the picture, stretched by at most ``crop_max_stretch``, resized back; brightness, contrast,
    saturation (each changed by up to that fraction) and hue (fraction of the circle; takes five times as long as the
    other three together); gamma, drawn on a logarithmic scale; Gaussian blur (sigma in pixels); noise (standard
    deviation in levels of 255), new in each frame; JPEG compression; and finally what platforms do: the clip is
    downscaled to at least ``resize_min_scale`` of its sides, re-encoded with one of ``codec_names`` at a CRF in
    ``codec_crf``, and scaled back. Resizing and encoding may each occur alone. With ``chain_prob``, a clip passes
    through one of ``chain_names``, at a level in ``chain_levels``, at the very end; see
    :mod:`dfd.data.augment.disturbances`, whose single disturbances may be named, too. Before all of these, a clip
    passes through one of the autoencoders of the file ``fingerprint_weights``, real and fake alike.

    Draws come from torch's global generator. Gamma, noise, resizing, encoding, chains and autoencoders, which were
    added later, draw nothing if their probability is 0, so that the draws of the other steps stay as they were.
    ``together`` of the result moves landmarks and masks with the pixels.

    >>> import torch
    >>> augment = clip_augmentation(flip_prob=1, crop_prob=0, color_prob=0, blur_prob=0, jpeg_prob=0)
    >>> augment(torch.arange(3, dtype=torch.uint8).expand(1, 3, 2, 3))[0, 0, 0].tolist()
    [2, 1, 0]

    Raises:
        ValueError: a value is out of range; the message names it.
        CheckpointError: the file of autoencoders is missing or damaged.
    """
    options = locals().copy()
    for name in [*(name for name in options if name.endswith("_prob")), "brightness", "contrast", "saturation"]:
        if not 0 <= options[name] <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {options[name]}")
    if not 0 < crop_min_area <= 1:
        raise ValueError(f"crop_min_area must be above 0 and at most 1, got {crop_min_area}")
    if not crop_max_stretch >= 1:
        raise ValueError(f"crop_max_stretch must be at least 1, got {crop_max_stretch}")
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue must be from 0 to 0.5, got {hue}")
    low_sigma, high_sigma = _range("blur_sigma", blur_sigma)
    if not low_sigma > 0:
        raise ValueError(f"blur_sigma must be above 0, got {list(blur_sigma)}")
    low_quality, high_quality = (int(value) for value in _range("jpeg_quality", jpeg_quality))
    if not 1 <= low_quality <= high_quality <= 100:
        raise ValueError(f"jpeg_quality must be from 1 to 100, got {list(jpeg_quality)}")
    low_gamma, high_gamma = _range("gamma", gamma)
    if not low_gamma > 0:
        raise ValueError(f"gamma must be above 0, got {list(gamma)}")
    low_std, high_std = _range("noise_std", noise_std)
    if not low_std >= 0:
        raise ValueError(f"noise_std must be at least 0, got {list(noise_std)}")
    if not 0 < resize_min_scale <= 1:
        raise ValueError(f"resize_min_scale must be above 0 and at most 1, got {resize_min_scale}")
    low_crf, high_crf = (int(value) for value in _range("codec_crf", codec_crf))
    if not 0 <= low_crf <= high_crf <= 51:
        raise ValueError(f"codec_crf must be from 0 to 51, got {list(codec_crf)}")
    if codec_prob and not codec_names:
        raise ValueError("codec_names must name a format, or codec_prob be 0")
    if fingerprint_prob and fingerprint_weights is None:
        raise ValueError(f"fingerprint_prob needs the weights of autoencoders: {HOW}, or fingerprint_prob be 0")
    for name in codec_names if codec_prob else ():
        check_encoder(name)
    low_level, high_level = (int(value) for value in _range("chain_levels", chain_levels))
    if not 1 <= low_level <= high_level <= NUM_LEVELS:
        raise ValueError(f"chain_levels must be from 1 to {NUM_LEVELS}, got {list(chain_levels)}")
    chains = [disturbance.name for disturbance in chosen(list(chain_names))] if chain_prob else []
    # A radius of two sigma, roughly as in OpenCV for 8-bit pictures; a larger kernel only takes longer.
    kernel_size = 2 * round(2 * high_sigma) + 1
    steps: list[nn.Module] = []
    if fingerprint_prob and fingerprint_weights is not None:
        steps.append(v2.RandomApply([RandomAutoencoder(fingerprint_weights)], p=fingerprint_prob))
    steps += [
        ResizedCrop((crop_min_area, 1.0), (1 / crop_max_stretch, crop_max_stretch), crop_prob),
        Mirror(flip_prob),
        v2.RandomApply([v2.ColorJitter(brightness, contrast, saturation, hue)], p=color_prob),
    ]
    if gamma_prob:
        steps.append(v2.RandomApply([RandomGamma(low_gamma, high_gamma)], p=gamma_prob))
    steps.append(v2.RandomApply([RandomBlur(max(3, kernel_size), low_sigma, high_sigma)], p=blur_prob))
    if noise_prob:
        steps.append(v2.RandomApply([RandomNoise(low_std, high_std)], p=noise_prob))
    steps.append(v2.RandomApply([v2.JPEG((low_quality, high_quality))], p=jpeg_prob))
    if resize_prob or codec_prob:
        steps.append(Platform(resize_prob, resize_min_scale, codec_prob, tuple(codec_names), (low_crf, high_crf)))
    if chains:
        steps.append(v2.RandomApply([RandomDisturbance(chains, (low_level, high_level))], p=chain_prob))
    return Augmentation(*steps)


class Augmentation(nn.Sequential):
    """Steps in order, each a function of a clip; those that move pixels have a method ``together``, too."""

    def together(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Augment ``frames`` (T, C, H, W), and move ``landmarks`` (T, 5, 2) and ``masks`` (T, H, W) if they are there.

        Draws as a call with the frames alone does. Landmarks are in pixels from the upper left corner of the frame.

        Raises:
            ValueError: when there is a chain among the steps, which moves the pixels alone.
        """
        parts = dict(clip)
        for step in self:
            if isinstance(step, Moving):
                parts = step.together(parts)
            elif len(parts) > 1 and isinstance(chain := getattr(step, "transforms", [None])[0], RandomDisturbance):
                raise ValueError(f"chain_prob: {chain.names} move pixels, not landmarks and masks; set it to 0")
            else:
                parts["frames"] = step(parts["frames"])
        return parts


class RandomBlur(nn.Module):
    """Gaussian blur with a sigma between two values, in pixels.

    The draw and, up to rounding, the result equal those of torchvision's GaussianBlur, in at most a seventh of its
    time: the filter is separable, and negligible weights are dropped, since subnormal floats are many times slower on a
    CPU.
    """

    def __init__(self, kernel_size: int, low: float, high: float) -> None:
        super().__init__()
        self.reach = kernel_size // 2
        self.low, self.high = low, high

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Blur the clip; keeps shape and type."""
        sigma = float(torch.empty(1).uniform_(self.low, self.high))
        weights = np.exp(-(np.arange(-self.reach, self.reach + 1) ** 2) / (2 * sigma**2))
        weights = (weights[weights > 1e-9] / weights.sum()).astype(np.float32)
        planes = [
            cv2.sepFilter2D(plane, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REFLECT_101)
            for plane in frames_TCHW.flatten(0, 1).numpy()
        ]
        return torch.from_numpy(np.stack(planes)).round_().to(torch.uint8).view_as(frames_TCHW)


class RandomGamma(nn.Module):
    """Gamma between two values, drawn on a logarithmic scale: twice as dark is as likely as twice as bright."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Change the clip's gamma; keeps shape and type."""
        return with_gamma(frames_TCHW, self.low * (self.high / self.low) ** float(torch.rand(())))


class RandomNoise(nn.Module):
    """Gaussian noise with a standard deviation between two values, in levels of 255."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Add noise to the clip; keeps shape and type."""
        return noisy(frames_TCHW, self.low + (self.high - self.low) * float(torch.rand(())))


class Platform(nn.Module):
    """Downscaling and re-encoding, each with its own probability, followed by scaling back.

    Args:
        resize_prob: probability of downscaling.
        min_scale: smallest factor for the sides.
        codec_prob: probability of re-encoding.
        codecs: codec names, one of which is drawn.
        crf: range of the constant rate factor.
    """

    def __init__(
        self, resize_prob: float, min_scale: float, codec_prob: float, codecs: Sequence[str], crf: tuple[int, int]
    ) -> None:
        super().__init__()
        self.resize_prob, self.min_scale = resize_prob, min_scale
        self.codec_prob, self.codecs, self.crf = codec_prob, codecs, crf

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Process the clip as a platform would; keeps shape and type."""
        scale = 1.0
        if float(torch.rand(())) < self.resize_prob:
            scale = self.min_scale + (1 - self.min_scale) * float(torch.rand(()))
        if float(torch.rand(())) < self.codec_prob:
            codec = self.codecs[int(torch.randint(len(self.codecs), ()))]
            crf = int(torch.randint(self.crf[0], self.crf[1] + 1, ()))
            return resized(frames_TCHW, scale, codec=codec, crf=crf)
        return resized(frames_TCHW, scale)


class RandomDisturbance(nn.Module):
    """One of several disturbances or chains, by name, at a level between two."""

    def __init__(self, names: Sequence[str], levels: tuple[int, int]) -> None:
        super().__init__()
        self.names, self.levels = tuple(names), levels  # their functions cannot be sent to a loader's processes

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Disturb the clip; keeps shape and type."""
        disturbance = by_name()[self.names[int(torch.randint(len(self.names), ()))]]
        strength = disturbance.at(int(torch.randint(self.levels[0], self.levels[1] + 1, ())))
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return frames_TCHW if strength is None else disturbance.apply(frames_TCHW, strength, generator)


def _range(name: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] <= values[1]:
        raise ValueError(f"{name} must be a range [low, high], got {list(values)}")
    return values[0], values[1]
