"""The clip store: face-only videos on disk, one folder per video, and the tables made from them.

    <store>/<dataset>/<video_id>/<track>.mp4     the crops of one face, square
                                 <track>.npy     where they were cut: boxes and landmarks per frame
                                 record.json     what was read and found, or why not; written last: the commit mark
    <store>/splits.csv                           the frozen assignment, video_id -> split or "unused"
    <store>/split.json                           how it was made: mode, fractions, seed
    <store>/left_out.csv                         what a data set has and the store has not, and why
    <store>/index.csv, videos.csv                made from the records at any time: a row per face track, per video
    <store>/copies.csv                           likewise: the pairs of videos that show the same

Nothing in a store depends on the time or on the order of the work, so a store whose making was interrupted ends equal,
byte for byte, to one made in one go. A file is written under a name with ``.partial`` in it and renamed when whole.
"""

import csv
import hashlib
import io
import itertools
import json
import logging
import math
import os
import random
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfd.data.content import VERSION as FINGERPRINT_VERSION
from dfd.data.content import Fingerprint
from dfd.data.copies import COLUMNS as COPIES_COLUMNS
from dfd.data.copies import Copy, Seen, find_copies, parse_copies, table_rows
from dfd.data.manifest import VideoRow, slug
from dfd.data.splits import SPLIT_MODES, SPLITS, UNUSED, check_fractions
from dfd.errors import StoreError
from dfd.files import leading_out, open_lock, partial_of
from dfd.types import FloatArray, Label, Status
from dfd.untrusted import parse_json, read_json

if TYPE_CHECKING:
    import pandas as pd  # a worker that prepares videos has no use for it: 75 MB

SCHEMA_VERSION = 1
RECORD_NAME, SPLITS_NAME, INDEX_NAME, VIDEOS_NAME = "record.json", "splits.csv", "index.csv", "videos.csv"
PLAN_NAME, LEFT_OUT_NAME, COPIES_NAME = "split.json", "left_out.csv", "copies.csv"
LEFT_OUT_COLUMNS = ("name", "reason", "detail")

