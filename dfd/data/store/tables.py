"""Tables of a store, made from its records."""

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.base.errors import StoreError
from dfd.base.files import leading_out
from dfd.base.types import Label, Status
from dfd.data.copies.compare import COLUMNS as COPIES_COLUMNS
from dfd.data.copies.compare import Copy, Seen, find_copies, parse_copies, table_rows
from dfd.data.copies.content import VERSION as FINGERPRINT_VERSION
from dfd.data.splits.people import SPLITS, UNUSED
from dfd.data.store import records as names
from dfd.data.store.files import _locked, _write_table
from dfd.data.store.folders import read_records, video_folder
from dfd.data.store.plan import read_splits
from dfd.data.store.records import COPIES_NAME, INDEX_NAME, VIDEOS_NAME, IndexVideo, TrackRecord, VideoRecord, logger

if TYPE_CHECKING:
    import pandas as pd  # a worker that prepares videos has no use for it: 75 MB


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
    *("video_id", "name", "label", "dataset", "method", "source_ids", "split", "status", "num_tracks", "num_frames"),
    # sha256: of the source; empty without a fingerprint of this version
    *("fps", "width", "height", "duration_seconds", "message", "sha256"),
)


# One video's folder


def lacks_content(record: VideoRecord) -> bool:
    """True if a video with clips has no hash and fingerprint of this version: an earlier dfd prepared it."""
    known = record.fingerprint is not None and record.fingerprint.version == FINGERPRINT_VERSION and record.sha256
    return record.status.has_faces and not known


def is_incomplete(record: VideoRecord) -> bool:
    """True if an earlier dfd prepared the video and left out its content or a clip's hash."""
    return lacks_content(record) or any(not track.sha256 for track in record.tracks)


# The whole store


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
        known = {"split": split, "num_tracks": len(record.tracks)}
        known |= {"sha256": ""} if lacks_content(record) else {}
        videos.append([_cell(record, column, known) for column in VIDEO_COLUMNS])
        folder = video_folder("", record)
        for track in sorted(record.tracks, key=lambda track: track.track):
            path = (folder / track.file).as_posix()
            cells = [_cell(record, column, {"split": split, "path": path}, track) for column in INDEX_COLUMNS]
            tracks.append(cells)
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
        found = any(store.glob(f"*/*/{names.RECORD_NAME}"))
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
    """Name of each video in its manifest or data set, by id.

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


def _cell(record: VideoRecord, column: str, known: Mapping[str, object], track: TrackRecord | None = None) -> object:
    """A cell of a table: as ``known``, or else an attribute of the track or of the video's record."""
    if column in known:
        return known[column]
    value = getattr(track if hasattr(track, column) else record, column)
    if isinstance(value, tuple):
        return ";".join(value)
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
            f"{store}: {len(doubles)} videos seem to be in it more than once, such as {' and '.join(folders)}; delete "
            "the copies that are not meant"
        )
