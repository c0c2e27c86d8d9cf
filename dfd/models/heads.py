"""Last layers of a detector: map one vector per clip, ``(B, num_features)``, to two logits in label order.

The name of a head's function is its option name. ``in_features`` comes from the layer before and ``dropout`` from the
model's own option, never from a head's config.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.types import Label
from dfd.models.networks.fitted import ForestHead, LdaHead, NeighboursHead, SvmHead

Outputs = Literal[1, 2]
Before = Literal["leaky_relu", "unit_norm", "nothing"]
Trees = Annotated[int, (1, 1000)]
Leaves = Annotated[int, (2, 1024)]
Vectors = Annotated[int, (1, 65536)]
Cost = Annotated[float, (1e-6, 1e6)]
Shrinkage = Annotated[float, (0, 1)]
Conditions = Annotated[int, (0, 4096)]

MAP_CHANNELS = 256
NUM_PRIMARY = 3
MAX_PRIMARY = 256
PRIMARY_WIDTH = 8
OUTPUT_WIDTH = 4
NUM_ROUTINGS = 2
ROUTING_NOISE = 0.01
"""Standard deviation of what training adds to the routing weights."""


class LinearHead(nn.Linear):
    """Linear layer with dropout before it, after an activation, a division by the features' length, or nothing.

    With one output ``z``, the logits are ``(0, z)``, so that their softmax for FAKE equals the sigmoid of ``z``.
    """

    def __init__(self, in_features: int, *, before: Before, dropout: float, outputs: Outputs) -> None:
        if outputs not in (1, len(Label)):
            raise ValueError(f"outputs must be 1 or {len(Label)}, got {outputs!r}")
        super().__init__(in_features, outputs)
        self.before = before
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Compute logits ``(B, 2)``."""
        if self.before == "leaky_relu":
            features_BD = F.leaky_relu(features_BD)
        elif self.before == "unit_norm":
            features_BD = F.normalize(features_BD, dim=1)
        logits_BK = super().forward(self.dropout(features_BD))
        return F.pad(logits_BK, (1, 0)) if self.out_features == 1 else logits_BK


class HiddenHead(LinearHead):
    """A hidden layer with ReLU before the linear layer, and dropout before both."""

    def __init__(self, in_features: int, *, dropout: float, hidden_features: int, outputs: Outputs) -> None:
        if hidden_features < 1:
            raise ValueError(f"head.hidden_features must be 1 or more, got {hidden_features}")
        super().__init__(hidden_features, before="nothing", dropout=dropout, outputs=outputs)
        self.hidden = nn.Linear(in_features, hidden_features)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Compute logits ``(B, 2)``."""
        return super().forward(F.relu(self.hidden(self.dropout(features_BD))))


class CapsuleHead(nn.Module):
    """Head of Capsule-Forensics (Nguyen, Yamagishi and Echizen 2019, arXiv 1810.11215 and 1910.12467).

    Takes a square feature map of 256 channels, handed over flat. Each primary capsule reduces it to 8 numbers; routing
    by agreement makes two output capsules of 4 numbers. A class's probability is the mean over the 4 numbers of the
    softmax over the classes; the logits are the logarithms of the probabilities. ``dropout`` acts on the primary
    capsules' votes, as in the second edition.

    Attributes:
        outputs_BOV: output capsules ``(B, 2, 4)`` of the last batch in training mode, for the loss
            (:class:`dfd.training.learning.losses.CapsuleCrossEntropy`); None before the first.
    """

    def __init__(
        self, in_features: int, *, dropout: float, num_capsules: int = NUM_PRIMARY, noise: float = ROUTING_NOISE
    ) -> None:
        super().__init__()
        if not 1 <= num_capsules <= MAX_PRIMARY:
            raise ValueError(f"head.num_capsules must be in 1..{MAX_PRIMARY}, got {num_capsules}")
        if not 0 <= noise <= 1:
            raise ValueError(f"head.noise must be in 0..1, got {noise}")
        self.side = round((in_features / MAP_CHANNELS) ** 0.5)
        if self.side < 1 or self.side**2 * MAP_CHANNELS != in_features:
            raise ValueError(
                f"head=capsule needs a square feature map of {MAP_CHANNELS} channels, as backbone=vgg19_pool3 with "
                f"temporal=mean gives, got {in_features} features"
            )
        self.capsules = nn.ModuleList(PrimaryCapsule() for _ in range(num_capsules))
        self.noise = noise
        self.outputs_BOV: Tensor | None = None
        self.route_OIVP = nn.Parameter(torch.empty(len(Label), num_capsules, OUTPUT_WIDTH, PRIMARY_WIDTH))
        nn.init.normal_(self.route_OIVP)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Compute logits ``(B, 2)``."""
        map_BCHW = torch.unflatten(features_BD, 1, (MAP_CHANNELS, self.side, self.side))
        # The squash is over the capsules and not over the eight numbers of each, as published.
        primary_BIP = squashed(torch.stack([capsule(map_BCHW) for capsule in self.capsules], dim=1), dim=1)
        route_OIVP: Tensor = self.route_OIVP
        if self.training and self.noise:
            route_OIVP = route_OIVP + self.noise * torch.randn_like(route_OIVP)
        votes_BOIV = self.dropout(torch.einsum("oivp,bip->boiv", route_OIVP, primary_BIP))
        outputs_BOV = self.routed(votes_BOIV)
        if self.training:
            self.outputs_BOV = outputs_BOV
        probs_BO = outputs_BOV.softmax(dim=1).mean(dim=2)
        return probs_BO.log()

    @staticmethod
    def routed(votes_BOIV: Tensor) -> Tensor:
        """Compute the output capsules ``(B, 2, 4)``: each number of each vote has a routing logit of its own."""
        agreement_BOIV = torch.zeros_like(votes_BOIV)
        outputs_BOV = votes_BOIV.new_zeros(0)
        for iteration in range(NUM_ROUTINGS):
            outputs_BOV = squashed((agreement_BOIV.softmax(dim=2) * votes_BOIV).sum(dim=2), dim=2)
            if iteration < NUM_ROUTINGS - 1:
                agreement_BOIV = agreement_BOIV + votes_BOIV * outputs_BOV[:, :, None]
        return outputs_BOV


