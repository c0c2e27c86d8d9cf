"""EfficientNet-Lite 0 to 4, defined here so that timm need not be imported.

Importing timm imports torchvision and with it torch's compiler, which takes longer than torch itself, and would delay
the scoring of a single video with the starter.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019: table 1 for the
stages and section 3.3 for their scaling. "Lite" is TensorFlow's edition (``models/official/efficientnet/lite`` of its
TPU repository): no squeeze-and-excitation, ReLU6 instead of swish, and neither the stem nor the head is scaled. Its
weights load under timm's names.
"""

from math import ceil

from torch import Tensor, nn
from torch.nn import functional as F

SCALES = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
"""Factors of width and depth relative to Lite0, by timm's name."""
EDITION = "in1k"
"""Timm's name of the only published weights: TensorFlow's, trained on ImageNet."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Normalisation of the pictures that these weights expect: to -1..1."""
HEAD = ("classifier.weight", "classifier.bias")

STEM_CHANNELS = 32
STAGES = ((16, 1, 3, 1), (24, 2, 3, 2), (40, 2, 5, 2), (80, 3, 3, 2), (112, 3, 5, 1), (192, 4, 5, 2), (320, 1, 3, 1))
"""Channels, blocks, kernel and stride of the first block, for each stage of Lite0."""
EXPANSION = 6
NUM_FEATURES = 1280
EPSILON = 1e-3


class EfficientNetLite(nn.Module):
    """Maps pictures ``(N, 3, H, W)`` to features ``(N, 1280)``: the network without its classifier.

    Args:
        width: factor on the channels of each stage of Lite0.
        depth: factor on the blocks of each stage of Lite0 but the first and the last.
    """

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, STEM_CHANNELS, kernel_size=3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, eps=EPSILON)
        self.act1 = nn.ReLU6(inplace=True)
        in_channels, stages = STEM_CHANNELS, []
        for number, (lite0_channels, num_blocks, kernel, first_stride) in enumerate(STAGES):
            channels = scaled_channels(lite0_channels, width)
            if 0 < number < len(STAGES) - 1:
                num_blocks = ceil(num_blocks * depth)
            blocks: list[nn.Module] = []
            for index in range(num_blocks):
                stride = first_stride if index == 0 else 1
                if number == 0:
                    blocks.append(SeparableBlock(in_channels, channels, kernel))
                else:
                    blocks.append(InvertedBottleneck(in_channels, channels, kernel, stride))
                in_channels = channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(in_channels, NUM_FEATURES, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(NUM_FEATURES, eps=EPSILON)
        self.act2 = nn.ReLU6(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # like TensorFlow; batch normalisation starts as the identity
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute features ``(N, 1280)``."""
        x = self.act1(self.bn1(self.conv_stem(same_padded(images_NCHW, kernel=3, stride=2))))
        x = self.act2(self.bn2(self.conv_head(self.blocks(x))))
        features_ND: Tensor = self.avgpool(x).flatten(1)
        return features_ND


class SeparableBlock(nn.Module):
    """Block of the first stage: a convolution of each channel, and one across channels."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(in_channels, in_channels, kernel, padding=kernel // 2, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels, eps=EPSILON)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output, of the same height and width."""
        out: Tensor = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))
        return out


class InvertedBottleneck(nn.Module):
    """Expands to six times the channels, convolves each, and reduces; with a skip connection if the shape is kept."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = in_channels * EXPANSION
        self.kernel, self.stride = kernel, stride
        self.has_skip = stride == 1 and in_channels == channels
        self.conv_pw = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=EPSILON)
        # Two modules rather than one: a heat map is taken at a module by its name, and the two differ in size.
        self.act1 = nn.ReLU6(inplace=True)
        padding = kernel // 2 if stride == 1 else 0  # otherwise same_padded pads
        self.conv_dw = nn.Conv2d(width, width, kernel, stride=stride, padding=padding, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=EPSILON)
        self.act2 = nn.ReLU6(inplace=True)
        self.conv_pwl = nn.Conv2d(width, channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output, with height and width divided by ``stride``."""
        out = self.act1(self.bn1(self.conv_pw(x)))
        if self.stride > 1:
            out = same_padded(out, kernel=self.kernel, stride=self.stride)
        out = self.act2(self.bn2(self.conv_dw(out)))
        out = self.bn3(self.conv_pwl(out))
        if self.has_skip:
            out += x
        added: Tensor = out
        return added


def scaled_channels(channels: int, width: float) -> int:
    """Multiply a number of channels by ``width`` and round to a multiple of 8, upwards if that loses over a tenth.

    >>> scaled_channels(40, 1.1), scaled_channels(40, 1.0), scaled_channels(16, 1.2)
    (48, 40, 24)
    """
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def same_padded(x: Tensor, *, kernel: int, stride: int) -> Tensor:
    """Pad ``x`` with zeros so that a convolution gives ``ceil(side / stride)``; requires ``kernel >= stride``.

    This is TensorFlow's "SAME": an odd padding is larger at the end, whereas torch's ``padding`` is symmetric. It is
    plain arithmetic on the shape, so that it can be traced.
    >>> import torch
    >>> same_padded(torch.zeros(1, 1, 8, 9), kernel=3, stride=2).shape
    torch.Size([1, 1, 9, 11])
    """
    rows = kernel - stride + -x.shape[-2] % stride
    columns = kernel - stride + -x.shape[-1] % stride
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
