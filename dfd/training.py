"""Training: the LightningModule around the classifier, and what a run leaves."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import Parameter
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MeanMetric, MetricCollection

from dfd.callbacks import check_monitors
from dfd.card import DetectorCard
from dfd.checkpoint import load_checkpoint, load_model, save_safetensors, weights_sha256
from dfd.data.features import logits_of
from dfd.divergence import MAX_STEPS_NOT_FINITE, diverged
from dfd.errors import CheckpointError, ConfigError, RunDiverged
from dfd.metrics import clip_metrics
from dfd.models.classifier import ClipClassifier, architecture
from dfd.schedules import Scheduler, check_length, constant, cosine, plateau, schedule, step
from dfd.types import CARD_KEY, ClipBatch, Label

__all__ = [
    "LOGGED_METRICS",
    "VAL_METRICS",
    "DetectorModule",
    "best_checkpoint",
    "check_optimized_metric",
    "compile_backbone",
    "constant",  # the schedules have this address in configurations, old ones too
    "cosine",
    "optimized_value",
    "plateau",
    "step",
    "take_backbone",
    "write_run_summary",
]

VAL_METRICS = ("val/loss", *map(str, clip_metrics("val/")))
"""What may choose a checkpoint or steer a sweep."""
LOGGED_METRICS = (
    *VAL_METRICS,
    *("train/loss", *map(str, clip_metrics("train/")), "train/lr"),
    *("train/loss_step", "train/lr_step", "train/grad_norm_step"),
)
"""What a callback or a schedule may monitor."""


STEPPING_KEY = "dfd_stepping"
"""In a checkpoint: the options of its optimizer and schedule."""
KERNELS = ("fused", "foreach")
"""Options of an optimizer that say how it computes, and not what."""


class DetectorModule(LightningModule):
    """Trains a :class:`~dfd.models.classifier.ClipClassifier` and writes what it is into every checkpoint.

    Logs per epoch, for each of train, val and test: ``<stage>/loss``, ``accuracy``, ``precision``, ``recall``, ``f1``
    and ``auc`` over clips (nan where a metric is not defined), and ``train/lr``, the epoch's mean. ``train/loss`` is
    what is minimised; ``val/loss`` and ``test/loss`` are the plain cross-entropy, so that runs with different
    smoothing or weights compare. Training metrics are taken while the weights move and dropout acts: they lag behind.

    Logs every ``trainer.log_every_n_steps`` steps ``train/loss_step`` (of several processes, the first one's),
    ``train/lr_step`` and ``train/grad_norm_step``, the norm of all gradients before they are clipped.

    A run whose loss is not finite for ``MAX_STEPS_NOT_FINITE`` steps in a row, after an epoch in validation, or at
    its end, ends with :class:`~dfd.errors.RunDiverged` in all of its processes.

    Args:
        model: what is trained.
        optimizer: makes the optimizer from the parameters, such as a partial of ``torch.optim.Adam``.
        scheduler: as :func:`dfd.schedules.schedule` takes it, such as a partial of :func:`cosine`; None for a
            constant rate.
        card: what checkpoints say about the model; its metrics are filled in as they become known.
        label_smoothing: of the training loss.
        class_weights: of REAL and FAKE in the training loss, for data that is not balanced.
        freeze_batchnorm: keep the running statistics of the backbone's batch normalisation as they came with its
            weights. A batch of 4 clips of 10 frames normalises by 40 frames of only 4 faces; with pretrained
            weights and small batches, frozen statistics can be the better ones. Not done by the original system.
    """

    model: ClipClassifier
    class_weights: Tensor | None

    def __init__(
        self,
        model: ClipClassifier,
        *,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        card: DetectorCard,
        scheduler: Scheduler | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        freeze_batchnorm: bool = False,
    ) -> None:
        super().__init__()
        if class_weights is not None and (len(class_weights) != len(Label) or min(class_weights) <= 0):
            raise ConfigError(f"class_weights must be two positive numbers (real, fake), got {list(class_weights)}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in 0..1, got {label_smoothing}")
        self.model = model
        self.card = card
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.run_seed = 0
        self.label_smoothing = label_smoothing
        self.freeze_batchnorm = freeze_batchnorm
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.train_metrics = clip_metrics("train/")
        self.val_metrics = clip_metrics("val/")
        self.test_metrics = clip_metrics("test/")
        # Unchecked: torchmetrics would leave out what is not a number, and the mean of a lost training would look well.
        self.rate = MeanMetric(nan_strategy="disable")
        self.losses = nn.ModuleDict(
            {f"{stage}/loss": MeanMetric(nan_strategy="disable") for stage in ("train", "val", "test")}
        )
        self.steps_not_finite = torch.tensor(0)  # in a row, up to now; on the device, so that no step waits for a GPU

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Logits, shape ``(B, 2)``."""
        logits_BK: Tensor = self.model(frames_BTCHW)
        return logits_BK

    def train(self, mode: bool = True) -> "DetectorModule":
        """Switch to training or evaluation; batch normalisation stays in evaluation if frozen."""
        super().train(mode)
        if self.freeze_batchnorm:
            for module in self.model.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def on_fit_start(self) -> None:
        """Remember the seed of the run, as ``seed_everything`` set it."""
        self.run_seed = torch.initial_seed()

    def on_train_start(self) -> None:
        """Refuse a schedule, made now or taken from a checkpoint, that would fail at a later step.

        Raises:
            ConfigError: it ends before the run does.
        """
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, OneCycleLR):
            check_length(scheduler, total_steps=self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: ClipBatch, batch_idx: int) -> None:
        """Begin an epoch: draw from the run's seed, the epoch and the process, so that resuming changes nothing.

        Not in ``on_train_epoch_start``, which Lightning skips for the first epoch after resuming.
        """
        if batch_idx == 0:
            self.train()  # Lightning keeps the mode it is given, and a new module has not seen freeze_batchnorm
            torch.manual_seed((self.run_seed + 1_000_003 * (self.current_epoch + 1) + self.global_rank) % 2**63)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The loss to minimise."""
        logits_BK, label_B = logits_of(self.model, batch), batch["label"]
        loss = F.cross_entropy(logits_BK, label_B, weight=self.class_weights, label_smoothing=self.label_smoothing)
        self._record("train", loss.detach().expand(len(label_B)), logits_BK, label_B, self.train_metrics)
        self.rate.update(self._rate, weight=len(label_B))
        self.steps_not_finite = torch.where(loss.detach().isfinite(), 0, self.steps_not_finite.to(loss.device) + 1)
        # Of steps alone: Lightning's progress bar averages what is logged over an epoch, too, over the processes, and
        # only the first one has a bar.
        self.log("train/loss_step", loss.detach(), prog_bar=True, on_step=True, on_epoch=False)
        self.log("train/lr_step", self._rate, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure the gradients, at their true size: a fused optimizer would undo fp16's scale in its step only."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and _unscales_itself(optimizer):
            scaler.unscale_(optimizer)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if self.trainer.gradient_clip_val or (every and (self.global_step + 1) % every == 0):
            self.grad_norm = get_total_norm(_gradients(optimizer))
            self.log("train/grad_norm_step", self.grad_norm, prog_bar=True, on_step=True, on_epoch=False)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, of a fused optimizer in mixed precision too, which Lightning refuses.

        Its reason is that such an optimizer undoes the scale of fp16 within its step; here that is done before.
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
        """End a run that has diverged; and see to it that the end of every run is validated, and so may be kept."""
        trainer, fit_loop = self.trainer, self.trainer.fit_loop
        if (fit_loop.total_batch_idx + 1) % MAX_STEPS_NOT_FINITE == 0:
            self._refuse_lost_training(at_least=MAX_STEPS_NOT_FINITE)
        interval = trainer.val_check_batch  # None where it is a time
        is_missed = trainer.check_val_every_n_epoch is None or not interval or (batch_idx + 1) % interval != 0
        is_end = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        if 0 <= trainer.max_steps <= trainer.global_step or (is_end and is_missed):
            trainer.should_stop = True  # Lightning validates then
            fit_loop.min_epochs = fit_loop.epoch_loop.min_steps = None  # Lightning's max_* end a run before its min_*
        if is_end or trainer.should_stop:  # a callback may have said so too, as that of max_time
            trainer.check_val_every_n_epoch = 1

    def on_train_end(self) -> None:
        """Refuse to end well if the last step's loss was not finite: there need not be a validation after it."""
        self._refuse_lost_training(at_least=1)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Record a batch of the validation split."""
        self._evaluate("val", batch, self.val_metrics)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Record a batch of the test split."""
        self._evaluate("test", batch, self.test_metrics)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's metrics, all of them here.

        What a step logs over an epoch, Lightning's progress bar averages over the processes before it calls this hook,
        and only the first process has a progress bar: it and the others would wait for each other.
        """
        self._log_epoch("train", self.train_metrics)
        self.log("train/lr", self.rate.compute(), sync_dist=True)
        self.rate.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics; also ends the sanity check, of which nothing is kept."""
        self._log_epoch("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test."""
        self._log_epoch("test", self.test_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters that learn, and its schedule over the whole run.

        Raises:
            ConfigError: there is a schedule and the run has no end, or the schedule cannot be made.
        """
        optimizer = self.make_optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.make_scheduler is None:
            return optimizer
        total_steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(total_steps):
            raise ConfigError(
                "a learning rate schedule needs the end of the run: set trainer.max_epochs or +trainer.max_steps, or "
                "have a constant rate by ~scheduler"
            )
        scheduler = schedule(self.make_scheduler, optimizer, total_steps=int(total_steps))
        if scheduler.get("reduce_on_plateau") and str(scheduler.get("monitor")).startswith("val/"):
            # Once per validation, and not before the first one, for which Lightning would end the run.
            scheduler = {**scheduler, "frequency": self.trainer.check_val_every_n_epoch or 1, "strict": False}
        check_monitors(self.trainer, LOGGED_METRICS, scheduler)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card, with the validation metrics as they stand."""
        logged = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        known = {name: value for name, value in logged.items() if name.startswith("val/") and math.isfinite(value)}
        checkpoint[CARD_KEY] = replace(self.card, metrics=known or self.card.metrics).to_dict()
        checkpoint[STEPPING_KEY] = self._stepping()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a run of another model, or with another optimizer or schedule.

        Raises:
            CheckpointError: the checkpoint is not ours, or one of these differs; the message says in what.
        """
        _refuse_other_model(DetectorCard.from_dict(checkpoint.get(CARD_KEY)).model, self.card.model)
        mine = self._stepping()
        theirs = checkpoint.get(STEPPING_KEY, mine)  # older versions' have none
        names = {name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)}
        names -= {name for name in names if name.partition(".")[0] in names - {name}}  # options of another optimizer
        differing = [f"{name}={theirs.get(name, 'none')}, not {mine.get(name, 'none')}" for name in sorted(names)]
        if differing:
            raise CheckpointError(
                f"ckpt_path is a checkpoint of a run with {'; '.join(differing)}: its optimizer and schedule go on as "
                "they were, whatever is given now; repeat the options of the stopped run, or start anew in another "
                "hydra.run.dir"
            )

    def _stepping(self) -> dict[str, str]:
        """What the state of the optimizer and of the schedule was made of, which resuming brings back with them."""
        options: dict[str, str] = {}
        for name, make in (("optimizer", self.make_optimizer), ("scheduler", self.make_scheduler)):
            if isinstance(make, partial):
                options[name] = getattr(make.func, "__name__", type(make.func).__name__)
                given = {key: value for key, value in make.keywords.items() if key not in KERNELS}
                options |= {f"{name}.{key}": str(value) for key, value in given.items()}
            elif make is not None:
                options[name] = getattr(make, "__name__", type(make).__name__)
        return options

    def _evaluate(self, stage: str, batch: ClipBatch, metrics: MetricCollection) -> None:
        logits_BK, label_B = logits_of(self.model, batch), batch["label"]
        if "is_repeat" in batch:  # this may leave none
            counted_B = ~batch["is_repeat"]
            logits_BK, label_B = logits_BK[counted_B], label_B[counted_B]
        self._record(stage, F.cross_entropy(logits_BK, label_B, reduction="none"), logits_BK, label_B, metrics)

    def _record(
        self, stage: str, loss_B: Tensor, logits_BK: Tensor, label_B: Tensor, metrics: MetricCollection
    ) -> None:
        # Not in half precision: its probabilities would tie, and AUC counts ties.
        metrics.update(logits_BK.detach().float().softmax(dim=-1)[:, Label.FAKE], label_B)
        self._loss(stage).update(loss_B.float())

    def _log_epoch(self, stage: str, metrics: MetricCollection) -> None:
        """Log what all processes counted together: torchmetrics gathers it, over shares of any size."""
        loss = self._loss(stage)
        value = loss.compute()
        self.log(f"{stage}/loss", value, prog_bar=True, sync_dist=True)  # of equal numbers, by now
        self.log_dict(metrics.compute(), sync_dist=True)
        metrics.reset()
        loss.reset()
        if stage == "val" and not math.isfinite(value):  # before any callback keeps a checkpoint
            if self.trainer.sanity_checking:
                raise ConfigError("the network's scores are not finite before its first step: check its weights")
            raise self._diverged("the loss of the validation", lost=int(self.steps_not_finite))

    def _refuse_lost_training(self, *, at_least: int) -> None:
        """Raises:
        RunDiverged: so many steps in a row had no finite loss, in any process; all of them have to call this.
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


def _unscales_itself(optimizer: Optimizer) -> bool:
    """Whether a step of it undoes the scale of fp16's gradients: what torch marks fused optimizers with."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def take_backbone(model: ClipClassifier, path: str) -> None:
    """Give a frozen backbone the weights of the checkpoint that a run is resumed from, before features are computed.

    It may have begun with others: random ones, or from another file.

    Raises:
        CheckpointError: the checkpoint is not ours, or its model differs; the message says in what.
    """
    card, tensors = load_checkpoint(path)
    _refuse_other_model(card.model, model.config)
    prefix = "backbone."
    model.backbone.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )


def _refuse_other_model(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises:
    CheckpointError: a run of one model would be resumed as one of the other.
    """
    parts, expected = architecture(theirs), architecture(ours)
    differing = [f"{part}: {parts[part]}, not {expected[part]}" for part in expected if parts[part] != expected[part]]
    if differing:
        raise CheckpointError(f"ckpt_path is a checkpoint of another model ({'; '.join(differing)})")
    frozen = bool(theirs["backbone"].get("freeze"))
    if frozen != bool(ours["backbone"].get("freeze")):
        raise CheckpointError(
            f"ckpt_path is a checkpoint of a run with backbone.freeze={str(frozen).lower()}; go on with the same"
        )


def compile_backbone(model: ClipClassifier, device: torch.device) -> None:
    """Have torch's compiler make the kernels of the backbone, when it is first run. Its weights keep their names.

    Raises:
        ConfigError: there is no compiler that works here; said now, and not by a long traceback in the first step.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except RuntimeError as error:  # every error of torch's compiler is one
        needed = "a C++ compiler (g++ or clang++)" if device.type == "cpu" else "Triton and a C compiler"
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"compile=true needs {needed}, and torch's compiler does not work here ({lines[0][:200]}); "
            "install what is missing, or set compile=false"
        ) from error
    model.backbone.compile()


def best_checkpoint(trainer: Trainer) -> str | None:
    """The checkpoint that was best on val; None if none was written (``callbacks=none``, ``debug=fast``)."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            return callback.best_model_path
    return None


def optimized_value(trainer: Trainer, best: str | None, metric: str) -> float | None:
    """What a sweep optimises: a metric at the best checkpoint, the same in all processes, which all have to call this.

    None if there is no checkpoint, or the metric was not defined.
    """
    value = None
    if best and trainer.is_global_zero:
        value = load_checkpoint(best)[0].metrics.get(metric)
    agreed: float | None = trainer.strategy.broadcast(value)
    return agreed


def write_run_summary(
    folder: Path,
    best: str,
    trainer: Trainer,
    *,
    facts: Mapping[str, Any] | None = None,
    card: DetectorCard | None = None,
) -> None:
    """Leave in ``folder`` what a run is for.

    ``detector.safetensors`` is the best checkpoint without the state of its training (not for a model that exists for
    comparison only). ``summary.json`` has the best epoch (counted from 1) with its training and validation metrics,
    the metrics of the test over clips if there was one, the calibration, the parameters' number and the weights' hash,
    and ``facts``.
    ``learning_curves.png`` is drawn from ``metrics.csv``. Of several processes, the first one's to call.

    Args:
        folder: of the run.
        best: from :func:`best_checkpoint`.
        trainer: after fit and test.
        facts: what else is needed to reproduce the run, as plain values.
        card: the best checkpoint's, calibrated; None: as the training saved it.
    """
    from dfd import plots

    model, saved = load_model(best)
    card = card or saved
    best_epoch = int(torch.load(best, map_location="meta", weights_only=True)["epoch"]) + 1  # Lightning's begins at 0
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    train: dict[str, float] = {}
    if (folder / "metrics.csv").is_file():
        history = plots.read_history(folder / "metrics.csv")
        plots.save(plots.learning_curves(history), folder / "learning_curves.png")
        row = history[history["epoch"] == best_epoch]
        train = {str(name): float(row[name].iloc[-1]) for name in row if str(name).startswith("train/") and len(row)}
    if not model.mixes_clips:
        save_safetensors(folder / "detector.safetensors", model, card)
    summary = {
        **(facts or {}),
        "best_checkpoint": Path(best).name,
        "best_epoch": best_epoch,
        "epochs_counted_from": 1,  # older versions counted from 0, and had no such key
        "num_epochs": trainer.current_epoch,
        "train": _finite(train),
        "val": card.metrics,
        "test": _finite({name: value for name, value in logged.items() if name.startswith("test/")}),
        "calibration": {"temperature": card.temperature, "threshold": card.threshold, **card.calibration},
        "comparison_only": model.mixes_clips,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_sha256": weights_sha256(model.state_dict()),
        "versions": card.versions,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics for JSON, which has no nan: what is not defined is null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def check_optimized_metric(metric: str) -> None:
    """Refuse a metric that :func:`optimized_value` would not have, or that is of the test: choosing by it spoils it.

    Raises:
        ConfigError: there is no such metric.
    """
    if metric not in VAL_METRICS:
        raise ConfigError(f"optimized_metric: {metric!r} is not one of {', '.join(VAL_METRICS)}")
