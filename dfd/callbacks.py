"""The callbacks of a run: those that its trainer's switches leave on, and whether what they monitor is logged."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from dfd.errors import ConfigError


def with_callbacks(options: Mapping[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
    """The trainer's options with those callbacks that its own switches leave on.

    ``enable_progress_bar=false`` and ``enable_checkpointing=false`` each take theirs away, which Lightning would refuse
    to do. Without any checkpoint callback none is added: Lightning's own would keep whatever epoch came last.
    """
    switches = {Checkpoint: "enable_checkpointing", ProgressBar: "enable_progress_bar"}
    off = tuple(kind for kind, name in switches.items() if options.get(name) is False)
    kept = [callback for callback in callbacks if not isinstance(callback, off)]
    keeps_checkpoints = any(isinstance(callback, Checkpoint) for callback in kept)
    return {**options, "callbacks": kept, "enable_checkpointing": keeps_checkpoints}


def check_monitors(trainer: Trainer, logged: Iterable[str], scheduler: Mapping[str, Any] | None = None) -> None:
    """Refuse to begin a run whose callbacks or schedule wait for a metric that never comes.

    Args:
        trainer: with its callbacks.
        logged: the names of all metrics that the run will log.
        scheduler: Lightning's configuration of the schedule, which may have a ``monitor``.

    Raises:
        ConfigError: one of them monitors something else; the message has the list.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return  # Lightning leaves them all out
    validates = trainer.limit_val_batches != 0
    names = [name for name in logged if validates or not name.startswith("val/")]
    monitors = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    for who, monitor in [*monitors, ("the scheduler", (scheduler or {}).get("monitor"))]:
        if monitor is None or monitor in names:
            continue
        why = "" if validates else " without a validation (trainer.limit_val_batches=0)"
        close = difflib.get_close_matches(monitor, names, n=1) if validates else []
        raise ConfigError(
            f"{who} monitors {monitor!r}, which is not logged{why}"
            f"{f'; did you mean {close[0]!r}?' if close else '.'} Logged are {', '.join(names)}"
        )
