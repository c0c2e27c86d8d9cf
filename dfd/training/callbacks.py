"""Callbacks of a run: the progress bar, the trainer's own switches, and a check of monitored metrics."""

import difflib
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import convert_inf

from dfd.base.errors import ConfigError


def with_callbacks(options: Mapping[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Trainer options with the callbacks that its own switches leave on.

    ``enable_progress_bar=false`` and ``enable_checkpointing=false`` remove the corresponding callbacks, where Lightning
    would raise an error. If no checkpoint callback is left, none is added; Lightning's default would keep the last
    epoch.
    """
    switches = {Checkpoint: "enable_checkpointing", ProgressBar: "enable_progress_bar"}
    off = tuple(kind for kind, name in switches.items() if options.get(name) is False)
    kept = [callback for callback in callbacks if not isinstance(callback, off)]
    keeps_checkpoints = any(isinstance(callback, Checkpoint) for callback in kept)
    return {**options, "callbacks": kept, "enable_checkpointing": keeps_checkpoints}


def check_monitors(trainer: Trainer, logged: Iterable[str], scheduler: Mapping[str, Any] | None = None) -> None:
    """Refuse a run whose callbacks or schedule monitor a metric that is never logged.

    Args:
        trainer: trainer with its callbacks.
        logged: names of all metrics that the run will log.
        scheduler: Lightning's configuration of the schedule, which may have a ``monitor``.

    Raises:
        ConfigError: a monitored metric is not logged; the message lists the logged ones.
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


class Interruption(Callback):
    """Ctrl-C that is not lost: Python drops an exception that is raised in a destructor or in a callback of C.

    The signal raises KeyboardInterrupt as always, and if the training still runs at its next batch, once more there.
    """

    def __init__(self) -> None:
        self._pressed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for Ctrl-C meanwhile, where it is not ignored and this is the main thread."""
        before = signal.getsignal(signal.SIGINT)
        if before in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, self._press)
        try:
            yield
            self._raise_again()
        finally:
            if signal.getsignal(signal.SIGINT) == self._press:  # Lightning ignores it while it shuts down
                signal.signal(signal.SIGINT, before)

    def on_train_batch_start(self, *_: Any) -> None:
        """Raise again before a batch of training."""
        self._raise_again()

    def on_validation_batch_start(self, *_: Any) -> None:
        """Raise again before a batch of validation."""
        self._raise_again()

    def on_test_batch_start(self, *_: Any) -> None:
        """Raise again before a batch of the test."""
        self._raise_again()

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        signal.default_int_handler(number, frame)

    def _raise_again(self) -> None:
        if self._pressed:
            raise KeyboardInterrupt


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar with epochs counted from 1, their total, and without the logger's version."""

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start the bar of an epoch as in Lightning, whose own method would show its text at once."""
        if self._leave:
            self.train_progress_bar = self.init_train_tqdm()
        last = f"/{trainer.max_epochs}" if trainer.max_epochs is not None and trainer.max_epochs > 0 else ""
        self.train_progress_bar.reset()
        self.train_progress_bar.total = convert_inf(self.total_train_batches)
        self.train_progress_bar.initial = 0
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}{last}")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Metrics shown beside the bar."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
