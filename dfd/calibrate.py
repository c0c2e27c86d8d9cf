"""``python -m dfd.calibrate``: fit a detector's temperature and threshold to labelled videos, such as your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dfd.config import CalibrateConfig, check, entry_point, output_dir
from dfd.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from dfd.card import DetectorCard
    from dfd.data.module import ClipDataModule
    from dfd.inference import Detector


def calibrated_card(detector: Detector, data: ClipDataModule, split: str) -> DetectorCard:
    """The detector's card with the temperature and the threshold that fit the videos of a split.

    They are scored as in an evaluation, ``data.num_eval_clips`` windows of each track. Where nothing can be fitted, the
    card says so, its temperature is None and its threshold 0.5; see :func:`dfd.calibration.calibrate`.
    """
    from dataclasses import replace

    from dfd.calibration import calibrate
    from dfd.evaluate import score_windows

    if detector.model is not None and detector.model.mixes_clips:
        note = "not calibrated: its score of a video depends on the other videos of its batch"
        return replace(detector.card, calibration={"note": note})
    table = score_windows(detector, data, split)
    summary = data.summary()
    facts = {key: summary[key] for key in ("store", "index_sha256", "videos_sha256")}
    found = calibrate(table["log_odds"].tolist(), table["label"], card=detector.card)
    return found.on(detector.card, split=split, windows_per_track=data.num_eval_clips, **facts)


def print_calibration(before: DetectorCard, after: DetectorCard) -> None:
    """What a calibration changed, as a table in the terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    found = after.calibration
    table = Table(
        title=f"calibrated on {found['num_real']} real and {found['num_fake']} fake videos of {found['split']}",
        caption="On the videos that it was fitted to; on others it gains less. Only balanced accuracy is better high.",
        box=SIMPLE,
        min_width=64,
    )
    table.add_column("")
    for head in ("before", "after"):
        table.add_column(head, justify="right")
    cells = ["none" if card.temperature is None else f"{card.temperature:.3f}" for card in (before, after)]
    table.add_row("temperature", *cells)
    table.add_row("threshold", *(f"{card.threshold:.3f}" for card in (before, after)))
    names = {"ece": "calibration error", "brier": "Brier score", "nll": "negative log-likelihood"}
    for name, shown in {**names, "balanced_accuracy": "balanced accuracy"}.items():
        table.add_row(shown, *(f"{found[when][name]:.3f}" for when in ("before", "after")))
    Console().print(table)


def warn_about_videos(card: DetectorCard, data: ClipDataModule, split: str) -> None:
    """Refuse the videos that the detector was trained on, and warn of those that it is to be tested on.

    Raises:
        ConfigError: they are the training split; the detector is surer of these than of any others.
    """
    import logging

    if card.data.get("index_sha256") != data.summary()["index_sha256"]:
        return
    if split == "train":
        raise ConfigError("split=train: the detector was trained on these videos, and is surer of them; use split=val")
    if split == "test":
        logging.getLogger(__name__).warning("calibrated on test, the detector has no test left in this store")


def output_file(output: str | None, folder: Path, *, overwrite: bool) -> Path:
    """Where to write.

    Raises:
        ConfigError: not a ``.safetensors``, or there is a file and it may not be overwritten.
    """
    from pathlib import Path

    path = Path(output) if output else folder / "detector.safetensors"
    if path.suffix != ".safetensors":
        raise ConfigError(f"output={output}: what is written is a .safetensors; let the name end in it")
    if path.exists() and not overwrite:
        raise ConfigError(f"output={path}: is there already; give another name, or overwrite=true")
    return path


@entry_point("calibrate")
def main(cfg: DictConfig) -> None:
    """Calibrate a detector on one split of a clip store."""
    config = check(cfg, CalibrateConfig)

    import logging

    from dfd.checkpoint import save_safetensors
    from dfd.data.splits import SPLITS
    from dfd.evaluate import data_for, warn_about_crops
    from dfd.inference import Detector
    from dfd.starter import checkpoint_path

    if config.split not in SPLITS:
        raise ConfigError(f"split={config.split} is not one of {', '.join(SPLITS)}")
    path = output_file(config.output, output_dir(), overwrite=config.overwrite)
    detector = Detector.load(checkpoint_path(config.checkpoint), device=config.device)
    if detector.model is None:
        raise ConfigError(
            f"checkpoint={config.checkpoint}: calibrate the .safetensors it was made from, and export anew"
        )
    data = data_for(config.data, detector.card)
    data.setup(config.split)
    warn_about_videos(detector.card, data, config.split)
    warn_about_crops(detector.card.crop, data.summary()["crop"])
    card = calibrated_card(detector, data, config.split)
    if card.temperature is None:
        raise StoreError(f"{data.store}, split {config.split}: {card.calibration['note']}; nothing was written")
    if card.calibration["note"]:
        logging.getLogger(__name__).warning(card.calibration["note"])
    save_safetensors(path, detector.model, card)
    print_calibration(detector.card, card)
    print(f"the calibrated detector is {path}")


if __name__ == "__main__":
    main()
