"""Losses between domains of fakes, and the domains of a batch: parts of :mod:`dfd.training.learning.stepping.meta`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.data.splits.domains import By, Domains


class HardPairs(nn.Module):
    """Hard-pair attention of MFR: only pairs that are told wrongly count.

    On unit features, half the mean squared distance of pairs of one label with a cosine below ``positive_threshold``,
    less that of pairs of two labels with a cosine above ``negative_threshold``.

    Args:
        weight: factor in the sum of losses.
        positive_threshold: pairs of one label that are more alike than this are left alone.
        negative_threshold: pairs of two labels that are less alike than this are left alone.
    """

    def __init__(
        self, *, weight: float = 1.0, positive_threshold: float = 0.3, negative_threshold: float = 0.0
    ) -> None:
        super().__init__()
        for name, value in {"positive": positive_threshold, "negative": negative_threshold}.items():
            if not -1 <= value <= 1:
                raise ConfigError(f"loss: {name}_threshold must be a cosine in -1..1, got {value}")
        self.weight = weight
        self.positive_threshold, self.negative_threshold = positive_threshold, negative_threshold

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Compute the loss; pairs of neither kind make it 0."""
        unit_BD = F.normalize(features_BD.float(), dim=1)
        label_B = batch["label"]
        first_P, second_P = torch.triu_indices(len(unit_BD), len(unit_BD), offset=1, device=unit_BD.device)
        square_P = (unit_BD[first_P] - unit_BD[second_P]).square().sum(dim=1)
        cosine_P = 1 - square_P.detach() / 2
        is_same_P = label_B[first_P] == label_B[second_P]
        is_positive_P = is_same_P & (cosine_P < self.positive_threshold)
        is_negative_P = ~is_same_P & (cosine_P > self.negative_threshold)
        pull = (square_P * is_positive_P).sum() / is_positive_P.sum().clamp(min=1)
        push = (square_P * is_negative_P).sum() / is_negative_P.sum().clamp(min=1)
        loss: Tensor = (pull - push) / 2
        return loss


class AverageCenters(nn.Module):
    """Average-centre alignment: the centre of a domain's real and of its fake features, each near those of the others.

    On unit features, the mean squared distance of the domains' centres of a label from the mean of these centres. In
    batches of pairs, a fake and then a real clip, a pair is of its fake's domain; else real clips are a domain of their
    own, in which nothing is to be aligned.

    Args:
        weight: factor in the sum of losses.
        domains: ``method`` or ``dataset``.
    """

    def __init__(self, *, weight: float = 0.1, domains: By = "method") -> None:
        super().__init__()
        self.weight = weight
        self.domains = Domains(by=domains).by

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Compute the loss; 0 if there is one domain only."""
        unit_BD = F.normalize(features_BD.float(), dim=1)
        labels = batch["label"].tolist()
        names = domains_of(batch, self.domains) if is_of_pairs(labels) else [str(one) for one in batch[self.domains]]
        losses = []
        for label in sorted(set(labels)):
            rows_of: dict[str, list[int]] = {}
            for row, (name, its) in enumerate(zip(names, labels, strict=True)):
                if its == label:
                    rows_of.setdefault(name, []).append(row)
            centers_MD = torch.stack([unit_BD[rows].mean(dim=0) for rows in rows_of.values()])
            losses.append((centers_MD - centers_MD.mean(dim=0)).square().sum(dim=1).mean())
        return torch.stack(losses).mean()


def is_of_pairs(labels: Sequence[int]) -> bool:
    """Whether labels are those of pairs, a fake and then a real clip.

    >>> is_of_pairs([1, 0, 1, 0]), is_of_pairs([0, 1]), is_of_pairs([1])
    (True, False, False)
    """
    return len(labels) % 2 == 0 and all(
        label == (Label.FAKE, Label.REAL)[place % 2] for place, label in enumerate(labels)
    )


def domains_of(batch: Mapping[str, Any], by: By) -> list[str]:
    """Domain of each clip of a batch of pairs: that of the pair's fake.

    Raises:
        ConfigError: the batch is not of pairs.
    """
    labels = batch["label"].tolist()
    if not labels or not is_of_pairs(labels):
        raise ConfigError(
            "strategy=meta needs batches of pairs, a fake and then a real clip, as data=clips draws them for it; use "
            "data=clips, whose store names the methods of its fakes"
        )
    return [str(batch[by][row - row % 2]) for row in range(len(labels))]


def part_of(batch: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Some clips of a batch."""
    return {
        name: value[list(rows)] if isinstance(value, Tensor) else [value[row] for row in rows]
        for name, value in batch.items()
    }