class PrimaryCapsule(nn.Module):
    """Maps a feature map ``(B, 256, H, W)`` to ``(B, 8)``: convolutions, statistics over the places, convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *(nn.Conv2d(MAP_CHANNELS, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.Conv2d(64, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        )
        self.statistics = nn.Sequential(
            *(nn.Conv1d(2, 8, 5, stride=2, padding=2), nn.BatchNorm1d(8)),
            *(nn.Conv1d(8, 1, 3, padding=1), nn.BatchNorm1d(1)),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv1d):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                nn.init.normal_(module.weight, mean=1.0, std=0.02)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """Compute the capsule's 8 numbers."""
        places_BCN = self.maps(map_BCHW).flatten(2)
        mean_BC = places_BCN.mean(dim=2)
        squares_BC = (places_BCN - mean_BC[:, :, None]).square().sum(dim=2)
        # The unbiased deviation; its gradient at 0, which a constant map has, is kept finite.
        deviation_BC = (squares_BC / max(places_BCN.shape[2] - 1, 1)).clamp(min=SMALLEST_VARIANCE).sqrt()
        numbers_B1P: Tensor = self.statistics(torch.stack([mean_BC, deviation_BC], dim=1))
        return numbers_B1P.flatten(1)


SMALLEST_VARIANCE = 1e-20


def squashed(vectors: Tensor, *, dim: int) -> Tensor:
    """Shorten vectors along ``dim`` to lengths below 1 (Sabour, Frosst and Hinton 2017, equation 1).

    >>> round(squashed(torch.tensor([[3.0, 4.0]]), dim=1).norm().item() * 26, 3)
    25.0
    """
    squares = vectors.square().sum(dim=dim, keepdim=True)
    return vectors * squares / ((1 + squares) * squares.clamp(min=SMALLEST_VARIANCE).sqrt())


def standard(in_features: int, *, dropout: float, outputs: Outputs = 2) -> nn.Module:
    """Build LeakyReLU, dropout and a linear layer: the head of the original system."""
    return LinearHead(in_features, before="leaky_relu", dropout=dropout, outputs=outputs)


