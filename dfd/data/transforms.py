"""Augmentation of whole clips: one draw per clip, so that nothing flickers between its frames."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.transforms import v2


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
) -> Callable[[Tensor], Tensor]:
    """A function from a clip, uint8 (T, 3, H, W), to one of the same shape and type.

    Each step is taken with its probability, with one draw for all frames: a mirror image; a crop of at least
    ``crop_min_area`` of the picture, stretched by at most ``crop_max_stretch``, resized back; brightness, contrast,
    saturation (up to that fraction, more or less) and hue (fraction of the circle; costs five times the other three);
    Gaussian blur (sigma in pixels); JPEG compression, last, as it comes to a file that is passed on.

    Draws come from torch's global generator.

    >>> import torch
    >>> augment = clip_augmentation(flip_prob=1, crop_prob=0, color_prob=0, blur_prob=0, jpeg_prob=0)
    >>> augment(torch.arange(3, dtype=torch.uint8).expand(1, 3, 2, 3))[0, 0, 0].tolist()
    [2, 1, 0]

    Raises:
        ValueError: a value is out of range; the message names it.
    """
    probabilities = {
        "flip_prob": flip_prob,
        "crop_prob": crop_prob,
        "color_prob": color_prob,
        "blur_prob": blur_prob,
        "jpeg_prob": jpeg_prob,
    }
    for name, prob in probabilities.items():
        if not 0 <= prob <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {prob}")
    if not 0 < crop_min_area <= 1:
        raise ValueError(f"crop_min_area must be above 0 and at most 1, got {crop_min_area}")
    if not crop_max_stretch >= 1:
        raise ValueError(f"crop_max_stretch must be at least 1, got {crop_max_stretch}")
    for name, amount in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
        if not 0 <= amount <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {amount}")
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue must be from 0 to 0.5, got {hue}")
    low_sigma, high_sigma = _range("blur_sigma", blur_sigma)
    if not low_sigma > 0:
        raise ValueError(f"blur_sigma must be above 0, got {list(blur_sigma)}")
    low_quality, high_quality = (int(value) for value in _range("jpeg_quality", jpeg_quality))
    if not 1 <= low_quality <= high_quality <= 100:
        raise ValueError(f"jpeg_quality must be from 1 to 100, got {list(jpeg_quality)}")
    # A kernel reaches two sigma to each side, as OpenCV's for 8-bit pictures roughly does; larger ones cost time only.
    kernel_size = 2 * round(2 * high_sigma) + 1
    return nn.Sequential(
        v2.RandomApply([ResizedCrop((crop_min_area, 1.0), (1 / crop_max_stretch, crop_max_stretch))], p=crop_prob),
        v2.RandomHorizontalFlip(p=flip_prob),
        v2.RandomApply([v2.ColorJitter(brightness, contrast, saturation, hue)], p=color_prob),
        v2.RandomApply([v2.GaussianBlur(max(3, kernel_size), (low_sigma, high_sigma))], p=blur_prob),
        v2.RandomApply([v2.JPEG((low_quality, high_quality))], p=jpeg_prob),
    )


class ResizedCrop(nn.Module):
    """torchvision's RandomResizedCrop, back to the size that the clip has."""

    def __init__(self, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale
        self.ratio = ratio

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """The crop, same shape and type."""
        crop = v2.RandomResizedCrop(list(frames_TCHW.shape[-2:]), self.scale, self.ratio, antialias=True)
        resized: Tensor = crop(frames_TCHW)
        return resized


def _range(name: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] <= values[1]:
        raise ValueError(f"{name} must be a range [low, high], got {list(values)}")
    return values[0], values[1]
