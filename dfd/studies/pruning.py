"""Pruning of a study's runs: a callback that reports each epoch's metric to Optuna and asks whether to continue."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dfd.base.errors import ConfigError, StudyError
from dfd.studies.search_study import Pruning, import_optuna, open_study


class TrialPruning(Callback):
    """Callback that reports ``metric`` after every epoch and stops the training if other runs were better by then.

    After the last epoch a run is finished and not pruned. Epochs reported before an interruption keep their value;
    undefined metrics are not reported.

    Args:
        storage: storage of the study, see :func:`dfd.studies.search_study.open_study`.
        trial: number of the trial.
        metric: metric that is logged in validation.
        pruning: rule for stopping.
    """

    def __init__(self, *, storage: str, trial: int, metric: str, pruning: Pruning) -> None:
        self.metric = metric
        self.message = ""
        """Reason for stopping the run; empty if it was not stopped."""
        study = open_study(storage, pruning=pruning)
        found = [frozen for frozen in study.get_trials(deepcopy=False) if frozen.number == trial]
        if not found:
            raise StudyError(f"{storage}: has no trial {trial}; was the storage replaced while the study was running?")
        self._reported = set(found[0].intermediate_values)
        self._trial = import_optuna().trial.Trial(study, found[0]._trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric and stop the training if the trial should be pruned."""
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


def trial_pruning(sweeper: Mapping[str, Any], metric: str) -> TrialPruning | None:
    """Pruning callback for jobs of ``hydra/sweeper=optuna`` with pruning; None for other runs.

    Args:
        sweeper: options of the multirun's sweeper; empty for a single run.
        metric: metric that is logged in validation.
    """
    if sweeper.get("trial") is None or not sweeper.get("pruning"):
        return None
    pruning = Pruning(**sweeper["pruning"])
    return TrialPruning(storage=sweeper["storage"], trial=sweeper["trial"], metric=metric, pruning=pruning)
