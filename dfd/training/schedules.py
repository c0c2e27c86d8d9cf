"""Learning rate schedules: dfd's own, and torch's."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from dfd.base.errors import ConfigError

Scheduler = Callable[..., Any]
"""Factory of Lightning's scheduler config or a torch scheduler; takes an optimizer, and ``total_steps=`` optionally."""

BY_STEP = (OneCycleLR, CyclicLR, LambdaLR)
"""Schedulers of torch that count optimizer steps.

All others count epochs, as torch documents; a LambdaLR may count either, and counts steps here.
"""


def constant(optimizer: Optimizer, *, total_steps: int, warmup_fraction: float = 0.0) -> LRSchedulerConfigType:
    """Constant rate, as in the original system, after an optional linear warm-up.

    ``warmup_fraction`` is the warm-up's share of the run's steps.
    """
    return _by_step(optimizer, lambda step: _warmup(step, total_steps, warmup_fraction))


def cosine(
    optimizer: Optimizer, *, total_steps: int, warmup_fraction: float = 0.05, final_fraction: float = 0.01
) -> LRSchedulerConfigType:
    """Linear warm-up, then half a cosine down to ``final_fraction`` of the rate (Loshchilov & Hutter 2017)."""

    def factor(step: int) -> float:
        warmup_steps = warmup_fraction * total_steps
        if step < warmup_steps:
            return _warmup(step, total_steps, warmup_fraction)
        progress = min(1.0, (step - warmup_steps) / max(1.0, total_steps - warmup_steps))
        return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2

    return _by_step(optimizer, factor)


def step(
    optimizer: Optimizer, *, total_steps: int, every_epochs: int = 10, factor: float = 0.1
) -> LRSchedulerConfigType:
    """Rate that is multiplied by ``factor`` every ``every_epochs`` epochs; ``total_steps`` is not used."""
    return {"scheduler": StepLR(optimizer, step_size=every_epochs, gamma=factor), "interval": "epoch"}


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int,
    monitor: str = "val/loss",
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 3,
) -> LRSchedulerConfigType:
    """Rate that is multiplied by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    ``total_steps`` is not used.
    """
    if mode not in ("min", "max"):
        raise ConfigError(f"scheduler.mode must be min or max, got {mode!r}")
    scheduler = ReduceLROnPlateau(
        optimizer, mode="min" if mode == "min" else "max", factor=factor, patience=patience, eps=0.0
    )
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": True}


def schedule(make: Scheduler, optimizer: Optimizer, *, total_steps: int) -> LRSchedulerConfigType:
    """Lightning's configuration of one of the schedules above, or of a scheduler of torch.

    torch's schedulers are stepped once per epoch, except those in :data:`BY_STEP`, which are stepped with the
    optimizer. ``OneCycleLR`` gets the run's number of steps if no length is given. ``ReduceLROnPlateau`` monitors
    ``val/loss`` or, with ``mode=max``, ``val/auc``.

    Args:
        make: factory, called with the optimizer and, if it accepts it, ``total_steps``.
        optimizer: optimizer whose rate is scheduled.
        total_steps: number of optimizer steps of the run.

    Raises:
        ConfigError: the factory refuses its arguments or does not make a scheduler of torch.
    """
    name = getattr(make.func if isinstance(make, partial) else make, "__name__", repr(make))
    takes = inspect.signature(make).parameters
    given = {"total_steps": total_steps} if "total_steps" in takes else {}
    by_hand = ("total_steps", "epochs", "steps_per_epoch")
    if isinstance(make, partial) and any(make.keywords.get(key) is not None for key in by_hand):
        given = {}
    try:
        made = make(optimizer, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler: {name} cannot be built with these options: {error}") from error
    if isinstance(made, dict):
        return made  # type: ignore[return-value]
    if isinstance(made, ReduceLROnPlateau):
        monitor = "val/auc" if made.mode == "max" else "val/loss"
        return {"scheduler": made, "interval": "epoch", "monitor": monitor, "reduce_on_plateau": True}
    if isinstance(made, LRScheduler):
        return {"scheduler": made, "interval": "step" if isinstance(made, BY_STEP) else "epoch"}
    raise ConfigError(
        f"scheduler: {name} makes a {type(made).__name__}, which is not a scheduler of torch.optim.lr_scheduler; "
        "choose scheduler=constant, cosine, step or plateau, or one of torch's by its _target_"
    )


def follow_groups(scheduler: Any, optimizer: Optimizer) -> None:
    """Let groups of parameters that a callback has added to the optimizer follow the schedule, from their own rates.

    Lightning's ``BackboneFinetuning`` adds a group when it unfreezes the backbone, and torch's schedulers refuse that.
    """
    for group in optimizer.param_groups[len(getattr(scheduler, "base_lrs", optimizer.param_groups)) :]:
        scheduler.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
        if isinstance(scheduler, LambdaLR):
            scheduler.lr_lambdas.append(scheduler.lr_lambdas[0])


def check_length(scheduler: OneCycleLR, *, total_steps: float) -> None:
    """Refuse a cycle that is shorter than the run's ``total_steps``, since it would fail after its last step.

    Raises:
        ConfigError: the cycle is too short; the message names both lengths.
    """
    if scheduler.total_steps < total_steps:
        raise ConfigError(
            f"scheduler: OneCycleLR was made for {scheduler.total_steps} steps, but the run has {total_steps:g}; omit "
            "its total_steps, epochs and steps_per_epoch, or end the run there (+trainer.max_steps); a resumed run "
            "cannot be longer than its cycle"
        )


def _by_step(optimizer: Optimizer, factor: Callable[[int], float]) -> LRSchedulerConfigType:
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def _warmup(step: int, total_steps: int, fraction: float) -> float:
    return min(1.0, (step + 1) / max(1.0, fraction * total_steps))
