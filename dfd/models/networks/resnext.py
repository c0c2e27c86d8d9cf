"""ResNeXt-50 32x4d, defined here so that torchvision need not be imported.

Importing torchvision imports torch's compiler, which takes longer than torch itself, and would delay the scoring of a
single video.

Source: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2017. The stride of a stage is in
its 3 x 3 convolution, as in torchvision's network, whose weights load under the same names.
"""

from torch import Tensor, nn

NUM_FEATURES = 2048
GROUPS, GROUP_WIDTH = 32, 4
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""A quarter of the channels, and the number of blocks, of each stage."""
EXPANSION = 4


class ResNeXt50(nn.Module):
    """Maps pictures ``(N, 3, H, W)`` to features ``(N, 2048)``: the network without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        in_channels, stages = 64, []
        for number, (channels, num_blocks) in enumerate(STAGES, 1):
            blocks = []
            for index in range(num_blocks):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(Block(in_channels, channels, stride))
                in_channels = channels * EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015; batch normalisation starts as the identity
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute features ``(N, 2048)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images_NCHW))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features_ND: Tensor = self.avgpool(x).flatten(1)
        return features_ND


class Block(nn.Module):
    """Bottleneck block with a convolution in 32 groups and a skip connection."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        width = channels * GROUPS * GROUP_WIDTH // 64
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, groups=GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output, with height and width divided by ``stride``."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.downsample(x)
        added: Tensor = self.relu(out)
        return added
