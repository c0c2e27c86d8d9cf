"""Records of a store: one per video, and what is kept of each of its face tracks."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dfd.base.types import FloatArray, Label, Status
from dfd.base.untrusted import decode, parse_json
from dfd.data.copies.content import Fingerprint
from dfd.data.sources.row import VideoRow

SCHEMA_VERSION = 1


RECORD_NAME, SPLITS_NAME, INDEX_NAME, VIDEOS_NAME = "record.json", "splits.csv", "index.csv", "videos.csv"


PLAN_NAME, LEFT_OUT_NAME, COPIES_NAME = "split.json", "left_out.csv", "copies.csv"


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
        """The file that :func:`~dfd.data.store.folders.read_geometry` reads, in the video's folder."""
        return f"{self.track}.npy"


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """Result of preparing one video. The fields from ``video_id`` to ``extra`` are those of its manifest row.

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
        """Read a record from its JSON text.

        Raises:
            ValueError: the text is no record, was cut short, or is of another schema version.
        """
        try:
            value = parse_json(text)
            version = value.pop("schema_version")
            digest = value.pop("settings_hash")
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema version {version!r}, this dfd writes {SCHEMA_VERSION}")
            record = decode(cls, value)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record ({type(error).__name__}: {error})") from error
        if record.settings_hash != digest:
            raise ValueError("its settings do not match their hash; it was edited")
        return record


@dataclass(frozen=True, slots=True)
class TrackGeometry:
    """Where a track's crops were cut and where the face's points lie, per frame, in pixels of the source.

    ``boxes_xyxy`` is (F, 4), the face's box without margin; ``landmarks`` is (F, 5, 2), in the order of
    :class:`dfd.base.types.FaceBox`.
    """

    boxes_xyxy: FloatArray
    landmarks: FloatArray

    def __post_init__(self) -> None:
        frames = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (frames, 4) or self.landmarks.shape != (frames, 5, 2):
            raise ValueError(f"got boxes {self.boxes_xyxy.shape} and landmarks {self.landmarks.shape}")


@dataclass(frozen=True, slots=True)
class IndexVideo:
    """Video of a store, with the fields that :mod:`dfd.data.splits.assign` and :mod:`dfd.data.splits.draw` need."""

    video_id: str
    source_ids: tuple[str, ...]
    split: str
    label: Label
    dataset: str
    method: str = ""
    official_split: str = ""


def settings_hash(settings: Mapping[str, Any]) -> str:
    """16 hex digits; the order of the keys does not matter.

    >>> settings_hash({"a": 1, "b": [2]}) == settings_hash({"b": (2,), "a": 1})
    True
    """
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_fields(row: VideoRow) -> dict[str, Any]:
    """The fields of a :class:`VideoRecord` that come from the manifest."""
    names = ("video_id", "name", "label", "dataset", "method", "source_ids")
    return {name: getattr(row, name) for name in names} | {"extra": dict(row.extra)}