INDEX_COLUMNS: dict[str, str] = {
    "video_id": "str",
    "track": "int64",
    "path": "str",  # of the clip, from the store's folder
    "label": "str",
    "dataset": "str",
    "method": "str",
    "source_ids": "str",  # separated by ;
    "split": "str",
    "status": "str",
    "num_frames": "int64",
    "fps": "float64",
    "is_main": "bool",
    "size": "int64",  # of the crop's side, in pixels
    "face_pixels": "float64",  # mean side of the face's box in the source
    "settings_hash": "str",
}
VIDEO_COLUMNS = (
    "video_id",
    "name",
    "label",
    "dataset",
    "method",
    "source_ids",
    "split",
    "status",
    "num_tracks",
    "num_frames",
    "fps",
    "width",
    "height",
    "duration_seconds",
    "message",
    "sha256",  # of the source; empty without a fingerprint of this version
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """One face followed through a video.

    Its clip is ``<track>.mp4`` with ``num_frames`` frames of ``size`` x ``size`` pixels at ``fps``; the first is frame
    ``start_frame`` of the video. ``is_main`` marks the one that stands for the video. ``num_detections`` of its frames
    were looked at by the detector (the others lie between), with ``mean_score``; ``face_pixels`` is the mean side of
    the face's box in the source. ``sha256`` is the clip file's; empty in a record of an earlier version.
    """

    track: int
    num_frames: int
    start_frame: int
    fps: float
    size: int
    is_main: bool
    num_detections: int
    mean_score: float
    face_pixels: float
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.track < 0 or self.num_frames < 1 or self.size < 1 or not self.fps > 0:
            raise ValueError(f"a track has a number, frames, a size and a rate, got {self}")
        object.__setattr__(self, "mean_score", round(float(self.mean_score), 4))
        object.__setattr__(self, "face_pixels", round(float(self.face_pixels), 1))

    @property
    def file(self) -> str:
        """The clip's file, in the video's folder."""
        return f"{self.track}.mp4"

    @property
    def geometry_file(self) -> str:
        """The file that :func:`read_geometry` reads, in the video's folder."""
        return f"{self.track}.npy"


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """What became of one video. The fields from ``video_id`` to ``extra`` are its manifest row's.

    Made as ``VideoRecord(**row_fields(row), status=..., ...)``. ``size_bytes`` is the source file's. ``width``,
    ``height`` (pixels, rotation applied), ``fps``, ``codec`` and ``duration_seconds`` are the source's, None if it
    could not be read; ``num_frames`` is how many frames were read. ``settings`` are all that decide what the clips look
    like. ``message`` says why, unless ``status`` is ok. ``sha256`` is the source file's, and ``fingerprint`` of its
    frames; empty and None if there are no clips, or in a record of an earlier dfd.

    Raises:
        ValueError: the tracks do not fit the status, or not exactly one of them is the main one.
    """

    video_id: str
    name: str
    label: Label
    dataset: str
    method: str
    source_ids: tuple[str, ...]
    extra: Mapping[str, str]
    status: Status
    settings: Mapping[str, Any]
    message: str = ""
    size_bytes: int = 0
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    codec: str | None = None
    duration_seconds: float | None = None
    num_frames: int = 0
    tracks: tuple[TrackRecord, ...] = field(default=())
    sha256: str = ""
    fingerprint: Fingerprint | None = None

    def __post_init__(self) -> None:
        if self.status.has_faces != bool(self.tracks):
            raise ValueError(f"status {self.status} with {len(self.tracks)} tracks (video {self.video_id!r})")
        if self.tracks and [track.is_main for track in self.tracks].count(True) != 1:
            raise ValueError(f"exactly one track is the main one (video {self.video_id!r})")

    @property
    def settings_hash(self) -> str:
        """16 hex digits that differ when ``settings`` do."""
        return settings_hash(self.settings)

    def with_row(self, row: VideoRow) -> "VideoRecord":
        """The same findings under what the manifest says now, such as a corrected label."""
        return replace(self, **row_fields(row))

    def to_json(self) -> str:
        """The text of ``record.json``: the same record, the same text."""
        value = asdict(self) | {
            "schema_version": SCHEMA_VERSION,
            "label": str(self.label),
            "status": str(self.status),
            "settings_hash": self.settings_hash,
        }
        return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "VideoRecord":
        """Raises:
        ValueError: it is not such a text, was cut short, or is of another schema version.
        """
        try:
            value = parse_json(text)
            version = value.pop("schema_version")
            digest = value.pop("settings_hash")
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema version {version!r}, this dfd writes {SCHEMA_VERSION}")
            value["label"] = Label.parse(value["label"])
            value["status"] = Status(value["status"])
            value["source_ids"] = tuple(str(source_id) for source_id in value["source_ids"])
            value["tracks"] = tuple(TrackRecord(**track) for track in value["tracks"])
            if value.get("fingerprint") is not None:
                value["fingerprint"] = Fingerprint(**value["fingerprint"])
            record = cls(**value)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record ({type(error).__name__}: {error})") from error
        if record.settings_hash != digest:
            raise ValueError("its settings do not match their hash; it was edited")
        return record


@dataclass(frozen=True, slots=True)
class TrackGeometry:
    """Where a track's crops were cut and where the face's points lie, per frame, in pixels of the source.

    ``boxes_xyxy`` is (F, 4), the face's box without margin; ``landmarks`` is (F, 5, 2), in the order of
    :class:`dfd.types.FaceBox`.
    """

    boxes_xyxy: FloatArray
    landmarks: FloatArray

    def __post_init__(self) -> None:
        frames = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (frames, 4) or self.landmarks.shape != (frames, 5, 2):
            raise ValueError(f"got boxes {self.boxes_xyxy.shape} and landmarks {self.landmarks.shape}")


@dataclass(frozen=True, slots=True)
class IndexVideo:
    """What a store says of a video, in the shape that :mod:`dfd.data.splits` and :mod:`dfd.data.selection` work on."""

    video_id: str
    source_ids: tuple[str, ...]
    split: str
    label: Label
    dataset: str
    method: str = ""
    official_split: str = ""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How a store's videos were divided; see :func:`dfd.data.splits.assign_splits`.

    Raises:
        ValueError: there is no such mode, or the fractions are none.
    """

    mode: str = "source"
    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in SPLIT_MODES:
            raise ValueError(f"mode must be one of {', '.join(SPLIT_MODES)}, got {self.mode!r}")
        object.__setattr__(self, "fractions", tuple(float(fraction) for fraction in self.fractions))
        check_fractions(self.fractions)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """16 hex digits; the order of the keys does not matter.

    >>> settings_hash({"a": 1, "b": [2]}) == settings_hash({"b": (2,), "a": 1})
    True
    """
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_size(path: Path) -> int:
    """In bytes; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


# One video's folder


def video_folder(store: str | Path, video: VideoRow | VideoRecord) -> Path:
    """Where a video's clips and record lie."""
    return Path(store) / slug(video.dataset) / video.video_id


def partial_path(path: Path) -> Path:
    """The name under which a file of a video's folder is written until it is whole; the suffix stays.

    >>> partial_path(Path("0.mp4")).name
    '0.partial.mp4'
    """
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def commit_file(path: Path) -> None:
    """Give what was written at ``partial_path(path)`` its name, after it has reached the disk."""
    partial = partial_path(path)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_record(store: str | Path, record: VideoRecord) -> Path:
    """Commit a video: everything that the record names must be in its folder by now."""
    path = video_folder(store, record) / RECORD_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path(path).write_text(record.to_json(), encoding="utf-8")
    commit_file(path)
    return path


def read_record(folder: Path) -> VideoRecord | None:
    """The record in a video's folder, None if there is none. One that cannot be used counts as none, with a warning."""
    path = folder / RECORD_NAME
    try:
        return VideoRecord.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s: %s; the video counts as not done", path, error)
        return None


def is_current(store: str | Path, record: VideoRecord, row: VideoRow, digest: str) -> bool:
    """True if doing ``row`` again with the settings of this hash would give ``record``, its manifest fields aside.

    As far as can be told without reading videos: same settings, source of the same size, all clips there.
    """
    folder = video_folder(store, record)
    return (
        record.settings_hash == digest
        and record.video_id == row.video_id
        and record.size_bytes == file_size(row.path)
        and all((folder / name).is_file() for track in record.tracks for name in (track.file, track.geometry_file))
    )


def lacks_content(record: VideoRecord) -> bool:
    """True if a video with clips has no hash and fingerprint of this version: an earlier dfd prepared it."""
    known = record.fingerprint is not None and record.fingerprint.version == FINGERPRINT_VERSION and record.sha256
    return record.status.has_faces and not known


def is_incomplete(record: VideoRecord) -> bool:
    """True if an earlier dfd prepared the video and left out its content or a clip's hash."""
    return lacks_content(record) or any(not track.sha256 for track in record.tracks)


def clean_video_folder(folder: Path) -> None:
    """Remove what an interrupted run has left: partial files, and clips that no record names.

    To be called before a video is done again. Files with other names are not touched.
    """
    record = read_record(folder)
    named = {name for track in record.tracks for name in (track.file, track.geometry_file)} if record else set()
    for path in folder.glob("*"):
        left_over = ".partial" in path.suffixes or re.fullmatch(r"\d+\.(mp4|npy)", path.name)
        if left_over and path.name not in named:
            path.unlink()


def discard_video(folder: Path) -> None:
    """Undo a video, to do it again: the commit mark goes first, so being interrupted here does no harm."""
    (folder / RECORD_NAME).unlink(missing_ok=True)
    clean_video_folder(folder)


def write_geometry(folder: Path, track: int, geometry: TrackGeometry) -> None:
    """Save a track's boxes and landmarks, rounded to 0.1 pixel, as one float32 array (F, 14): 56 bytes per frame."""
    values = np.concatenate([geometry.boxes_xyxy, geometry.landmarks.reshape(-1, 10)], axis=1)
    path = folder / f"{track}.npy"
    # Not np.savez: a zip archive holds the time of day. Adding zero turns -0.0 into 0.0.
    np.save(partial_path(path), np.round(values.astype(np.float64), 1).astype(np.float32) + np.float32(0))
    commit_file(path)


def read_geometry(clip: Path) -> TrackGeometry:
    """The geometry that belongs to a clip, ``<track>.mp4``.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = clip.with_suffix(".npy")
    try:
        values = np.load(path, allow_pickle=False)
        return TrackGeometry(values[:, :4], values[:, 4:].reshape(-1, 5, 2))
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise StoreError(f"{path}: {error}; delete {path.parent} and run the preprocessing again") from error


# The whole store


def read_records(store: str | Path, *, but: Set[str] = frozenset()) -> list[VideoRecord]:
    """Every record, sorted by data set and video. Those that cannot be used are left out, each with a warning.

    Videos whose id is in ``but`` are passed over, and not read.
    """
    folders = sorted(path.parent for path in Path(store).glob(f"*/*/{RECORD_NAME}"))
    return [record for folder in folders if folder.name not in but and (record := read_record(folder)) is not None]


def read_splits(store: str | Path) -> dict[str, str]:
    """The frozen assignment, ``video_id`` -> split; empty if there is none yet.

    Raises:
        StoreError: the file is not what :func:`write_splits` writes.
    """
    path = Path(store) / SPLITS_NAME
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != ["video_id", "split"]:
                raise StoreError(f"{path}: its columns are {reader.fieldnames}, not video_id and split")
            splits: dict[str, str] = {}
            for row in reader:
                if row["split"] not in (*SPLITS, UNUSED) or row["video_id"] in splits:
                    problem = "is there twice" if row["video_id"] in splits else f"has split {row['split']!r}"
                    raise StoreError(f"{path}: line {reader.line_num}: {row['video_id']!r} {problem}")
                splits[row["video_id"]] = row["split"]
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path}: {error}; it is damaged") from error
    return splits


def known_videos(store: str | Path, records: Iterable[VideoRecord]) -> list[IndexVideo]:
    """The videos of a store's records, each with its frozen split: what ties new videos to a side.

    Give them to :func:`dfd.data.splits.assign_splits` together with the new rows when a store grows.
    """
    splits = read_splits(store)
    return [
        IndexVideo(
            record.video_id,
            record.source_ids,
            splits.get(record.video_id, ""),
            record.label,
            record.dataset,
            record.method,
            record.extra.get("official_split", ""),
        )
        for record in records
    ]


def read_split_plan(store: str | Path) -> SplitPlan | None:
    """How the store's videos were divided; None if they were not, or before stores said how: then by source.

    Raises:
        StoreError: the file is not what :func:`write_split_plan` writes.
    """
    path = Path(store) / PLAN_NAME
    try:
        return SplitPlan(**read_json(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path}: {error}; it is damaged; write again what was asked for, or delete it") from error


def write_split_plan(store: str | Path, plan: SplitPlan) -> None:
    """Say how the store's videos are divided."""
    _replace_text(Path(store) / PLAN_NAME, json.dumps(asdict(plan), indent=1, sort_keys=True) + "\n")


def write_left_out(store: str | Path, left_out: Iterable[tuple[str, str, str]], *, taken: Iterable[str] = ()) -> None:
    """Record in ``left_out.csv`` which videos are not taken: (name, reason, detail), sorted.

    What was written of other names stays, for several sources fill one store; of these names it is replaced, and of
    names that are ``taken`` now it is removed.

    Raises:
        StoreError: the file that is there is not such a table.
    """
    left_out = list(left_out)
    gone = {name for name, _, _ in left_out}.union(taken)
    path = Path(store) / LEFT_OUT_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):  # several shards add to it
        kept = [row for row in _read_left_out(path) if row[0] not in gone]
        _write_table(path, LEFT_OUT_COLUMNS, sorted({*kept, *left_out}))


