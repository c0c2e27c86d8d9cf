"""``python -m dfd.evaluate``: what a detector is worth on a split: predictions.csv, metrics.json and figures.

With ``suite=``, what it is worth under disturbances, or on several data sets: see :mod:`dfd.suites`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dfd.config import EvaluateConfig, build, check, entry_point, output_dir, refusing
from dfd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from dfd.card import DetectorCard
    from dfd.data.module import ClipDataModule
    from dfd.inference import Detector

PREDICTION_COLUMNS = ["video_id", "dataset", "method", "label", "prob_fake", "predicted", "num_windows", "num_faces"]


def score_windows(
    detector: Detector, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """One row per video of a split, sorted by video.

    Columns: ``video_id, dataset, method, label`` (0 or 1) and ``log_odds``: for each track, a list with the log-odds of
    each of its windows, as :mod:`dfd.calibration` has them, whatever the temperature of the detector.
    """
    import pandas as pd
    from rich.progress import track

    videos: dict[tuple[str, str, str, int], dict[int, list[float]]] = {}
    loader = data.eval_dataloader(split)
    for batch in track(loader, description=description or f"scoring {split}", total=len(loader)):
        log_odds = detector.log_odds_batch(batch["frames"])
        columns = (batch["video_id"], batch["dataset"], batch["method"], batch["label"].tolist())
        for *video, face, value in zip(*columns, map(int, batch["track"]), log_odds, strict=True):
            videos.setdefault(tuple(video), {}).setdefault(face, []).append(value)
    table = pd.DataFrame([*videos], columns=["video_id", "dataset", "method", "label"])
    table["log_odds"] = pd.Series([[*tracks.values()] for tracks in videos.values()], dtype=object)
    return table.sort_values("video_id", ignore_index=True)


def score_split(
    detector: Detector, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """One row per video of a split: what :mod:`dfd.aggregation` makes of its windows.

    Columns: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake, num_windows, num_faces``; if the detector is
    calibrated, also ``prob_uncalibrated``, without its temperature. Sorted by video.
    """
    from dfd.calibration import video_probs

    table = score_windows(detector, data, split, description=description)
    log_odds = table.pop("log_odds").tolist()
    temperature = detector.card.temperature
    table["prob_fake"] = video_probs(log_odds, temperature=temperature)
    if temperature is not None:
        table["prob_uncalibrated"] = video_probs(log_odds)
    table["num_windows"] = [sum(map(len, tracks)) for tracks in log_odds]
    table["num_faces"] = [len(tracks) for tracks in log_odds]
    return table


def unscored_rows(store: Path, split: str) -> pd.DataFrame:
    """The videos of a split that have no clip (no face, unreadable, ...), in the columns of :func:`score_split`."""
    import pandas as pd

    from dfd.types import Label

    videos = pd.read_csv(store / "videos.csv", dtype=str, keep_default_na=False)
    lost = videos[(videos["split"] == split) & (videos["num_tracks"] == "0")]
    rows = lost[["video_id", "dataset", "method"]].assign(
        label=[int(Label.parse(name)) for name in lost["label"]], prob_fake=float("nan"), num_windows=0, num_faces=0
    )
    return rows


def scored_videos(
    detector: Detector, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """:func:`score_split`, and below it those of the split's videos that have no clip, with a score of nan."""
    import pandas as pd

    table = score_split(detector, data, split, description=description)
    # Of a draw or another split, the videos without a face are not known: they were never in it.
    if data.is_whole and len(unscored := unscored_rows(data.store, split)):
        table = pd.concat([table, unscored], ignore_index=True).sort_values("video_id", ignore_index=True)
    return table


