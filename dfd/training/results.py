"""Results of a finished training: the best checkpoint, its metrics and the run's summary."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dfd.base.errors import ConfigError
from dfd.base.files import write_json
from dfd.figures import style as plots
from dfd.figures.curves import learning_curves, read_history
from dfd.metrics.clips import clip_metrics
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import with_made_caveat
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors, weights_sha256
from dfd.models.networks.lora import merge_lora

VAL_METRICS = ("val/loss", *map(str, clip_metrics("val/")))
"""Metrics that may select a checkpoint or guide a sweep."""


def best_checkpoint(trainer: Trainer) -> str | None:
    """Checkpoint that was best on val; None if none was written (``callbacks=none``, ``debug=one_batch``)."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            return callback.best_model_path
    return None


def optimized_value(trainer: Trainer, best: str | None, metric: str) -> float | None:
    """Value that a sweep optimises: a metric of the best checkpoint, or None if that or the metric is missing.

    All processes must call this function; they get the same value.
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
    """Write a run's results to ``folder``; to be called by the first process only.

    ``detector.safetensors`` is the best checkpoint without training state (omitted for models that exist only for
    comparison). ``summary.json`` has the best epoch (counted from 1) with its training and validation metrics, the
    clip-level test metrics if there was a test, the calibration, the number of parameters, the hash of the weights, and
    ``facts``. ``learning_curves.png`` is drawn from ``metrics.csv``.

    Args:
        folder: folder of the run.
        best: result of :func:`best_checkpoint`.
        trainer: trainer after fit and test.
        facts: further facts needed to reproduce the run, as plain values.
        card: calibrated card of the best checkpoint; None takes the one saved in training.
    """
    model, saved = load_model(best)
    card = with_made_caveat(card or saved)
    best_epoch = int(torch.load(best, map_location="meta", weights_only=True)["epoch"]) + 1  # Lightning's begins at 0
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    train: dict[str, float] = {}
    if (folder / "metrics.csv").is_file():
        history = read_history(folder / "metrics.csv")
        plots.save(learning_curves(history), folder / "learning_curves.png")
        row = history[history["epoch"] == best_epoch]
        train = {str(name): float(row[name].iloc[-1]) for name in row if str(name).startswith("train/") and len(row)}
    if merge_lora(model.backbone):  # so that the detector needs neither the option nor its arithmetic
        model.config["backbone"]["lora"] = None
        card = replace(card, model=model.config)
    if not model.mixes_clips:
        save_safetensors(folder / "detector.safetensors", model, card)
    summary = {
        **(facts or {}),
        "best_checkpoint": Path(best).name,
        "best_epoch": best_epoch,
        "epochs_counted_from": 1,  # older versions counted from 0 and lack this key
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
    write_json(folder / "summary.json", summary)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics for JSON, with null for nan and infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def check_optimized_metric(metric: str) -> None:
    """Refuse a metric that :func:`optimized_value` does not know, including test metrics, which selection would bias.

    Raises:
        ConfigError: ``metric`` is not one of ``VAL_METRICS``.
    """
    if metric not in VAL_METRICS:
        raise ConfigError(f"optimized_metric: {metric!r} is not one of {', '.join(VAL_METRICS)}")
