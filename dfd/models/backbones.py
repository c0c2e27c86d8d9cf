"""Backbones: networks that turn one picture into one feature vector.

All follow one contract, :class:`Backbone`. To add one, write a function here, list it in ``BACKBONES``, and add a YAML
file with its name to ``conf/backbone``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfd.base.errors import ConfigError
from dfd.models.networks import efficientnet_lite
from dfd.models.networks.efficientnet_lite import EfficientNetLite
from dfd.models.networks.resnext import NUM_FEATURES, ResNeXt50
from dfd.models.pretrained import (
    INCEPTION_V3_WEIGHTS,
    RESNEXT50_WEIGHTS,
    _check_timm_name,
    _given_file,
    _timm_hub_file,
    _timm_network,
    _torchvision_file,
    load_weights,
)

Triple = tuple[float, float, float]

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
        min_size: smallest side that passes through all of its strides.
        frozen: whether its weights are fixed: no gradients, and always evaluation mode.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        num_features: int,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        input_size: int | None = None,
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


def resnext50(*, pretrained: bool = True, weights: str | None = None, freeze: bool = False) -> Backbone:
    """Build ResNeXt-50 32x4d, 2048 features: the backbone of the original system.

    Args:
        pretrained: load torchvision's ``IMAGENET1K_V1`` from torch's cache, dfd's cache or the network. The original
            system used these weights (its ``pretrained=True`` meant them; ``V2`` came later).
        weights: file of weights to load instead.
        freeze: train only the layers after the backbone.

    Raises:
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    network = ResNeXt50()
    path = _torchvision_file(RESNEXT50_WEIGHTS, pretrained=pretrained, weights=weights)
    if path is not None:
        load_weights(network, path, head=("fc.weight", "fc.bias"))
    return Backbone(network, num_features=NUM_FEATURES, frozen=freeze)


def inception_v3(*, pretrained: bool = True, weights: str | None = None, freeze: bool = False) -> Backbone:
    """Build Inception v3, 2048 features: the second backbone of the original system; needs pictures of 75 px or more.

    Its weights expect inputs in -1..1. torchvision's ``transform_input`` undoes the ImageNet normalisation for that;
    here mean = std = 0.5 has the same effect. The auxiliary head and the network's own dropout are left out: the
    classifier has a dropout.

    Raises:
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    import torchvision  # takes seconds, see dfd.models.networks.resnext

    path = _torchvision_file(INCEPTION_V3_WEIGHTS, pretrained=pretrained, weights=weights)
    with torch.device("meta"):
        whole = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
    network = torchvision.models.inception_v3(
        weights=None, init_weights=path is None, aux_logits=False, transform_input=False
    )
    num_features = network.fc.in_features
    network.fc = nn.Identity()
    network.dropout = nn.Identity()
    if path is not None:
        load_weights(network, path, head=whole.state_dict().keys() - network.state_dict().keys())
    half = (0.5, 0.5, 0.5)
    return Backbone(network, num_features=num_features, mean=half, std=half, min_size=75, frozen=freeze)


def timm(
    *,
    name: str,
    pretrained: bool = True,
    weights: str | None = None,
    input_size: int | None = None,
    freeze: bool = False,
) -> Backbone:
    """Build an image model of the timm library, such as ``resnet18`` or ``vit_small_patch16_224.augreg_in1k``.

    EfficientNet-Lite models use dfd's own network, which takes the same weights and needs no import of timm.

    Args:
        name: timm's name of the model.
        pretrained: load timm's weights from the Hugging Face hub or its cache.
        weights: file of weights to load instead, in timm's naming or one that timm converts.
        input_size: side in pixels to which crops are resized; None: the model's own if it is fixed, else no resizing.
            Enlarging small crops may keep fine traces: most networks halve the picture in their first layer.
        freeze: train only the layers after the backbone.

    Raises:
        ConfigError: when timm has no such model, or it does not give one vector per picture or takes only another size.
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    lite = efficientnet_lite.SCALES.get(name.removesuffix(f".{efficientnet_lite.EDITION}"))
    if lite is None:
        _check_timm_name(name)
    path = _given_file(weights) if weights is not None else _timm_hub_file(name) if pretrained else None
    if lite is not None:
        network: nn.Module = EfficientNetLite(*lite)
        if path is not None:
            load_weights(network, path, head=efficientnet_lite.HEAD)
        num_features, mean, std = efficientnet_lite.NUM_FEATURES, efficientnet_lite.MEAN, efficientnet_lite.STD
        fixed = None
    else:
        network = _timm_network(name, path)
        config: Any = network.pretrained_cfg
        side = int(config["input_size"][-1])
        num_features = _measured_features(name, network, side=side)
        mean, std = tuple(config["mean"]), tuple(config["std"])
        fixed = side if config.get("fixed_input_size") else None
    if input_size is not None and (input_size < 1 or fixed not in (None, input_size)):
        allowed = f"only {fixed}" if fixed else "1 or more"
        raise ConfigError(f"backbone.input_size={input_size}: {name} takes {allowed} pixels")
    return Backbone(
        network, num_features=num_features, mean=mean, std=std, input_size=input_size or fixed, frozen=freeze
    )


BACKBONES: dict[str, Callable[..., Backbone]] = {"resnext50": resnext50, "inception_v3": inception_v3, "timm": timm}
"""Functions by option name; a config or checkpoint can call no others."""


def _measured_features(name: str, network: nn.Module, *, side: int) -> int:
    """Length of the feature vector, measured on one picture, since timm's ``num_features`` is not always right."""
    training = network.training
    network.eval()
    with torch.no_grad():
        features: Any = network(torch.zeros(1, 3, side, side))
    network.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ConfigError(f"backbone.name: timm's {name} does not give one vector per picture; choose another model")
    return int(features.shape[1])
