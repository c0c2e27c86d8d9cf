"""Evaluations of several parts: a split under disturbances, and several stores side by side.

Each part is scored once and kept in a file of ``scores/``, so a suite that is stopped goes on with what is missing, and
its table and figures are made from these files. What scores is handed in, so nothing here knows a network.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from dfd import plots
from dfd.data.disturbances import NUM_LEVELS, Disturb, Disturbance
from dfd.data.module import ClipDataModule
from dfd.errors import ConfigError
from dfd.files import partial_of
from dfd.metrics import bootstrap_intervals, video_metrics
from dfd.predictions import write_table
from dfd.types import FrameArray, Label
from dfd.untrusted import read_json

Row = dict[str, Any]
"""A row of a suite's table, fit for JSON: None where a number is not defined."""

UNDISTURBED = "none"
"""The disturbance of level 0."""
WITH_INTERVAL = ("auc", "balanced_accuracy")
_MEASURES = [
    *("num_real", "num_fake", "num_unscored"),
    *("auc", "auc_low", "auc_high", "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
    *("recall", "recall_real", "ap", "eer", "ece", "brier", "note"),
]
ROBUSTNESS_COLUMNS = ["disturbance", "level", "strength", "unit", *_MEASURES]
CROSS_DATASET_COLUMNS = ["store", "dataset", "method", "in_training", *_MEASURES]

logger = logging.getLogger(__name__)


class ScoreFiles:
    """The scored videos of a suite's parts, a CSV each, with what they all have in common in ``facts.json``.

    Args:
        folder: made if it is not there.
        facts: what the scores depend on, fit for JSON.

    Raises:
        ConfigError: the folder has scores that depend on something else.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "facts.json"
        now = json.loads(json.dumps(facts))
        if path.exists():
            try:
                before = dict(read_json(path))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{path}: cannot be read ({error}); give another output") from error
            differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            if differing:
                changes = "; ".join(f"{key} was {before.get(key)} and is {now.get(key)}" for key in differing)
                raise ConfigError(f"{folder}: its scores are of another evaluation ({changes}); give another output")
            return
        partial = partial_of(path)
        partial.write_text(json.dumps(now, indent=2) + "\n")
        partial.replace(path)

    def table(self, name: str, score: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The part's table, as it is in its file; scored now if there is none.

        Columns: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake`` (nan: no score).
        """
        columns = ["video_id", "dataset", "method", "label", "prob_fake"]
        path = self.folder / f"{quote(name, safe=' ')}.csv"
        if not path.exists():
            # An unknown probability is an empty cell; it is the only value that does not equal itself.
            rows = score()[columns].to_dict("records")
            write_table(path, [{str(k): "" if v != v else v for k, v in row.items()} for row in rows], columns)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
        return table.assign(label=table["label"].astype(int), prob_fake=pd.to_numeric(table["prob_fake"]))


def measures(table: pd.DataFrame, *, threshold: float) -> Row:
    """The numbers of a table of scored videos, with 95 % bootstrap intervals of AUC and balanced accuracy.

    With videos of one label only, what needs both is None, and ``note`` says so. So are the ends of an interval that
    has no width, as when all videos are told apart, and of any if a label has a single video, which each resample draws
    again: that is no certainty.

    Args:
        table: columns ``label`` and ``prob_fake``; nan: no score.
        threshold: a video is called fake from this probability on.
    """
    scored = table[table["prob_fake"].notna()]
    prob, label = scored["prob_fake"].to_numpy(float), scored["label"].to_numpy(int)
    values = video_metrics(prob, label, threshold=threshold)
    ends = bootstrap_intervals(prob, label, WITH_INTERVAL, threshold=threshold) if len(scored) else {}
    row: Row = {name: values[name] for name in _MEASURES if name in values}
    row["num_unscored"] = len(table) - len(scored)
    counts = {Label.REAL: row["num_real"], Label.FAKE: row["num_fake"]}
    for name in WITH_INTERVAL:
        low, high = ends.get(name) or (None, None)
        is_known = low != high and min(counts.values()) > 1
        row[f"{name}_low"], row[f"{name}_high"] = (low, high) if is_known else (None, None)
    lacking = [str(one) for one, count in counts.items() if not count]
    row["note"] = f"no {' and no '.join(lacking)} video with a score" if lacking else ""
    return row


def robustness(
    score: Callable[[str], pd.DataFrame],
    data: ClipDataModule,
    split: str,
    folder: Path,
    *,
    disturbances: Sequence[Disturbance],
    threshold: float,
    detector: str,
    temperature: float | None = None,
) -> list[Row]:
    """Score a split as it is and under each disturbance at each level.

    Writes robustness.csv and robustness.json, anew after each part, robustness.png, robustness_intervals.png and
    disturbances.png.

    Args:
        score: the videos of ``data``'s split, with ``data.disturb`` as it is then; told what to call the work.
        data: set up.
        split: train, val or test.
        folder: to write to; one with scores of the same evaluation in it is gone on with.
        disturbances: in the order of tables and figures.
        threshold: a video is called fake from this probability on.
        detector: its name with the hash of its weights.
        temperature: the detector's, on which the scores depend as well.

    Returns:
        The table's rows: level 0 of the disturbance ``none``, then the levels of each.

    Raises:
        ConfigError: the folder has scores of another evaluation.
        DisturbanceError: an encoder failed.
    """
    facts = {"detector": detector, "temperature": temperature, "split": split, **_facts(data)}
    files = ScoreFiles(folder / "scores", facts)
    plots.save(plots.disturbance_sheet(list(disturbed_faces(data, split, disturbances))), folder / "disturbances.png")
    parts: list[tuple[Disturbance | None, int]] = [(None, 0)]
    parts += [(disturbance, level) for disturbance in disturbances for level in range(1, NUM_LEVELS + 1)]
    rows: list[Row] = []
    try:
        for place, (disturbance, level) in enumerate(parts, start=1):
            name = disturbance.name if disturbance else UNDISTURBED
            strength = disturbance.at(level) if disturbance else None
            unit = disturbance.strength if disturbance else ""
            data.disturb = Disturb(name, level) if disturbance else None
            description = f"{place}/{len(parts)} " + (f"{name}, {unit} {strength:g}" if disturbance else "undisturbed")
            # The strength is in the file's name: should a later version change it, the scores are not taken for its.
            part = UNDISTURBED if strength is None else f"{name} {level} {unit} {strength:g}"
            table = files.table(part, lambda description=description: score(description))  # type: ignore[misc]
            rows.append({"disturbance": name, "level": level, "strength": strength, "unit": unit})
            rows[-1] |= measures(table, threshold=threshold)
            _write(folder, "robustness", rows, ROBUSTNESS_COLUMNS, {**facts, "threshold": threshold})
    finally:
        data.disturb = None
    base, curves = _curves(rows)
    if base[0] is not None:
        strengths = {
            disturbance.name: f"{disturbance.strength} {', '.join(f'{s:g}' for s in disturbance.levels)}"
            for disturbance in disturbances
        }
        title = f"{detector} on {split} ({rows[0]['num_real']} real, {rows[0]['num_fake']} fake videos)"
        plots.save(plots.robustness_curves(base, curves, title=title), folder / "robustness.png")
        detail = plots.robustness_intervals(base, curves, strengths=strengths, title=title)
        plots.save(detail, folder / "robustness_intervals.png")
    else:
        logger.warning("%s: %s, so there is no AUC and no figure of it", data.store, rows[0]["note"])
    return rows


def disturbed_faces(
    data: ClipDataModule, split: str, disturbances: Sequence[Disturbance]
) -> Iterator[tuple[str, list[tuple[str, FrameArray]]]]:
    """One face of the split, by disturbance: its name, and a picture (H, W, 3) of each level, with its caption.

    It is the last frame of the first clip: an encoder gives more bits to the first one.
    """
    clip = data.dataset(split)[0]
    for disturbance in disturbances:
        pictures = []
        for level in range(NUM_LEVELS + 1):
            strength = disturbance.at(level)
            caption = "undisturbed" if strength is None else f"{level}: {disturbance.strength} {strength:g}"
            frames_TCHW = Disturb(disturbance.name, level)(clip["frames"], clip["video_id"])
            pictures.append((caption, frames_TCHW[-1].permute(1, 2, 0).numpy()))
        yield disturbance.name, pictures


def named_stores(stores: Any) -> dict[str, str]:
    """What ``stores=`` says, by name: a mapping as it is, a list under the names of the folders.

    >>> named_stores(["stores/celebdf", "stores/dfdc/"])
    {'celebdf': 'stores/celebdf', 'dfdc': 'stores/dfdc/'}

    Raises:
        ConfigError: it is neither, empty, or two folders are of one name.
    """
    form = "stores=[DIR,DIR] or stores={name: DIR}"
    if isinstance(stores, Mapping) and stores:
        named = {str(name): str(path) for name, path in stores.items()}
    elif isinstance(stores, list | tuple) and stores:
        named = {Path(str(path)).resolve().name: str(path) for path in stores}
        if len(named) < len(stores):
            raise ConfigError(
                f"stores={list(stores)}: two folders have one name; give them names: stores={{name: DIR}}"
            )
    else:
        raise ConfigError(f"suite=cross_dataset needs {form}, got {stores!r}")
    return named


def cross_dataset(
    score: Callable[[ClipDataModule, str], pd.DataFrame],
    stores: Mapping[str, ClipDataModule],
    split: str,
    folder: Path,
    *,
    trained_on: Collection[str],
    threshold: float,
    detector: str,
    temperature: float | None = None,
) -> list[Row]:
    """Score a split of several stores, and set each data set and method apart.

    A method has fakes only: it is set against all real videos of its data set in the same store. Writes
    cross_dataset.csv and cross_dataset.json, anew after each store, and cross_dataset.png.

    Args:
        score: the videos of a store's split; told what to call the work.
        stores: set up, by name.
        split: train, val or test.
        folder: to write to; one with scores of the same evaluation in it is gone on with.
        trained_on: names of the data sets that the detector was trained on, if they are known.
        threshold: a video is called fake from this probability on.
        detector: its name with the hash of its weights.
        temperature: the detector's, on which the scores depend as well.

    Returns:
        The table's rows: of each data set all of it (``method`` is empty), then each method.

    Raises:
        ConfigError: the folder has scores of another evaluation.
    """
    known = {
        "detector": detector,
        "temperature": temperature,
        "split": split,
        "threshold": threshold,
        "trained_on": sorted(trained_on),
    }
    rows: list[Row] = []
    facts_of_stores: dict[str, Any] = {}
    for place, (name, data) in enumerate(stores.items(), start=1):
        facts_of_stores[name] = _facts(data)
        facts = {"detector": detector, "temperature": temperature, "split": split, **facts_of_stores[name]}
        files = ScoreFiles(folder / "scores" / quote(name, safe=" "), facts)
        table = files.table("videos", lambda: score(data, f"{place}/{len(stores)} {name}"))  # noqa: B023 - called at once
        for dataset, method, videos in _groups(table):
            rows.append({"store": name, "dataset": dataset, "method": method, "in_training": ""})
            if trained_on:
                rows[-1]["in_training"] = "yes" if dataset in trained_on else "no"
            rows[-1] |= measures(videos, threshold=threshold)
        mean = mean_auc(rows)
        _write(
            folder, "cross_dataset", rows, CROSS_DATASET_COLUMNS, {**known, "stores": facts_of_stores, "mean_auc": mean}
        )
    dots = [
        plots.Dot(
            f"{row['store']}: {row['dataset']}" if not row["method"] else row["method"],
            _estimate(row, "auc"),
            f"{row['num_real']} real, {row['num_fake']} fake",
            is_group=not row["method"],
            is_known=row["in_training"] == "yes",
        )
        for row in rows
    ]
    title = f"{detector} on {split}"
    plots.save(
        plots.dots_with_intervals(dots, quantity="AUC at video level", title=title), folder / "cross_dataset.png"
    )
    return rows


def mean_auc(rows: Sequence[Row]) -> float | None:
    """Of whole data sets, each counted once; None if none of them has an AUC."""
    values = [row["auc"] for row in rows if not row["method"] and row["auc"] is not None]
    return float(np.mean(values)) if values else None


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
    _print(table)


def print_cross_dataset(rows: Sequence[Row]) -> None:
    """The data sets and their methods, as a table in the terminal."""
    caption = (
        f"A method is set against all real videos of its data set. Mean AUC of data sets: {_number(mean_auc(rows))}."
    )
    caption += " known: the detector was trained on videos of it; bal.: balanced accuracy."
    if any(row["note"] for row in rows):
        caption += " –: only one label has videos."
    heads = ["", "known", "real", "fake", "AUC", "bal."]
    table = _terminal_table("AUC at video level, 95 % bootstrap intervals", heads, caption)
    for row in rows:
        name = f"  {row['method']}" if row["method"] else f"{row['store']}: {row['dataset']}"
        known = "" if row["method"] else row["in_training"]
        counts = (str(row["num_real"]), str(row["num_fake"]))
        table.add_row(name, known, *counts, _with_ends(_estimate(row, "auc")), _number(row["balanced_accuracy"]))
    _print(table)


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each data set with all its videos, then each of its methods with the data set's real videos."""
    for dataset, videos in table.groupby("dataset"):
        yield str(dataset), "", videos
        real = videos["label"] == Label.REAL
        methods = sorted(set(videos.loc[~real, "method"]) - {""})
        for method in methods:
            yield str(dataset), method, videos[real | (videos["method"] == method)]


def _facts(data: ClipDataModule) -> dict[str, Any]:
    """What the scores of a data module's videos depend on."""
    summary = data.summary()
    names = ("store", "index_sha256", "videos_sha256", "clip_len", "clip_stride", "tracks")
    facts = {**{name: summary[name] for name in names}, "windows_per_track": data.num_eval_clips}
    # Of fakes that are made while they are read, how; proportions are of training.
    how = {name: value for name, value in summary.get("blend", {}).items() if name != "proportions"}
    return {**facts, "blend": how} if how else facts


def _write(folder: Path, name: str, rows: Sequence[Row], columns: Sequence[str], facts: Mapping[str, Any]) -> None:
    cells = [{key: "" if value is None else value for key, value in row.items()} for row in rows]
    write_table(folder / f"{name}.csv", cells, columns)
    partial = partial_of(folder / f"{name}.json")
    partial.write_text(json.dumps({**facts, "rows": rows}, indent=2, allow_nan=False) + "\n")
    partial.replace(folder / f"{name}.json")


def _curves(rows: Sequence[Row]) -> tuple[plots.Estimate, dict[str, dict[int, plots.Estimate]]]:
    """The AUC without disturbance; and by disturbance the AUC of each level, 0 included."""
    base = _estimate(rows[0], "auc")
    curves: dict[str, dict[int, plots.Estimate]] = {}
    for row in rows[1:]:
        curves.setdefault(row["disturbance"], {0: base})[row["level"]] = _estimate(row, "auc")
    return base, curves


def _estimate(row: Row, name: str) -> plots.Estimate:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return value, None if low is None or high is None else (low, high)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_ends(estimate: plots.Estimate) -> str:
    value, ends = estimate
    return _number(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _terminal_table(title: str, heads: Sequence[str], caption: str) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    for head in heads:
        # A long name gives way, so that the numbers fit a terminal of 80 columns.
        width = None if head else 26
        table.add_column(head, justify="right" if head else "left", no_wrap=True, overflow="ellipsis", max_width=width)
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
