"""Train a detector: fit on train, choose the epoch and calibrate on val, test once: ``train.py``."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger

from dfd.base.errors import ConfigError, RunPruned
from dfd.base.machine import keep_freed_memory
from dfd.commands.calibrate import print_calibration
from dfd.config.build import build, build_all
from dfd.config.entry import Job
from dfd.config.schemas import TrainConfig
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.splits import calibrated_card, evaluate_split
from dfd.figures import style as plots
from dfd.models.classifier import build_model
from dfd.models.files.checkpoint import load_checkpoint
from dfd.report.evaluations.terminal import print_metrics
from dfd.report.runs.write import add_test
from dfd.scoring.detector import Detector
from dfd.studies.needs import Needs
from dfd.studies.pruning import trial_pruning
from dfd.training import resuming
from dfd.training.callbacks import check_monitors, with_callbacks
from dfd.training.distributed import build_trainer, check_processes, ending_together, first_prepares, meet, speak_once
from dfd.training.facts import card_of, facts_of, tags_of
from dfd.training.learning.compiling import compile_backbone
from dfd.training.learning.starting import Start
from dfd.training.learning.tuning import Tuning
from dfd.training.loggers import count_epochs_from_one, finishing, quiet_lightning
from dfd.training.module import LOGGED_METRICS, DetectorModule
from dfd.training.results import best_checkpoint, check_optimized_metric, optimized_value, write_run_summary
from dfd.training.tracking import clip_sheet, log_results, log_run, sample_clips, trackers_of


def train(config: TrainConfig, job: Job) -> float | None:
    """Train one detector in the job's folder; returns the validation metric that a sweep optimises.

    Raises:
        RunPruned: the study ended this run early.
        RunDiverged: its loss is not finite any more.
    """
    keep_freed_memory()

    check_optimized_metric(config.optimized_metric)
    if config.test_windows < 1:
        raise ConfigError(f"test_windows must be 1 or more, got {config.test_windows}")
    folder = job.folder
    if config.ckpt_path in ("last", "auto") and (summary := resuming.finished_summary(folder, job.options)):
        print(f"the run in {folder} is finished; more of trainer.max_epochs or patience would go on with it")
        return summary["val"].get(config.optimized_metric)  # type: ignore[no-any-return]
    quiet_lightning()
    if config.seed is not None:
        lightning.seed_everything(config.seed, workers=True)
    loggers, pruning = build_all(config.logger), trial_pruning(job.sweeper, config.optimized_metric)
    count_epochs_from_one(loggers)
    trainer = trainer_of(config, loggers, *([pruning] if pruning else []))
    in_multirun = job.sweep_dir is not None
    check_processes(trainer, in_multirun=in_multirun)
    speak_once(trainer)
    interruption = resuming.explaining_interruption(trainer, folder, sweep_dir=job.sweep_dir)
    with interruption, finishing(loggers), ending_together(trainer):
        meet(trainer, folder)
        data, module, resumed = prepare(config, trainer, folder, in_multirun=in_multirun)
        facts = facts_of(config, module.model, data)
        if trainer.is_global_zero:
            job.save_options()
            log_run(loggers, job.options, facts, tags_of(config))
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        if not (pruning and pruning.message):
            best = best_checkpoint(trainer)
            if config.test:
                trainer.test(module, data, ckpt_path=best, weights_only=True)
            metric = optimized_value(trainer, best, config.optimized_metric)
            if trainer.is_global_zero:  # the others are done
                write_results(config, trainer, data, best, folder, facts)
                if best:
                    resuming.mark_finished(folder, job.options)
            return metric
    raise RunPruned(pruning.message)


def trainer_of(config: TrainConfig, loggers: Sequence[Logger], *callbacks: Callback) -> Trainer:
    """Lightning's trainer, with the configured callbacks and these ones."""
    chosen = config.callbacks or {}
    for name, node in chosen.items():
        if node and "_target_" not in node:  # as the patience that an experiment sets, with callbacks=none
            logging.getLogger(__name__).warning("there is no callback %r, so %s does nothing", name, dict(node))
    present = {name: node for name, node in chosen.items() if node and "_target_" in node}
    options = with_callbacks(config.trainer, [*build_all(present), *callbacks])
    return build_trainer({**options, "logger": loggers})


