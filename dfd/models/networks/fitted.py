"""Heads that are fitted to features at once, and not trained by steps: forest, SVM, LDA and nearest neighbours.

scikit-learn fits them in training (:mod:`dfd.training.learning.fitting`). What it found is kept as arrays of a size
that the options fix, in a detector's safetensors like a network's weights, and evaluated from these here: nothing of
scikit-learn is needed to score, and nothing is pickled.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LEAST_PROB = 1e-3
"""Probability at which shares of votes are cut off, so that their log-odds stay finite."""


class FittedHead(nn.Module, ABC):
    """Standardises features ``(B, D)`` and maps them to logits ``(B, 2)`` in label order (REAL, FAKE), in float64.

    Before it is fitted, all logits are 0.
    """

    center: Tensor
    scale: Tensor
    is_fitted: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(in_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(in_features, dtype=torch.float64))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    def keep(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what a fit found, by the names of the buffers."""
        for name, value in {**arrays, "is_fitted": np.array(True)}.items():
            buffer = self.get_buffer(name)
            buffer.copy_(torch.as_tensor(np.asarray(value, order="C")).to(buffer))

    def forward(self, features_BD: Tensor) -> Tensor:
        """Compute logits ``(B, 2)``; a clip whose features are not numbers gets logits that are none either."""
        scaled_BD = (features_BD.double() - self.center) / self.scale
        odds_B = torch.where(self.is_fitted, self._log_odds(scaled_BD), torch.zeros_like(scaled_BD[:, 0]))
        odds_B = odds_B + 0 * scaled_BD.sum(dim=1)  # nan where a feature is
        return torch.stack([torch.zeros_like(odds_B), odds_B], dim=1)

    @abstractmethod
    def _log_odds(self, scaled_BD: Tensor) -> Tensor:
        """Compute the log-odds of FAKE, ``(B,)``, of standardised features."""


class ForestHead(FittedHead):
    """Random forest: trees of at most ``max_leaves`` leaves, whose shares of FAKE are averaged."""

    feature: Tensor
    threshold: Tensor
    following: Tensor
    prob: Tensor

    def __init__(self, in_features: int, *, num_trees: int, max_leaves: int, seed: int) -> None:
        super().__init__(in_features)
        self.num_trees, self.max_leaves, self.seed = num_trees, max_leaves, seed
        shape = num_trees, 2 * max_leaves - 1
        self.register_buffer("feature", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("following", torch.zeros((*shape, 2), dtype=torch.int32))
        self.register_buffer("prob", torch.zeros(shape, dtype=torch.float64))

    def _log_odds(self, scaled_BD: Tensor) -> Tensor:
        values_BD = scaled_BD.float().double()  # scikit-learn compares 32 bits with thresholds of 64
        trees_K = torch.arange(self.num_trees, device=scaled_BD.device)[None]
        node_BK = torch.zeros(len(scaled_BD), self.num_trees, dtype=torch.long, device=scaled_BD.device)
        # A stranger's file may name features and nodes that do not exist.
        feature_KN = self.feature.long().clamp(0, values_BD.shape[1] - 1)
        children_KN2 = self.following.long().clamp(0, self.following.shape[1] - 1)
        for _ in range(self.max_leaves):  # a tree of as many leaves is no deeper
            is_right_BK = values_BD.gather(1, feature_KN[trees_K, node_BK]) > self.threshold[trees_K, node_BK]
            following_BK = children_KN2[trees_K, node_BK, is_right_BK.long()]
            if torch.equal(following_BK, node_BK):
                break
            node_BK = following_BK
        return torch.logit(self.prob[trees_K, node_BK].mean(dim=1), eps=LEAST_PROB)


class SvmHead(FittedHead):
    """Support vector machine with a radial kernel; its decision value is the log-odds."""

    vectors: Tensor
    weights: Tensor
    offset: Tensor
    gamma: Tensor

    def __init__(self, in_features: int, *, cost: float, max_vectors: int) -> None:
        super().__init__(in_features)
        self.cost, self.max_vectors = cost, max_vectors
        self.register_buffer("vectors", torch.zeros(max_vectors, in_features, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(max_vectors, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros((), dtype=torch.float64))
        self.register_buffer("gamma", torch.zeros((), dtype=torch.float64))

    def _log_odds(self, scaled_BD: Tensor) -> Tensor:
        squares_BV = _squared_distances(scaled_BD, self.vectors)
        odds_B: Tensor = (-self.gamma * squares_BV).exp() @ self.weights + self.offset
        return odds_B


class LdaHead(FittedHead):
    """Linear discriminant analysis: one plane.

    The last ``num_conditions`` features are no evidence: what real clips with the same values of them have is
    subtracted from the others, which leaves a plane over all of them.
    """

    direction: Tensor
    offset: Tensor

    def __init__(self, in_features: int, *, shrinkage: float, num_conditions: int) -> None:
        super().__init__(in_features)
        if num_conditions >= in_features:
            raise ValueError(
                f"head.num_conditions={num_conditions} leaves none of {in_features} features to learn from; take fewer"
            )
        self.shrinkage, self.num_conditions = shrinkage, num_conditions
        self.register_buffer("direction", torch.zeros(in_features, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros((), dtype=torch.float64))

    def _log_odds(self, scaled_BD: Tensor) -> Tensor:
        odds_B: Tensor = scaled_BD @ self.direction + self.offset
        return odds_B


class NeighboursHead(FittedHead):
    """Share of fakes among the nearest training clips."""

    points: Tensor
    labels: Tensor

    def __init__(self, in_features: int, *, num_neighbours: int, max_vectors: int) -> None:
        super().__init__(in_features)
        if num_neighbours > max_vectors:
            raise ValueError(f"head.num_neighbours={num_neighbours} is more than head.max_vectors={max_vectors}")
        self.num_neighbours, self.max_vectors = num_neighbours, max_vectors
        self.register_buffer("points", torch.full((max_vectors, in_features), torch.inf, dtype=torch.float64))
        self.register_buffer("labels", torch.zeros(max_vectors, dtype=torch.int32))

    def _log_odds(self, scaled_BD: Tensor) -> Tensor:
        nearest_BN = _squared_distances(scaled_BD, self.points).topk(self.num_neighbours, largest=False).indices
        return torch.logit(self.labels[nearest_BN].double().mean(dim=1), eps=LEAST_PROB)


def _squared_distances(one_BD: Tensor, other_VD: Tensor) -> Tensor:
    """Squared distances ``(B, V)``, without the cancellation of the faster formula."""
    return torch.stack([(other_VD - point_D).square().sum(dim=1) for point_D in one_BD])
