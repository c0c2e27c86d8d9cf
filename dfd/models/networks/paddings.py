"""Paddings of EfficientNets as the package efficientnet_pytorch computes them: once, for a nominal input size.

TensorFlow's "SAME" depends on the size of the input. timm computes it for the picture at hand, that package for the
nominal size of the network (380 for B4) whatever it is given, so weights trained with it at another size need these.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError


class PaddedConv2d(nn.Conv2d):
    """Convolution that pads by fixed numbers, which may differ between the start and the end of an axis."""

    def __init__(self, like: nn.Conv2d, start: int, end: int) -> None:
        """Take over ``like``, its weights included.

        Args:
            like: convolution to replace; its own padding is dropped.
            start: padding on the left and at the top.
            end: padding on the right and at the bottom.
        """
        super().__init__(
            like.in_channels,
            like.out_channels,
            kernel_size=(like.kernel_size[0], like.kernel_size[1]),
            stride=(like.stride[0], like.stride[1]),
            dilation=(like.dilation[0], like.dilation[1]),
            groups=like.groups,
            bias=like.bias is not None,
            device="meta",
        )
        self.weight, self.bias = like.weight, like.bias
        self.start, self.end = start, end

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution of ``x``, padded."""
        if self.start or self.end:
            x = F.pad(x, (self.start, self.end, self.start, self.end))
        return super().forward(x)


def fix_paddings(network: nn.Module, *, nominal: int, unpadded_stem: bool = False) -> int:
    """Fix the paddings of an EfficientNet of timm that pads as TensorFlow does; return how many were fixed.

    Args:
        network: timm's network; its strided convolutions must be in the order in which they are passed.
        nominal: side in pixels of the input for which the paddings are computed.
        unpadded_stem: leave the first convolution without padding, as DeepfakeBench does.
    """
    from timm.layers import Conv2dSame

    side, count = nominal, 0
    for name, module in list(network.named_modules()):
        if not isinstance(module, Conv2dSame):
            continue
        kernel, stride = module.kernel_size[0], module.stride[0]
        start, end = same_padding(side, kernel=kernel, stride=stride)
        if unpadded_stem and count == 0:
            start = end = 0
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, PaddedConv2d(module, start, end))
        side, count = -(-side // stride), count + 1
    return count


def same_padding(side: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Paddings at the start and the end of an axis with which a convolution gives ``ceil(side / stride)`` values.

    >>> same_padding(95, kernel=5, stride=2), same_padding(64, kernel=5, stride=2)
    ((2, 2), (1, 2))
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def set_paddings(name: str, network: nn.Module, *, pads: int | None, unpadded_stem: bool) -> None:
    """Fix the paddings of a timm model of this name as the options of the backbone say.

    Raises:
        ConfigError: the model does not pad so, or an option lacks the other.
    """
    if pads is None:
        if unpadded_stem:
            raise ConfigError("backbone.unpadded_stem=true needs backbone.pads=380, the nominal size of the network")
    elif not fix_paddings(network, nominal=pads, unpadded_stem=unpadded_stem):
        raise ConfigError(f"backbone.pads={pads}: {name} does not pad as TensorFlow does; tf_efficientnet_b4 does")
