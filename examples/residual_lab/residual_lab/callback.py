"""Callback of the example: any of Lightning's kind."""

import time
from pathlib import Path

from lightning import Callback, LightningModule, Trainer


class EpochTimes(Callback):
    """Writes ``epoch_times.csv`` into the run's folder: seconds per epoch, without the validation."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a row."""
        path = Path(trainer.default_root_dir, "epoch_times.csv")
        row = f"{trainer.current_epoch + 1},{time.monotonic() - self.started:.3f}\n"
        with path.open("a") as file:
            file.write(row if file.tell() else f"epoch,seconds\n{row}")
