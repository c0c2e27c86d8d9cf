"""Scores on disk: ``predictions.csv``, a row per video, and ``predictions.jsonl``, with every face and window.

Rows are appended and flushed as videos finish, so an interrupted run keeps what it has and goes on from there.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pandas as pd

from dfd.errors import DfdError
from dfd.types import Status, VideoScore

COLUMNS = (
    "path",
    "status",
    "label",
    "prob_fake",
    "confidence",
    "num_faces",
    "num_frames",
    "duration_seconds",
    "seconds",
    "model",
    "message",
)
SCHEMA_VERSION = 1

# A worker that was killed, a machine too busy for the deadline: another run may fare better.
TRANSIENT = (Status.ERROR, Status.TIMEOUT)


class PredictionsError(DfdError):
    """The output folder does not fit this run."""


def json_of(score: VideoScore) -> dict[str, Any]:
    """The whole score as plain values, with a schema version."""
    value = asdict(score) | {"schema_version": SCHEMA_VERSION, "status": str(score.status)}
    value["label"] = None if score.label is None else str(score.label)
    return value


def row_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The CSV row of a JSON score; an unknown value is an empty cell, never a number.

    >>> from dfd.types import Status
    >>> row = row_of(json_of(VideoScore(path="a.mp4", status=Status.NO_FACE)))
    >>> row["status"], row["prob_fake"], row["label"]
    ('no_face', '', '')
    """
    row = {column: "" if value[column] is None else value[column] for column in COLUMNS}
    for column, digits in (("prob_fake", 6), ("confidence", 6), ("duration_seconds", 3), ("seconds", 3)):
        if row[column] != "":
            row[column] = f"{row[column]:.{digits}f}"
    return row


class PredictionWriter:
    """Appends scores to ``predictions.csv`` and ``predictions.jsonl`` in ``folder``.

    A folder that already holds scores of the same model is continued: ``done`` has the paths of its rows. A line that
    an interruption cut short is dropped and its video scored again; so is one that failed for a reason of the moment.

    Raises:
        PredictionsError: the folder holds scores of another model or with other settings, or is being written to.
    """

    def __init__(
        self, folder: Path, *, model: str, settings: Mapping[str, Any] | None = None, overwrite: bool = False
    ) -> None:
        self.csv_path, self.jsonl_path = folder / "predictions.csv", folder / "predictions.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder)
        kept = {} if overwrite else self._read_whole_lines()
        self.settings = dict(settings or {})
        for value in kept.values():
            if value["model"] != model or value["settings"] != self.settings:
                raise PredictionsError(
                    f"{self.jsonl_path}: holds scores of another model or settings ({value['model']} "
                    f"{value['settings']}, not {model} {self.settings}); choose another output=DIR or overwrite=true"
                )
        kept = {path: value for path, value in kept.items() if value["status"] not in TRANSIENT}
        self.done = set(kept)
        self.counts = Counter(str(value["status"]) for value in kept.values())
        partial = self.jsonl_path.with_name(self.jsonl_path.name + ".partial")
        partial.write_text("".join(json.dumps(value) + "\n" for value in kept.values()), encoding="utf-8")
        partial.replace(self.jsonl_path)
        write_table(self.csv_path, map(row_of, kept.values()), COLUMNS)
        self._jsonl_file = self.jsonl_path.open("a", encoding="utf-8")
        self._csv_file = self.csv_path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.DictWriter(self._csv_file, COLUMNS)

    def _read_whole_lines(self) -> dict[str, dict[str, Any]]:
        """Path -> score of the JSON lines, which are the truth: the CSV is made from them."""
        whole: dict[str, dict[str, Any]] = {}
        if self.jsonl_path.exists():
            for line in self.jsonl_path.read_text(encoding="utf-8").splitlines():
                try:
                    value = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the last line of an interrupted run
                whole[value["path"]] = value
        return whole

    def write(self, score: VideoScore) -> None:
        """Append one score to both files and hand it to the operating system."""
        value = json_of(score) | {"settings": self.settings}
        self._jsonl_file.write(json.dumps(value) + "\n")
        self._jsonl_file.flush()
        self._writer.writerow(row_of(value))
        self._csv_file.flush()
        self.done.add(score.path)
        self.counts[str(score.status)] += 1

    def close(self) -> None:
        """Close both files and let others write to the folder."""
        self._csv_file.close()
        self._jsonl_file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(folder: Path) -> IO[str]:
    """A lock on the folder, until the file is closed or the process ends, however it ends.

    Raises:
        PredictionsError: another process holds it.
    """
    file = (folder / ".lock").open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # not on Windows
    except OSError as error:
        file.close()
        raise PredictionsError(
            f"{folder}: another run is writing to it; give each shard an output=DIR of its own"
        ) from error
    return file


def read_predictions(path: Path) -> pd.DataFrame:
    """``predictions.csv`` as a table; probabilities are floats, with NaN where a video has none."""
    text = {"path": str, "label": str, "message": str, "model": str}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, encoding_errors="surrogateescape")
    for column in ("prob_fake", "confidence", "duration_seconds"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    """A CSV written whole: under a temporary name, then renamed."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
