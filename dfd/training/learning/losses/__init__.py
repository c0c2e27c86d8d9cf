"""Losses of a training. A run minimises the sum of one or more, each times its ``weight``.

A loss is a module, or any function, of logits ``(B, 2)``, features ``(B, D)`` (what the last layers get, after the
temporal head) and the batch, :class:`dfd.models.networks.batch.ClipBatch`; it returns one number. A module may have

- ``weight``: a factor of the sum; 1 without it;
- ``setup(model, data)``: called once before training, with the classifier and the data module;
- parameters, which are trained and kept in checkpoints, but not in the detector.

Losses between clips see the batch of one process. Those on features divide these by their length first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.models.heads import CapsuleHead

LossFunction = Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor]


class CrossEntropy(nn.Module):
    """Cross-entropy of the labels.

    Args:
        weight: factor in the sum of losses.
        label_smoothing: how far the targets are moved from 0 and 1.
        class_weights: weights of REAL and FAKE, or ``balanced`` for those of the training set.

    Raises:
        ConfigError: an option is out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        weight: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in 0..1, got {label_smoothing}")
        self.weight = weight
        self.label_smoothing = label_smoothing
        self.is_balanced = class_weights == "balanced"
        self.register_buffer("class_weights", None, persistent=False)
        if class_weights is not None and not self.is_balanced:
            self.weigh(class_weights)

    def weigh(self, class_weights: Sequence[float] | str) -> None:
        """Set the weights of REAL and FAKE.

        Raises:
            ConfigError: they are not two positive numbers.
        """
        if isinstance(class_weights, str) or len(class_weights) != len(Label) or min(class_weights) <= 0:
            raise ConfigError(
                f"class_weights must be two positive numbers (real, fake) or balanced, got {class_weights}"
            )
        self.class_weights = torch.tensor(list(class_weights), dtype=torch.float32)

    def setup(self, model: Any, data: Any) -> None:
        """Take the weights of the training set if they were asked for."""
        if self.is_balanced:
            self.weigh(data.class_weights())

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips, weighted by their class."""
        options: dict[str, Any] = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        return F.cross_entropy(logits_BK, batch["label"], **options)


class Focal(CrossEntropy):
    """Focal loss (Lin and others, ICCV 2017): clips that are told well already count less.

    Args:
        gamma: exponent: a clip's cross-entropy is multiplied by ``(1 - p) ** gamma``, where p is the probability of
            its label.
        weight: factor in the sum of losses.
        label_smoothing: how far the targets are moved from 0 and 1.
        class_weights: weights of REAL and FAKE, or ``balanced`` for those of the training set.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        weight: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__(weight=weight, label_smoothing=label_smoothing, class_weights=class_weights)
        if gamma < 0:
            raise ConfigError(f"loss: gamma must be 0 or more, got {gamma}")
        self.gamma = gamma

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips, weighted by their class."""
        label_B = batch["label"]
        options: dict[str, Any] = {"weight": self.class_weights, "label_smoothing": self.label_smoothing}
        prob_B = logits_BK.softmax(dim=1).gather(1, label_B[:, None])[:, 0]
        loss_B = (1 - prob_B) ** self.gamma * F.cross_entropy(logits_BK, label_B, **options, reduction="none")
        total = len(label_B) if self.class_weights is None else self.class_weights[label_B].sum()
        return loss_B.sum() / total


class SupervisedContrastive(nn.Module):
    """Pull features of one label together, and push all others away (Khosla and others, NeurIPS 2020, equation 2).

    Args:
        weight: factor in the sum of losses.
        temperature: divides the cosines.
    """

    def __init__(self, *, weight: float = 0.5, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"loss: temperature must be above 0, got {temperature}")
        self.weight = weight
        self.temperature = temperature

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips that share their label with another of the batch; 0 if none does."""
        unit_BD = F.normalize(features_BD.float(), dim=1)
        is_self_BB = torch.eye(len(unit_BD), dtype=torch.bool, device=unit_BD.device)
        similarity_BB = (unit_BD @ unit_BD.T / self.temperature).masked_fill(is_self_BB, -torch.inf)
        log_prob_BB = similarity_BB.log_softmax(dim=1).masked_fill(is_self_BB, 0)
        is_positive_BB = _same_label(batch["label"]) & ~is_self_BB
        num_positives_B = is_positive_BB.sum(dim=1)
        mean_B = (log_prob_BB * is_positive_BB).sum(dim=1) / num_positives_B.clamp(min=1)
        has_positive_B = num_positives_B > 0
        loss: Tensor = -(mean_B * has_positive_B).sum() / has_positive_B.sum().clamp(min=1)
        return loss


