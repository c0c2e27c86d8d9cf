"""A second stream beside the picture: what filters, or the spectrum, leave of it."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError
from dfd.models.networks.backbone import Backbone
from dfd.models.pretrained import _check_timm_name, _given_file, _timm_hub_file, _timm_network

Residual = Literal["srm", "constrained", "fft"]
SIDE = 5
# Three high-pass filters of steganalysis (Fridrich and Kodovsky 2012), as Zhou and others (CVPR 2018) use them.
_SRM = (
    ([[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]], 4),
    ([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]], 12),
    ([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], 2),
)
_CUT = 2.0 / 255
"""Where residuals of SRM filters are cut off, in the range 0..1 of pictures."""


def srm_kernels() -> Tensor:
    """Return the three filters ``(3, 5, 5)``, -1 in the middle, whose other values add up to 1."""
    return torch.stack([torch.tensor(values, dtype=torch.float32) / scale for values, scale in _SRM])


class SRM(nn.Module):
    """Residuals of three fixed filters, averaged over the channels and cut off: ``(N, 3, H, W)`` to the same shape."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", srm_kernels()[:, None].repeat(1, 3, 1, 1) / 3, persistent=False)

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """Residuals in -1..1 of pictures in 0..1."""
        return F.conv2d(pictures_NCHW, self.kernels, padding=SIDE // 2).clamp(-_CUT, _CUT) / _CUT


SMALL_SUM = 0.1
"""Sums below are moved to 1 by an addition: a division would make the filters so large that no sum is exact."""


class ConstrainedConvolution(nn.Module):
    """Filters that learn to predict each pixel from its neighbours: -1 in the middle, the others add up to 1.

    Bayar and Stamm 2016. The constraint is part of the computation, so averages of weights keep it too;
    :meth:`project` writes it into the weights, and training calls that after each step of the optimizer.

    Args:
        num_filters: number of filters; with ``srm`` it is 3.
        srm: begin as the three filters of :class:`SRM`, which keep the constraint, in place of random ones.
        padded: pad the border with zeros, so that the residual has the picture's size. Without it, the border is
            left out and a picture of one colour gives exactly 0.
    """

    middle: Tensor

    def __init__(self, num_filters: int = 3, *, srm: bool = False, padded: bool = True) -> None:
        super().__init__()
        if srm:
            self.weight = nn.Parameter(srm_kernels()[:, None].repeat(1, 3, 1, 1))
        else:
            self.weight = nn.Parameter(torch.rand(num_filters, 3, SIDE, SIDE) + 0.1)
        self.padded = padded
        middle = torch.zeros(SIDE, SIDE)
        middle[SIDE // 2, SIDE // 2] = 1
        self.register_buffer("middle", middle, persistent=False)

    def kernels(self) -> Tensor:
        """The filters ``(K, 3, 5, 5)`` under the constraint, in each channel."""
        around = self.weight * (1 - self.middle)
        sums = around.sum(dim=(2, 3), keepdim=True)
        small = sums.abs() < SMALL_SUM  # a division by nearly nothing would throw the weights far away
        moved = (around + (1 - sums) / (SIDE**2 - 1)) * (1 - self.middle)
        return torch.where(small, moved, around / torch.where(small, torch.ones_like(sums), sums)) - self.middle

    @torch.no_grad()
    def project(self) -> None:
        """Move the weights onto the constraint, as Bayar and Stamm do after each step."""
        self.weight.copy_(self.kernels())

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """Errors of the prediction, ``(N, K, H, W)``, about -1..1 for pictures in 0..1; of the three channels, summed.

        Without padding, height and width are 4 less.
        """
        if self.padded:
            return 8 * F.conv2d(pictures_NCHW, self.kernels(), padding=SIDE // 2)
        # The filters ignore what is added to all pixels; less its corner, a flat picture leaves nothing to round.
        return 8 * F.conv2d(pictures_NCHW - pictures_NCHW[:, :, :1, :1], self.kernels())


class Spectrum(nn.Module):
    """Logarithm of the magnitudes of the discrete Fourier transform of each channel, with the mean in the middle."""

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """Spectrum ``(N, 3, H, W)``, about -1..1, of pictures in 0..1; in 32 bits, which the transform needs."""
        with torch.autocast(pictures_NCHW.device.type, enabled=False):
            spectrum = torch.fft.fftshift(torch.fft.fft2(pictures_NCHW.float(), norm="ortho"), dim=(-2, -1))
            return (torch.log(spectrum.abs() + 1e-4) / 4).to(pictures_NCHW.dtype)


FILTERS: dict[str, type[nn.Module]] = {"srm": SRM, "constrained": ConstrainedConvolution, "fft": Spectrum}


class _TwoStreams(nn.Module):
    """A network on the normalised picture, another on its residual; their features are concatenated."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, picture: nn.Module | None, residual: nn.Module, filters: nn.Module, norm: tuple[Any, Any]
    ) -> None:
        super().__init__()
        self.picture, self.filters, self.residual = picture, filters, residual
        for name, values in zip(("mean", "std"), norm, strict=True):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        left = self.filters(images_NCHW * self.std + self.mean).contiguous(memory_format=torch.channels_last)
        streams = [self.residual(left)]
        if self.picture is not None:
            streams.insert(0, self.picture(images_NCHW))
        return torch.cat(streams, dim=1)


def two_stream(
    *,
    residual: Residual = "srm",
    name: str = "resnet18",
    picture: bool = True,
    residual_name: str = "resnet18",
    pretrained: bool = True,
    weights: str | None = None,
    input_size: int | None = None,
    freeze: bool = False,
) -> Backbone:
    """Build a network on the picture and one on what filters leave of it, both of timm; features are concatenated.

    Args:
        residual: ``srm`` (three fixed high-pass filters), ``constrained`` (filters that learn to predict a pixel from
            its neighbours) or ``fft`` (logarithm of the spectrum).
        name: timm's name of the network on the picture.
        picture: whether there is that network; without it, the residual is all that is seen.
        residual_name: timm's name of the network on the residual, which starts at random weights.
        pretrained: load timm's weights for the network on the picture.
        weights: file of weights for the network on the picture.
        input_size: side in pixels to which crops are resized. None: not, as resizing removes what filters look for.
        freeze: train only the layers after the backbone.

    Raises:
        ConfigError: when timm has no such model, or ``input_size`` is below 32.
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    if input_size is not None and input_size < 32:
        raise ConfigError(f"backbone.input_size={input_size}: two_stream takes 32 or more pixels")
    for each in (name, residual_name):
        _check_timm_name(each)
    seen = None
    if picture:
        path = _given_file(weights) if weights is not None else _timm_hub_file(name) if pretrained else None
        seen = _timm_network(name, path)
    other = _timm_network(residual_name, None)
    config: Any = (seen or other).pretrained_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    network = _TwoStreams(seen, other, FILTERS[residual](), (mean, std))
    num_features = _num_features(network)
    return Backbone(
        network, num_features=num_features, mean=mean, std=std, input_size=input_size, min_size=32, frozen=freeze
    )


def _num_features(network: nn.Module) -> int:
    training = network.training
    with torch.no_grad():
        features_ND: Tensor = network.eval()(torch.zeros(1, 3, 64, 64))
    network.train(training)
    return features_ND.shape[1]
