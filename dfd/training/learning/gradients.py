"""Gradients of an optimizer's parameters."""

from torch import Tensor
from torch.optim import Optimizer


def unscales_itself(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step undoes fp16's gradient scale; torch marks fused optimizers so."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Gradients of all parameters that have one."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
