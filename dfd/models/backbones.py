"""Networks that turn one picture into one vector of features.

All obey one contract, :class:`Backbone`. To add one: write a function here, list it in ``BACKBONES``, and give it a
YAML file of its name in ``conf/backbone``.
"""

import difflib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfd.errors import ConfigError, WeightsMissing
from dfd.models import efficientnet_lite
from dfd.models.efficientnet_lite import EfficientNetLite
from dfd.models.resnext import NUM_FEATURES, ResNeXt50
from dfd.tensor_files import is_state_dict, load_exactly, read_tensor_file
from dfd.weights import WeightsFile, fetch

Triple = tuple[float, float, float]

# Of the ImageNet training pictures, as torchvision's and most of timm's weights expect them.
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

REMEDY = "backbone.weights=FILE (or start from random weights with backbone.pretrained=false)"

# torchvision names its files by the first eight digits of their SHA-256.
RESNEXT50_WEIGHTS = WeightsFile(
    name="resnext50_32x4d-7cdf4587.pth",
    url="https://download.pytorch.org/models/resnext50_32x4d-7cdf4587.pth",
    sha256="7cdf4587",
    size_bytes=None,
    licence="BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research",
)
INCEPTION_V3_WEIGHTS = WeightsFile(
    name="inception_v3_google-0cc3c7bd.pth",
    url="https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
    sha256="0cc3c7bd",
    size_bytes=None,
    licence="BSD-3-Clause (torchvision, ported from Google's); trained on ImageNet, whose terms are for research",
)

# A name that cannot be resolved fails at once; a network that swallows packets costs this for each address of the hub.
_HUB_TIMEOUT_SECONDS = 3.0


class Backbone(nn.Module):
    """Pictures ``(N, C, H, W)``, normalised by ``mean`` and ``std``, to features ``(N, num_features)``.

    Attributes:
        num_features: length of the feature vector.
        mean: per channel, of pictures in 0..1; the classifier subtracts it.
        std: per channel; the classifier divides by it.
        input_size: side that the network is fixed to, to which the classifier resizes; None if it takes any.
        min_size: the smallest side that passes through all of its strides.
        frozen: it learns nothing: no gradients of its weights, and always in evaluation mode.
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
        """Switch to training or evaluation; a frozen one stays in evaluation."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Features, shape ``(N, num_features)``."""
        features_ND: Tensor = self.network(images_NCHW)
        return features_ND


def resnext50(*, pretrained: bool = True, weights: str | None = None, freeze: bool = False) -> Backbone:
    """ResNeXt-50 32x4d, 2048 features: the backbone of the original system.

    ``pretrained`` takes torchvision's ``IMAGENET1K_V1``, which the original used (its ``pretrained=True`` meant these;
    ``V2`` came later), from torch's cache, dfd's cache or the network. ``weights`` is a file to use instead. With
    ``freeze``, only what is behind the backbone learns.

    Raises:
        WeightsMissing: the weights cannot be had, or the file does not fit.
    """
    network = ResNeXt50()
    path = _torchvision_file(RESNEXT50_WEIGHTS, pretrained=pretrained, weights=weights)
    if path is not None:
        load_weights(network, path, head=("fc.weight", "fc.bias"))
    return Backbone(network, num_features=NUM_FEATURES, frozen=freeze)


