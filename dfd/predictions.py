"""Scores on disk: ``predictions.csv``, a row per video, and ``predictions.jsonl``, with every face and window.

Rows are appended and flushed as videos finish, so an interrupted run keeps what it has and goes on from there. Pictures
lie in ``evidence/``, a folder for each video; ``run.json`` says what the scores were made with. docs/predictions.md
describes all of them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, fields
from errno import ELOOP
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfd.errors import DfdError
from dfd.files import open_lock, partial_of
from dfd.heatmap import overlay
from dfd.inputs import (
    ANNOTATED_NAME,
    CSV_NAME,
    EVIDENCE_NAME,
    JSONL_NAME,
    NOT_VIDEOS_NAME,
    PARQUET_NAME,
    REPORT_NAME,
    RUN_NAME,
)
from dfd.types import FileFacts, FloatArray, FrameArray, Label, Status, TrackScore, Verdict, VideoScore, WindowScore
from dfd.untrusted import parse_json

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "path",
    "status",
    "verdict",
    "label",
    "prob_fake",
    "confidence",
    "num_faces",
    "num_frames",
    "num_windows",
    "num_windows_possible",
    "duration_seconds",
    "seconds",
    "model",
    "message",
    "schema_version",
)
SCHEMA_VERSION = 2
JPEG_QUALITY = 88
BOXES_NAME = "boxes.npz"
MAX_BOXES_BYTES = 2**28
"""Bytes of a video's boxes, unpacked: eight faces over ten hours at 30 a second take 207 MB."""
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
# Of an earlier run, none of these may stay beside other scores.
_LEFT = (EVIDENCE_NAME, ANNOTATED_NAME, REPORT_NAME, NOT_VIDEOS_NAME, PARQUET_NAME)

_FIELDS = (*(item.name for item in fields(VideoScore) if item.name != "boxes"), "settings")
# What the table is made of, and what is compared when a run goes on.
_NUMBER, _NOTHING = (int, float), type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("path", "status", "model", "message"), (str,)),
    **dict.fromkeys(("verdict", "label"), (str, _NOTHING)),
    **dict.fromkeys(("prob_fake", "confidence", "duration_seconds", "seconds"), (*_NUMBER, _NOTHING)),
    "file": (dict, _NOTHING),
    "settings": (dict,),
}
_ANEW = "choose another output=DIR or overwrite=true"

# A worker that was killed, a machine too busy for the deadline: another run may fare better.
TRANSIENT = (Status.ERROR, Status.TIMEOUT)


class PredictionsError(DfdError):
    """The output folder does not fit this run."""


def json_of(score: VideoScore) -> dict[str, Any]:
    """The whole score as plain values, with a schema version; without the pictures."""
    names = [item.name for item in fields(VideoScore) if item.name not in ("thumbnail", "moments", "boxes")]
    value = {name: getattr(score, name) for name in names}
    value |= {
        "schema_version": SCHEMA_VERSION,
        "status": str(score.status),
        "verdict": None if score.verdict is None else str(score.verdict),
        "label": None if score.label is None else str(score.label),
        "file": None if score.file is None else asdict(score.file),
        "seconds_by_stage": dict(score.seconds_by_stage),
        "tracks": [asdict(track) | {"verdict": str(track.verdict)} for track in score.tracks],
    }
    return value


def score_of(value: Mapping[str, Any]) -> VideoScore:
    """The score that :func:`json_of` made ``value`` of, without its pictures.

    >>> score = VideoScore("a.mp4", Status.OK, Verdict.FAKE, Label.FAKE, 0.9, 0.9)
    >>> score_of(json_of(score)) == score
    True
    """
    tracks = tuple(
        TrackScore(
            track["track"],
            track["prob_fake"],
            Verdict(track["verdict"]),
            tuple(WindowScore(**{**window, "box": tuple(window["box"])}) for window in track["windows"]),
        )
        for track in value["tracks"]
    )
    known = {item.name for item in fields(VideoScore)} - {"thumbnail", "moments", "boxes"}
    plain = {name: value[name] for name in known}
    return VideoScore(
        **plain
        | {
            "status": Status(value["status"]),
            "verdict": Verdict(value["verdict"]) if value["verdict"] else None,
            "label": Label.parse(value["label"]) if value["label"] else None,
            "file": FileFacts(**value["file"]) if value["file"] else None,
            "tracks": tracks,
        }
    )


def read_boxes(folder: Path, path: str) -> dict[int, tuple[NDArray[np.int64], FloatArray]] | None:
    """The boxes of a video's faces, if they were asked for: by track, frame indices (F,) and boxes (F, 4).

    Raises:
        PredictionsError: the file is damaged, or far larger than boxes are.
    """
    file = folder / evidence_place(path) / BOXES_NAME
    if not file.is_file():
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_BOXES_BYTES:
                raise ValueError(f"unpacked it has more than {MAX_BOXES_BYTES} bytes")
        with np.load(file, allow_pickle=False) as arrays:
            tracks = sorted({int(name.partition("-")[2]) for name in arrays.files})
            return {track: (arrays[f"frames-{track}"], arrays[f"boxes-{track}"]) for track in tracks}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "run predict.py again with annotate=true"
        raise PredictionsError(f"{file}: the boxes cannot be read ({reason}); {remedy}") from error