def _read_left_out(path: Path) -> list[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
            if tuple(header) != LEFT_OUT_COLUMNS or any(len(row) != len(header) for row in rows):
                raise ValueError(f"its columns are not {', '.join(LEFT_OUT_COLUMNS)}")
    except FileNotFoundError:
        return []
    except (ValueError, csv.Error) as error:
        raise StoreError(f"{path}: {error}; delete it, and run the preprocessing again") from error
    return [(name, reason, detail) for name, reason, detail in rows]


def write_splits(store: str | Path, splits: Mapping[str, str]) -> None:
    """Freeze an assignment, sorted by video."""
    _write_table(Path(store) / SPLITS_NAME, ("video_id", "split"), sorted(splits.items()))


def build_index(store: str | Path) -> "pd.DataFrame":
    """Make ``index.csv`` (a row per face track), ``videos.csv`` (a row per video, failures too) and ``copies.csv``.

    Returns the index. Its order and text depend on the records and ``splits.csv`` alone. Shards that end together wait
    for each other, so that none writes tables made of less than the last one's.
    """
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    with _locked(store / INDEX_NAME):
        return _build_index(store)


def _build_index(store: Path) -> "pd.DataFrame":
    import pandas as pd

    splits = read_splits(store)
    tracks, videos = [], []
    records = read_records(store)
    _warn_about_doubles(store, records)
    for record in records:
        split = splits.get(record.video_id, "")
        videos.append([_video_cell(record, column, split) for column in VIDEO_COLUMNS])
        folder = video_folder("", record)
        for track in sorted(record.tracks, key=lambda track: track.track):
            cells: dict[str, Any] = {
                "video_id": record.video_id,
                "track": track.track,
                "path": (folder / track.file).as_posix(),
                "label": str(record.label),
                "dataset": record.dataset,
                "method": record.method,
                "source_ids": ";".join(record.source_ids),
                "split": split,
                "status": str(record.status),
                "num_frames": track.num_frames,
                "fps": track.fps,
                "is_main": track.is_main,
                "size": track.size,
                "face_pixels": track.face_pixels,
                "settings_hash": record.settings_hash,
            }
            tracks.append([cells[column] for column in INDEX_COLUMNS])
    _write_table(store / VIDEOS_NAME, VIDEO_COLUMNS, videos)
    # Before the index, which says that the tables are complete.
    seen = [Seen(r.video_id, r.sha256, r.fingerprint) for r in records if not lacks_content(r) and r.fingerprint]
    _write_table(store / COPIES_NAME, COPIES_COLUMNS, table_rows(find_copies(seen)))
    _write_table(store / INDEX_NAME, tuple(INDEX_COLUMNS), tracks)
    return pd.DataFrame(tracks, columns=list(INDEX_COLUMNS)).astype(INDEX_COLUMNS)


def read_index(store: str | Path) -> "pd.DataFrame":
    """``index.csv`` as a table with the columns of ``INDEX_COLUMNS``.

    Raises:
        StoreError: there is no store, no index, or no clip in it; or the index is damaged.
    """
    import pandas as pd

    store = Path(store)
    path = store / INDEX_NAME
    remedy = f"make it with: python -m dfd.preprocess manifest=FILE store={store}"
    if not store.is_dir():
        raise StoreError(f"{store}: there is no such clip store; {remedy}")
    if not path.is_file():
        found = any(store.glob(f"*/*/{RECORD_NAME}"))
        state = "the preprocessing has not finished; run the same command again" if found else remedy
        raise StoreError(f"{store}: it has no {INDEX_NAME}; {state}")
    try:
        # Names such as "NA" and "null" are names.
        index = pd.read_csv(path, dtype="str", keep_default_na=False, encoding="utf-8")
        lacking = [column for column in INDEX_COLUMNS if column not in index.columns]
        if lacking:
            raise StoreError(f"{path}: it lacks the columns {', '.join(lacking)}; {remedy}")
        if not index["is_main"].isin(["True", "False"]).all():
            raise ValueError("is_main is not True or False")
        if outside := leading_out(store, index["path"]):
            raise ValueError(f"{len(outside)} of its clips lie outside of the store, such as {outside[0]!r}")
        index["is_main"] = index["is_main"] == "True"
        index = index[list(INDEX_COLUMNS)].astype(INDEX_COLUMNS)
        bad = set(index["label"]) - {str(label) for label in Label} | set(index["split"]) - {"", UNUSED, *SPLITS}
        if bad:
            raise ValueError(f"unknown labels or splits {sorted(bad)}")
    except (ValueError, pd.errors.ParserError) as error:
        raise StoreError(f"{path}: it is damaged ({error}); {remedy}") from error
    if index.empty:
        counts = Counter(str(record.status) for record in read_records(store))
        statuses = ", ".join(f"{status} {count}" for status, count in sorted(counts.items())) or "no video at all"
        raise StoreError(f"{store}: no clip in it ({statuses}); {VIDEOS_NAME} says why for each video")
    return index


def index_videos(index: "pd.DataFrame") -> list[IndexVideo]:
    """Each row's video, once for every way in which the rows describe it."""
    columns = ["video_id", "source_ids", "split", "label", "dataset", "method"]
    labels = {name: Label.parse(name) for name in index["label"].unique()}
    return [
        IndexVideo(video_id, tuple(source_ids.split(";")), split, labels[label], dataset, method)
        for video_id, source_ids, split, label, dataset, method in dict.fromkeys(
            zip(*(index[column].tolist() for column in columns), strict=True)
        )
    ]


def manifest_sha256(store: str | Path) -> str:
    """A hash of which videos the store was made from, and of what they are; not of how they were prepared.

    Raises:
        StoreError: ``videos.csv`` is missing or damaged.
    """
    columns = _read_videos(Path(store), ["name", "label", "dataset", "method", "source_ids"])
    rows = sorted([*row[:-1], row[-1].split(";")] for row in columns)
    text = json.dumps(rows, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_videos(store: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Cells of ``videos.csv``. Not by pandas, which is slow to give strings back.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = store / VIDEOS_NAME
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
            places = [header.index(column) for column in columns]
            return [tuple(row[place] for place in places) for row in rows]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise StoreError(f"{path}: cannot be read ({error}); run the preprocessing again, which writes it") from error


def read_copies(store: str | Path) -> list[Copy]:
    """The pairs of videos that show the same, as far as the store's fingerprints tell.

    Raises:
        StoreError: the table is damaged.
    """
    path = Path(store) / COPIES_NAME
    try:
        return parse_copies(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []  # an earlier dfd made the tables; see `videos_without_content`
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}; run the preprocessing again, which writes it") from error


def read_names(store: str | Path) -> dict[str, str]:
    """What each video is called in its manifest or data set, by id.

    Raises:
        StoreError: ``videos.csv`` is missing or damaged.
    """
    return {video_id: name for video_id, name in _read_videos(Path(store), ["video_id", "name"])}


def videos_without_content(store: str | Path) -> list[str]:
    """The ids of the videos whose clips are there and whose fingerprint is not: an earlier dfd prepared them.

    Raises:
        StoreError: ``videos.csv`` is missing or damaged.
    """
    store = Path(store)
    if not (store / COPIES_NAME).is_file():
        return [
            video_id for video_id, num_tracks in _read_videos(store, ["video_id", "num_tracks"]) if num_tracks != "0"
        ]
    columns = _read_videos(store, ["video_id", "num_tracks", "sha256"])
    return [video_id for video_id, num_tracks, sha256 in columns if num_tracks != "0" and not sha256]


def missing_clips(store: str | Path, index: "pd.DataFrame", *, seconds: float = math.inf) -> list[str]:
    """The paths in the index that are not there.

    They are looked for one by one, which may take minutes on a network file system. After ``seconds`` the rest is left;
    which ones that are is drawn, so clips that are missing in large numbers are found, and the log says how many.
    """
    paths: list[str] = index["path"].tolist()
    end = time.monotonic() + seconds
    missing: list[int] = []
    order = random.Random(0).sample(range(len(paths)), len(paths))
    for number, position in enumerate(order):
        if time.monotonic() > end:
            logger.info(
                "%s: %d of %d clips were not looked for, for lack of time; one that is missing is an error once it is "
                "read",
                store,
                len(paths) - number,
                len(paths),
            )
            break
        if not os.path.isfile(os.path.join(store, paths[position])):
            missing.append(position)
    return [paths[position] for position in sorted(missing)]


def unindexed_videos(store: str | Path, *, seconds: float = math.inf) -> list[str]:
    """The folders of videos that have a record and are not in the tables: these are older than the records.

    A data set's folder is listed only if it has changed since the index was made, and for ``seconds`` at most.

    Raises:
        StoreError: ``videos.csv`` is missing or damaged.
    """
    store = Path(store)
    end = time.monotonic() + seconds
    made = (store / INDEX_NAME).stat().st_mtime_ns
    changed = [entry for entry in os.scandir(store) if entry.is_dir() and entry.stat().st_mtime_ns > made]
    if not changed:
        return []
    videos = _read_videos(store, ["dataset", "video_id"])
    slugs = {dataset: slug(dataset) for dataset in {dataset for dataset, _ in videos}}
    known = {f"{slugs[dataset]}/{video_id}" for dataset, video_id in videos}
    return sorted(
        folder
        for entry in changed
        for video in itertools.takewhile(lambda _: time.monotonic() < end, os.scandir(entry))
        if (folder := f"{entry.name}/{video.name}") not in known and (store / folder / RECORD_NAME).is_file()
    )


def row_fields(row: VideoRow) -> dict[str, Any]:
    """The fields of a :class:`VideoRecord` that come from the manifest."""
    return {
        "video_id": row.video_id,
        "name": row.name,
        "label": row.label,
        "dataset": row.dataset,
        "method": row.method,
        "source_ids": row.source_ids,
        "extra": dict(row.extra),
    }


def _video_cell(record: VideoRecord, column: str, split: str) -> object:
    match column:
        case "split":
            return split
        case "source_ids":
            return ";".join(record.source_ids)
        case "num_tracks":
            return len(record.tracks)
        case "sha256":
            return "" if lacks_content(record) else record.sha256
        case _:
            value = getattr(record, column)
            return "" if value is None else str(value) if isinstance(value, Label | Status) else value


def _warn_about_doubles(store: Path, records: Iterable[VideoRecord]) -> None:
    """A video whose data set was renamed in the manifest leaves its first copy behind."""
    same: dict[tuple[str, int], list[VideoRecord]] = defaultdict(list)
    for record in records:
        same[record.name, record.size_bytes].append(record)
    doubles = [group for group in same.values() if len(group) > 1 and group[0].size_bytes]
    if doubles:
        folders = [str(video_folder(store, record)) for record in doubles[0]]
        logger.warning(
            "%s: %d videos seem to be in it more than once, such as %s; delete the copies that are not meant",
            store,
            len(doubles),
            " and ".join(folders),
        )


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    _replace_text(path, buffer.getvalue())


def _replace_text(path: Path, text: str) -> None:
    """Replace a file of the store at once. Several shards may do so at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    host = slug(socket.gethostname())
    for left_over, pid in _partial_tables(path, host):
        if pid != os.getpid() and not _is_running(pid):
            left_over.unlink(missing_ok=True)
    partial = partial_of(path.with_name(f"{path.name}.{host}-{os.getpid()}"))
    with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time read and write a file of the store."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open_lock(path.with_name(f".{path.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _partial_tables(path: Path, host: str) -> Iterator[tuple[Path, int]]:
    for candidate in path.parent.glob(f"{path.name}.{host}-*.partial"):
        pid = candidate.name.removesuffix(".partial").rpartition("-")[2]
        if pid.isdecimal():
            yield candidate, int(pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
