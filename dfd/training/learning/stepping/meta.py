"""Meta-learning over domains of fakes: Meta Deepfake Detection (Tran and others 2023) by its parents MFR and LTW.

Each step has clips of several domains, one of them held out. With the rate a of an inner step and the loss L,

    inner step:  W' = W - a * grad L_train(W)
    gradient:    gamma * grad L_train(W) + (1 - gamma) * grad L_held_out(W')

takes the place of the plain gradient: the optimizer, its schedule, clipping, accumulation and averages of weights are
as always. It is of first order: the gradient at W' is applied to W as it is. Sources: MFR (Guo and others, CVPR 2020,
arXiv 2003.07733), LTW (Sun and others, AAAI 2021); docs/systems.md says what is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.domains import By, Domains
from dfd.models.classifier import ClipClassifier, pooled_of
from dfd.training.learning.losses.domains import domains_of, part_of


class WeightNet(nn.Module):
    """Weight of each clip in 0..1, from its features ``(B, D)``: LTW's network on a map of one pixel.

    LTW's depthwise-separable convolutions, C to C/2 to C/4, are linear layers there. Then dropout, one number, batch
    normalisation and a sigmoid.
    """

    def __init__(self, num_features: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        half, quarter = max(1, num_features // 2), max(1, num_features // 4)
        self.layers = nn.Sequential(
            *(nn.Linear(num_features, half), nn.ReLU(), nn.Linear(half, quarter), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(quarter, 1), nn.BatchNorm1d(1), nn.Sigmoid()),
        )

    def forward(self, features_BD: Tensor) -> Tensor:
        """Compute weights ``(B,)``."""
        weight_B: Tensor = self.layers(features_BD)[:, 0]
        return weight_B


class Meta(nn.Module):
    """Strategy of a training: first-order meta-learning with one domain held out of each step.

    Args:
        domains: what makes a domain of fakes: ``method`` or ``dataset``.
        num_domains: domains in a batch, the held-out one among them.
        gamma: share of the gradient that is the plain one of the other domains.
        inner_rate: rate of the inner step; None: the optimizer's current rate.
        weigh: let a network weigh the clips of the other domains (LTW).

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        *,
        domains: By = "method",
        num_domains: int = 4,
        gamma: float = 0.5,
        inner_rate: float | None = None,
        weigh: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= gamma <= 1:
            raise ConfigError(f"strategy: gamma must be in 0..1, got {gamma}")
        if inner_rate is not None and not inner_rate > 0:
            raise ConfigError(f"strategy: inner_rate must be above 0, got {inner_rate}")
        self.domains = Domains(by=domains, num_domains=num_domains)
        self.gamma, self.inner_rate, self.weigh = gamma, inner_rate, weigh
        self.weight_net: WeightNet | None = None

    def setup(self, model: Any, data: ClipDataModule) -> None:
        """Make the data module draw batches with one domain held out, and make the network of weights."""
        data.domains = self.domains
        if self.weigh:
            self.weight_net = WeightNet(model.temporal.num_features)

    def facts(self) -> dict[str, Any]:
        """Options that decide what is learned."""
        return {**asdict(self.domains), "gamma": self.gamma, "inner_rate": self.inner_rate, "weigh": self.weigh}

    def learn(self, module: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Loss of a batch, whose backward pass gives the meta-learning gradients, and logits ``(B, 2)``.

        Args:
            module: a :class:`~dfd.training.module.DetectorModule`.
            batch: pairs of a fake and a real clip, those of the held-out domain last.

        Raises:
            ConfigError: the batch is not of such pairs, or the precision is fp16.
        """
        names = domains_of(batch, self.domains.by)
        rows = [row for row, name in enumerate(names) if name != names[-1]]
        if not rows:  # one domain: nothing is held out
            return module.learn(batch)  # type: ignore[no-any-return]
        held_out = [row for row, name in enumerate(names) if name == names[-1]]
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        train = part_of(batch, rows)
        features_BD = pooled_of(module.model, train)  # type: ignore[arg-type]
        logits_BK = module.model.classify(features_BD)
        loss = module.compute_loss(logits_BK, features_BD, train)
        weight_B = None if self.weight_net is None else self.weight_net(features_BD.detach())
        if weight_B is not None:
            each_B = F.cross_entropy(logits_BK, train["label"], reduction="none")
            loss = loss + (weight_B.detach() * each_B).mean()
        if self.gamma == 1:
            with torch.no_grad(), _kept_buffers(module.model):
                rest_BK = module.model.classify(pooled_of(module.model, part_of(batch, held_out)))  # type: ignore[arg-type]
            return loss, torch.cat([logits_BK, rest_BK])
        self._check_precision(module)
        inner = torch.autograd.grad(loss, parameters, allow_unused=True)
        rate = float(module.optimizers().param_groups[0]["lr"]) if self.inner_rate is None else self.inner_rate
        with _stepped(parameters, inner, rate), _kept_buffers(module.model):
            rest_BK, value, outer = self._outer(module, part_of(batch, held_out), parameters)
        gradients = [_mixed(a, b, self.gamma) for a, b in zip(inner, outer, strict=True)]
        total = self.gamma * loss.detach() + (1 - self.gamma) * value
        meta: Tensor = _WithGradients.apply(total, gradients, *parameters)
        if weight_B is not None:
            known = {id(parameter): gradient for parameter, gradient in zip(parameters, outer, strict=True)}
            meta = meta + self._of_weights(module.model, features_BD.detach(), train["label"], weight_B, known, rate)
        return meta, torch.cat([logits_BK.detach(), rest_BK])

    @staticmethod
    def _outer(
        module: Any, batch: Mapping[str, Any], parameters: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        features_BD = pooled_of(module.model, batch)  # type: ignore[arg-type]
        logits_BK = module.model.classify(features_BD)
        loss = module.compute_loss(logits_BK, features_BD, batch)
        return logits_BK.detach(), loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

    def _of_weights(
        self,
        model: ClipClassifier,
        features_BD: Tensor,
        label_B: Tensor,
        weight_B: Tensor,
        outer: Mapping[int, Tensor | None],
        rate: float,
    ) -> Tensor:
        """Loss of the network of weights, of value 0: how the inner step of the last layers moves the held-out loss.

        The held-out loss changes by ``-rate`` times the product of the outer gradient and that of the weighted loss.
        The last layers are taken for the whole network, so that this needs no second pass through the backbone.
        """
        assert self.weight_net is not None
        last = [parameter for parameter in model.classify.parameters() if outer.get(id(parameter)) is not None]
        with _kept_buffers(model):
            each_B = F.cross_entropy(model.classify(features_BD), label_B, reduction="none")
        moved = torch.autograd.grad((weight_B * each_B).mean(), last, create_graph=True)
        products = [
            (held_out * gradient).sum()
            for parameter, gradient in zip(last, moved, strict=True)
            if (held_out := outer.get(id(parameter))) is not None
        ]
        own = [*self.weight_net.parameters()]
        gradients = torch.autograd.grad(-rate * torch.stack(products).sum(), own, allow_unused=True)
        return _WithGradients.apply(weight_B.detach().sum() * 0, gradients, *own)  # type: ignore[no-any-return]

    @staticmethod
    def _check_precision(module: Any) -> None:
        plugin = module.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
            raise ConfigError(
                "strategy=meta takes gradients within its step, where fp16 would round them to 0: use "
                "trainer.precision=bf16-mixed or 32-true"
            )


class _WithGradients(torch.autograd.Function):
    """A value whose backward pass gives gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        return (None, None, *(None if one is None else one * upstream[0] for one in ctx.gradients))


def _mixed(inner: Tensor | None, outer: Tensor | None, gamma: float) -> Tensor | None:
    if inner is None or outer is None:
        return gamma * inner if inner is not None else None if outer is None else (1 - gamma) * outer
    return gamma * inner + (1 - gamma) * outer


@contextmanager
def _stepped(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], rate: float) -> Iterator[None]:
    """Move the parameters by one step against the gradients for a while; afterwards they are bit by bit as before."""
    moved = [(one, gradient) for one, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
    with torch.no_grad():
        kept = [parameter.clone() for parameter, _ in moved]
        for parameter, gradient in moved:
            parameter.sub_(gradient, alpha=rate)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _), before in zip(moved, kept, strict=True):
                parameter.copy_(before)


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Undo what happens to buffers: statistics of batch normalisation are updated once for each step, not twice."""
    buffers = [*module.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(buffers, kept, strict=True):
                buffer.copy_(before)
