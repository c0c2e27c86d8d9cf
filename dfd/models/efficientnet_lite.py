"""EfficientNet-Lite 0 to 4, written down so that they come without timm.

Importing timm brings torchvision along, and that torch's compiler, which takes longer than torch itself; whoever scores
one video with the starter would wait for all of them.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019: table 1 for the
stages and section 3.3 for how they grow. "Lite" is TensorFlow's edition of it (``models/official/efficientnet/lite`` of
its TPU repository): no squeeze-and-excitation, ReLU6 for swish, and neither the stem nor the head grows. Its weights
fit under the names that timm gave them.
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
"""By timm's name: how many times as wide and how many times as deep as Lite0."""
EDITION = "in1k"
"""Timm's name of the only weights that are published for them: TensorFlow's, trained on ImageNet."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Of the pictures that these weights expect: in -1..1."""
HEAD = ("classifier.weight", "classifier.bias")

STEM_CHANNELS = 32
STAGES = ((16, 1, 3, 1), (24, 2, 3, 2), (40, 2, 5, 2), (80, 3, 3, 2), (112, 3, 5, 1), (192, 4, 5, 2), (320, 1, 3, 1))
"""Channels, blocks, kernel and the first block's stride of each stage of Lite0."""
EXPANSION = 6
NUM_FEATURES = 1280
EPSILON = 1e-3


class EfficientNetLite(nn.Module):
    """Pictures ``(N, 3, H, W)`` to features ``(N, 1280)``: the network without its classifier.

    Args:
        width: each stage has so many times the channels of Lite0.
        depth: each stage but the first and the last has so many times the blocks of Lite0.
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
            if isinstance(module, nn.Conv2d):  # as TensorFlow's; batch normalisation begins as the identity
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Features, shape ``(N, 1280)``."""
        x = self.act1(self.bn1(self.conv_stem(same_padded(images_NCHW, kernel=3, stride=2))))
        x = self.act2(self.bn2(self.conv_head(self.blocks(x))))
        features_ND: Tensor = self.avgpool(x).flatten(1)
        return features_ND


class SeparableBlock(nn.Module):
    """The first stage's: a convolution of each channel, and one across them."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(in_channels, in_channels, kernel, padding=kernel // 2, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels, eps=EPSILON)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """As ``x``, with the block's channels."""
        out: Tensor = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))
        return out


class InvertedBottleneck(nn.Module):
    """To six times the channels, a convolution of each of them, and back; around it a way for what keeps its shape."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = in_channels * EXPANSION
        self.kernel, self.stride = kernel, stride
        self.has_skip = stride == 1 and in_channels == channels
        self.conv_pw = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=EPSILON)
        # One each, not one for both: a heat map is taken at a module by its name, and the two differ in size.
        self.act1 = nn.ReLU6(inplace=True)
        padding = kernel // 2 if stride == 1 else 0  # else same_padded has done it
        self.conv_dw = nn.Conv2d(width, width, kernel, stride=stride, padding=padding, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=EPSILON)
        self.act2 = nn.ReLU6(inplace=True)
        self.conv_pwl = nn.Conv2d(width, channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """As ``x``, with the block's channels and ``1 / stride`` of its sides."""
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
    """``width`` times as many, in whole eights: the nearest, unless that takes more than a tenth away.

    >>> scaled_channels(40, 1.1), scaled_channels(40, 1.0), scaled_channels(16, 1.2)
    (48, 40, 24)
    """
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def same_padded(x: Tensor, *, kernel: int, stride: int) -> Tensor:
    """``x`` with zeros around it, so that a convolution gives ``ceil(side / stride)``; ``kernel >= stride``.

    TensorFlow's "SAME": of an odd number the larger half comes behind, where torch's ``padding`` has both alike. No
    more than arithmetic on the shape, so that tracing comes through.

    >>> import torch
    >>> same_padded(torch.zeros(1, 1, 8, 9), kernel=3, stride=2).shape
    torch.Size([1, 1, 9, 11])
    """
    rows = kernel - stride + -x.shape[-2] % stride
    columns = kernel - stride + -x.shape[-1] % stride
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
