"""dfd from Python, without Hydra: prepare videos, train, evaluate and predict. ``examples/python_api.ipynb`` shows it.

Every function takes objects and plain arguments. The classes that they work with may be used on their own, and
subclassed: :class:`~dfd.scoring.detector.Detector`, :class:`~dfd.data.clips.module.ClipDataModule`,
:class:`~dfd.models.classifier.ClipClassifier`, :class:`~dfd.training.module.DetectorModule`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.optim import AdamW, Optimizer

from dfd.base.errors import ConfigError
from dfd.base.types import VideoScore
from dfd.data.clips.module import ClipDataModule
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources import Listing
from dfd.data.sources import folder as folder_source
from dfd.data.sources.manifest import read_manifest
from dfd.evaluation.splits import calibrated_card, evaluate_split
from dfd.faces.crop import Crop, Square
from dfd.faces.extract import ExtractionSettings
from dfd.models.classifier import ClipClassifier, build_model
from dfd.scoring.detector import Detector
from dfd.training.facts import card_of
from dfd.training.learning.losses import LossFunction
from dfd.training.learning.starting import Start
from dfd.training.learning.tuning import Tuning
from dfd.training.loggers import RunCSVLogger
from dfd.training.module import DetectorModule
from dfd.training.results import best_checkpoint, write_run_summary
from dfd.training.resuming import refuse_used
from dfd.training.schedules import Scheduler

OPTIMIZER = partial(AdamW, lr=1e-4)
"""Optimizer of :func:`train` unless another is given."""

Part = str | tuple[str, Mapping[str, Any]]
"""Part of a network: its name, or its name and its options. A part of a plug-in has a dotted name."""


def prepare(
    videos: str | Path | Listing,
    store: str | Path,
    *,
    face_detector: str | Mapping[str, Any] = "mtcnn",
    crop: Crop | None = None,
    split: str = "source",
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    num_workers: int | None = None,
    **settings: Any,
) -> Counter[str]:
    """Turn videos into a store of face clips, or complete one; returns the number of videos by status.

    Args:
        videos: a manifest (CSV), a folder that holds ``real`` and ``fake``, or the result of a source function.
        store: folder of the store.
        face_detector: its name, or its name and options (``{"name": "mtcnn", "threshold": 0.8}``).
        crop: what is cut out; None: a square of 112 pixels.
        split: mode of the split: ``source`` keeps people apart.
        fractions: shares of train, val and test.
        num_workers: number of processes; None: one per core.
        settings: further arguments of :class:`~dfd.data.prepare.video.PreparationSettings`.

    Raises:
        ManifestError: the list of videos is wrong; the message names every place.
        DfdError: the preparation cannot go on; what is finished is kept.
    """
    if isinstance(videos, Listing):
        rows = videos.rows
    else:
        rows = folder_source(videos).rows if Path(videos).is_dir() else read_manifest(videos)
    detector = {"name": face_detector} if isinstance(face_detector, str) else face_detector
    chosen = PreparationSettings(detector, ExtractionSettings(crop=crop or Square()), **settings)
    return prepare_store(rows, store, chosen, mode=split, fractions=fractions, num_workers=num_workers)


def network(
    backbone: Part, temporal: Part = "mean", head: Part = "standard", *, dropout: float = 0.4
) -> ClipClassifier:
    """Build a network of named parts, such as ``network(("timm", {"name": "resnet18"}), temporal="gru")``.

    Raises:
        ConfigError: a part or an option is unknown, or does not fit.
    """
    places = {"backbone": "backbones", "temporal": "temporal", "head": "heads"}
    config: dict[str, Any] = {"dropout": dropout}
    for name, part in {"backbone": backbone, "temporal": temporal, "head": head}.items():
        called, options = (part, {}) if isinstance(part, str) else part
        target = called if "." in called else f"dfd.models.{places[name]}.{called}"
        config[name] = {"_target_": target, **options}
    return build_model(config)


def train(
    model: ClipClassifier,
    data: ClipDataModule,
    folder: str | Path,
    *,
    max_epochs: int,
    optimizer: Callable[[Any], Optimizer] = OPTIMIZER,
    scheduler: Scheduler | None = None,
    loss: Mapping[str, nn.Module | LossFunction] | None = None,
    tuning: Tuning | None = None,
    init_from: str | Path | None = None,
    module: type[DetectorModule] = DetectorModule,
    seed: int = 0,
    num_windows: int = 4,
    callbacks: Iterable[Callback] = (),
    **trainer: Any,
) -> Detector:
    """Train a network, keep its best epoch on val, calibrate it there, and return the detector.

    The folder then holds ``detector.safetensors``, ``metrics.csv``, ``summary.json`` and the checkpoints, as after
    ``python train.py``. A network that :func:`network` or :func:`~dfd.models.classifier.build_model` built is in the
    detector's card, so that the file can be loaded again. One that was put together otherwise is returned, but not
    written, since nothing could load it.

    Args:
        model: network.
        data: its data module.
        folder: folder of the run; must hold no other run.
        max_epochs: number of epochs.
        optimizer: factory of the optimizer.
        scheduler: factory of the schedule, see :mod:`dfd.training.schedules`; None: a constant rate.
        loss: losses by name, see :mod:`dfd.training.learning.losses`; None: cross-entropy.
        tuning: what is learned of the backbone; None: all of it.
        init_from: a detector whose weights the run starts from.
        module: the LightningModule, such as a subclass with its own ``compute_loss``.
        seed: seed of the run.
        num_windows: clips per face track in the calibration.
        callbacks: further callbacks of Lightning.
        trainer: further arguments of ``lightning.Trainer``.

    Raises:
        ConfigError: the folder holds a run, or an option does not fit.
        RunDiverged: the loss is not finite any more.
    """
    folder = Path(folder)
    refuse_used(folder)
    lightning.seed_everything(seed, workers=True, verbose=False)
    data.setup("fit")
    start = None if init_from is None else Start.of(str(init_from))
    lineage = start.copy_into(model) if start else []
    learning = module(
        model,
        optimizer=optimizer,
        scheduler=scheduler,
        card=card_of(model, data, lineage),
        loss=loss,
        tuning=tuning,
    )
    learning.loss.setup(model, data)
    places: dict[str, Any] = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    kept = [
        ModelCheckpoint(filename="best", monitor="val/loss", **places),
        ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **places),
    ]
    runner = lightning.Trainer(
        **{"logger": RunCSVLogger(save_dir=str(folder)), "enable_model_summary": False, **trainer},
        default_root_dir=folder,
        max_epochs=max_epochs,
        callbacks=[*kept, *callbacks],
    )
    runner.fit(learning, data)
    best = best_checkpoint(runner)
    if best is None:
        raise ConfigError("no checkpoint was kept: let the run have an epoch with a validation")
    data.num_eval_clips = num_windows
    if not model.config:
        learning.load_weights(best)
        return Detector.of(model, learning.card, name=folder.name, device=str(runner.strategy.root_device))
    detector = Detector.load(best, for_comparison=True)
    card = calibrated_card(detector, data, "val")
    write_run_summary(folder, best, runner, facts={"seed": seed, "data": data.summary()}, card=card)
    return Detector.load(folder / "detector.safetensors")


def evaluate(
    detector: Detector, data: ClipDataModule, folder: str | Path, *, split: str = "test", num_windows: int = 4
) -> dict[str, Any]:
    """Measure a detector on a split at video level; writes predictions, metrics and figures, and returns the metrics.

    Raises:
        StoreError: the split has no video with a face.
    """
    data.setup(split)
    data.num_eval_clips = num_windows
    threshold = detector.card.threshold
    return evaluate_split(detector, data, split, Path(folder), threshold=threshold, checkpoint=detector.name)


def predict(detector: Detector, paths: Iterable[str | Path]) -> list[VideoScore]:
    """Score videos, in the order of the paths. A video that cannot be scored has a status and a message."""
    order = [str(path) for path in paths]
    scores = {score.path: score for score in detector.score_many(order)}
    return [scores[path] for path in order]
