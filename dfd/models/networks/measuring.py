"""Measures what a network gives, by its shapes alone."""

from typing import Any

import torch
from torch import Tensor, nn

from dfd.base.errors import ConfigError


def measured_features(name: str, network: nn.Module, *, side: int) -> int:
    """Length of the feature vector, measured on one picture, since timm's ``num_features`` is not always right.

    The picture and the weights have shapes without values (device ``meta``): a large network would take seconds.

    Raises:
        ConfigError: when the network does not give one vector per picture.
    """
    training = network.training
    network.eval()
    hollow = {key: value.to("meta") for key, value in (*network.named_parameters(), *network.named_buffers())}
    with torch.no_grad(), torch.device("meta"):
        features: Any = torch.func.functional_call(network, hollow, (torch.zeros(1, 3, side, side),))
    network.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ConfigError(f"backbone.name: timm's {name} does not give one vector per picture; choose another model")
    return int(features.shape[1])
