"""Loss of Capsule-Forensics, on the output capsules in place of the logits."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError
from dfd.models.heads import CapsuleHead


class CapsuleCrossEntropy(nn.Module):
    """Mean over the numbers of the output capsules of the cross-entropy of the labels, on raw scores.

    The loss of the second edition (arXiv 1910.12467). The first edition's code took the softmax twice.

    Args:
        weight: factor in the sum of losses.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.heads: tuple[CapsuleHead, ...] = ()  # in a tuple, so that its weights are not this module's, too

    def setup(self, model: Any, data: Any) -> None:
        """Take the head whose output capsules are compared with the labels.

        Raises:
            ConfigError: the model has another head.
        """
        if not isinstance(model.classify, CapsuleHead):
            raise ConfigError("loss=capsule is on the output capsules of head=capsule; use it with that head")
        self.heads = (model.classify,)

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips and the numbers of the output capsules.

        Raises:
            ConfigError: there was no ``setup``, or the logits are not those of a batch in training.
        """
        outputs_BOV = self.heads[0].outputs_BOV if self.heads else None
        if outputs_BOV is None or len(outputs_BOV) != len(logits_BK):
            raise ConfigError("loss=capsule: it compares the batch that head=capsule has just seen in training")
        self.heads[0].outputs_BOV = None  # or it would keep the batch's graph
        label_BV = batch["label"][:, None].expand(-1, outputs_BOV.shape[2])
        return F.cross_entropy(outputs_BOV, label_BV)