def write_results(
    table: pd.DataFrame, folder: Path, *, threshold: float, facts: dict[str, Any], title: str
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json and the figures of a scored table to ``folder``; returns the metrics.

    With a column ``prob_uncalibrated`` in the table, they have the numbers of these probabilities too, at 0.5, as
    ``uncalibrated``.
    """
    import json

    from dfd import plots
    from dfd.metrics import metrics_by_group, video_metrics
    from dfd.predictions import write_table
    from dfd.types import Label

    metrics = metrics_by_group(table, threshold=threshold)
    folder.mkdir(parents=True, exist_ok=True)
    scored = table.dropna(subset="prob_fake")
    shown_as = {"as the network gives it": scored["prob_fake"]}
    if "prob_uncalibrated" in scored:
        shown_as = {"calibrated": scored["prob_fake"], "uncalibrated": scored["prob_uncalibrated"]}
        metrics["uncalibrated"] = video_metrics(scored["prob_uncalibrated"], scored["label"])
    known = table["prob_fake"].notna()
    predicted = [str(Label(int(p >= threshold))) if k else "" for p, k in zip(table["prob_fake"], known, strict=True)]
    shown = table.drop(columns="prob_uncalibrated", errors="ignore").assign(predicted=predicted)
    shown["label"] = [str(Label(value)) for value in shown["label"]]
    # An unknown probability is an empty cell; it is the only value that does not equal itself.
    rows = [{str(k): "" if value != value else value for k, value in row.items()} for row in shown.to_dict("records")]
    write_table(folder / "predictions.csv", rows, PREDICTION_COLUMNS)
    text = json.dumps({**facts, "threshold": threshold, **metrics}, indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n")
    overall = metrics["overall"]
    plots.save(plots.confusion_matrix(overall, title=title), folder / "confusion_matrix.png")
    if overall["num_real"] and overall["num_fake"]:
        plots.save(plots.roc_and_pr(scored["prob_fake"], scored["label"], title=title), folder / "roc_pr.png")
        reliability = plots.reliability_diagram(shown_as, scored["label"], title=title)
        plots.save(reliability, folder / "reliability.png")
    return metrics


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The numbers as a table in the terminal: overall first, then each data set and method."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

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
    table = Table(
        title="video level, fake is the positive class",
        caption=caption,
        box=SIMPLE,
        padding=0,
    )
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


def warn_about_crops(trained: Mapping[str, Any], evaluated: Mapping[str, Any]) -> None:
    """Say so if the store's crops were made in another way than those the detector was trained on."""
    import logging

    differing = [key for key in ("extraction", "face_detector") if trained.get(key) != evaluated.get(key)]
    for key in differing:
        logging.getLogger(__name__).warning(
            "this store was made with %s=%s and the detector was trained on %s; its scores may be worse for it",
            key,
            evaluated.get(key),
            trained.get(key),
        )


def warn_about_calibration(card: DetectorCard, split: str, data: ClipDataModule) -> None:
    """Say so if the detector is evaluated on the videos that its temperature and threshold were fitted on."""
    import logging

    fitted = card.calibration
    here = {"split": split, **{key: data.summary()[key] for key in ("index_sha256", "videos_sha256")}}
    if card.temperature is not None and all(fitted.get(key) == value for key, value in here.items()):
        logging.getLogger(__name__).warning(
            "the detector's temperature and threshold were fitted on these videos: its calibration error and accuracy "
            "are better on them than they will be on others"
        )


def warn_if_one_sided(table: pd.DataFrame, threshold: float) -> None:
    """Say so if nearly all videos get one verdict, and not because nearly all of them are of that label."""
    import logging
    from collections import Counter

    from dfd.aggregation import one_sided_warning, verdict
    from dfd.types import Label

    scored = table.dropna(subset="prob_fake")
    verdicts = Counter(str(verdict(prob, threshold=threshold)) for prob in scored["prob_fake"])
    labels = Counter(str(Label(label)) for label in scored["label"])
    message = one_sided_warning(verdicts)
    if message and not (one_sided_warning(labels) and labels.most_common(1)[0][0] == verdicts.most_common(1)[0][0]):
        logging.getLogger(__name__).warning(message)


def evaluate_split(
    detector: Detector, data: ClipDataModule, split: str, folder: Path, *, threshold: float, checkpoint: str
) -> dict[str, Any]:
    """Score a split at video level and write predictions.csv, metrics.json and figures; returns the metrics.

    Args:
        detector: scores in batches as the data module makes them.
        data: set up; its ``num_eval_clips`` windows of each track are scored.
        split: train, val or test.
        folder: to write to.
        threshold: a video is called fake from this probability on.
        checkpoint: the file that the detector came from, for the record.
    """
    table = scored_videos(detector, data, split)
    if num_unscored := int(table["prob_fake"].isna().sum()):
        print(f"{num_unscored} videos of {split} have no face clip, so no score: see the store's videos.csv")
    warn_if_one_sided(table, threshold)
    facts = {
        "checkpoint": checkpoint,
        "model": detector.name,
        "temperature": detector.card.temperature,
        "split": split,
        "windows_per_track": data.num_eval_clips,
        "data": data.summary(),
    }
    title = f"{checkpoint.rpartition('/')[2]} on {split} ({len(table)} videos)"
    return write_results(table, folder, threshold=threshold, facts=facts, title=title)


def evaluate_robustness(config: EvaluateConfig, detector: Detector, folder: Path) -> None:
    """``suite=robustness``: one store, under each disturbance."""
    from dfd.data.disturbances import chosen
    from dfd.suites import print_robustness, robustness

    with refusing("disturbances"):
        disturbances = chosen(config.disturbances)
    data = data_for(config.data, detector.card)
    data.setup(config.split)
    warn_about_crops(detector.card.crop, data.summary()["crop"])
    rows = robustness(
        lambda description: scored_videos(detector, data, config.split, description=description),
        data,
        config.split,
        folder,
        disturbances=disturbances,
        threshold=_threshold(config, detector),
        detector=detector.name,
        temperature=detector.card.temperature,
    )
    print_robustness(rows)
    print(f"robustness.csv, robustness.json and figures are in {folder}")


def evaluate_stores(config: EvaluateConfig, detector: Detector, folder: Path) -> None:
    """``suite=cross_dataset``: several stores, each data set and method of its own."""
    from dfd.suites import cross_dataset, named_stores, print_cross_dataset

    trained_on = detector.card.data.get("splits", {}).get("train", {}).get("datasets", {})
    stores = {}
    for name, path in named_stores(config.stores).items():
        data = stores[name] = data_for({**config.data, "store": path}, detector.card)
        data.setup(config.split)
        warn_about_crops(detector.card.crop, data.summary()["crop"])
    rows = cross_dataset(
        lambda data, description: scored_videos(detector, data, config.split, description=description),
        stores,
        config.split,
        folder,
        trained_on=trained_on,
        threshold=_threshold(config, detector),
        detector=detector.name,
        temperature=detector.card.temperature,
    )
    print_cross_dataset(rows)
    print(f"cross_dataset.csv, cross_dataset.json and the figure are in {folder}")


def _threshold(config: EvaluateConfig, detector: Detector) -> float:
    return detector.card.threshold if config.threshold is None else config.threshold


SUITES = {"robustness": evaluate_robustness, "cross_dataset": evaluate_stores}


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure a detector on one split of a clip store, or in a suite."""
    if cfg.get("suite") == "cross_dataset":
        cfg.data.store = ""  # each of `stores` in turn
    config = check(cfg, EvaluateConfig)

    from pathlib import Path

    from dfd import plots
    from dfd.data.splits import SPLITS
    from dfd.inference import Detector
    from dfd.starter import checkpoint_path

    if config.split not in SPLITS:
        raise ConfigError(f"split={config.split} is not one of {', '.join(SPLITS)}")
    if config.threshold is not None and not 0 <= config.threshold <= 1:
        raise ConfigError(f"threshold must be in 0..1, got {config.threshold}")
    if config.suite not in (None, *SUITES):
        raise ConfigError(f"suite={config.suite} is not one of {', '.join(SUITES)}")
    for option, suite in {"stores": "cross_dataset", "disturbances": "robustness"}.items():
        if getattr(config, option) is not None and config.suite != suite:
            raise ConfigError(f"{option} is only for suite={suite}")
    detector = Detector.load(checkpoint_path(config.checkpoint), device=config.device, for_comparison=True)
    folder = Path(config.output) if config.output else output_dir()
    if config.suite is not None:
        SUITES[config.suite](config, detector, folder)
        return
    data = data_for(config.data, detector.card)
    data.setup(config.split)
    warn_about_crops(detector.card.crop, data.summary()["crop"])
    warn_about_calibration(detector.card, config.split, data)
    threshold = _threshold(config, detector)
    metrics = evaluate_split(detector, data, config.split, folder, threshold=threshold, checkpoint=config.checkpoint)
    # Beside detector.safetensors; one folder up from checkpoints/best.ckpt.
    histories = [folder / "metrics.csv" for folder in list(Path(config.checkpoint).absolute().parents)[:2]]
    for history in [path for path in histories if path.exists()][:1]:
        plots.save(plots.learning_curves(plots.read_history(history)), folder / "learning_curves.png")
    print_metrics(metrics)
    print(f"predictions.csv, metrics.json and figures are in {folder}")


def data_for(config: Mapping[str, Any], card: DetectorCard) -> ClipDataModule:
    """The data of an evaluation. On the store that the detector was trained on, the videos and splits are training's.

    Else a detector that was trained on another division of the store would be tested on videos that it has seen.

    Raises:
        ConfigError: that cannot be done with this kind of data.
    """
    from dfd.data.blend_module import BlendDataModule

    clip = {"clip_len": card.clip_len, "clip_stride": card.clip_stride}
    data: ClipDataModule = build({**config, **clip})
    trained, here = card.data, data.summary()
    selection = trained.get("selection")
    if selection and trained.get("index_sha256") == here["index_sha256"] and selection != here["selection"]:
        chosen = ", ".join(f"{name}={value}" for name, value in selection.items() if value is not None)
        if isinstance(data, BlendDataModule):
            raise ConfigError(
                f"{data.store}: the detector was trained on videos chosen from this store ({chosen}), which data=blend "
                "does not do: some of those it would test on may have been trained on; use data=clips, or another store"
            )
        print(f"this is the store that the detector was trained on; its videos are chosen as there: {chosen}")
        data = build({**config, **clip, **selection})
    return data


if __name__ == "__main__":
    main()
