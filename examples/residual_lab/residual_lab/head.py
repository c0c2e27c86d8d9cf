"""Last layers of the example."""

from torch import nn

import dfd


@dfd.register("head")
def two_layers(in_features: int, *, dropout: float, width: int = 64) -> nn.Module:
    """Build a hidden layer and two logits.

    Args:
        in_features: length of the vector that comes in; dfd gives it.
        dropout: before the last layer; the model's own option, given by dfd.
        width: of the hidden layer.
    """
    return nn.Sequential(nn.Linear(in_features, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 2))
