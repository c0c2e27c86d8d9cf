"""``python train.py``: fit on train, choose the epoch and calibrate on val, test once. ``--help`` shows how."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dfd.config import TrainConfig, build, build_all, check, entry_point, output_dir, target_name
from dfd.errors import ConfigError, RunPruned
from dfd.host import keep_freed_memory

if TYPE_CHECKING:
    from lightning import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from dfd.card import DetectorCard
    from dfd.data.module import ClipDataModule
    from dfd.inference import Detector
    from dfd.models.classifier import ClipClassifier
    from dfd.pruning import TrialPruning
    from dfd.training import DetectorModule


@entry_point("train")
def main(cfg: DictConfig) -> float | None:
    """Train one detector; returns the validation metric that a sweep optimises."""
    config = check(cfg, TrainConfig)
    keep_freed_memory()

    import lightning
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from dfd.distributed import check_processes, ending_together, meet, speak_once
    from dfd.loggers import count_epochs_from_one, finishing, quiet_lightning
    from dfd.resuming import explaining_interruption, finished_summary, mark_finished
    from dfd.tracking import log_run
    from dfd.training import best_checkpoint, check_optimized_metric, optimized_value

    check_optimized_metric(config.optimized_metric)
    if config.test_windows < 1:
        raise ConfigError(f"test_windows must be 1 or more, got {config.test_windows}")
    folder, resolved = output_dir(), OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    if config.ckpt_path in ("last", "auto") and (summary := finished_summary(folder, resolved)):  # type: ignore[arg-type]
        print(f"the run in {folder} is finished; more of trainer.max_epochs or patience would go on with it")
        return summary["val"].get(config.optimized_metric)  # type: ignore[no-any-return]
    quiet_lightning()
    if config.seed is not None:
        lightning.seed_everything(config.seed, workers=True)
    loggers, pruning = build_all(config.logger), trial_pruning(config.optimized_metric)
    count_epochs_from_one(loggers)
    trainer = trainer_of(config, loggers, *([pruning] if pruning else []))
    in_multirun = HydraConfig.get().mode is RunMode.MULTIRUN
    check_processes(trainer, in_multirun=in_multirun)
    speak_once(trainer)
    sweep_dir = Path(HydraConfig.get().sweep.dir) if in_multirun else None
    with (
        explaining_interruption(trainer, folder, sweep_dir=sweep_dir),
        finishing(loggers),
        ending_together(trainer),
    ):
        meet(trainer, folder)
        data, module, resumed = prepare(config, trainer, folder, in_multirun=in_multirun)
        facts = facts_of(config, module.model, data)
        if trainer.is_global_zero:
            OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
            log_run(loggers, resolved, facts, tags_of(config))  # type: ignore[arg-type]
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        if not (pruning and pruning.message):
            best = best_checkpoint(trainer)
            if config.test:
                trainer.test(module, data, ckpt_path=best, weights_only=True)
            metric = optimized_value(trainer, best, config.optimized_metric)
            if trainer.is_global_zero:  # the others are done
                write_results(config, trainer, data, best, folder, facts)
                if best:
                    mark_finished(folder, resolved)  # type: ignore[arg-type]
            return metric
    raise RunPruned(pruning.message)


def trainer_of(config: TrainConfig, loggers: Sequence[Logger], *callbacks: Callback) -> Trainer:
    """Lightning's trainer, with the configured callbacks and these ones."""
    from dfd.callbacks import with_callbacks
    from dfd.distributed import build_trainer

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
    from dfd.callbacks import check_monitors
    from dfd.distributed import first_prepares
    from dfd.models.classifier import build_model
    from dfd.resuming import check_same_data, refuse_used, resume_path
    from dfd.training import LOGGED_METRICS, DetectorModule, compile_backbone, take_backbone

    check_monitors(trainer, LOGGED_METRICS)
    resumed = resume_path(config.ckpt_path, folder, may_begin=in_multirun)
    if not config.ckpt_path:
        refuse_used(folder)
    data: ClipDataModule = build(config.data)
    first_prepares(trainer, data.prepare_data)
    data.setup("fit")
    if config.test:
        data.setup("test")  # that there is nothing to test on is better known before the training
    if resumed:
        check_same_data(resumed, data)
    model = build_model({"backbone": config.backbone, "temporal": config.temporal, "dropout": config.dropout})
    if data.cache_frames:
        frames = data.use_frames()
        first_prepares(trainer, lambda: frames.fill(num_workers=data.num_workers))
    if data.cache_features:
        if resumed:
            take_backbone(model, resumed)
        cache = data.use_features(model)
        device = trainer.strategy.root_device
        first_prepares(trainer, lambda: cache.fill(device=device, num_workers=data.num_workers))
    if config.compile:
        compile_backbone(model, trainer.strategy.root_device)
    module = DetectorModule(
        model,
        # Both are completed by code, so one that a person names by its _target_ need not say _partial_.
        optimizer=build({**config.optimizer, "_partial_": True}),
        scheduler=build({**config.scheduler, "_partial_": True}) if config.scheduler else None,
        card=card_of(model, data),
        label_smoothing=config.label_smoothing,
        class_weights=data.class_weights() if config.class_weights == "balanced" else config.class_weights,
        freeze_batchnorm=config.freeze_batchnorm,
    )
    return data, module, resumed


