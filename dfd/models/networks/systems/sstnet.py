"""SSTNet: a network on the picture and constrained filters on the pixels as they are (Wu and others, ICASSP 2020)."""

from typing import Any

import torch
from torch import Tensor, nn

from dfd.base.errors import ConfigError
from dfd.models.networks.backbone import Backbone
from dfd.models.networks.measuring import measured_features
from dfd.models.networks.systems.residuals import SIDE, ConstrainedConvolution
from dfd.models.pretrained import _check_timm_name, _given_file, _timm_hub_file, _timm_network

WIDTHS = (16, 32, 64)
"""Channels of the convolutions on the residual."""
MIN_SIZE = SIDE - 1 + 2 ** len(WIDTHS)
"""Smallest side in pixels that passes through the filters and the poolings."""


class ResidualStream(nn.Module):
    """Maps pictures ``(N, 3, H, W)`` in 0..1, which nobody has resized, to features ``(N, 64)``.

    Constrained filters that begin as those of steganalysis, then three times convolution, batch normalisation, ReLU and
    pooling, then the mean over the places.
    """

    def __init__(self) -> None:
        super().__init__()
        self.filters = ConstrainedConvolution(srm=True, padded=False)
        layers: list[nn.Module] = []
        in_channels = 3
        for width in WIDTHS:
            layers += [
                *(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
                *(nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            ]
            in_channels = width
        self.stages = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """Compute the features."""
        features_ND: Tensor = self.stages(self.filters(pictures_NCHW))
        return features_ND


class SpatialAndResidual(nn.Module):
    """A network on the picture, resized for it, and the residual stream on the picture as it is; features side by side.

    Args:
        picture: network on the normalised picture.
        side: height and width in pixels to which the picture is resized for it.
        mean: mean per channel that normalised the picture.
        std: deviation per channel that normalised the picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, picture: nn.Module, *, side: int, mean: Any, std: Any) -> None:
        super().__init__()
        self.picture, self.residual, self.side = picture, ResidualStream(), side
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute the features of normalised pictures."""
        shrinks = min(images_NCHW.shape[-2:]) > self.side
        resized_NCHW = nn.functional.interpolate(
            images_NCHW, (self.side, self.side), mode="bilinear", antialias=shrinks
        )
        residual_ND = self.residual(images_NCHW * self.std + self.mean)
        return torch.cat([self.picture(resized_NCHW), residual_ND], dim=1)


def sstnet(
    *,
    name: str = "legacy_xception",
    picture_size: int = 299,
    pretrained: bool = True,
    weights: str | None = None,
    freeze: bool = False,
) -> Backbone:
    """Build the spatial and the residual stream of SSTNet; ``temporal=lstm`` follows, and ``crop=native`` comes before.

    Args:
        name: timm's name of the network on the picture; ``legacy_xception`` is Chollet's.
        picture_size: side in pixels to which crops are resized for that network, and for that one only.
        pretrained: load timm's weights for the network on the picture.
        weights: file of weights for the network on the picture.
        freeze: train only the layers after both streams.

    Raises:
        ConfigError: when timm has no such model, or ``picture_size`` is out of range.
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    if not 32 <= picture_size <= 2048:
        raise ConfigError(f"backbone.picture_size must be in 32..2048, got {picture_size}")
    _check_timm_name(name)
    path = _given_file(weights) if weights is not None else _timm_hub_file(name) if pretrained else None
    picture = _timm_network(name, path)
    config: Any = picture.pretrained_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    num_features = measured_features(name, picture, side=picture_size) + WIDTHS[-1]
    network = SpatialAndResidual(picture, side=picture_size, mean=mean, std=std)
    return Backbone(network, num_features=num_features, mean=mean, std=std, min_size=MIN_SIZE, frozen=freeze)
