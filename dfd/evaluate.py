"""``python -m dfd.evaluate``: what a detector is worth on a split: predictions.csv, metrics.json and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dfd.config import EvaluateConfig, build, check, entry_point, output_dir
from dfd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from dfd.checkpoint import DetectorCard
    from dfd.data.module import ClipDataModule
    from dfd.inference import Detector

PREDICTION_COLUMNS = ["video_id", "dataset", "method", "label", "prob_fake", "predicted", "num_windows", "num_faces"]


def score_split(detector: Detector, data: ClipDataModule, split: str) -> pd.DataFrame:
    """One row per video of a split: the mean over a track's windows, the maximum over its tracks.

    Columns: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake, num_windows, num_faces``; sorted by video.
    """
    import pandas as pd
    from rich.progress import track

    rows: list[dict[str, Any]] = []
    loader = data.eval_dataloader(split)
    for batch in track(loader, description=f"scoring {split}", total=len(loader)):
        probs = detector.prob_fake_batch(batch["frames"])
        for index, prob in enumerate(probs):
            rows.append(
                {
                    "video_id": batch["video_id"][index],
                    "track": batch["track"][index],
                    "dataset": batch["dataset"][index],
                    "method": batch["method"][index],
                    "label": int(batch["label"][index]),
                    "prob_fake": prob,
                }
            )
    windows = pd.DataFrame(rows)
    video = ["video_id", "dataset", "method", "label"]
    tracks = windows.groupby([*video, "track"])["prob_fake"].agg(["mean", "size"]).reset_index()
    table = tracks.groupby(video).agg(
        prob_fake=("mean", "max"), num_windows=("size", "sum"), num_faces=("mean", "size")
    )
    return table.reset_index().sort_values("video_id", ignore_index=True)


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


def write_results(
    table: pd.DataFrame, folder: Path, *, threshold: float, facts: dict[str, Any], title: str
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json and the figures of a scored table to ``folder``; returns the metrics."""
    import json

    from dfd import plots
    from dfd.metrics import metrics_by_group
    from dfd.predictions import write_table
    from dfd.types import Label

    metrics = metrics_by_group(table, threshold=threshold)
    folder.mkdir(parents=True, exist_ok=True)
    scored = table.dropna(subset="prob_fake")
    known = table["prob_fake"].notna()
    predicted = [str(Label(int(p >= threshold))) if k else "" for p, k in zip(table["prob_fake"], known, strict=True)]
    shown = table.assign(predicted=predicted)
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
    return metrics


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The numbers as a table in the terminal: overall first, then each data set and method."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    # Short heads: eleven columns have to fit a terminal of 80.
    heads = {
        **{"accuracy": "acc", "balanced_accuracy": "bal", "majority_baseline": "base", "precision": "prec"},
        **{"recall": "rec", "f1": "F1", "auc": "AUC", "ap": "AP", "eer": "EER"},
    }
    table = Table(
        title="video level, fake is the positive class",
        caption="bal: balanced accuracy; base: the accuracy of always naming the more frequent label",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for head in ["real", "fake", *heads.values()]:
        table.add_column(head, justify="right", min_width=4, no_wrap=True)
    groups = {"overall": metrics["overall"], **metrics["datasets"], **metrics["methods"]}
    for group, values in groups.items():
        cells = ["–" if values[name] is None else f"{values[name]:.2f}" for name in heads]
        table.add_row(group, str(values["num_real"]), str(values["num_fake"]), *cells)
    Console().print(table)


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
    import pandas as pd

    table = score_split(detector, data, split)
    # Of a draw or another split, the videos without a face are not known: they were never in it.
    is_whole = data.per_label is None and data.split is None
    if is_whole and len(unscored := unscored_rows(data.store, split)):
        table = pd.concat([table, unscored], ignore_index=True).sort_values("video_id", ignore_index=True)
        print(f"{len(unscored)} videos of {split} have no face clip, so no score: see the store's videos.csv")
    facts = {
        "checkpoint": checkpoint,
        "model": detector.name,
        "split": split,
        "windows_per_track": data.num_eval_clips,
        "data": data.summary(),
    }
    title = f"{checkpoint.rpartition('/')[2]} on {split} ({len(table)} videos)"
    return write_results(table, folder, threshold=threshold, facts=facts, title=title)


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure a detector on one split of a clip store."""
    config = check(cfg, EvaluateConfig)

    from pathlib import Path

    from dfd import plots
    from dfd.data.splits import SPLITS
    from dfd.inference import Detector

    if config.split not in SPLITS:
        raise ConfigError(f"split={config.split} is not one of {', '.join(SPLITS)}")
    detector = Detector.load(config.checkpoint, device=config.device, for_comparison=True)
    data = data_for(config.data, detector.card)
    data.setup(config.split)
    threshold = detector.card.threshold if config.threshold is None else config.threshold
    folder = Path(config.output) if config.output else output_dir()
    warn_about_crops(detector.card.crop, data.summary()["crop"])
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
    """
    clip = {"clip_len": card.clip_len, "clip_stride": card.clip_stride}
    data: ClipDataModule = build({**config, **clip})
    trained, here = card.data, data.summary()
    selection = trained.get("selection")
    if selection and trained.get("index_sha256") == here["index_sha256"] and selection != here["selection"]:
        chosen = ", ".join(f"{name}={value}" for name, value in selection.items() if value is not None)
        print(f"this is the store that the detector was trained on; its videos are chosen as there: {chosen}")
        data = build({**config, **clip, **selection})
    return data


if __name__ == "__main__":
    main()
