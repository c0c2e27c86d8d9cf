"""Options of an optimizer, a schedule and losses, as a checkpoint keeps them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from dfd.base.errors import CheckpointError
from dfd.training.learning.tuning import Tuning

STEPPING_KEY = "dfd_stepping"
"""Key in a checkpoint for the options of its optimizer and schedule."""
KERNELS = ("fused", "foreach")
"""Options of an optimizer that change how it computes, but not what."""


def stepping_options(
    losses: Mapping[str, Any], tuning: Tuning, strategy: Any = None, **makers: Callable[..., Any] | None
) -> dict[str, str]:
    """Options of the optimizer, schedule, losses and strategy, which resuming restores with their state."""
    options = {f"loss.{name}": type(loss).__name__ for name, loss in losses.items()}
    if options == {"loss.cross_entropy": "CrossEntropy"}:  # not in checkpoints of older versions
        options.clear()
    if tuning != Tuning():
        options |= {f"tuning.{name}": str(value) for name, value in asdict(tuning).items()}
    if strategy is not None:
        options |= {f"strategy.{name}": str(value) for name, value in strategy.facts().items()}
    for name, make in makers.items():
        if isinstance(make, partial):
            options[name] = getattr(make.func, "__name__", type(make.func).__name__)
            given = {key: value for key, value in make.keywords.items() if key not in KERNELS}
            options |= {f"{name}.{key}": str(value) for key, value in given.items()}
        elif make is not None:
            options[name] = getattr(make, "__name__", type(make).__name__)
    return options


def refuse_other_stepping(theirs: Mapping[str, str], mine: Mapping[str, str]) -> None:
    """Refuse to resume a run with another optimizer, schedule or loss.

    Raises:
        CheckpointError: when one differs; the message says in what.
    """
    names = {name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)}
    names -= {name for name in names if name.partition(".")[0] in names - {name}}  # options of another optimizer
    differing = [f"{name}={theirs.get(name, 'none')}, not {mine.get(name, 'none')}" for name in sorted(names)]
    if differing:
        raise CheckpointError(
            f"ckpt_path is a checkpoint of a run with {'; '.join(differing)}: its optimizer and schedule continue "
            "as they were, whatever is given now; repeat the options of the stopped run, or start a new run in "
            "another hydra.run.dir"
        )
