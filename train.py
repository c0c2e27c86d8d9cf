"""``python train.py``: fit on train, choose the epoch on val, test once. ``--help`` shows how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from dfd.config import TrainConfig, build, build_all, check, entry_point, output_dir

if TYPE_CHECKING:
    from dfd.checkpoint import DetectorCard
    from dfd.data.module import ClipDataModule
    from dfd.models.classifier import ClipClassifier


@entry_point("train")
def main(cfg: DictConfig) -> float | None:
    """Train one detector; returns the validation metric that a sweep optimises."""
    config = check(cfg, TrainConfig)

    import lightning

    from dfd.loggers import finish_loggers, quiet_lightning
    from dfd.models.classifier import build_model
    from dfd.training import DetectorModule, best_checkpoint, check_optimized_metric, write_run_summary

    check_optimized_metric(config.optimized_metric)
    quiet_lightning()
    if config.seed is not None:
        lightning.seed_everything(config.seed, workers=True)
    folder = output_dir()
    resumed = resume_path(config.ckpt_path, folder)
    data = build(config.data)
    data.prepare_data()
    data.setup("fit")
    if resumed:
        check_same_data(resumed, data)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    model = build_model({"backbone": config.backbone, "temporal": config.temporal, "dropout": config.dropout})
    module = DetectorModule(
        model,
        optimizer=build(config.optimizer),
        scheduler=build(config.scheduler) if config.scheduler else None,
        card=card_of(model, data),
        label_smoothing=config.label_smoothing,
        class_weights=data.class_weights() if config.class_weights == "balanced" else config.class_weights,
        freeze_batchnorm=config.freeze_batchnorm,
    )
    loggers = build_all(config.logger)
    trainer = build({**config.trainer, "callbacks": build_all(config.callbacks), "logger": loggers})
    try:
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        best = best_checkpoint(trainer)
        if config.test and best:
            trainer.test(module, data, ckpt_path=best, weights_only=True)
    finally:
        finish_loggers(loggers)
    metric = write_run_summary(folder, best, trainer, metric=config.optimized_metric)
    if best:
        print(f"next: python -m dfd.evaluate checkpoint={folder}/detector.safetensors data.store={data.store}")
    print(f"the run is in {folder}" + (": detector.safetensors, learning_curves.png, metrics.csv" if best else ""))
    return metric


def card_of(model: ClipClassifier, data: ClipDataModule) -> DetectorCard:
    """What checkpoints of this run say about themselves."""
    from dfd.checkpoint import DetectorCard

    summary = data.summary()
    return DetectorCard(
        model=model.config,
        image_size=data.image_size,
        clip_len=data.clip_len,
        clip_stride=data.clip_stride,
        crop=summary["crop"],
        data=summary,
    )


def check_same_data(path: str, data: ClipDataModule) -> None:
    """Refuse to go on with a run on other clips than it began with.

    Raises:
        CheckpointError: the store's index is not the one that the checkpoint was trained on.
    """
    from dfd.checkpoint import load_checkpoint
    from dfd.errors import CheckpointError

    card, _ = load_checkpoint(path)
    if card.data.get("index_sha256") != data.summary()["index_sha256"]:
        raise CheckpointError(
            f"{path}: was trained on the store {card.data.get('store')!r} as it was then, not on {data.store} as it is "
            "now; repeat all options of the stopped run (its config.yaml has them), or start anew"
        )


def resume_path(ckpt_path: str | None, folder: Path) -> str | None:
    """The checkpoint to go on from; ``last`` is the one in this run's own folder.

    Raises:
        CheckpointError: it is not there.
    """
    from dfd.errors import CheckpointError

    if ckpt_path is None:
        return None
    path = folder / "checkpoints" / "last.ckpt" if ckpt_path == "last" else Path(ckpt_path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; ckpt_path=last needs hydra.run.dir=RUN_DIR of a stopped run"
        )
    return str(path)


if __name__ == "__main__":
    main()
