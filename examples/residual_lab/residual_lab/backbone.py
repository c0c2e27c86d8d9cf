"""Backbone that sees noise residuals instead of colours."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dfd
from dfd.models.backbones import Backbone

# Three high-pass filters of the spatial rich model (Fridrich and Kodovsky, IEEE TIFS 2012).
SECOND_ORDER = [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]]
SQUARE = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
FIRST_ORDER = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


class Residuals(nn.Module):
    """Maps pictures ``(N, 3, H, W)`` to clipped residuals ``(N, 9, H, W)``, by filters that are not trained."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        scaled = [torch.tensor(SECOND_ORDER) / 4, torch.tensor(SQUARE) / 12, torch.tensor(FIRST_ORDER) / 2]
        self.register_buffer("filters", torch.stack(scaled)[:, None].repeat(3, 1, 1, 1))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute the residuals of each channel."""
        return F.conv2d(images_NCHW, self.filters, padding=2, groups=3).clamp(-1, 1)


@dfd.register("backbone")
def residual(*, width: int = 32, freeze: bool = False) -> Backbone:
    """Build a small convolutional network on noise residuals.

    Args:
        width: channels of its first layer; the features are four times as many.
        freeze: train only the layers after the backbone.
    """
    layers: list[nn.Module] = [Residuals()]
    channels = 9
    for wider in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(network, num_features=channels, mean=(0.0, 0.0, 0.0), std=(0.1, 0.1, 0.1), frozen=freeze)
