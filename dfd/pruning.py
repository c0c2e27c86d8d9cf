"""Ending hopeless runs of a study early: a callback that tells Optuna each epoch's metric and asks whether to go on."""

import math
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dfd.errors import ConfigError, StudyError
from dfd.tuning import Pruning, open_study

if TYPE_CHECKING:
    from optuna.trial import Trial


class TrialPruning(Callback):
    """Reports ``metric`` after every epoch, and stops the training if the study's other runs were better by then.

    Nothing is decided after the last epoch: the run is finished then. An epoch that was reported by the run before it
    was interrupted keeps its value; one whose metric is not defined is not reported.

    Args:
        storage: of the study, as :func:`dfd.tuning.open_study` takes it.
        trial: its number.
        metric: one that is logged in validation.
        pruning: when to stop.
    """

    def __init__(self, *, storage: str, trial: int, metric: str, pruning: Pruning) -> None:
        self.metric = metric
        self.message = ""
        """Why the run was stopped; empty if it was not."""
        study = open_study(storage, pruning=pruning)
        found = [frozen for frozen in study.get_trials(deepcopy=False) if frozen.number == trial]
        if not found:
            raise StudyError(f"{storage}: has no trial {trial}; was it replaced while the study runs?")
        self._reported = set(found[0].intermediate_values)
        self._trial = self._of(study, found[0]._trial_id)

    @staticmethod
    def _of(study: Any, trial_id: int) -> "Trial":
        from optuna.trial import Trial

        return Trial(study, trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, ask, and stop if need be."""
        if trainer.sanity_checking:
            return
        if self.metric not in trainer.callback_metrics:
            raise ConfigError(f"optimized_metric={self.metric} is not logged in validation, so no run can be pruned")
        value, epoch = float(trainer.callback_metrics[self.metric]), trainer.current_epoch
        if epoch not in self._reported and math.isfinite(value):
            self._trial.report(value, step=epoch)
            self._reported.add(epoch)
        is_last = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epoch + 1
        if not is_last and self._trial.should_prune():
            trainer.should_stop = True
            self.message = f"after epoch {epoch + 1}, its best {self.metric} was worse than the median of the others"