def write_results(
    config: TrainConfig, trainer: Trainer, data: ClipDataModule, best: str | None, folder: Path, facts: dict[str, Any]
) -> None:
    """Leave in the folder, and with the loggers, what the run is for."""
    from dfd.training import write_run_summary

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
    import json

    from dfd import plots
    from dfd.report.card import add_test
    from dfd.tracking import clip_sheet, log_results, sample_clips, trackers_of

    split = "test" if config.test else "val"
    if not config.test and not trackers_of(trainer.loggers):
        return
    metrics = score_videos(detector, data, split, folder / split, checkpoint=checkpoint)
    if split == "test":
        add_test(folder, data=data.summary(), windows_per_track=data.num_eval_clips)
    clips = sample_clips(data, split, folder / split / "predictions.csv", num_clips=config.num_sample_clips)
    if clips:
        plots.save(clip_sheet(clips), folder / "samples.png")
    summary = json.loads((folder / "summary.json").read_text())
    overall = metrics["overall"]
    log_results(
        *(trainer.loggers, folder, split), metrics=overall, summary=summary, clips=clips, step=trainer.global_step
    )


def trial_pruning(metric: str) -> TrialPruning | None:
    """In a job of ``hydra/sweeper=optuna``, what tells its study of every epoch, and ends it if it is hopeless."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    sweeper = HydraConfig.get().sweeper
    if (
        HydraConfig.get().mode is not RunMode.MULTIRUN
        or OmegaConf.select(sweeper, "trial") is None
        or not sweeper.pruning
    ):
        return None
    from dfd.pruning import TrialPruning
    from dfd.tuning import Pruning

    return TrialPruning(storage=sweeper.storage, trial=sweeper.trial, metric=metric, pruning=Pruning(**sweeper.pruning))


def detector_of(checkpoint: str, data: ClipDataModule, *, calibrate: bool, device: str) -> Detector:
    """The detector of a checkpoint, its temperature and threshold fitted on val if ``calibrate``."""
    from dfd.calibrate import calibrated_card, print_calibration
    from dfd.inference import Detector

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


def score_videos(
    detector: Detector, data: ClipDataModule, split: str, folder: Path, *, checkpoint: str
) -> dict[str, Any]:
    """Score a split's videos (the trainer's own test is about clips): what ``dfd.report`` compares runs by."""
    from dfd.evaluate import evaluate_split, print_metrics

    metrics = evaluate_split(detector, data, split, folder, threshold=detector.card.threshold, checkpoint=checkpoint)
    print_metrics(metrics)
    return metrics


def facts_of(config: TrainConfig, model: ClipClassifier, data: ClipDataModule) -> dict[str, Any]:
    """What else the run's summary has to say, so that the run can be repeated."""
    from dfd.checkpoint import weights_sha256
    from dfd.tracking import git_revision

    return {
        "name": f"{backbone_name(config.backbone)} + {target_name(config.temporal)}",
        "tags": tags_of(config),
        "seed": config.seed,
        "git": git_revision(),
        "initial_weights": {
            "pretrained": config.backbone.get("pretrained"),
            "weights": config.backbone.get("weights"),
            "sha256": weights_sha256(model.state_dict()),
        },
        "data": data.summary(),
        "frames_per_video": frames_per_video(data, config.test_windows),
    }


def tags_of(config: TrainConfig) -> list[str]:
    """To find a run by: its backbone, head and length of clips, and what was given as ``tags``."""
    choices = [backbone_name(config.backbone), target_name(config.temporal), f"{config.data['clip_len']} frames"]
    return [*dict.fromkeys([*choices, *config.tags])]


def backbone_name(node: Mapping[str, Any]) -> str:
    """The option's name; of a timm model, that model's."""
    return str(node.get("name") or target_name(node))


def frames_per_video(data: ClipDataModule, test_windows: int) -> dict[str, Any]:
    """How many frames of a video are in its clip, in a training sample, and scored in the test."""
    used = data.used_videos()["num_frames"]
    return {
        "prepared": data.summary()["preprocessing"].get("num_frames"),
        "in_clips_mean": round(float(used.mean()), 1),
        "in_clips_min": int(used.min()),
        "per_training_sample": data.clip_len,
        "scored_in_test_at_most": data.clip_len * test_windows,
    }


def card_of(model: ClipClassifier, data: ClipDataModule) -> DetectorCard:
    """What checkpoints of this run say about themselves."""
    from dfd.card import DetectorCard

    summary = data.summary()
    return DetectorCard(
        model=model.config,
        image_size=data.image_size,
        clip_len=data.clip_len,
        clip_stride=data.clip_stride,
        crop=summary["crop"],
        data=summary,
    )


if __name__ == "__main__":
    main()
