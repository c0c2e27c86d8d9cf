"""Training of heads that are fitted to features at once, by scikit-learn.

What it finds becomes the arrays that :mod:`dfd.models.networks.fitted` evaluates.
"""

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC
from torch import Tensor

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.models.classifier import ClipClassifier
from dfd.models.networks.fitted import FittedHead, ForestHead, LdaHead, NeighboursHead, SvmHead

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

CONDITION_RIDGE = 0.05
"""Pull towards no effect of the conditions of :class:`~dfd.models.networks.fitted.LdaHead`, per real clip."""
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

    @staticmethod
    def check(trainer: Trainer) -> None:
        """Refuse a trainer with which no head can be fitted.

        Raises:
            ConfigError: the trainer is made for several processes.
        """
        if trainer.world_size > 1 or isinstance(trainer.strategy, DDPStrategy):
            raise ConfigError(
                "a head that is fitted at once (forest, svm, lda, knn) needs all features in one process, which shares "
                "nothing: take trainer=cpu, or trainer=gpu with trainer.devices=1"
            )

    def take(self, features_BD: Tensor, label_B: Tensor) -> None:
        """Keep the features of a batch."""
        self._features.append(features_BD.detach().cpu())
        self._label.append(label_B.cpu())

    def fit(self, trainer: Trainer) -> tuple[Tensor, Tensor]:
        """Fit the head to all that was taken; returns its logits ``(N, 2)`` for that, and the labels.

        Raises:
            ConfigError: there are several processes, or the clips do not fit the head.
        """
        self.check(trainer)
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


def fit_head(head: FittedHead, features_ND: Array, label_N: Labels) -> None:
    """Fit a head's scaler and classifier; a second call forgets what the first one found.

    Raises:
        ConfigError: when a label is missing, or there are too few or too many clips for the head's options.
    """
    for label in Label:
        if not (label_N == label).any():
            raise ConfigError(f"the training clips hold no {label} one; a classifier needs real and fake videos")
    center_D, scale_D = features_ND.mean(axis=0), features_ND.std(axis=0)
    scale_D[scale_D == 0] = 1  # a constant feature tells nothing
    scaled_ND = (features_ND - center_D) / scale_D
    match head:
        case ForestHead():
            found = _forest(head, scaled_ND, label_N)
        case SvmHead():
            found = _svm(head, scaled_ND, label_N)
        case NeighboursHead():
            found = _neighbours(head, scaled_ND, label_N)
        case LdaHead():
            found = _plane(head, scaled_ND, label_N)
        case _:
            raise TypeError(f"no fit is known for {type(head).__name__}")
    head.keep({"center": center_D, "scale": scale_D, **found})


def _plane(head: LdaHead, scaled_ND: Array, label_N: Labels) -> dict[str, Any]:
    evidence_ND, conditions_NC = np.split(scaled_ND, [scaled_ND.shape[1] - head.num_conditions], axis=1)
    design_NC = np.column_stack([np.ones(len(scaled_ND)), conditions_NC])
    real_NC = design_NC[label_N == Label.REAL]
    ridge_CC = CONDITION_RIDGE * len(real_NC) * np.diag([0.0, *np.ones(head.num_conditions)])
    expected_CD = np.linalg.solve(real_NC.T @ real_NC + ridge_CC, real_NC.T @ evidence_ND[label_N == Label.REAL])
    left_ND = evidence_ND - design_NC @ expected_CD
    spread_D = left_ND.std(axis=0)
    spread_D[spread_D == 0] = 1
    # The solver without shrinkage needs no inverse.
    how = {"solver": "lsqr", "shrinkage": head.shrinkage} if head.shrinkage else {}
    plane = LinearDiscriminantAnalysis(**how).fit(left_ND / spread_D, label_N)
    direction_D = plane.coef_[0] / spread_D
    shift, *of_conditions = expected_CD @ direction_D
    return {"direction": [*direction_D, *np.negative(of_conditions)], "offset": plane.intercept_[0] - shift}


def _forest(head: ForestHead, scaled_ND: Array, label_N: Labels) -> dict[str, Any]:
    forest = RandomForestClassifier(
        head.num_trees, max_leaf_nodes=head.max_leaves, random_state=head.seed, class_weight="balanced"
    ).fit(scaled_ND, label_N)
    found = {
        name: np.zeros(tuple(head.get_buffer(name).shape)) for name in ("feature", "threshold", "following", "prob")
    }
    for number, one in enumerate(forest.estimators_):
        tree, nodes = one.tree_, np.arange(one.tree_.node_count)
        is_leaf = tree.children_left < 0
        found["feature"][number, nodes] = np.where(is_leaf, 0, tree.feature)
        found["threshold"][number, nodes] = tree.threshold
        for side, children in enumerate((tree.children_left, tree.children_right)):
            found["following"][number, nodes, side] = np.where(is_leaf, nodes, children)  # a leaf leads to itself
        counts = tree.value[:, 0]
        found["prob"][number, nodes] = counts[:, Label.FAKE] / counts.sum(axis=1)
    return found


def _svm(head: SvmHead, scaled_ND: Array, label_N: Labels) -> dict[str, Any]:
    gamma = 1 / max(scaled_ND.shape[1] * float(scaled_ND.var()), 1e-12)  # scikit-learn's gamma="scale"
    machine = SVC(C=head.cost, gamma=gamma, class_weight="balanced").fit(scaled_ND, label_N)
    return {
        "vectors": _filled(machine.support_vectors_, head.max_vectors, what="support vectors"),
        "weights": _filled(machine.dual_coef_[0], head.max_vectors, what="support vectors"),
        "offset": machine.intercept_[0],
        "gamma": gamma,
    }


def _neighbours(head: NeighboursHead, scaled_ND: Array, label_N: Labels) -> dict[str, Any]:
    if len(scaled_ND) < head.num_neighbours:
        raise ConfigError(f"head.num_neighbours={head.num_neighbours}: there are only {len(scaled_ND)} training clips")
    points = _filled(scaled_ND, head.max_vectors, what="training clips", empty=np.inf)  # infinitely far
    return {"points": points, "labels": _filled(label_N, head.max_vectors, what="training clips")}


def _filled(values: NDArray[Any], size: int, *, what: str, empty: float = 0.0) -> Array:
    """Values in an array with room for ``size`` of them."""
    if len(values) > size:
        raise ConfigError(f"head.max_vectors={size} is too small for {len(values)} {what}; set it to {len(values)}")
    filled = np.full((size, *values.shape[1:]), empty)
    filled[: len(values)] = values
    return filled
