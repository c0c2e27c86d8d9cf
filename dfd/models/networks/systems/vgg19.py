"""VGG19 up to and with its third pooling (Simonyan and Zisserman 2014): the trunk of Capsule-Forensics."""

from torch import Tensor, nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256, 256))
"""Channels of the convolutions between two poolings."""
NUM_CHANNELS = 256
SHRINKS = 8
"""Factor from the side of the picture to that of the feature map, rounded down."""
UNUSED = (
    *(f"features.{layer}.{kind}" for layer in (19, 21, 23, 25, 28, 30, 32, 34) for kind in ("weight", "bias")),
    *(f"classifier.{layer}.{kind}" for layer in (0, 3, 6) for kind in ("weight", "bias")),
)
"""Tensors of torchvision's file that belong to later layers."""


class VGG19Pool3(nn.Module):
    """Maps pictures ``(N, 3, S, S)`` to flat feature maps ``(N, 256 * (S // 8) ** 2)``, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for widths in WIDTHS:
            for width in widths:
                layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                in_channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute the feature map, flat."""
        features_ND: Tensor = self.features(images_NCHW).flatten(1)
        return features_ND
