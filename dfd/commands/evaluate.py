"""Measure a detector on a split, under disturbances or on several data sets: ``python -m dfd.evaluate``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.config.entry import output_dir, refusing
from dfd.config.schemas import EvaluateConfig
from dfd.data.augment.disturbances import NUM_LEVELS, chosen
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.people import SPLITS
from dfd.evaluation.cross_dataset import cross_dataset, mean_auc, named_stores
from dfd.evaluation.robustness import _curves, robustness
from dfd.evaluation.scope import foreign_videos, measured_scope, scope_lines, with_kinds
from dfd.evaluation.splits import data_of_split, evaluate_split, scored_videos, warn_about_calibration
from dfd.evaluation.suites import Row, _estimate
from dfd.figures import style as plots
from dfd.figures.curves import learning_curves, read_history
from dfd.models.files.caveat import with_made_caveat
from dfd.models.files.checkpoint import replace_card
from dfd.models.starter import NAME, checkpoint_path
from dfd.scoring.detector import Detector


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The numbers as a table in the terminal: overall first, then each data set and method."""
    # Short heads: thirteen columns have to fit a terminal of 80.
    heads = {
        **{"accuracy": "acc", "balanced_accuracy": "bal", "majority_baseline": "base", "precision": "prec"},
        **{"recall": "rec", "f1": "F1", "auc": "AUC", "ap": "AP", "eer": "EER", "ece": "ECE", "brier": "Bri"},
    }
    caption = (
        "bal: balanced accuracy; base: the accuracy of always naming the more frequent label; ECE: calibration error; "
        "Bri: Brier score, like the calibration error the lower the better"
    )
    if "uncalibrated" in metrics:
        caption += "; uncalibrated: without the temperature, at a threshold of 0.5"
    table = Table(title="video level, fake is the positive class", caption=caption, box=SIMPLE, padding=0)
    console, counted = Console(), ["real", "fake", *heads.values()]
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=max(12, console.width - 5 * len(counted) - 2))
    for head in counted:
        table.add_column(head, justify="right", min_width=4, no_wrap=True)
    groups = [("overall", metrics["overall"])]
    groups += [("uncalibrated", metrics["uncalibrated"])] if "uncalibrated" in metrics else []
    for group, values in [*groups, *metrics["datasets"].items(), *metrics["methods"].items()]:
        cells = ["–" if values[name] is None else f"{values[name]:.2f}" for name in heads]
        table.add_row(group, str(values["num_real"]), str(values["num_fake"]), *cells)
    console.print(table)


def evaluate_robustness(config: EvaluateConfig, detector: Detector, folder: Path) -> None:
    """``suite=robustness``: one store, under each disturbance."""
    with refusing("disturbances"):
        disturbances = chosen(config.disturbances, fingerprint_weights=config.fingerprint_weights)
    data = data_of_split(config.data, detector.card, config.split)

    def score(description: str) -> pd.DataFrame:
        return scored_videos(detector, data, config.split, description=description)

    options = {"disturbances": disturbances, **_facts(config, detector)}
    print_robustness(robustness(score, data, config.split, folder, **options))
    print(f"robustness.csv, robustness.json and figures are in {folder}")


def evaluate_stores(config: EvaluateConfig, detector: Detector, folder: Path) -> None:
    """``suite=cross_dataset``: several stores, each data set and method of its own."""
    trained_on = detector.card.data.get("splits", {}).get("train", {}).get("datasets", {})
    stores = {
        name: data_of_split({**config.data, "store": path}, detector.card, config.split)
        for name, path in named_stores(config.stores).items()
    }

    def score(data: ClipDataModule, description: str) -> pd.DataFrame:
        return scored_videos(detector, data, config.split, description=description)

    options = {"trained_on": trained_on, **_facts(config, detector)}
    print_cross_dataset(cross_dataset(score, stores, config.split, folder, **options))
    print(f"cross_dataset.csv, cross_dataset.json and the figure are in {folder}")


def _facts(config: EvaluateConfig, detector: Detector) -> dict[str, Any]:
    threshold = detector.card.threshold if config.threshold is None else config.threshold
    return {"threshold": threshold, "detector": detector.name, "temperature": detector.card.temperature}


SUITES = {"robustness": evaluate_robustness, "cross_dataset": evaluate_stores}


def evaluate(config: EvaluateConfig) -> None:
    """Measure the detector; writes predictions.csv, metrics.json and figures, or the tables of a suite."""
    if config.split not in SPLITS:
        raise ConfigError(f"split={config.split} is not one of {', '.join(SPLITS)}")
    if config.threshold is not None and not 0 <= config.threshold <= 1:
        raise ConfigError(f"threshold must be in 0..1, got {config.threshold}")
    if config.suite not in (None, *SUITES):
        raise ConfigError(f"suite={config.suite} is not one of {', '.join(SUITES)}")
    suites = {"stores": "cross_dataset", "disturbances": "robustness", "fingerprint_weights": "robustness"}
    for option, suite in suites.items():
        if getattr(config, option) is not None and config.suite != suite:
            raise ConfigError(f"{option} is only for suite={suite}")
    path = checkpoint_path(config.checkpoint)
    if config.update_scope:
        refuse_scope(config, path)
    detector = Detector.load(path, device=config.device, for_comparison=True)
    folder = Path(config.output) if config.output else output_dir()
    if config.suite is not None:
        SUITES[config.suite](config, detector, folder)
        return
    data = data_of_split(config.data, detector.card, config.split)
    warn_about_calibration(detector.card, config.split, data)
    threshold = _facts(config, detector)["threshold"]
    metrics = evaluate_split(detector, data, config.split, folder, threshold=threshold, checkpoint=config.checkpoint)
    # Beside detector.safetensors; one folder up from checkpoints/best.ckpt.
    histories = [folder / "metrics.csv" for folder in list(Path(config.checkpoint).absolute().parents)[:2]]
    for history in [path for path in histories if path.exists()][:1]:
        plots.save(learning_curves(read_history(history)), folder / "learning_curves.png")
    print_metrics(metrics)
    if config.update_scope:
        update_scope(config, detector, data, path, folder)
    print(f"predictions.csv, metrics.json and figures are in {folder}")


