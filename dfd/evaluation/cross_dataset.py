"""Evaluation of a detector on several clip stores side by side."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.suites import _MEASURES, Row, ScoreFiles, _estimate, _facts, _write, measures
from dfd.figures import style as plots
from dfd.figures.comparison import Dot, dots_with_intervals

CROSS_DATASET_COLUMNS = ["store", "dataset", "method", "in_training", *_MEASURES]


def named_stores(stores: Any) -> dict[str, str]:
    """Parse ``stores=`` into paths by name; a list takes the names of its folders.

    >>> named_stores(["stores/celebdf", "stores/dfdc/"])
    {'celebdf': 'stores/celebdf', 'dfdc': 'stores/dfdc/'}

    Raises:
        ConfigError: ``stores`` is neither a mapping nor a list, is empty, or two folders have the same name.
    """
    form = "stores=[DIR,DIR] or stores={name: DIR}"
    if isinstance(stores, Mapping) and stores:
        named = {str(name): str(path) for name, path in stores.items()}
    elif isinstance(stores, list | tuple) and stores:
        named = {Path(str(path)).resolve().name: str(path) for path in stores}
        if len(named) < len(stores):
            raise ConfigError(f"stores={list(stores)}: two folders have one name; name them: stores={{name: DIR}}")
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
    """Score a split of several stores, and measure each data set and method separately.

    The fakes of a method are compared with all real videos of its data set in the same store. Writes cross_dataset.csv
    and cross_dataset.json, updated after each store, and cross_dataset.png.

    Args:
        score: function that scores the split of a store, given a description for the progress bar.
        stores: data modules after set-up, by name.
        split: train, val or test.
        folder: output folder; if it has scores of the same evaluation, that is continued.
        trained_on: names of the data sets that the detector was trained on, if known.
        threshold: probability from which a video is called fake.
        detector: name of the detector with the hash of its weights.
        temperature: the detector's temperature, on which the scores depend.

    Returns:
        Rows of the table: for each data set the whole (``method`` is empty), then each method.

    Raises:
        ConfigError: the folder has scores of another evaluation.
    """
    scored_with = {"detector": detector, "temperature": temperature, "split": split}
    known = {**scored_with, "threshold": threshold, "trained_on": sorted(trained_on)}
    rows: list[Row] = []
    facts_of_stores: dict[str, Any] = {}
    for place, (name, data) in enumerate(stores.items(), start=1):
        facts_of_stores[name] = _facts(data)
        files = ScoreFiles(folder / "scores" / quote(name, safe=" "), {**scored_with, **facts_of_stores[name]})
        table = files.table("videos", lambda: score(data, f"{place}/{len(stores)} {name}"))  # noqa: B023 - called at once
        for dataset, method, videos in _groups(table):
            in_training = ("yes" if dataset in trained_on else "no") if trained_on else ""
            row = {"store": name, "dataset": dataset, "method": method, "in_training": in_training}
            rows.append(row | measures(videos, threshold=threshold))
        facts = {**known, "stores": facts_of_stores, "mean_auc": mean_auc(rows)}
        _write(folder, "cross_dataset", rows, CROSS_DATASET_COLUMNS, facts)
    dots = [
        Dot(
            f"{row['store']}: {row['dataset']}" if not row["method"] else row["method"],
            _estimate(row, "auc"),
            f"{row['num_real']} real, {row['num_fake']} fake",
            is_group=not row["method"],
            is_known=row["in_training"] == "yes",
        )
        for row in rows
    ]
    title = f"{detector} on {split}"
    plots.save(dots_with_intervals(dots, quantity="AUC at video level", title=title), folder / "cross_dataset.png")
    return rows


def mean_auc(rows: Sequence[Row]) -> float | None:
    """Mean AUC over whole data sets with equal weights; None if none has an AUC."""
    values = [row["auc"] for row in rows if not row["method"] and row["auc"] is not None]
    return float(np.mean(values)) if values else None


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield each data set with all its videos, then each of its methods with the data set's real videos."""
    for dataset, videos in table.groupby("dataset"):
        yield str(dataset), "", videos
        real = videos["label"] == Label.REAL
        methods = sorted(set(videos.loc[~real, "method"]) - {""})
        for method in methods:
            yield str(dataset), method, videos[real | (videos["method"] == method)]
