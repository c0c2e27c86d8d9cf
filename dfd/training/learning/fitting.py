"""Training of heads that are fitted to features at once."""

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor

from dfd.base.errors import ConfigError
from dfd.models.classifier import ClipClassifier
from dfd.models.networks.fitted import FittedHead
from dfd.training.learning.classifiers import fit_head

KEY = "dfd_fitting"
"""Key in a checkpoint for the features that a fitted head was fitted to."""


class Fitting:
    """Features of the training clips so far, to which the head is fitted at the end of each epoch.

    Each epoch draws a clip of each face track, so more epochs give more clips. They are kept in checkpoints, and a run
    that was stopped goes on after its last whole epoch.
    """

    def __init__(self, head: FittedHead) -> None:
        self.head = head
        self._features: list[Tensor] = []
        self._label: list[Tensor] = []

    @classmethod
    def of(cls, model: ClipClassifier) -> "Fitting | None":
        """Fitting of a model's head; None if its head learns by steps.

        Raises:
            ConfigError: when the layers before such a head would have to learn by steps.
        """
        if not isinstance(model.classify, FittedHead):
            return None
        if any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                "a head that is fitted at once (forest, svm, lda, knn) needs features that do not learn: set "
                "backbone.freeze=true and temporal=mean, or take head=linear"
            )
        return cls(model.classify)

    def take(self, features_BD: Tensor, label_B: Tensor) -> None:
        """Keep the features of a batch."""
        self._features.append(features_BD.detach().cpu())
        self._label.append(label_B.cpu())

    def fit(self, trainer: Trainer) -> tuple[Tensor, Tensor]:
        """Fit the head to all that was taken; returns its logits ``(N, 2)`` for that, and the labels.

        Raises:
            ConfigError: when there are several processes, or the clips do not fit the head.
        """
        if trainer.world_size > 1:
            raise ConfigError("a head that is fitted at once needs all features in one process; use trainer.devices=1")
        features_ND, label_N = torch.cat(self._features), torch.cat(self._label)
        fit_head(self.head, features_ND.double().numpy(), label_N.numpy().astype(np.int64))
        self._features, self._label = [features_ND], [label_N]
        device = self.head.center.device
        return self.head(features_ND.to(device)), label_N.to(device)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"features": torch.cat(self._features), "label": torch.cat(self._label)} if self._features else {}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if state:
            self._features, self._label = [state["features"]], [state["label"]]