def linear(in_features: int, *, dropout: float, outputs: Outputs = 2) -> nn.Module:
    """Build dropout and a linear layer, without an activation before them."""
    return LinearHead(in_features, before="nothing", dropout=dropout, outputs=outputs)


def linear_norm(in_features: int, *, dropout: float, outputs: Outputs = 2) -> nn.Module:
    """Build a linear layer on features divided by their L2 norm: logits are scaled cosines plus a bias.

    The head of GenD (Yermakov and others, WACV 2026, arXiv 2508.06248).
    """
    return LinearHead(in_features, before="unit_norm", dropout=dropout, outputs=outputs)


def hidden(in_features: int, *, dropout: float, hidden_features: int = 512, outputs: Outputs = 2) -> nn.Module:
    """Build a hidden layer with ReLU and a linear layer, with dropout before each: the head of Güera and Delp 2018.

    Raises:
        ValueError: when ``hidden_features`` is not positive.
    """
    return HiddenHead(in_features, dropout=dropout, hidden_features=hidden_features, outputs=outputs)


def capsule(
    in_features: int, *, dropout: float, num_capsules: int = NUM_PRIMARY, noise: float = ROUTING_NOISE
) -> nn.Module:
    """Build the head of Capsule-Forensics, for ``backbone=vgg19_pool3`` and clips of one frame.

    Args:
        in_features: length of the flat feature map.
        dropout: of the primary capsules' votes: 0 in the first edition, 0.05 in the second.
        num_capsules: primary capsules: 3 in the first edition, 10 in the second.
        noise: standard deviation of what is added to the routing weights in training.

    Raises:
        ValueError: when the features are no square map of 256 channels, or an option is out of range.
    """
    return CapsuleHead(in_features, dropout=dropout, num_capsules=num_capsules, noise=noise)


def forest(
    in_features: int, *, dropout: float, num_trees: Trees = 100, max_leaves: Leaves = 64, seed: int = 0
) -> nn.Module:
    """Build a random forest, fitted to the features of the training clips at once; ``dropout`` has no meaning for it.

    Args:
        in_features: length of the features.
        dropout: ignored.
        num_trees: trees.
        max_leaves: leaves of a tree at most.
        seed: of the draws of clips and features.
    """
    return ForestHead(in_features, num_trees=num_trees, max_leaves=max_leaves, seed=seed)


def svm(in_features: int, *, dropout: float, cost: Cost = 1.0, max_vectors: Vectors = 2048) -> nn.Module:
    """Build a support vector machine with a radial kernel, fitted at once; other arguments as for :func:`forest`.

    Args:
        in_features: length of the features.
        dropout: ignored.
        cost: C, the weight of errors.
        max_vectors: room for support vectors; at most one for each training clip.
    """
    return SvmHead(in_features, cost=cost, max_vectors=max_vectors)


def lda(in_features: int, *, dropout: float, shrinkage: Shrinkage = 0.0, num_conditions: Conditions = 0) -> nn.Module:
    """Build a linear discriminant analysis, fitted at once; ``dropout`` has no meaning for it.

    Args:
        in_features: length of the features.
        dropout: ignored.
        shrinkage: share of the identity in the covariance: 0.5 for features that are nearly as many as the clips.
        num_conditions: last features that are no evidence: what real clips with the same values of them have is
            subtracted from the others.

    Raises:
        ValueError: when the conditions leave no feature.
    """
    return LdaHead(in_features, shrinkage=shrinkage, num_conditions=num_conditions)


def knn(in_features: int, *, dropout: float, num_neighbours: Vectors = 5, max_vectors: Vectors = 2048) -> nn.Module:
    """Build the share of fakes among the nearest training clips; ``dropout`` has no meaning for it.

    Args:
        in_features: length of the features.
        dropout: ignored.
        num_neighbours: training clips that vote.
        max_vectors: room for training clips.
    """
    return NeighboursHead(in_features, num_neighbours=num_neighbours, max_vectors=max_vectors)


HEADS: dict[str, Callable[..., nn.Module]] = {
    "standard": standard,
    "linear": linear,
    "linear_norm": linear_norm,
    "hidden": hidden,
    "capsule": capsule,
    "forest": forest,
    "svm": svm,
    "lda": lda,
    "knn": knn,
}
"""Functions by option name; a config or checkpoint can call no others."""
