"""Folders of a store's videos: written, committed, read and removed."""

import re
from collections.abc import Set
from pathlib import Path

import numpy as np

from dfd.base.errors import StoreError
from dfd.base.files import write_text, written_whole
from dfd.data.sources.row import VideoRow, slug
from dfd.data.store.records import RECORD_NAME, TrackGeometry, VideoRecord, logger


def file_size(path: Path) -> int:
    """Size in bytes of a file, or of all files directly in a folder; 0 if it does not exist."""
    try:
        if path.is_dir():
            return sum(each.stat().st_size for each in path.iterdir() if each.is_file())
        return path.stat().st_size
    except OSError:
        return 0


def video_folder(store: str | Path, video: VideoRow | VideoRecord) -> Path:
    """Where a video's clips and record lie."""
    return Path(store) / slug(video.dataset) / video.video_id


def write_record(store: str | Path, record: VideoRecord) -> Path:
    """Commit a video: everything that the record names must be in its folder by now."""
    path = video_folder(store, record) / RECORD_NAME
    return write_text(path, record.to_json())


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
    with written_whole(folder / f"{track}.npy") as partial:
        # Not np.savez: a zip archive holds the time of day. Adding zero turns -0.0 into 0.0.
        np.save(partial, np.round(values.astype(np.float64), 1).astype(np.float32) + np.float32(0))


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


def read_records(store: str | Path, *, but: Set[str] = frozenset()) -> list[VideoRecord]:
    """Every record, sorted by data set and video. Those that cannot be used are left out, each with a warning.

    Videos whose id is in ``but`` are passed over, and not read.
    """
    folders = sorted(path.parent for path in Path(store).glob(f"*/*/{RECORD_NAME}"))
    return [record for folder in folders if folder.name not in but and (record := read_record(folder)) is not None]
