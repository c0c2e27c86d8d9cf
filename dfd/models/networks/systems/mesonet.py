"""MesoNet's two networks without their last layer (Afchar and others 2018, arXiv 1809.00888).

For pictures of 256 x 256 px in 0..1. Both end in 16 features; the last layer, with a dropout of 0.5 before it, is a
head: ``head=linear head.outputs=1 dropout=0.5``.
"""

import torch
from torch import Tensor, nn

SIDE = 256
NUM_FEATURES = 16
DROPOUT = 0.5
EPSILON = 1e-3  # Keras' batch normalisation, as its momentum of 0.99, which torch calls 0.01
MOMENTUM = 0.01
SLOPE = 0.1


class _MesoNet(nn.Module):
    """Stages of convolution and pooling, then a layer of 16."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.dense = _dense()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute features ``(N, 16)``."""
        features_ND: Tensor = self.dense(self.stages(images_NCHW))
        return features_ND


class Meso4(_MesoNet):
    """Four convolutions with batch normalisation and pooling, then a layer of 16."""

    def __init__(self) -> None:
        super().__init__(
            *(_convolved(3, 8, 3), nn.MaxPool2d(2)),
            *(_convolved(8, 8, 5), nn.MaxPool2d(2)),
            *(_convolved(8, 16, 5), nn.MaxPool2d(2)),
            *(_convolved(16, 16, 5), nn.MaxPool2d(4)),
        )


class MesoInception4(_MesoNet):
    """Two inception blocks with dilated convolutions, two convolutions, then a layer of 16."""

    def __init__(self) -> None:
        super().__init__(
            *(Inception(3, (1, 4, 4, 2)), nn.BatchNorm2d(11, EPSILON, MOMENTUM), nn.MaxPool2d(2)),
            *(Inception(11, (2, 4, 4, 2)), nn.BatchNorm2d(12, EPSILON, MOMENTUM), nn.MaxPool2d(2)),
            *(_convolved(12, 16, 5), nn.MaxPool2d(2)),
            *(_convolved(16, 16, 5), nn.MaxPool2d(4)),
        )


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3 with a dilation of 1, 2 and 3; a ReLU after each convolution."""

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, *others = channels
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(in_channels, first, 1), nn.ReLU())])
        for dilation, width in enumerate(others, start=1):
            self.branches.append(
                nn.Sequential(
                    *(nn.Conv2d(in_channels, width, 1), nn.ReLU()),
                    *(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU()),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the branches' maps, one after the other in the channels."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _convolved(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.BatchNorm2d(channels, EPSILON, MOMENTUM),
    )


def _dense() -> nn.Sequential:
    places = (SIDE // 32) ** 2
    return nn.Sequential(nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(16 * places, NUM_FEATURES), nn.LeakyReLU(SLOPE))
