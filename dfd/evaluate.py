"""``python -m dfd.evaluate``: what a detector is worth on a split: predictions.csv, metrics.json and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dfd.config import EvaluateConfig, build, check, entry_point, output_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

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
    shown = table.assign(predicted=[str(Label(int(p >= threshold))) for p in table["prob_fake"]])
    shown["label"] = [str(Label(value)) for value in shown["label"]]
    rows = [{str(name): value for name, value in row.items()} for row in shown.to_dict("records")]
    write_table(folder / "predictions.csv", rows, PREDICTION_COLUMNS)
    text = json.dumps({**facts, "threshold": threshold, **metrics}, indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n")
    overall = metrics["overall"]
    plots.save(plots.confusion_matrix(overall, title=title), folder / "confusion_matrix.png")
    if overall["num_real"] and overall["num_fake"]:
        plots.save(plots.roc_and_pr(table["prob_fake"], table["label"], title=title), folder / "roc_pr.png")
    return metrics


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The numbers as a table in the terminal: overall first, then each data set and method."""
    from rich.console import Console
    from rich.table import Table

    names = ["accuracy", "balanced_accuracy", "majority_baseline", "precision", "recall", "f1", "auc", "ap", "eer"]
    table = Table(title="video level; fake is the positive class")
    table.add_column("", overflow="fold")
    for name in ["real", "fake", *names]:
        table.add_column(name.replace("_", " "), justify="right")
    groups = {"overall": metrics["overall"]}
    groups |= {f"data set {name}": values for name, values in metrics["datasets"].items()}
    groups |= {f"method {name}": values for name, values in metrics["methods"].items()}
    for group, values in groups.items():
        cells = ["–" if values[name] is None else f"{values[name]:.3f}" for name in names]
        table.add_row(group, str(values["num_real"]), str(values["num_fake"]), *cells)
    Console().print(table)


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure a detector on one split of a clip store."""
    config = check(cfg, EvaluateConfig)

    from pathlib import Path

    from dfd import plots
    from dfd.inference import Detector

    detector = Detector.load(config.checkpoint, device=config.device)
    clip = {"clip_len": detector.card.clip_len, "clip_stride": detector.card.clip_stride}
    data: ClipDataModule = build({**config.data, **clip})
    data.setup(config.split)
    threshold = detector.card.threshold if config.threshold is None else config.threshold
    folder = Path(config.output) if config.output else output_dir()
    table = score_split(detector, data, config.split)
    facts = {
        "checkpoint": config.checkpoint,
        "model": detector.name,
        "split": config.split,
        "windows_per_track": config.data.get("num_eval_clips"),
        "data": data.summary(),
    }
    title = f"{Path(config.checkpoint).stem} on {config.split} ({len(table)} videos)"
    metrics = write_results(table, folder, threshold=threshold, facts=facts, title=title)
    history = Path(config.checkpoint).parent / "metrics.csv"
    if history.exists():
        plots.save(plots.learning_curves(plots.read_history(history)), folder / "learning_curves.png")
    print_metrics(metrics)
    print(f"predictions.csv, metrics.json and figures are in {folder}")


if __name__ == "__main__":
    main()
