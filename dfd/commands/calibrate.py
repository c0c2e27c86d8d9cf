"""Fit a detector's temperature and threshold to labelled videos: ``python -m dfd.calibrate``."""

import logging
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dfd.base.errors import ConfigError, StoreError
from dfd.config.entry import output_dir
from dfd.config.schemas import CalibrateConfig, inputs_of
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.people import SPLITS
from dfd.evaluation.members import Members, load_measured
from dfd.evaluation.several.ensembles import calibrated_cards, save_ensemble
from dfd.evaluation.splits import calibrated_card, data_of_split
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import save_safetensors
from dfd.models.published.names import members
from dfd.models.starter import checkpoint_path


def print_calibration(before: DetectorCard, after: DetectorCard) -> None:
    """What a calibration changed, as a table in the terminal."""
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
    path = Path(output) if output else folder / "detector.safetensors"
    if path.suffix != ".safetensors":
        raise ConfigError(f"output={output}: what is written is a .safetensors; let the name end in it")
    if path.exists() and not overwrite:
        raise ConfigError(f"output={path}: is there already; give another name, or overwrite=true")
    return path


def calibrate_ensemble(config: CalibrateConfig, ensemble: Members, path: Path) -> None:
    """Calibrate several networks as one detector, and write it: a file for each network, ``path`` for the first.

    Raises:
        ConfigError: a file is there already, or the videos are those of the training.
        StoreError: nothing can be fitted to the videos.
    """
    for file in members(path, len(ensemble.detectors)):
        if file.exists() and not config.overwrite:
            raise ConfigError(f"output={file}: is there already; give another name, or overwrite=true")
    data = data_of_split(config.data, ensemble.card, config.split)
    for one in ensemble.detectors:
        warn_about_videos(one.card, data, config.split)
    cards = calibrated_cards(ensemble, data, config.split, false_alarms=config.false_alarms)
    for card in cards:
        if card.temperature is None:
            raise StoreError(f"{data.store}, split {config.split}: {card.calibration['note']}; nothing was written")
    written = save_ensemble(path, ensemble, cards)
    print_calibration(ensemble.card, cards[0])
    print(f"the ensemble of {len(written)} networks ({ensemble.rule} of their scores) is {path}, with its other files")


def calibrate(config: CalibrateConfig) -> None:
    """Calibrate the detector on one split, and write it as a new file."""
    if config.split not in SPLITS:
        raise ConfigError(f"split={config.split} is not one of {', '.join(SPLITS)}")
    path = output_file(config.output, output_dir(), overwrite=config.overwrite)
    files = [checkpoint_path(name) for name in inputs_of(config.checkpoint)]
    detector = load_measured(files, rule=config.combine, device=config.device, default="mean")
    if isinstance(detector, Members):
        calibrate_ensemble(config, detector, path)
        return
    if detector.model is None:
        remedy = "calibrate the .safetensors it was made from, and export anew"
        raise ConfigError(f"checkpoint={config.checkpoint}: {remedy}")
    data = data_of_split(config.data, detector.card, config.split)
    warn_about_videos(detector.card, data, config.split)
    card = calibrated_card(detector, data, config.split, false_alarms=config.false_alarms)
    if card.temperature is None:
        raise StoreError(f"{data.store}, split {config.split}: {card.calibration['note']}; nothing was written")
    if card.calibration["note"]:
        logging.getLogger(__name__).warning(card.calibration["note"])
    save_safetensors(path, detector.model, card)
    print_calibration(detector.card, card)
    if detector.no_verdict:
        still = f"still without verdicts: {card.no_verdict}" if card.no_verdict else "with verdicts from now on"
        print(f"its scores came without verdicts; they come {still}")
    if labelled := card.calibration.get("labelled"):
        print(
            f"beside a score it says how often such a score was fake among these {sum(map(len, labelled.values()))} "
            "videos; prevalence=SHARE of predict and report states the share of fakes that you expect among yours"
        )
    print(f"the calibrated detector is {path}")
