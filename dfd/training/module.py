"""LightningModule that trains the classifier."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MeanMetric, MetricCollection

from dfd.base.errors import ConfigError, RunDiverged
from dfd.base.types import CARD_KEY, ClipBatch, Label
from dfd.metrics.clips import clip_metrics
from dfd.models.classifier import ClipClassifier, logits_of, pooled_of
from dfd.models.files.card import DetectorCard
from dfd.training.callbacks import check_monitors
from dfd.training.learning.divergence import MAX_STEPS_NOT_FINITE, diverged
from dfd.training.learning.fitting import KEY as FITTING_KEY
from dfd.training.learning.fitting import Fitting
from dfd.training.learning.gradients import gradients_of, unscales_itself
from dfd.training.learning.inference import TrainedModule
from dfd.training.learning.losses import CrossEntropy, LossFunction, LossSum
from dfd.training.learning.stepping import STEPPING_KEY, refuse_other_stepping, stepping_options
from dfd.training.learning.stepping.meta import Meta
from dfd.training.learning.tuning import Tuning, keep_fixed_statistics
from dfd.training.results import VAL_METRICS
from dfd.training.resuming import _refuse_other_model
from dfd.training.schedules import Scheduler, check_length, follow_groups, schedule

LOGGED_METRICS = (
    *VAL_METRICS,
    *("train/loss", *map(str, clip_metrics("train/")), "train/lr"),
    *("train/loss_step", "train/lr_step", "train/grad_norm_step"),
)
"""Metrics that a callback or a schedule may monitor."""


class DetectorModule(TrainedModule):
    """LightningModule that trains a :class:`~dfd.models.classifier.ClipClassifier` and puts a card in checkpoints.

    Logs per epoch, for each of train, val and test: ``<stage>/loss``, ``accuracy``, ``precision``, ``recall``, ``f1``
    and ``auc`` over clips (nan where a metric is not defined), and ``train/lr``, the epoch's mean. ``train/loss`` is
    the minimised loss; ``val/loss`` and ``test/loss`` are the plain cross-entropy, so that runs with different
    smoothing or weights are comparable. Training metrics are taken while the weights change and with dropout, so they
    lag behind.

    Logs every ``trainer.log_every_n_steps`` steps ``train/loss_step`` (of the first process), ``train/lr_step`` and
    ``train/grad_norm_step``, the norm of all gradients before clipping.

    A run whose loss is not finite for ``MAX_STEPS_NOT_FINITE`` consecutive steps, in a validation, or at its end, ends
    with :class:`~dfd.base.errors.RunDiverged` in all its processes.

    Args:
        model: classifier to train.
        optimizer: factory of the optimizer from the parameters, such as a partial of ``torch.optim.Adam``.
        scheduler: factory for :func:`dfd.training.schedules.schedule`, such as a partial of
            :func:`~dfd.training.schedules.cosine`; None for a constant rate.
        card: card of the checkpoints, whose metrics are filled in when they become known.
        loss: losses by name, whose weighted sum is minimised (:mod:`dfd.training.learning.losses`); None for
            cross-entropy with the next two options.
        label_smoothing: label smoothing of the cross-entropy.
        class_weights: weights of REAL and FAKE in the cross-entropy, or ``balanced`` (after ``loss.setup``).
        freeze_batchnorm: keep the running statistics of the backbone's batch normalisation that came with its weights.
            A batch of 4 clips of 10 frames normalises by 40 frames of only 4 faces; with pretrained weights and small
            batches, frozen statistics can be better. The original system does not freeze them.
        tuning: what is learned of the backbone, and how fast; None: all of it, as fast as the rest.
        strategy: how a batch is learned from (``stepping.meta``); None: by the gradient of its loss.
    """

    def __init__(
        self,
        model: ClipClassifier,
        *,
        optimizer: Callable[[Any], Optimizer],
        card: DetectorCard,
        scheduler: Scheduler | None = None,
        loss: Mapping[str, nn.Module | LossFunction] | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
        freeze_batchnorm: bool = False,
        tuning: Tuning | None = None,
        strategy: Meta | None = None,
    ) -> None:
        super().__init__()
        self.model, self.card = model, card
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.fitting = Fitting.of(model)
        self.run_seed = 0
        self.freeze_batchnorm = freeze_batchnorm
        default = CrossEntropy(label_smoothing=label_smoothing, class_weights=class_weights)
        self.strategy = strategy
        self.tuning = tuning or Tuning()
        self.tuning.fix(model.backbone)
        self.loss = LossSum({"cross_entropy": default} if loss is None else loss)
        self.train_metrics = clip_metrics("train/")
        self.val_metrics = clip_metrics("val/")
        self.test_metrics = clip_metrics("test/")
        # By default torchmetrics would skip nan, and the mean of a diverged training would look fine.
        self.rate = MeanMetric(nan_strategy="disable")
        self.losses = nn.ModuleDict(
            {f"{stage}/loss": MeanMetric(nan_strategy="disable") for stage in ("train", "val", "test")}
        )
        self.note_origin(label_smoothing=label_smoothing, class_weights=class_weights, **self._stepping())
        self.steps_not_finite = torch.tensor(0)  # consecutive ones so far; on the device, so that no step waits for it

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Logits in label order (REAL, FAKE), shape ``(B, 2)``."""
        logits_BK: Tensor = self.model(frames_BTCHW)
        return logits_BK

    def train(self, mode: bool = True) -> "DetectorModule":
        """Switch to training or evaluation; batch normalisation stays in evaluation if frozen."""
        super().train(mode)
        keep_fixed_statistics(self.model.backbone)
        if self.freeze_batchnorm:
            for module in self.model.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def on_fit_start(self) -> None:
        """Store the seed of the run, as set by ``seed_everything``."""
        self.run_seed = torch.initial_seed()

    def on_train_start(self) -> None:
        """Refuse a schedule, new or from a checkpoint, that would fail at a later step.

        Raises:
            ConfigError: the schedule ends before the run does.
        """
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, OneCycleLR):
            check_length(scheduler, total_steps=self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: ClipBatch, batch_idx: int) -> None:
        """Seed each epoch by the run's seed, the epoch and the process, so that resuming changes nothing.

        This is not in ``on_train_epoch_start``, which Lightning skips for the first epoch after resuming.
        """
        if batch_idx == 0:
            if not self.fitting:
                follow_groups(self.lr_schedulers(), self.trainer.optimizers[0])
            self.train()  # Lightning keeps a new module's mode, in which freeze_batchnorm has not been applied
            torch.manual_seed((self.run_seed + 1_000_003 * (self.current_epoch + 1) + self.global_rank) % 2**63)

    def compute_loss(self, logits: Tensor, features: Tensor, batch: ClipBatch) -> Tensor:
        """Loss to minimise of logits ``(B, 2)`` and of the features ``(B, D)`` that they come from; for subclasses.

        Logs each of several losses as ``train/loss_NAME_step``.
        """
        losses = self.loss.compute(logits, features, dict(batch))
        for name, value in losses.items() if len(losses) > 1 else ():
            self.log(f"train/loss_{name}_step", value.detach(), on_step=True, on_epoch=False)
        return torch.stack([*losses.values()]).sum()

    def learn(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Compute the loss to minimise and the logits ``(B, 2)`` of a batch."""
        logits_BK: Tensor = self.model.classify(features_BD := pooled_of(self.model, batch))
        return self.compute_loss(logits_BK, features_BD, batch), logits_BK

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        """Loss to minimise; None where the head is fitted to the features of all batches at once."""
        label_B = batch["label"]
        if self.fitting:
            self.fitting.take(pooled_of(self.model, batch), label_B)
            return None
        loss, logits_BK = self.learn(batch) if self.strategy is None else self.strategy.learn(self, dict(batch))
        self._record("train", loss.detach().expand(len(label_B)), logits_BK, label_B, self.train_metrics)
        self.rate.update(self._rate, weight=len(label_B))
        self.steps_not_finite = torch.where(loss.detach().isfinite(), 0, self.steps_not_finite.to(loss.device) + 1)
        # Only per step: the progress bar would average epoch values over the processes, and only the first has a bar.
        self.log("train/loss_step", loss.detach(), prog_bar=True, on_step=True, on_epoch=False)
        self.log("train/lr_step", self._rate, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure the gradients without fp16's scale, which a fused optimizer would only undo in its step."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and unscales_itself(optimizer):
            scaler.unscale_(optimizer)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if self.trainer.gradient_clip_val or (every and (self.global_step + 1) % every == 0):
            self.grad_norm = get_total_norm(gradients_of(optimizer))
            self.log("train/grad_norm_step", self.grad_norm, prog_bar=True, on_step=True, on_epoch=False)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients, also for a fused optimizer in mixed precision.

        Lightning refuses that because such an optimizer undoes fp16's scale within its step; here it is undone before.
        """
        if not gradient_clip_val or not isinstance(self.trainer.precision_plugin, MixedPrecision):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if gradient_clip_algorithm == GradClipAlgorithmType.VALUE:
            clip_grad_value_(parameters, gradient_clip_val)
        else:
            clip_grads_with_norm_(parameters, gradient_clip_val, self.grad_norm)

    def on_train_batch_end(self, outputs: Any, batch: ClipBatch, batch_idx: int) -> None:
        """End a diverged run, and make sure that the end of every run is validated and so may be kept."""
        trainer, fit_loop = self.trainer, self.trainer.fit_loop
        if self.fitting and trainer.is_last_batch:
            logits_NK, label_N = self.fitting.fit(trainer)
            loss_N = F.cross_entropy(logits_NK, label_N, reduction="none")
            self._record("train", loss_N, logits_NK, label_N, self.train_metrics)
        if (fit_loop.total_batch_idx + 1) % MAX_STEPS_NOT_FINITE == 0:
            self._refuse_lost_training(at_least=MAX_STEPS_NOT_FINITE)
        interval = trainer.val_check_batch  # None if the interval is a time
        is_missed = trainer.check_val_every_n_epoch is None or not interval or (batch_idx + 1) % interval != 0
        is_end = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        if 0 <= trainer.max_steps <= trainer.global_step or (is_end and is_missed):
            trainer.should_stop = True  # Lightning validates then
            fit_loop.min_epochs = fit_loop.epoch_loop.min_steps = None  # Lightning's max_* end a run before its min_*
        if is_end or trainer.should_stop:  # callbacks, such as that of max_time, may also stop the run
            trainer.check_val_every_n_epoch = 1

    def on_train_end(self) -> None:
        """Fail if the last step's loss was not finite, since no validation need follow it."""
        self._refuse_lost_training(at_least=1)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Record a batch of the validation split."""
        self._evaluate("val", batch, self.val_metrics)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Record a batch of the test split."""
        self._evaluate("test", batch, self.test_metrics)

    def on_train_epoch_end(self) -> None:
        """Log all of the epoch's metrics.

        If steps logged them per epoch, the progress bar would average them over the processes before this hook. Only
        the first process has a bar, so it and the others would wait for each other.
        """
        self._log_epoch("train", self.train_metrics)
        if not self.fitting:
            self.log("train/lr", self.rate.compute(), sync_dist=True)
        self.rate.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics; also called after the sanity check, whose results are not kept."""
        self._log_epoch("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test."""
        self._log_epoch("test", self.test_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer of all trainable parameters, and its schedule over the whole run; None for a head that is fitted.

        Raises:
            ConfigError: the run has a schedule but no end, or the schedule cannot be built.
        """
        if self.fitting:
            return None
        optimizer = self.tuning.optimizer(self.make_optimizer, self, self.model.backbone)
        if self.make_scheduler is None:
            return optimizer
        total_steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(total_steps):
            raise ConfigError(
                "a learning rate schedule needs the end of the run: set trainer.max_epochs or +trainer.max_steps, or "
                "use a constant rate with ~scheduler"
            )
        scheduler = schedule(self.make_scheduler, optimizer, total_steps=int(total_steps))
        if scheduler.get("reduce_on_plateau") and str(scheduler.get("monitor")).startswith("val/"):
            # Once per validation, and not before the first one, where Lightning would end the run.
            scheduler = {**scheduler, "frequency": self.trainer.check_val_every_n_epoch or 1, "strict": False}
        check_monitors(self.trainer, LOGGED_METRICS, scheduler)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card with the current validation metrics."""
        logged = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        known = {name: value for name, value in logged.items() if name.startswith("val/") and math.isfinite(value)}
        checkpoint[CARD_KEY] = replace(self.card, metrics=known or self.card.metrics).to_dict()
        checkpoint[STEPPING_KEY] = self._stepping()
        if self.fitting:
            checkpoint[FITTING_KEY] = self.fitting.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a run with another model, optimizer or schedule.

        Raises:
            CheckpointError: the file is not a checkpoint of dfd, or one of these differs; the message says in what.
        """
        _refuse_other_model(DetectorCard.from_dict(checkpoint.get(CARD_KEY)).model, self.card.model)
        mine = self._stepping()
        refuse_other_stepping(checkpoint.get(STEPPING_KEY, mine), mine)  # missing in checkpoints of older versions
        if self.fitting:
            self.fitting.load(checkpoint.get(FITTING_KEY, {}))

    def _stepping(self) -> dict[str, str]:
        makers = {"optimizer": self.make_optimizer, "scheduler": self.make_scheduler}
        losses = dict(self.loss.items())
        return {} if self.fitting else stepping_options(losses, self.tuning, self.strategy, **makers)

    def _evaluate(self, stage: str, batch: ClipBatch, metrics: MetricCollection) -> None:
        logits_BK, label_B = logits_of(self.model, batch), batch["label"]
        if "is_repeat" in batch:  # this may leave no items
            counted_B = ~batch["is_repeat"]
            logits_BK, label_B = logits_BK[counted_B], label_B[counted_B]
        self._record(stage, F.cross_entropy(logits_BK, label_B, reduction="none"), logits_BK, label_B, metrics)

    def _record(
        self, stage: str, loss_B: Tensor, logits_BK: Tensor, label_B: Tensor, metrics: MetricCollection
    ) -> None:
        # Not in half precision, in which probabilities would tie; ties affect the AUC.
        metrics.update(logits_BK.detach().float().softmax(dim=-1)[:, Label.FAKE], label_B)
        self._loss(stage).update(loss_B.float())

    def _log_epoch(self, stage: str, metrics: MetricCollection) -> None:
        """Log metrics over all processes, which torchmetrics gathers for shares of any size."""
        loss = self._loss(stage)
        value = loss.compute()
        self.log(f"{stage}/loss", value, prog_bar=True, sync_dist=True)  # already equal in all processes
        self.log_dict(metrics.compute(), sync_dist=True)
        metrics.reset()
        loss.reset()
        if stage == "val" and not math.isfinite(value):  # before any callback keeps a checkpoint
            if self.trainer.sanity_checking:
                raise ConfigError("the network's scores are not finite before its first step: check its weights")
            raise self._diverged("the validation loss", lost=int(self.steps_not_finite))

    def _refuse_lost_training(self, *, at_least: int) -> None:
        """End a diverged run; all processes must call this.

        Raises:
            RunDiverged: ``at_least`` consecutive steps of any process had no finite loss.
        """
        count = self.steps_not_finite.clone().to(self.device)
        lost = int(self.trainer.strategy.reduce(count, reduce_op="max"))
        if lost >= at_least:
            raise self._diverged("the training loss", lost=lost)

    def _diverged(self, what: str, *, lost: int) -> RunDiverged:
        return diverged(
            what,
            step=min(self.global_step, self.global_step - lost + 1),
            rate=self._rate,
            clips_gradients=bool(self.trainer.gradient_clip_val),
            precision=str(self.trainer.precision),
        )

    @property
    def _rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def _loss(self, stage: str) -> MeanMetric:
        loss = self.losses[f"{stage}/loss"]
        assert isinstance(loss, MeanMetric)
        return loss
