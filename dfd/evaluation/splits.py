"""Evaluation of a detector on one split of a clip store."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.special import expit

from dfd.base.errors import ConfigError
from dfd.base.files import write_json, write_table
from dfd.base.types import Label
from dfd.config.build import build
from dfd.data.blend.module import BlendDataModule
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.people import ALL, SPLITS
from dfd.evaluation.calibration import calibrate, video_probs
from dfd.evaluation.labelled.measured import PREVALENCE, Options, measured, trained_methods
from dfd.evaluation.labelled.videos import with_labels
from dfd.evaluation.members import Members
from dfd.evaluation.warnings import warn_about_crops, warn_if_one_sided
from dfd.figures import style as plots
from dfd.figures.curves import confusion_matrix, reliability_diagram, roc_and_pr
from dfd.metrics.alike import labelled_scores
from dfd.metrics.videos import video_metrics
from dfd.models.files.card import DetectorCard
from dfd.scoring.detector import Detector

logger = logging.getLogger(__name__)


def calibrated_card(
    detector: Detector,
    data: ClipDataModule,
    split: str,
    *,
    windows: pd.DataFrame | None = None,
    false_alarms: float | None = None,
) -> DetectorCard:
    """Detector's card with a temperature and a threshold fitted on the videos of a split.

    Videos are scored as in an evaluation, with ``data.num_eval_clips`` windows per track. If nothing can be fitted, the
    card says so, its temperature is None and its threshold 0.5; see :func:`dfd.evaluation.calibration.calibrate`.

    The card keeps the scores of the labelled videos, for :func:`dfd.metrics.alike.alike`, if these are neither blends
    nor of the store that the detector was trained on: only then do they tell of other videos.

    Args:
        detector: detector to calibrate.
        data: data module after set-up.
        split: train, val or test.
        windows: result of :func:`score_windows` if it is known already.
        false_alarms: share of the real videos that may be called fake; None: the threshold that errs least.
    """
    if detector.model is not None and detector.model.mixes_clips:
        note = "not calibrated: its score of a video depends on the other videos of its batch"
        return replace(detector.card, calibration={"note": note})
    table = score_windows(detector, data, split) if windows is None else windows
    summary = data.summary()
    facts = {key: summary[key] for key in ("store", "index_sha256", "videos_sha256")}
    log_odds, on_blends = table["log_odds"].tolist(), bool(summary.get("blend"))
    fit: dict[str, Any] = {"card": detector.card, "aggregation": detector.aggregation_name}
    found = calibrate(log_odds, table["label"], false_alarms=false_alarms, **fit)
    if false_alarms is not None:
        facts["false_alarms"] = false_alarms
    if (
        found.temperature is not None
        and not on_blends
        and detector.card.data.get("index_sha256") != facts["index_sha256"]
    ):
        probs = video_probs(log_odds, temperature=found.temperature, aggregation=found.aggregation)
        facts["labelled"] = labelled_scores(probs.tolist(), (table["label"] == Label.FAKE).tolist())
    return found.on(detector.card, on_blends=on_blends, split=split, windows_per_track=data.num_eval_clips, **facts)


PREDICTION_COLUMNS = ["video_id", "dataset", "method", "label", "prob_fake", "predicted", "num_windows", "num_faces"]


def score_windows(
    detector: Detector, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """Score the windows of a split; one row per video, sorted by video id.

    Columns: ``video_id, dataset, method, label`` (0 or 1) and ``log_odds``: for each track, a list of the log-odds of
    its windows, as in :mod:`dfd.evaluation.calibration`, without the detector's temperature.
    """
    videos: dict[tuple[str, str, str, int], dict[int, list[float]]] = {}
    loader = data.eval_dataloader(split)
    for batch in track(loader, description=description or f"scoring {split}", total=len(loader)):
        log_odds = detector.log_odds_batch(batch["frames"], batch.get("seconds"))
        columns = (batch["video_id"], batch["dataset"], batch["method"], batch["label"].tolist())
        for *video, face, value in zip(*columns, map(int, batch["track"]), log_odds, strict=True):
            videos.setdefault(tuple(video), {}).setdefault(face, []).append(value)
    table = pd.DataFrame([*videos], columns=["video_id", "dataset", "method", "label"])
    table["log_odds"] = pd.Series([[*tracks.values()] for tracks in videos.values()], dtype=object)
    return table.sort_values("video_id", ignore_index=True)


def score_split(
    detector: Detector, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """Score the videos of a split, with windows aggregated by :mod:`dfd.scoring.aggregation`; one row per video.

    Columns: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake, num_windows, num_faces``; if the detector is
    calibrated, also ``prob_uncalibrated``, without its temperature; and ``window_probs``, a list of the windows'
    probabilities for each track. Sorted by video id.
    """
    table = score_windows(detector, data, split, description=description)
    log_odds = table.pop("log_odds").tolist()
    temperature = detector.card.temperature
    rule = detector.aggregation_name
    table["prob_fake"] = video_probs(log_odds, temperature=temperature, aggregation=rule)
    table["window_probs"] = pd.Series(
        [[expit(np.asarray(one, float) / (temperature or 1.0)).tolist() for one in tracks] for tracks in log_odds],
        dtype=object,
    )
    if temperature is not None:
        table["prob_uncalibrated"] = video_probs(log_odds, aggregation=rule)
    table["num_windows"] = [sum(map(len, tracks)) for tracks in log_odds]
    table["num_faces"] = [len(tracks) for tracks in log_odds]
    return table


def unscored_rows(store: Path, split: str) -> pd.DataFrame:
    """Videos of a split without a clip (no face, unreadable, ...), in the columns of :func:`score_split`."""
    videos = pd.read_csv(store / "videos.csv", dtype=str, keep_default_na=False)
    chosen = videos["split"].isin(SPLITS if split == ALL else [split])
    lost = videos[chosen & (videos["num_tracks"] == "0")]
    labels = [int(Label.parse(name)) for name in lost["label"]]
    rows = lost[["video_id", "dataset", "method"]]
    return rows.assign(label=labels, prob_fake=float("nan"), num_windows=0, num_faces=0)


def scored_videos(
    detector: Detector | Members, data: ClipDataModule, split: str, *, description: str | None = None
) -> pd.DataFrame:
    """Result of :func:`score_split`, with the split's videos without a clip added, scored as nan.

    Several networks score one after the other, and their rule makes one score of a video's.
    """
    networks = detector.detectors if isinstance(detector, Members) else [detector]
    tables = [score_split(one, data, split, description=description) for one in networks]
    table = detector.together(tables) if isinstance(detector, Members) else tables[0]
    # A draw or a different split does not include the videos without a face.
    if data.is_whole and len(unscored := unscored_rows(data.store, split)):
        table = pd.concat([table, unscored], ignore_index=True).sort_values("video_id", ignore_index=True)
    return table


def cells(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table for a CSV; an unknown number (nan, the only value that does not equal itself) is left empty."""
    return [{str(k): "" if v != v else v for k, v in row.items()} for row in table.to_dict("records")]


