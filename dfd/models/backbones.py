"""Backbones: networks that turn one picture into one feature vector.

All follow one contract, :class:`Backbone`. To add one, write a function here, list it in ``BACKBONES``, and add a YAML
file with its name to ``conf/backbone``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dfd.base.errors import ConfigError
from dfd.models.networks import efficientnet_lite
from dfd.models.networks.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, Mean, Pool, Resample, Std, Triple
from dfd.models.networks.efficientnet_lite import EfficientNetLite
from dfd.models.networks.lora import add_lora
from dfd.models.networks.measuring import measured_features
from dfd.models.networks.paddings import set_paddings
from dfd.models.networks.resnext import NUM_FEATURES, ResNeXt50
from dfd.models.networks.systems import mesonet, vgg19
from dfd.models.networks.systems.residuals import two_stream
from dfd.models.networks.systems.signals import convolutional_traces, pulse, pulse_maps, rendering
from dfd.models.networks.systems.sstnet import sstnet
from dfd.models.networks.video import video
from dfd.models.pretrained import (
    INCEPTION_V3_WEIGHTS,
    RESNEXT50_WEIGHTS,
    VGG19_WEIGHTS,
    _check_timm_name,
    _given_file,
    _timm_hub_file,
    _timm_network,
    _torchvision_file,
    load_weights,
)

__all__ = ["BACKBONES", "IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "Resample", "Triple"]


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
    global_pool: Pool | None = None,
    img_size: int | None = None,
    dynamic_img_size: bool | None = None,
    drop_path_rate: float | None = None,
    mean: tuple[Mean, Mean, Mean] | None = None,
    std: tuple[Std, Std, Std] | None = None,
    resample: Resample | None = None,
    pads: int | None = None,
    unpadded_stem: bool = False,
    lora: int | None = None,
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
        global_pool: how places become one vector: ``token`` is the class token of a transformer. None: the model's own.
        img_size: side that a transformer is built for; position embeddings of ``weights`` are resampled to it.
        dynamic_img_size: whether a transformer takes any size, and resamples its position embeddings each time.
        drop_path_rate: share of residual branches that training leaves out.
        mean: mean per channel of pictures in 0..1; None: that of timm's weights.
        std: deviation per channel; None: that of timm's weights.
        resample: how crops are resized: ``bicubic`` as Pillow, ``bilinear`` as OpenCV, ``nearest``; None: bilinear with
            antialiasing.
        pads: size in pixels for which the paddings of a ``tf_efficientnet`` are computed, whatever comes in, as
            efficientnet_pytorch does (380 for B4); None: for the picture at hand.
        lora: rank of a change that the attention layers of a transformer learn, while all else in it is fixed
            (:mod:`dfd.models.networks.lora`); None: all weights learn. A finished run's detector has plain layers.
        unpadded_stem: no padding in the first convolution, as in DeepfakeBench's EfficientNet-B4; needs ``pads``.

    Raises:
        ConfigError: when timm has no such model, it does not give one vector per picture, or an option does not fit it.
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    options = {
        **{"global_pool": global_pool, "img_size": img_size},
        **{"dynamic_img_size": dynamic_img_size, "drop_path_rate": drop_path_rate},
    }
    options = {key: value for key, value in options.items() if value is not None}
    lite = efficientnet_lite.SCALES.get(name.removesuffix(f".{efficientnet_lite.EDITION}"))
    if options or pads is not None or unpadded_stem or lora is not None:
        lite = None
    if lite is None:
        _check_timm_name(name)
    path = _given_file(weights) if weights is not None else _timm_hub_file(name) if pretrained else None
    if lite is not None:
        network: nn.Module = EfficientNetLite(*lite)
        if path is not None:
            load_weights(network, path, head=efficientnet_lite.HEAD)
        num_features, own_mean, own_std = efficientnet_lite.NUM_FEATURES, efficientnet_lite.MEAN, efficientnet_lite.STD
        fixed = None
    else:
        network = _timm_network(name, path, **options)
        config: Any = network.pretrained_cfg
        side = img_size or int(config["input_size"][-1])
        set_paddings(name, network, pads=pads, unpadded_stem=unpadded_stem)
        num_features = measured_features(name, network, side=side)
        if lora is not None:
            add_lora(network, lora, name=name)
        own_mean, own_std = tuple(config["mean"]), tuple(config["std"])
        fixed = side if config.get("fixed_input_size") and not dynamic_img_size else None
    if input_size is not None and (input_size < 1 or fixed not in (None, input_size)):
        allowed = f"only {fixed}" if fixed else "1 or more"
        raise ConfigError(f"backbone.input_size={input_size}: {name} takes {allowed} pixels")
    return Backbone(
        network,
        num_features=num_features,
        mean=own_mean if mean is None else (mean[0], mean[1], mean[2]),
        std=own_std if std is None else (std[0], std[1], std[2]),
        input_size=input_size or fixed,
        resample=resample,
        frozen=freeze,
    )


def vgg19_pool3(
    *,
    pretrained: bool = True,
    weights: str | None = None,
    input_size: int = 128,
    resample: Resample | None = None,
    freeze: bool = False,
) -> Backbone:
    """Build VGG19 up to its third pooling: a feature map of 256 channels, handed over flat, for ``head=capsule``.

    Args:
        pretrained: load torchvision's ImageNet weights from torch's cache, dfd's cache or the network.
        weights: file of weights to load instead.
        input_size: side in pixels to which crops are resized; the map has an eighth of it.
        resample: how crops are resized; None: bilinear with antialiasing.
        freeze: train only the layers after the backbone, as Capsule-Forensics does.

    Raises:
        ConfigError: when ``input_size`` is below 8.
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    if input_size < vgg19.SHRINKS:
        raise ConfigError(f"backbone.input_size={input_size}: vgg19_pool3 takes {vgg19.SHRINKS} or more pixels")
    network = vgg19.VGG19Pool3()
    path = _torchvision_file(VGG19_WEIGHTS, pretrained=pretrained, weights=weights)
    if path is not None:
        load_weights(network, path, head=vgg19.UNUSED)
    num_features = vgg19.NUM_CHANNELS * (input_size // vgg19.SHRINKS) ** 2
    return Backbone(network, num_features=num_features, input_size=input_size, resample=resample, frozen=freeze)


def meso4(*, weights: str | None = None, resample: Resample | None = None, freeze: bool = False) -> Backbone:
    """Build MesoNet's Meso4 without its last layer, 16 features; it takes pictures of 256 px.

    Args:
        weights: file of weights in dfd's naming; MesoNet's own files are adopted instead (``dfd.models.published``).
        resample: how crops are resized; MesoNet's authors take ``nearest``. None: bilinear with antialiasing.
        freeze: train only the layers after the backbone.

    Raises:
        WeightsMissing: when the file is missing or does not fit.
    """
    return _mesonet(mesonet.Meso4(), weights, resample=resample, freeze=freeze)


def mesoinception4(*, weights: str | None = None, resample: Resample | None = None, freeze: bool = False) -> Backbone:
    """Build MesoNet's MesoInception4 without its last layer, 16 features; arguments and errors as :func:`meso4`."""
    return _mesonet(mesonet.MesoInception4(), weights, resample=resample, freeze=freeze)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnext50": resnext50,
    "inception_v3": inception_v3,
    "timm": timm,
    "vgg19_pool3": vgg19_pool3,
    "meso4": meso4,
    "mesoinception4": mesoinception4,
    "two_stream": two_stream,
    "sstnet": sstnet,
    "video": video,
    "convolutional_traces": convolutional_traces,
    "pulse": pulse,
    "pulse_maps": pulse_maps,
    "rendering": rendering,
}
"""Functions by option name; a config or checkpoint can call no others."""


def _mesonet(network: nn.Module, weights: str | None, *, resample: Resample | None, freeze: bool) -> Backbone:
    if weights is not None:
        load_weights(network, _given_file(weights), head=())
    return Backbone(
        network,
        num_features=mesonet.NUM_FEATURES,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        input_size=mesonet.SIDE,
        resample=resample,
        frozen=freeze,
    )