def inception_v3(*, pretrained: bool = True, weights: str | None = None, freeze: bool = False) -> Backbone:
    """Inception v3, 2048 features: the second backbone of the original system. Needs pictures of 75 px or more.

    Its weights want inputs in -1..1. torchvision gets there by ``transform_input``, which undoes the ImageNet
    normalisation; here mean = std = 0.5 says the same without the detour. The auxiliary head is left out, and so is
    the network's own dropout: the classifier has the only one.

    Raises:
        WeightsMissing: the weights cannot be had, or the file does not fit.
    """
    import torchvision  # seconds: see dfd.models.resnext

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
    """Any image model of the timm library by its name, such as ``resnet18`` or ``vit_small_patch16_224.augreg_in1k``.

    ``pretrained`` takes timm's weights from the Hugging Face hub or its cache; ``weights`` is a file to use instead,
    in timm's naming or one that timm converts. ``input_size`` is the side to which crops are resized before the
    network, in pixels; None: of a model of a fixed size its own, else none. Small crops of which the finest traces
    matter may be worth enlarging: most networks halve the picture in their first layer.

    An EfficientNet-Lite is dfd's own of the same name, which takes the same weights and does not wait for timm.

    Raises:
        ConfigError: timm has no such model, it does not give one vector per picture, or it takes another size only.
        WeightsMissing: the weights cannot be had, or the file does not fit.
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
"""By option name; nothing else is ever called for a config or a checkpoint."""


def load_weights(
    network: nn.Module,
    path: Path,
    *,
    head: Collection[str],
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None,
) -> None:
    """Load a state dict (torch or safetensors) into a network without a classifier.

    Every tensor of the network must be in the file and fit; the file may have those named by ``head`` besides.
    ``convert``, if given, is tried on a file in another naming.

    Raises:
        WeightsMissing: the file is not a state dict or does not fit; the message lists what is missing or unexpected.
    """
    try:
        content, _ = read_tensor_file(path)
        if isinstance(content, dict) and not is_state_dict(content):
            content = content.get("state_dict", content.get("model", content))
        if not is_state_dict(content):
            raise ValueError("holds no state dict (names and tensors)")
        try:
            load_exactly(network, content, ignore=head)
        except ValueError as misfit:
            if convert is None:
                raise
            try:
                converted = convert(dict(content), network)
            except (KeyError, RuntimeError, AttributeError, IndexError):  # a converter meets a file of another network
                raise misfit from None
            load_exactly(network, converted, ignore=head)
    except ValueError as error:
        raise WeightsMissing(
            f"{path}: does not fit this backbone: {error}; give the file that belongs to it with {REMEDY}"
        ) from error


def _given_file(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsMissing(f"{path}: no such file; correct {REMEDY}")
    return path


def _torchvision_file(known: WeightsFile, *, pretrained: bool, weights: str | None) -> Path | None:
    if weights is not None:
        return _given_file(weights)
    if not pretrained:
        return None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / known.name
    return fetch(known, path=cached if cached.is_file() else None, option=REMEDY)


def _check_timm_name(name: str) -> None:
    from timm.models import get_arch_pretrained_cfgs, is_model, list_models

    architecture, _, tag = name.partition(".")
    if not is_model(architecture):
        close = difflib.get_close_matches(architecture, list_models(), n=4)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() in Python lists them"
        raise ConfigError(f"backbone.name: timm has no model {name!r}; {hint}")
    tags = [full.partition(".")[2] for full in get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        raise ConfigError(f"backbone.name: timm's {architecture} has no weights {tag!r}; it has {', '.join(tags)}")


def _timm_network(name: str, path: Path | None) -> nn.Module:
    """Timm's own, without a classifier, with the weights in ``path``."""
    from timm import create_model
    from timm.models import model_entrypoint

    network: nn.Module = create_model(name, pretrained=False, num_classes=0)
    if path is not None:
        with torch.device("meta"):
            head = create_model(name, pretrained=False).state_dict().keys() - network.state_dict().keys()
        family = sys.modules[model_entrypoint(name.partition(".")[0]).__module__]
        load_weights(network, path, head=head, convert=getattr(family, "checkpoint_filter_fn", None))
    return network


def _timm_hub_file(name: str) -> Path:
    """The file of a timm model's weights: from the hub's cache, else downloaded to it."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsMissing(f"backbone.name={name}: timm publishes no weights for it on the hub; set {REMEDY}")
    repo = config.hf_hub_id
    names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for file_name in names:
        cached = try_to_load_from_cache(repo, file_name)
        if isinstance(cached, str):
            return Path(cached)
    url = hf_hub_url(repo, names[0])
    # No file size and no hash are known beforehand: the hub tells the hash with the file, and its client compares.
    failure = f"cannot download {url} for backbone.name={name} (SHA-256: told by the hub with the file)"
    if constants.HF_HUB_OFFLINE:
        raise WeightsMissing(f"{failure}: HF_HUB_OFFLINE is set; fetch it elsewhere and set {REMEDY}")
    # The hub's client tries again for a minute when there is no network, so one short question goes ahead of it.
    for file_name in names:
        request = urllib.request.Request(hf_hub_url(repo, file_name), method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_SECONDS).close()
            return Path(str(hf_hub_download(repo, file_name)))
        except urllib.error.HTTPError as error:
            if error.code == 404 and file_name != names[-1]:
                continue
            raise WeightsMissing(f"{failure}: {error}; fetch it elsewhere and set {REMEDY}") from error
        except OSError as error:  # no network, a time-out, and every error of the hub's client
            raise WeightsMissing(f"{failure}: {error}; fetch it elsewhere and set {REMEDY}") from error
    raise AssertionError("the last name either returns or raises")


def _measured_features(name: str, network: nn.Module, *, side: int) -> int:
    """Length of the feature vector, by running one picture: timm's ``num_features`` is not always what comes out."""
    training = network.training
    network.eval()
    with torch.no_grad():
        features: Any = network(torch.zeros(1, 3, side, side))
    network.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ConfigError(f"backbone.name: timm's {name} does not give one vector per picture; choose another model")
    return int(features.shape[1])
