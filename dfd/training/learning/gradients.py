"""Gradients of an optimizer's parameters, and constraints that its steps must keep."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from dfd.models.networks.systems.residuals import ConstrainedConvolution


def unscales_itself(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step undoes fp16's gradient scale; torch marks fused optimizers so."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Gradients of all parameters that have one."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def keep_constraints(optimizer: Optimizer, module: nn.Module) -> None:
    """Project the constrained filters of a module after each step of the optimizer.

    Steps are those that change weights: with accumulated gradients there is one for several batches. An average of
    the weights is taken after the step, and an average of weights under the constraint is under it too.
    """
    constrained = [part for part in module.modules() if isinstance(part, ConstrainedConvolution)]

    def project(*_: Any) -> None:
        for part in constrained:
            part.project()

    if constrained:
        optimizer.register_step_post_hook(project)