class Alignment(nn.Module):
    """Mean squared distance of features of one label (Wang and Isola, ICML 2020), as in GenD's recipe.

    Args:
        weight: factor in the sum of losses.
    """

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the pairs of one label; 0 if there is none."""
        square_P, first_P, second_P = _pairs(features_BD)
        label_B = batch["label"]
        is_same_P = label_B[first_P] == label_B[second_P]
        loss: Tensor = (square_P * is_same_P).sum() / is_same_P.sum().clamp(min=1)
        return loss


class Uniformity(nn.Module):
    """Spread of features over the sphere (Wang and Isola, ICML 2020), as in GenD's recipe.

    Args:
        weight: factor in the sum of losses.
        sharpness: factor of the squared distance, t in the paper.
    """

    def __init__(self, *, weight: float = 0.5, sharpness: float = 2.0) -> None:
        super().__init__()
        self.weight = weight
        self.sharpness = sharpness

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Logarithm of the mean potential of all pairs; 0 for a single clip."""
        square_P = _pairs(features_BD)[0]
        if not len(square_P):
            return features_BD.sum() * 0
        loss: Tensor = (-self.sharpness * square_P).exp().mean().log()
        return loss


class MethodHead(nn.Module):
    """Cross-entropy of the method by which a fake was made, from a linear layer that only training has.

    Args:
        weight: factor in the sum of losses.
    """

    def __init__(self, *, weight: float = 0.3) -> None:
        super().__init__()
        self.weight = weight
        self.number: dict[str, int] = {}
        self.classify: nn.Linear | None = None

    def setup(self, model: Any, data: Any) -> None:
        """Make the layer for the methods of the training set; real videos are a class of their own.

        Raises:
            ConfigError: the training set has one method only.
        """
        videos = data.used_videos()
        train = videos[videos["split"] == "train"]
        methods = sorted(set(train["method"]) - {""})
        if len(methods) < 2:
            raise ConfigError(
                f"loss: the method head tells methods of fakes apart, and the training set has {len(methods)} "
                f"({', '.join(methods) or 'none'}); leave it out"
            )
        self.number = {name: place for place, name in enumerate(["", *methods])}
        self.classify = nn.Linear(model.temporal.num_features, len(self.number))

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips."""
        assert self.classify is not None, "setup(model, data) comes before the first batch"
        method_B = torch.tensor([self.number[name] for name in batch["method"]], device=features_BD.device)
        return F.cross_entropy(self.classify(features_BD), method_B)


class CapsuleCrossEntropy(nn.Module):
    """Mean over the numbers of the output capsules of the labels' cross-entropy on raw scores (arXiv 1910.12467).

    Args:
        weight: factor in the sum of losses.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.heads: tuple[CapsuleHead, ...] = ()  # in a tuple, so that its weights are not this module's, too

    def setup(self, model: Any, data: Any) -> None:
        """Take the head whose output capsules are compared with the labels; a ConfigError if it is another head."""
        if not isinstance(model.classify, CapsuleHead):
            raise ConfigError("loss=capsule is on the output capsules of head=capsule; use it with that head")
        self.heads = (model.classify,)

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean over the clips and the numbers, of the output capsules of the batch just seen in training."""
        outputs_BOV = self.heads[0].outputs_BOV if self.heads else None
        if outputs_BOV is None or len(outputs_BOV) != len(logits_BK):
            raise ConfigError("loss=capsule: it compares the batch that head=capsule has just seen in training")
        self.heads[0].outputs_BOV = None  # or it would keep the batch's graph
        return F.cross_entropy(outputs_BOV, batch["label"][:, None].expand(-1, outputs_BOV.shape[2]))


class _Called(nn.Module):
    """A loss that is a plain function."""

    def __init__(self, function: LossFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return self.function(logits_BK, features_BD, batch)


class LossSum(nn.ModuleDict):
    """The losses of a run by their names.

    Raises:
        ConfigError: there is none, or one cannot be called.
    """

    def __init__(self, losses: Mapping[str, nn.Module | LossFunction]) -> None:
        if not losses or not all(callable(loss) for loss in losses.values()):
            raise ConfigError(f"loss: give at least one loss, each a module or a function, got {list(losses)}")
        super().__init__(
            {name: loss if isinstance(loss, nn.Module) else _Called(loss) for name, loss in losses.items()}
        )

    def setup(self, model: Any, data: Any) -> None:
        """Prepare those losses that have a ``setup``."""
        for loss in self.values():
            if callable(setup := getattr(loss, "setup", None)):
                setup(model, data)

    def compute(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Each loss times its weight; a run minimises their sum."""
        return {name: getattr(loss, "weight", 1.0) * loss(logits_BK, features_BD, batch) for name, loss in self.items()}


def _same_label(label_B: Tensor) -> Tensor:
    return label_B[:, None] == label_B[None, :]


def _pairs(features_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance of each pair of unit features, and the places of the two."""
    unit_BD = F.normalize(features_BD.float(), dim=1)
    first_P, second_P = torch.triu_indices(len(unit_BD), len(unit_BD), offset=1, device=unit_BD.device)
    return (unit_BD[first_P] - unit_BD[second_P]).square().sum(dim=1), first_P, second_P
