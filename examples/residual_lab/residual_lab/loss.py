"""Loss of the example. Only training uses it, so that its ``_target_`` is enough and nothing is registered."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class ConfidencePenalty(nn.Module):
    """Minus the entropy of the probabilities (Pereyra and others, 2017): against needless confidence.

    Args:
        weight: factor in the sum of losses.
    """

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips."""
        log_prob_BK = logits_BK.log_softmax(dim=1)
        return (log_prob_BK.exp() * log_prob_BK).sum(dim=1).mean()