def prepare(
    config: TrainConfig, trainer: Trainer, folder: Path, *, in_multirun: bool = False
) -> tuple[ClipDataModule, DetectorModule, str | None]:
    """The data, the module, and the checkpoint to go on from; refused if the run could not end well."""
    check_monitors(trainer, LOGGED_METRICS)
    resumed = resuming.resume_path(config.ckpt_path, folder, may_begin=in_multirun)
    if not config.ckpt_path:
        resuming.refuse_used(folder)
    data: ClipDataModule = build(config.data)
    first_prepares(trainer, data.prepare_data)
    data.setup("fit")
    if config.test:
        data.setup("test")  # that there is nothing to test on is better known before the training
    if config.needs:
        Needs(**asdict(config.needs)).check(data)
    if resumed:
        resuming.check_same_data(resumed, data)
    start = Start.of(config.init_from) if config.init_from and not resumed else None
    backbone = {**config.backbone, **({"pretrained": False, "weights": None} if config.init_from else {})}
    backbone = {name: value for name, value in backbone.items() if name in config.backbone}
    parts = {"backbone": backbone, "temporal": config.temporal, "head": config.head}
    model = build_model({**parts, "dropout": config.dropout})
    lineage = load_checkpoint(resumed)[0].lineage if resumed else []
    if start:
        lineage = start.copy_into(model)
        start.warn_about(data.summary())
    if data.cache_frames:
        frames = data.use_frames()
        first_prepares(trainer, lambda: frames.fill(num_workers=data.num_workers))
    if data.cache_features:
        if resumed:
            resuming.take_backbone(model, resumed)
        cache = data.use_features(model)
        device = trainer.strategy.root_device
        first_prepares(trainer, lambda: cache.fill(device=device, num_workers=data.num_workers))
    if config.compile:
        compile_backbone(model, trainer.strategy.root_device)
    strategy = build(config.strategy) if config.strategy else None
    if strategy is not None:  # before the optimizer, since it may have weights of its own
        strategy.setup(model, data)
    module = DetectorModule(
        model,
        # Both are completed by code, so one that a person names by its _target_ need not say _partial_.
        optimizer=build({**config.optimizer, "_partial_": True}),
        scheduler=build({**config.scheduler, "_partial_": True}) if config.scheduler else None,
        card=card_of(model, data, lineage),
        # Configurations of older versions know neither losses nor tuning.
        loss={name: build(node) for name, node in config.loss.items() if node} if config.loss else None,
        label_smoothing=config.label_smoothing,
        class_weights=config.class_weights,
        freeze_batchnorm=config.freeze_batchnorm,
        tuning=Tuning(**asdict(config.tuning)) if config.tuning else None,
        strategy=strategy,
    )
    if module.fitting:
        module.fitting.check(trainer)
    module.loss.setup(model, data)
    return data, module, resumed


def write_results(
    config: TrainConfig, trainer: Trainer, data: ClipDataModule, best: str | None, folder: Path, facts: dict[str, Any]
) -> None:
    """Leave in the folder, and with the loggers, what the run is for."""
    data.used_videos().to_csv(folder / "videos.csv", index=False)
    if best:
        data.num_eval_clips = config.test_windows
        detector = detector_of(best, data, calibrate=config.calibrate, device=str(trainer.strategy.root_device))
        write_run_summary(folder, best, trainer, facts=facts, card=detector.card)
        track(config, trainer, data, detector, folder, checkpoint=Path(best).name)
        print(f"next: python -m dfd.report {folder}")
    elif trainer.fast_dev_run:  # type: ignore[attr-defined]
        print("a trial of a few batches (trainer.fast_dev_run): it came to its end, and nothing was kept")
        return
    else:
        tested = "what was tested are the weights of the last epoch" if config.test else "and nothing is tested"
        print(f"no checkpoint was kept, so there is no detector; {tested}")
    names = ("detector.safetensors", "test", "metrics.csv", "summary.json")
    print(f"the run is in {folder}: {', '.join(name for name in names if (folder / name).exists())}")


def track(
    config: TrainConfig, trainer: Trainer, data: ClipDataModule, detector: Detector, folder: Path, *, checkpoint: str
) -> None:
    """Score the videos of test, draw some of their clips, and hand all to the loggers.

    Without a test, and if there is a logger for more than numbers, those of val.
    """
    split = "test" if config.test else "val"
    if not config.test and not trackers_of(trainer.loggers):
        return
    # The trainer's own test is about clips; runs are compared by videos.
    threshold = detector.card.threshold
    metrics = evaluate_split(detector, data, split, folder / split, threshold=threshold, checkpoint=checkpoint)
    print_metrics(metrics)
    if split == "test":
        add_test(folder, data=data.summary(), windows_per_track=data.num_eval_clips)
    clips = sample_clips(data, split, folder / split / "predictions.csv", num_clips=config.num_sample_clips)
    if clips:
        plots.save(clip_sheet(clips), folder / "samples.png")
    summary = json.loads((folder / "summary.json").read_text())
    found = {"metrics": metrics["overall"], "summary": summary, "clips": clips}
    log_results(trainer.loggers, folder, split, **found, step=trainer.global_step)


def detector_of(checkpoint: str, data: ClipDataModule, *, calibrate: bool, device: str) -> Detector:
    """The detector of a checkpoint, its temperature and threshold fitted on val if ``calibrate``."""
    detector = Detector.load(checkpoint, device=device, for_comparison=True)
    if not calibrate:
        return detector
    card = calibrated_card(detector, data, "val")
    if note := card.calibration["note"]:
        logging.getLogger(__name__).warning(note)
    if card.temperature is not None:
        print_calibration(detector.card, card)
    assert detector.model is not None  # a .ckpt has one
    return Detector.of(detector.model, card, name=detector.name, device=device, for_comparison=True)