def write_evidence(score: VideoScore, folder: Path) -> dict[str, Any]:
    """Save a score's pictures below ``folder``; their names in it, as ``predictions.jsonl`` has them.

    Boxes for an annotated video go beside them, for :func:`read_boxes`.

    ``{"thumbnail": name or None, "moments": [{"track", "window", "seconds", "prob_fake", "crop", "heatmap"}]}``, where
    ``heatmap`` is the crop with the heat over it, or None.
    """
    place = evidence_place(score.path)
    value: dict[str, Any] = {"thumbnail": None, "moments": []}
    if score.thumbnail is not None:
        value["thumbnail"] = _save_jpeg(score.thumbnail, folder, f"{place}/thumbnail.jpg")
    for number, moment in enumerate(score.moments):
        names = {"crop": _save_jpeg(moment.crop, folder, f"{place}/moment-{number}.jpg"), "heatmap": None}
        if moment.heatmap is not None:
            heated = overlay(moment.crop, moment.heatmap)
            names["heatmap"] = _save_jpeg(heated, folder, f"{place}/moment-{number}-heatmap.jpg")
        facts = {name: getattr(moment, name) for name in ("track", "window", "seconds", "prob_fake")}
        value["moments"].append(facts | names)
    if score.boxes:
        arrays: dict[str, Any] = {f"frames-{track}": frames for track, (frames, _) in score.boxes.items()}
        arrays |= {f"boxes-{track}": boxes for track, (_, boxes) in score.boxes.items()}
        (folder / place).mkdir(parents=True, exist_ok=True)
        np.savez(folder / place / BOXES_NAME, **arrays)
    return value


def evidence_place(path: str) -> str:
    """Where the pictures of a video lie, relative to the output folder: a name that no file name can break out of.

    >>> evidence_place("../../etc/passwd")
    'evidence/3754d6cb3a38e118'
    """
    return f"{EVIDENCE_NAME}/{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def _save_jpeg(picture: FrameArray, folder: Path, name: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name, quality=JPEG_QUALITY)
    return name


def row_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The CSV row of a JSON score; an unknown value is an empty cell, never a number.

    >>> from dfd.types import Status
    >>> row = row_of(json_of(VideoScore(path="a.mp4", status=Status.NO_FACE)))
    >>> row["status"], row["prob_fake"], row["label"]
    ('no_face', '', '')

    A path that a spreadsheet would run as a formula is written as the same path with ``./`` before it:

    >>> row_of(json_of(VideoScore(path="=1+1.mp4", status=Status.NO_FACE)))["path"]
    './=1+1.mp4'
    """
    row = {column: "" if value[column] is None else value[column] for column in COLUMNS}
    for column in ("path", "message"):
        if row[column].startswith(_FORMULA_SIGNS):
            row[column] = f"./{row[column]}"
    for column, digits in (("prob_fake", 6), ("confidence", 6), ("duration_seconds", 3), ("seconds", 3)):
        if row[column] != "":
            row[column] = f"{row[column]:.{digits}f}"
    return row


def read_scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Path -> score, as ``predictions.jsonl`` in ``folder`` has it; without the last line of an interrupted run.

    The JSON lines are the truth: the CSV is made from them.

    Raises:
        PredictionsError: they are of another schema version, or a line before the last is damaged.
    """
    path = folder / JSONL_NAME
    whole: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return whole
    *lines, last = path.read_bytes().split(b"\n")  # of whole lines, the last is empty
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        try:
            value = parse_json(line)
        except ValueError as error:
            if number > len(lines):
                break
            raise PredictionsError(f"{path}: line {number} is damaged ({error}); {_ANEW}") from error
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version != SCHEMA_VERSION:
            raise PredictionsError(
                f"{path}: line {number} has schema version {version}, this dfd has {SCHEMA_VERSION}; {_ANEW}"
            )
        if missing := [name for name in _FIELDS if name not in value]:
            raise PredictionsError(f"{path}: line {number} lacks {', '.join(missing)}; {_ANEW}")
        if odd := [name for name, kinds in _KINDS.items() if not isinstance(value[name], kinds)]:
            raise PredictionsError(f"{path}: line {number} has {', '.join(odd)} of a wrong kind; {_ANEW}")
        whole[value["path"]] = value
    return whole


def write_run(folder: Path, facts: Mapping[str, Any]) -> None:
    """``run.json``: what the scores in ``folder`` were made with, for the report and for whoever repeats it."""
    partial = partial_of(folder / RUN_NAME)
    partial.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **facts}, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / RUN_NAME)