def write_results(
    table: pd.DataFrame,
    folder: Path,
    *,
    threshold: float,
    facts: dict[str, Any],
    title: str,
    options: Options | None = None,
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json and the figures of a scored table to ``folder``; returns the metrics.

    If the table has a column ``prob_uncalibrated``, ``uncalibrated`` holds the metrics of these probabilities at 0.5.
    ``options`` says what :func:`~dfd.evaluation.labelled.measured.measured` measures beside; None: with ``threshold``,
    the rest as by default.
    """
    metrics = measured(table, options or Options(threshold))
    folder.mkdir(parents=True, exist_ok=True)
    scored = table.dropna(subset="prob_fake")
    shown_as = {"as the network gives it": scored["prob_fake"]}
    if "prob_uncalibrated" in scored:
        shown_as = {"calibrated": scored["prob_fake"], "uncalibrated": scored["prob_uncalibrated"]}
        metrics["uncalibrated"] = video_metrics(scored["prob_uncalibrated"], scored["label"])
    known = table["prob_fake"].notna()
    predicted = [str(Label(int(p >= threshold))) if k else "" for p, k in zip(table["prob_fake"], known, strict=True)]
    columns = [*PREDICTION_COLUMNS, *(["split"] if facts.get("split") == ALL else [])]
    shown = table.assign(predicted=predicted)[[name for name in columns if name in table or name == "predicted"]]
    shown["label"] = [str(Label(value)) for value in shown["label"]]
    write_table(folder / "predictions.csv", cells(shown), [name for name in columns if name in shown])
    write_json(folder / "metrics.json", {**facts, "threshold": threshold, **metrics})
    overall = metrics["overall"]
    plots.save(confusion_matrix(overall, title=title), folder / "confusion_matrix.png")
    if overall["num_real"] and overall["num_fake"]:
        plots.save(roc_and_pr(scored["prob_fake"], scored["label"], title=title), folder / "roc_pr.png")
        plots.save(reliability_diagram(shown_as, scored["label"], title=title), folder / "reliability.png")
    return metrics


def evaluate_split(
    detector: Detector | Members,
    data: ClipDataModule,
    split: str,
    folder: Path,
    *,
    threshold: float,
    checkpoint: str,
    prevalence: float = PREVALENCE,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """Score a split at video level and write predictions.csv, metrics.json and figures; returns the metrics.

    Args:
        detector: detector that scores the batches of the data module.
        data: data module after set-up; ``num_eval_clips`` windows per track are scored.
        split: train, val, test or all.
        folder: output folder.
        threshold: probability from which a video is called fake.
        checkpoint: file of the detector, for the record.
        prevalence: share of fakes among the videos in use.
        groups: columns of the store's manifest whose values are compared, such as ``skin_tone``.
    """
    return evaluated(detector, data, split, folder, Options(threshold, prevalence, groups), checkpoint=checkpoint)[0]


def evaluated(
    detector: Detector | Members, data: ClipDataModule, split: str, folder: Path, options: Options, *, checkpoint: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Result of :func:`evaluate_split`, and the table of the videos that it was measured on.

    The methods that the detector was trained on are those of its card.
    """
    began = time.perf_counter()
    table = scored_videos(detector, data, split)
    seconds = time.perf_counter() - began
    table = with_labels(table, data, split, options.groups)
    networks = detector.detectors if isinstance(detector, Members) else [detector]
    methods = trained_methods(*(network.card.data for network in networks))
    options = replace(options, methods=methods, is_frame=detector.card.clip_len == 1)
    threshold = options.threshold
    if num_unscored := int(table["prob_fake"].isna().sum()):
        print(f"{num_unscored} videos of {split} have no face clip and so no score: see the store's videos.csv")
    warn_if_one_sided(table, threshold)
    facts = {
        "checkpoint": checkpoint,
        "model": detector.name,
        "temperature": detector.card.temperature,
        "split": split,
        "windows_per_track": data.num_eval_clips,
        # Of decoding the store's clips and of the network; finding the faces of a new video comes on top.
        "seconds_per_video": round(seconds / max(len(table), 1), 4),
        "data": data.summary(),
    }
    title = f"{checkpoint.rpartition('/')[2]} on {split} ({len(table)} videos)"
    return write_results(table, folder, threshold=threshold, facts=facts, title=title, options=options), table


def data_of_split(config: Mapping[str, Any], card: DetectorCard, split: str) -> ClipDataModule:
    """Data of an evaluation, as :func:`data_for` gives it, set up for a split; warns if its crops differ."""
    data = data_for(config, card)
    data.setup(split)
    warn_about_crops(card.crop, data.summary()["crop"])
    return data


def data_for(config: Mapping[str, Any], card: DetectorCard) -> ClipDataModule:
    """Data of an evaluation, with the videos and splits of the training if the detector was trained on this store.

    Otherwise, after training on a different split of the store, the detector would be tested on videos it has seen.

    Raises:
        ConfigError: this kind of data cannot reproduce the training's selection.
    """
    clip = {"clip_len": card.clip_len, "clip_stride": card.clip_stride}
    data: ClipDataModule = build({**config, **clip})
    trained, here = card.data, data.summary()
    selection = trained.get("selection")
    if selection and trained.get("index_sha256") == here["index_sha256"] and selection != here["selection"]:
        chosen = ", ".join(f"{name}={value}" for name, value in selection.items() if value is not None)
        if isinstance(data, BlendDataModule):
            raise ConfigError(
                f"{data.store}: the detector was trained on a selection of this store's videos ({chosen}), which "
                "data=blend cannot repeat, so it might be tested on training videos; use data=clips, or another store"
            )
        print(f"this is the store that the detector was trained on; its videos are selected as in training: {chosen}")
        data = build({**config, **clip, **selection})
    return data
