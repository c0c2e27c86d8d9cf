"""Preparation of one video, in a worker process."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfd.base.errors import NoFaceFound
from dfd.base.files import commit, file_sha256, partial_of
from dfd.base.types import FrameArray, Status
from dfd.data.copies.content import FrameWatcher
from dfd.data.sources.row import VideoRow
from dfd.data.store.folders import discard_video, file_size, video_folder, write_geometry
from dfd.data.store.records import TrackGeometry, TrackRecord, VideoRecord, row_fields
from dfd.faces.detect import FaceDetector, detector_options
from dfd.faces.extract import ExtractionSettings, FaceExtractor, TrackSummary, confirmed, main_track
from dfd.faces.no_face import no_face_message
from dfd.faces.turned import WORDS, points_turned_back, quarter_turns_with_faces, turned, turned_back
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter
from dfd.video.file.container import MAX_DECODE_SIDE, VideoLimits
from dfd.video.still import SequenceReader, StillReader

DEADLINE_SECONDS = 600.0
"""The most that one video may take."""
PIPELINE_VERSION = 1
"""Part of the settings' hash; raise it when the same settings give other clips."""


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """Settings that determine the clips.

    ``face_detector`` is a name and options for :func:`dfd.faces.detect.build_detector`. The first ``num_frames`` frames
    are used (None: all). Clips play at the source's frame rate, or at ``fps``. A track shorter than
    ``min_track_frames`` is kept only if the video is shorter, too. With ``stills`` the files are pictures, each a clip
    of one frame. ``encode`` holds options of :class:`dfd.video.encode.VideoWriter`.
    """

    face_detector: Mapping[str, Any] = field(default_factory=lambda: {"name": "mtcnn"})
    faces: ExtractionSettings = field(default_factory=ExtractionSettings)
    num_frames: int | None = 150
    fps: float | None = None
    min_track_frames: int = 10
    max_decode_side: int | None = MAX_DECODE_SIDE
    stills: bool = False
    encode: Mapping[str, Any] = field(default_factory=dict)
    limits: VideoLimits = field(default_factory=VideoLimits)

    def __post_init__(self) -> None:
        for name in ("num_frames", "fps", "min_track_frames", "max_decode_side"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values with all defaults, for the record and its hash.

        Settings that cannot change a clip or belong to one machine (the device, the weights' path) are left out. So is
        ``stills``, since pictures and videos are cropped in the same way and may share a store.
        """
        value = asdict(self) | {"pipeline_version": PIPELINE_VERSION}
        del value["stills"]
        value["faces"] = self.faces.to_dict()
        detector = detector_options(**self.face_detector)
        value["face_detector"] = {k: v for k, v in detector.items() if k not in ("device", "weights", "batch_size")}
        value["encode"] = {**(VideoWriter.__init__.__kwdefaults__ or {}), **self.encode}
        return value


class _TrackClip:
    """Clip and geometry of one track while they are written."""

    def __init__(self, folder: Path, track: int, start_frame: int, fps: float, settings: PreparationSettings) -> None:
        self.path = folder / f"{track}.mp4"
        self.start_frame = start_frame
        self.boxes: list[np.ndarray[Any, Any]] = []
        self.landmarks: list[np.ndarray[Any, Any]] = []
        size = settings.faces.crop.size
        self.partial = partial_of(self.path)
        self.writer = VideoWriter(self.partial, width=size, height=size, fps=fps, **settings.encode)


def prepare_video(row: VideoRow, store: Path, settings: PreparationSettings, detector: FaceDetector) -> VideoRecord:
    """Write the clips of one video's faces to its folder in the store; the caller commits the returned record.

    Raises:
        UnreadableVideo, VideoTooLarge, NoFaceFound: there is nothing to train on; the folder is left empty.
    """
    folder = video_folder(store, row)
    discard_video(folder)
    folder.mkdir(parents=True, exist_ok=True)
    extractor = FaceExtractor(detector, settings.faces)
    message = ""
    try:
        with _open(row.path, settings) as reader:
            fps = settings.fps or reader.fps
            watcher = FrameWatcher(reader.fps)
            frames = watcher.watch(reader.chunks(_wanted(reader, settings)))
            clips, kept = _write_clips(folder, reader, frames, extractor, fps, settings)
            looked_at = extractor.num_frames, extractor.faceless
            turns = 0
            if not extractor.is_sure:
                scores = [score for _, score in extractor.unsure]
                turns = quarter_turns_with_faces(extractor.small_unsure(), detector, upright_scores=scores)
            if not kept or turns:
                turns = turns or quarter_turns_with_faces(extractor.small_faceless(), detector)
                if turns:
                    message = f"the picture {WORDS[turns]}"
                    frames = turned(reader.chunks(_wanted(reader, settings)), turns)
                    clips, kept = _write_clips(folder, reader, frames, extractor, fps, settings, turns)
                if not kept:
                    why = no_face_message(*looked_at, detector, settings.faces)
                    raise NoFaceFound("; ".join(part for part in (f"{row.path}: {why}", reader.partial) if part))
        main = main_track(kept)
        tracks = tuple(
            _commit_track(folder, clips[track.track], track, fps, settings, is_main=track.track == main)
            for track in kept
        )
    finally:
        clean_partials(folder)
    return VideoRecord(
        **row_fields(row),
        status=Status.PARTIAL if reader.partial else Status.OK,
        settings=settings.as_dict(),
        message="; ".join(part for part in (reader.partial, message) if part),
        size_bytes=file_size(row.path),
        width=reader.info.width,
        height=reader.info.height,
        fps=reader.fps,
        codec=reader.info.codec,
        duration_seconds=reader.info.duration_seconds,
        num_frames=extractor.num_frames,
        tracks=tracks,
        sha256=file_sha256(row.path),
        fingerprint=watcher.fingerprint(),
    )


def describe_video(record: VideoRecord, row: VideoRow, folder: Path, settings: PreparationSettings) -> VideoRecord:
    """Add the hash and fingerprint of its source, and the hashes of its clips, to a record of an earlier dfd.

    The clips in ``folder`` stay as they are.

    Raises:
        UnreadableVideo, VideoTooLarge: the source can no longer be decoded.
    """
    with _open(row.path, settings) as reader:
        watcher = FrameWatcher(reader.fps)
        for _ in watcher.watch(reader.chunks(_wanted(reader, settings))):
            pass
    tracks = tuple(replace(track, sha256=track.sha256 or file_sha256(folder / track.file)) for track in record.tracks)
    return replace(record, sha256=file_sha256(row.path), fingerprint=watcher.fingerprint(), tracks=tracks)


def _open(path: Path, settings: PreparationSettings) -> StillReader | SequenceReader | VideoReader:
    open_file = SequenceReader if path.is_dir() else StillReader if settings.stills else VideoReader
    return open_file(path, max_side=settings.max_decode_side, limits=settings.limits)


def _wanted(reader: StillReader | SequenceReader | VideoReader, settings: PreparationSettings) -> list[range] | None:
    """Range of the frames to prepare, from the first decodable one; None for all."""
    first = reader.first_frame
    return [range(first, first + settings.num_frames)] if settings.num_frames else None


def _write_clips(
    folder: Path,
    reader: VideoReader | StillReader | SequenceReader,
    frames: Iterable[tuple[int, FrameArray]],
    extractor: FaceExtractor,
    fps: float,
    settings: PreparationSettings,
    quarter_turns: int = 0,
) -> tuple[dict[int, _TrackClip], list[TrackSummary]]:
    """Write the clips of all tracks under partial names; returns them and the tracks to keep.

    ``frames`` are already rotated by ``quarter_turns``.
    """
    clips: dict[int, _TrackClip] = {}
    with ExitStack() as writers:
        for chunk in extractor.run(frames):
            if chunk.track not in clips:
                clips[chunk.track] = _TrackClip(folder, chunk.track, chunk.start_frame, fps, settings)
                writers.enter_context(clips[chunk.track].writer)
            clip = clips[chunk.track]
            with extractor.clock("crop"):
                crops = chunk.crops(settings.faces.crop)
            clip.writer.write(crops)
            scale = np.float32(reader.scale_at(chunk.start_frame))
            size = reader.size_at(chunk.start_frame)
            clip.boxes.append(turned_back(chunk.boxes_xyxy, quarter_turns, *size) * scale)
            clip.landmarks.append(points_turned_back(chunk.landmarks, quarter_turns, *size) * scale)
            written = sum(map(len, clip.boxes))
            if any(t.track == chunk.track and t.num_frames == written for t in extractor.tracks):
                clip.writer.close()  # a long film has more tracks than a process may have files open
    least = min(settings.min_track_frames, extractor.num_frames)
    return clips, [track for track in confirmed(extractor.tracks) if track.num_frames >= least]


def clean_partials(folder: Path) -> None:
    """Remove clips that were started but not committed."""
    for path in folder.glob("*.partial.*"):
        path.unlink()


def _commit_track(
    folder: Path, clip: _TrackClip, track: TrackSummary, fps: float, settings: PreparationSettings, *, is_main: bool
) -> TrackRecord:
    boxes = np.concatenate(clip.boxes)
    commit(clip.partial, clip.path)
    write_geometry(folder, track.track, TrackGeometry(boxes, np.concatenate(clip.landmarks)))
    return TrackRecord(
        track=track.track,
        num_frames=len(boxes),
        start_frame=clip.start_frame,
        fps=fps,
        size=settings.faces.crop.size,
        is_main=is_main,
        num_detections=track.num_detections,
        mean_score=track.mean_score,
        face_pixels=float(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).mean()),
        sha256=file_sha256(clip.path),
    )
