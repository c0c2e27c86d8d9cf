"""Common parts of evaluation suites: scores on disk, and the measures of each part."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.files import write_json, write_table
from dfd.base.types import Label
from dfd.base.untrusted import read_json
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.splits import cells
from dfd.figures import style as plots
from dfd.metrics.videos import bootstrap_intervals, video_metrics

Row = dict[str, Any]
"""Row of a suite's table, as JSON values: None where a number is not defined."""

WITH_INTERVAL = ("auc", "balanced_accuracy")
_MEASURES = [
    *("num_real", "num_fake", "num_unscored"),
    *("auc", "auc_low", "auc_high", "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
    *("recall", "recall_real", "ap", "eer", "ece", "brier", "note"),
]

logger = logging.getLogger(__name__)


class ScoreFiles:
    """Scored videos of a suite's parts, one CSV each, with their common facts in ``facts.json``.

    Args:
        folder: folder of the files, created if missing.
        facts: JSON values that the scores depend on.

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
                raise ConfigError(f"{folder}: has scores of another evaluation ({changes}); give another output")
            return
        write_json(path, now)

    def table(self, name: str, score: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Table of a part, read from its file, or scored now if there is none.

        Columns: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake`` (nan: no score).
        """
        columns = ["video_id", "dataset", "method", "label", "prob_fake"]
        path = self.folder / f"{quote(name, safe=' ')}.csv"
        if not path.exists():
            write_table(path, cells(score()[columns]), columns)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
        return table.assign(label=table["label"].astype(int), prob_fake=pd.to_numeric(table["prob_fake"]))


def measures(table: pd.DataFrame, *, threshold: float) -> Row:
    """Measures of a table of scored videos, with 95 % bootstrap intervals of AUC and balanced accuracy.

    With one label only, measures that need both are None, and ``note`` says so. The ends of an interval are None if it
    has no width (as when all videos are separated) or if a label has a single video, which every resample repeats;
    neither means certainty.

    Args:
        table: columns ``label`` and ``prob_fake``; nan means no score.
        threshold: probability from which a video is called fake.
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


def _facts(data: ClipDataModule) -> dict[str, Any]:
    """Facts that the scores of a data module's videos depend on."""
    summary = data.summary()
    names = ("store", "index_sha256", "videos_sha256", "clip_len", "clip_stride", "tracks")
    facts = {**{name: summary[name] for name in names}, "windows_per_track": data.num_eval_clips}
    # Settings of fakes that are made while reading; proportions matter only in training.
    how = {name: value for name, value in summary.get("blend", {}).items() if name != "proportions"}
    return {**facts, "blend": how} if how else facts


def _write(folder: Path, name: str, rows: Sequence[Row], columns: Sequence[str], facts: Mapping[str, Any]) -> None:
    known = [{key: value for key, value in row.items() if value is not None} for row in rows]
    write_table(folder / f"{name}.csv", known, columns)
    write_json(folder / f"{name}.json", {**facts, "rows": rows})


def _estimate(row: Row, name: str) -> plots.Estimate:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return value, None if low is None or high is None else (low, high)