class PredictionWriter:
    """Appends scores to ``predictions.csv`` and ``predictions.jsonl`` in ``folder``.

    A folder that already holds scores of the same model is continued: ``done`` has the paths of its rows. A line that
    an interruption cut short is dropped and its video scored again; so is one that failed for a reason of the moment,
    and one whose file has been changed since: ``changed`` has their paths. Only rows of ``asked`` paths (None: all) are
    so given up; what this run will not score stays as it is.

    Raises:
        PredictionsError: the folder holds scores of another model or with other settings, is damaged, is being written
            to, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        asked: Container[str] | None = None,
    ) -> None:
        self.folder = folder
        self.csv_path, self.jsonl_path = folder / CSV_NAME, folder / JSONL_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            for name in (EVIDENCE_NAME, ANNOTATED_NAME):
                if (folder / name).is_symlink():
                    raise OSError(ELOOP, f"{name} in it is a link; remove it")
        except OSError as error:
            raise PredictionsError(
                f"{folder}: cannot be written to ({error.strerror}); give another output=DIR"
            ) from error
        kept = {} if overwrite else read_scores(folder)
        if overwrite and self.jsonl_path.exists():
            for name in _LEFT:
                _remove(folder / name)
        self.settings = dict(settings or {})
        for value in kept.values():
            if value["model"] != model or value["settings"] != self.settings:
                raise PredictionsError(
                    f"{self.jsonl_path}: holds scores of another model or settings ({value['model']} "
                    f"{value['settings']}, not {model} {self.settings}); choose another output=DIR or overwrite=true"
                )
        known = {path: value for path, value in kept.items() if asked is None or path in asked}
        self.changed = {path for path, value in known.items() if _is_changed(value)}
        again = self.changed | {path for path, value in known.items() if value["status"] in TRANSIENT}
        kept = {path: value for path, value in kept.items() if path not in again}
        self.done = set(kept)
        self.counts = Counter(str(value["status"]) for value in kept.values())
        partial = partial_of(self.jsonl_path)
        partial.write_text("".join(json.dumps(value) + "\n" for value in kept.values()), encoding="utf-8")
        partial.replace(self.jsonl_path)
        write_table(self.csv_path, map(row_of, kept.values()), COLUMNS)
        self._jsonl_file = self.jsonl_path.open("a", encoding="utf-8")
        self._csv_file = self.csv_path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.DictWriter(self._csv_file, COLUMNS)

    def write(self, score: VideoScore) -> None:
        """Save its pictures, append it to both files and hand them to the operating system."""
        place = evidence_place(score.path)
        _remove(self.folder / place)
        for drawn in (self.folder / ANNOTATED_NAME).glob(f"*-{place.rpartition('/')[2][:8]}.mp4"):
            _remove(drawn)
        value = json_of(score) | write_evidence(score, self.folder) | {"settings": self.settings}
        self._jsonl_file.write(json.dumps(value) + "\n")
        self._jsonl_file.flush()
        self._writer.writerow(row_of(value))
        self._csv_file.flush()
        self.done.add(score.path)
        self.counts[str(score.status)] += 1

    def close(self) -> None:
        """Close both files and let others write to the folder."""
        with closing(self._lock), closing(self._jsonl_file), closing(self._csv_file):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # of a full disk, once is enough
                raise


def _is_changed(value: Mapping[str, Any]) -> bool:
    """True if the file is not the one that was scored. One that is gone has the score that it got."""
    try:
        now = Path(value["path"]).stat()
    except (OSError, ValueError):
        return False
    then = value["file"]
    if then is None:
        return S_ISREG(now.st_mode)
    return (now.st_size, now.st_mtime) != (then.get("size_bytes"), then.get("modified_seconds"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _locked(folder: Path) -> IO[bytes]:
    """A lock on the folder, until the file is closed or the process ends, however it ends.

    Raises:
        PredictionsError: another process holds it.
    """
    file = open_lock(folder / ".lock")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # not on Windows
    except BlockingIOError as error:
        file.close()
        raise PredictionsError(
            f"{folder}: another run is writing to it; give each shard an output=DIR of its own"
        ) from error
    except OSError:
        pass  # a file system that knows no locks
    return file


def read_predictions(path: Path) -> pd.DataFrame:
    """``predictions.csv`` as a table; probabilities are floats, with NaN where a video has none."""
    import pandas as pd  # a quarter of a second, and who writes scores needs none of it

    # Not str: with pyarrow installed, pandas keeps strings as UTF-8, which a file's name need not be.
    text = dict.fromkeys(("path", "verdict", "label", "message", "model"), object)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, encoding_errors="surrogateescape")
    for column in ("prob_fake", "confidence", "duration_seconds"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    """A CSV written whole: under a temporary name, then renamed."""
    partial = partial_of(path)
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