def refuse_scope(config: EvaluateConfig, path: Path) -> None:
    """Refuse to update a scope where none could be written, before anything is scored.

    Raises:
        ConfigError: when the file is not a detector of one's own, or the evaluation is not of its own threshold.
    """
    if path.suffix != ".safetensors" or config.checkpoint == NAME:
        remedy = "export it first (dfd export)" if path.suffix != ".safetensors" else "export it to a file of your own"
        raise ConfigError(f"update_scope=true writes into a .safetensors; checkpoint={config.checkpoint}: {remedy}")
    if config.suite is not None or config.threshold is not None:
        raise ConfigError("update_scope=true measures the detector as it is: leave out suite and threshold")


def update_scope(config: EvaluateConfig, detector: Detector, data: ClipDataModule, path: Path, folder: Path) -> None:
    """``update_scope=true``: write into the detector's file for which kinds of fakes it was shown to work."""
    scored = pd.read_csv(folder / "predictions.csv", dtype={"video_id": str}, keep_default_na=False)
    scored["prob_fake"] = pd.to_numeric(scored["prob_fake"])
    scored["label"] = [int(Label.parse(label)) for label in scored["label"]]
    found = foreign_videos(scored, data.store, config.split, detector.card, config.trained_on)
    table = with_kinds(found.table, data.store)
    summary = data.summary()
    facts = {
        **{key: summary[key] for key in ("store", "index_sha256")},
        **{"split": config.split, "windows_per_track": data.num_eval_clips},
        **{"left_out": found.num_left_out, "checked": found.checked},
        "datasets": dict(sorted(Counter(table["dataset"]).items())),
        "methods": dict(sorted(Counter(method for method in table["method"] if method).items())),
    }
    scope = measured_scope(table, threshold=detector.card.threshold, data=facts)
    replace_card(path, with_made_caveat(detector.card, scope=scope.to_dict()))
    if found.num_left_out:
        print(f"{found.num_left_out} videos made the detector, or show its people or sources, and were left out")
    print("\n".join(["scope:", *(f"  {line}" for line in scope_lines(scope))]))
    print(f"the scope is written into {path}; for its model card: dfd export {path}")


def print_robustness(rows: Sequence[Row]) -> None:
    """AUC by disturbance and level, as a table in the terminal."""
    base, curves = _curves(rows)
    heads = ["", *map(str, range(NUM_LEVELS + 1)), "balanced accuracy"]
    counts = f"{rows[0]['num_real']} real, {rows[0]['num_fake']} fake videos"
    last = {row["disturbance"]: row["balanced_accuracy"] for row in rows}
    caption = (
        f"Level 0 is undisturbed: AUC {_with_ends(base)}, balanced accuracy {_number(rows[0]['balanced_accuracy'])}. "
        f"The last column is at level {NUM_LEVELS}. {rows[0]['note']}"
    )
    table = _terminal_table(f"AUC at video level by level of strength, {counts}", heads, caption.strip())
    for name, levels in curves.items():
        cells = [_number(levels[level][0]) for level in range(NUM_LEVELS + 1)]
        table.add_row(name, *cells, _number(last[name]))
    Console().print(table)


def print_cross_dataset(rows: Sequence[Row]) -> None:
    """The data sets and their methods, as a table in the terminal."""
    caption = (
        f"A method is set against all real videos of its data set. Mean AUC of data sets: {_number(mean_auc(rows))}"
    )
    caption += ". known: the detector was trained on videos of it; bal.: balanced accuracy."
    if any(row["note"] for row in rows):
        caption += " –: only one label has videos."
    heads = ["", "known", "real", "fake", "AUC", "bal."]
    table = _terminal_table("AUC at video level, 95 % bootstrap intervals", heads, caption)
    for row in rows:
        name = f"  {row['method']}" if row["method"] else f"{row['store']}: {row['dataset']}"
        known = "" if row["method"] else row["in_training"]
        counts = (str(row["num_real"]), str(row["num_fake"]))
        table.add_row(name, known, *counts, _with_ends(_estimate(row, "auc")), _number(row["balanced_accuracy"]))
    Console().print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_ends(estimate: plots.Estimate) -> str:
    value, ends = estimate
    return _number(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _terminal_table(title: str, heads: Sequence[str], caption: str) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    for head in heads:
        # A long name gives way, so that the numbers fit a terminal of 80 columns.
        width = None if head else 26
        table.add_column(head, justify="right" if head else "left", no_wrap=True, overflow="ellipsis", max_width=width)
    return table
