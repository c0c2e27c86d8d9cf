"""The contract of backbones, and what their networks expect of pictures."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[float, float, float]
Resample = Literal["bilinear", "bicubic", "nearest"]
Pool = Literal["avg", "max", "avgmax", "catavgmax", "token", "map"]
Mean = Annotated[float, (0, 1)]
Std = Annotated[float, (0.001, 10)]

# Statistics of the ImageNet training pictures, which torchvision's and most of timm's weights expect.
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Maps pictures ``(N, C, H, W)``, normalised by ``mean`` and ``std``, to features ``(N, num_features)``.

    Attributes:
        num_features: length of the feature vector.
        mean: mean per channel of pictures in 0..1; the classifier subtracts it.
        std: standard deviation per channel; the classifier divides by it.
        input_size: fixed side of the network's input, to which the classifier resizes; None if any size fits.
        resample: how the classifier resizes, see :func:`resized`.
        min_size: smallest side that passes through all of its strides.
        frozen: whether its weights are fixed: no gradients, and always evaluation mode.
        sees_clips: whether it takes clips ``(B, T, C, H, W)``, or one ``(T, C, H, W)``, and gives features
            ``(B, T', num_features)``, or ``(T', num_features)``, where T' may be less than T.
        needs_seconds: whether it also takes the time of each frame, ``(B, T)``.
        is_differentiable: whether torch can follow it back to the pixels, as heat maps and exports need.
        why_nothing: reason for features that are not numbers, where a clip may have none; empty: all clips have some.
    """

    sees_clips: bool = False
    needs_seconds: bool = False
    is_differentiable: bool = True
    why_nothing: str = ""

    def __init__(
        self,
        network: nn.Module,
        *,
        num_features: int,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        input_size: int | None = None,
        resample: Resample | None = None,
        min_size: int = 1,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.network = network
        self.num_features = num_features
        self.mean = mean
        self.std = std
        self.input_size = input_size
        self.resample = resample
        self.min_size = min_size
        if frozen:
            self.requires_grad_(requires_grad=False)
            self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Switch between training and evaluation mode; a frozen backbone stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Features, shape ``(N, num_features)``."""
        features_ND: Tensor = self.network(images_NCHW)
        return features_ND


def resized(images_NCHW: Tensor, side: int, resample: Resample | None) -> Tensor:
    """Resize pictures in 0..1 to ``side`` x ``side``.

    Args:
        images_NCHW: pictures.
        side: height and width of the result, in pixels.
        resample: None: bilinear, with antialiasing where the picture shrinks. ``bilinear``: without, as OpenCV does.
            ``bicubic``: as Pillow does, with antialiasing. ``nearest``: the nearest pixel, as in Pillow.
    """
    size = (side, side)
    if resample == "nearest":
        # The pixel under the middle of the new one, in whole numbers: floats decide ties differently everywhere.
        rows, columns = (
            (2 * torch.arange(side, device=images_NCHW.device) + 1) * old // (2 * side)
            for old in images_NCHW.shape[-2:]
        )
        return images_NCHW[..., rows[:, None], columns]
    if resample == "bicubic":  # may overshoot, which pictures of 8 bits cannot
        return F.interpolate(images_NCHW, size, mode="bicubic", antialias=True).clamp(0, 1)
    shrinks = resample is None and min(images_NCHW.shape[-2:]) > side
    return F.interpolate(images_NCHW, size, mode="bilinear", antialias=shrinks)
