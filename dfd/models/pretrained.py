"""Initial weights of backbones: from a file, from torchvision, or from the hub used by timm."""

import difflib
import logging
import sys
import urllib.request
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.base.fetch import WeightsFile, fetch
from dfd.models.tensor_files import is_state_dict, load_exactly, read_tensor_file

logger = logging.getLogger(__name__)

REMEDY = "backbone.weights=FILE (or start from random weights with backbone.pretrained=false)"


# torchvision's file names contain the first eight digits of the SHA-256.
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


VGG19_WEIGHTS = WeightsFile(
    name="vgg19-dcbb9e9d.pth",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9d",
    size_bytes=None,
    licence="BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research",
)


# An unresolvable name fails at once; a network that drops packets costs this time for each address of the hub.
_HUB_TIMEOUT_SECONDS = 3.0


def load_weights(
    network: nn.Module,
    path: Path,
    *,
    head: Collection[str],
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None,
) -> None:
    """Load a state dict (torch or safetensors) into a network without a classifier.

    Every tensor of the network must be in the file and fit; the file may hold those named by ``head`` in addition.
    ``convert`` is tried if the file uses other names.

    Raises:
        WeightsMissing: when the file is no state dict or does not fit; the message lists missing and unexpected names.
    """
    try:
        content, _ = read_tensor_file(path)
        if isinstance(content, dict) and not is_state_dict(content):
            content = content.get("state_dict", content.get("model", content))
        if not is_state_dict(content):
            raise ValueError("holds no state dict (names and tensors)")
        content = _without_prefix(content, network, path)
        try:
            load_exactly(network, content, ignore=head)
        except ValueError as misfit:
            if convert is None:
                raise
            try:
                converted = convert(dict(content), network)
            except (KeyError, RuntimeError, AttributeError, IndexError):  # the file belongs to another network
                raise misfit from None
            load_exactly(network, converted, ignore=head)
    except ValueError as error:
        raise WeightsMissing(
            f"{path}: does not fit this backbone: {error}; give the file that belongs to it with {REMEDY}"
        ) from error


def _without_prefix(content: Mapping[str, Tensor], network: nn.Module, path: Path) -> Mapping[str, Tensor]:
    """Tensors of the network within a larger file, such as a detector's or that of a network in a wrapper.

    The shortest prefix of names below which all of the network's tensors are; ``content`` if there is none.
    """
    names = list(network.state_dict())
    endings = (key[: -len(names[0])] for key in content if key == names[0] or key.endswith(f".{names[0]}"))
    for prefix in sorted(endings, key=len):
        if prefix and all(f"{prefix}{name}" in content for name in names):
            inside = {name.removeprefix(prefix): content[name] for name in content if name.startswith(prefix)}
            others = len(content) - len(inside)
            logger.info(
                "%s: its %d tensors %s* fit the backbone; %d others are left out", path, len(inside), prefix, others
            )
            return inside
        if not prefix:
            break
    return content


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


def _timm_network(name: str, path: Path | None, **options: Any) -> nn.Module:
    """Timm's network without a classifier, with the weights in ``path``.

    Raises:
        ConfigError: when the network takes no such option, or not this value.
        WeightsMissing: when the file does not fit.
    """
    from timm import create_model
    from timm.models import model_entrypoint

    try:
        network: nn.Module = create_model(name, pretrained=False, num_classes=0, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
        if not options:
            raise
        given = ", ".join(f"backbone.{key}={value}" for key, value in options.items())
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"timm's {name} cannot be built with {given}: {said[0][:200]}") from error
    if path is not None:
        with torch.device("meta"):
            head = create_model(name, pretrained=False, **options).state_dict().keys() - network.state_dict().keys()
        family = sys.modules[model_entrypoint(name.partition(".")[0]).__module__]
        load_weights(network, path, head=head, convert=getattr(family, "checkpoint_filter_fn", None))
    return network


def _timm_hub_file(name: str) -> Path:
    """File with a timm model's weights, from the hub's cache or downloaded to it."""
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
    # Neither size nor hash is known in advance: the hub sends the hash with the file, and its client compares.
    failure = f"cannot download {url} for backbone.name={name} (SHA-256: told by the hub with the file)"
    if constants.HF_HUB_OFFLINE:
        raise WeightsMissing(f"{failure}: HF_HUB_OFFLINE is set; fetch it elsewhere and set {REMEDY}")
    # Without a network, the hub's client retries for a minute; a short request first avoids that.
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
