"""Videos to a clip store: one video in a worker process (:func:`prepare_video`), many of them resumably."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dfd.data.content import FrameWatcher
from dfd.data.joining import find_same_content
from dfd.data.leaks import find_leaks
from dfd.data.manifest import VideoRow
from dfd.data.splits import RANDOM_VIDEO, assign_splits
from dfd.data.store import (
    INDEX_NAME,
    PLAN_NAME,
    SPLITS_NAME,
    IndexVideo,
    SplitPlan,
    TrackGeometry,
    TrackRecord,
    VideoRecord,
    build_index,
    clean_video_folder,
    commit_file,
    discard_video,
    file_size,
    index_videos,
    is_current,
    is_incomplete,
    known_videos,
    partial_path,
    read_record,
    read_records,
    read_split_plan,
    read_splits,
    row_fields,
    settings_hash,
    video_folder,
    write_geometry,
    write_record,
    write_split_plan,
    write_splits,
)
from dfd.errors import ManifestError, NoFaceFound, SplitError
from dfd.faces.detect import FaceDetector, build_detector, detector_options
from dfd.faces.extract import ExtractionSettings, FaceExtractor, TrackSummary, confirmed, main_track
from dfd.faces.no_face import no_face_message
from dfd.faces.turned import WORDS, points_turned_back, quarter_turns_with_faces, turned, turned_back
from dfd.memory import limit_tasks
from dfd.types import FrameArray, Status
from dfd.video.container import VideoLimits
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter
from dfd.video.still import StillReader
from dfd.weights import file_sha256
from dfd.workers import Failure, WorkerPool, hold_to_one_core, num_cores

PIPELINE_VERSION = 1
"""Part of the settings' hash: raise it when the same settings begin to give other clips."""

# Failures of the moment: a worker that was killed, a machine too busy for the deadline. They are tried again.
TRANSIENT = (Status.ERROR, Status.TIMEOUT, Status.MISSING)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """All that decides what the clips look like.

    ``face_detector`` is a name and options for :func:`dfd.faces.detect.build_detector`. The first ``num_frames`` frames
    are used (None: all). Clips play at the source's rate, or at ``fps``. A track shorter than ``min_track_frames`` is
    kept only if the video is shorter, too. With ``stills`` the files are pictures, each a clip of one frame.
    ``encode`` are options of :class:`dfd.video.encode.VideoWriter`.
    """

    face_detector: Mapping[str, Any] = field(default_factory=lambda: {"name": "mtcnn"})
    faces: ExtractionSettings = field(default_factory=ExtractionSettings)
    num_frames: int | None = 150
    fps: float | None = None
    min_track_frames: int = 10
    max_decode_side: int | None = 1920
    stills: bool = False
    encode: Mapping[str, Any] = field(default_factory=dict)
    limits: VideoLimits = field(default_factory=VideoLimits)

    def __post_init__(self) -> None:
        for name in ("num_frames", "fps", "min_track_frames", "max_decode_side"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values with every default written out, for the record and its hash.

        What cannot change a clip, or names a place on one machine, is left out: the device, the weights' path. So is
        ``stills``: the crops of pictures and of videos are made in one way, and may lie in one store.
        """
        value = asdict(self) | {"pipeline_version": PIPELINE_VERSION}
        del value["stills"]
        detector = detector_options(**self.face_detector)
        value["face_detector"] = {k: v for k, v in detector.items() if k not in ("device", "weights", "batch_size")}
        value["encode"] = {**(VideoWriter.__init__.__kwdefaults__ or {}), **self.encode}
        return value


class _TrackClip:
    """The clip and the geometry of one track while it is being written."""

    def __init__(self, folder: Path, track: int, start_frame: int, fps: float, settings: PreparationSettings) -> None:
        self.path = folder / f"{track}.mp4"
        self.start_frame = start_frame
        self.boxes: list[np.ndarray[Any, Any]] = []
        self.landmarks: list[np.ndarray[Any, Any]] = []
        size = settings.faces.crop_size
        self.writer = VideoWriter(partial_path(self.path), width=size, height=size, fps=fps, **settings.encode)


def prepare_video(row: VideoRow, store: Path, settings: PreparationSettings, detector: FaceDetector) -> VideoRecord:
    """Write the clips of one video's faces to its folder in the store; the caller commits the returned record.

    Raises:
        UnreadableVideo, VideoTooLarge, NoFaceFound: nothing to train on; nothing is left in the folder.
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
    """The record of an earlier dfd with the hash and the fingerprint of its source, and the hashes of its clips.

    The clips in ``folder`` stay as they are.

    Raises:
        UnreadableVideo, VideoTooLarge: the source cannot be decoded any more.
    """
    with _open(row.path, settings) as reader:
        watcher = FrameWatcher(reader.fps)
        for _ in watcher.watch(reader.chunks(_wanted(reader, settings))):
            pass
    tracks = tuple(replace(track, sha256=track.sha256 or file_sha256(folder / track.file)) for track in record.tracks)
    return replace(record, sha256=file_sha256(row.path), fingerprint=watcher.fingerprint(), tracks=tracks)


def _open(path: Path, settings: PreparationSettings) -> StillReader | VideoReader:
    open_file = StillReader if settings.stills else VideoReader
    return open_file(path, max_side=settings.max_decode_side, limits=settings.limits)


def _wanted(reader: StillReader | VideoReader, settings: PreparationSettings) -> list[range] | None:
    """The frames that are prepared: the first so many that can be decoded, or all."""
    first = reader.first_frame
    return [range(first, first + settings.num_frames)] if settings.num_frames else None


def _write_clips(
    folder: Path,
    reader: VideoReader | StillReader,
    frames: Iterable[tuple[int, FrameArray]],
    extractor: FaceExtractor,
    fps: float,
    settings: PreparationSettings,
    quarter_turns: int = 0,
) -> tuple[dict[int, _TrackClip], list[TrackSummary]]:
    """The clips of all tracks, under partial names, and the tracks that are kept; ``frames`` are turned so."""
    clips: dict[int, _TrackClip] = {}
    with ExitStack() as writers:
        for chunk in extractor.run(frames):
            if chunk.track not in clips:
                clips[chunk.track] = _TrackClip(folder, chunk.track, chunk.start_frame, fps, settings)
                writers.enter_context(clips[chunk.track].writer)
            clip = clips[chunk.track]
            clip.writer.write(chunk.crops)
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
    """Remove clips that were begun and not committed."""
    for path in folder.glob("*.partial.*"):
        path.unlink()


def _commit_track(
    folder: Path, clip: _TrackClip, track: TrackSummary, fps: float, settings: PreparationSettings, *, is_main: bool
) -> TrackRecord:
    boxes = np.concatenate(clip.boxes)
    commit_file(clip.path)
    write_geometry(folder, track.track, TrackGeometry(boxes, np.concatenate(clip.landmarks)))
    return TrackRecord(
        track=track.track,
        num_frames=len(boxes),
        start_frame=clip.start_frame,
        fps=fps,
        size=settings.faces.crop_size,
        is_main=is_main,
        num_detections=track.num_detections,
        mean_score=track.mean_score,
        face_pixels=float(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).mean()),
        sha256=file_sha256(clip.path),
    )


Engine = Callable[[Sequence[VideoRow], Path, PreparationSettings], Iterator[tuple[VideoRow, VideoRecord | Failure]]]
"""Prepares videos into the store, by :func:`prepare_task` wherever that runs, and gives what became of each."""

_worker: dict[str, Any] = {}
"""What a worker process builds once."""


def start_worker(store: Path, settings: PreparationSettings) -> None:
    """The initializer of a worker process that does :func:`prepare_task`."""
    hold_to_one_core()
    _worker["arguments"] = (store, settings, build_detector(**settings.face_detector))
    on_cpu = str(settings.face_detector.get("device", "cpu")) == "cpu"
    limit_tasks(settings.limits.task_bytes if on_cpu else None)


def prepare_task(row: VideoRow) -> VideoRecord:
    """:func:`prepare_video` in a worker process, or :func:`describe_video` where nothing else is wanting."""
    store, settings, detector = _worker["arguments"]
    folder = video_folder(store, row)
    record = read_record(folder)
    if record and is_incomplete(record) and is_current(store, record, row, settings_hash(settings.as_dict())):
        return describe_video(record.with_row(row), row, folder, settings)
    return prepare_video(row, store, settings, detector)


def prepare_here(
    rows: Sequence[VideoRow],
    store: Path,
    settings: PreparationSettings,
    *,
    num_workers: int | None = None,
    deadline_seconds: float = 600.0,
) -> Iterator[tuple[VideoRow, VideoRecord | Failure]]:
    """The :data:`Engine` of one machine: a pool of worker processes, one for each core unless told otherwise."""
    with WorkerPool(
        num_workers=min(num_workers or num_cores(), len(rows)),
        deadline_seconds=deadline_seconds,
        initializer=start_worker,
        initargs=(store, settings),
    ) as pool:
        yield from pool.map(prepare_task, rows)


def plan_splits(
    store: str | Path,
    rows: Sequence[VideoRow],
    *,
    mode: str = "source",
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> dict[str, str]:
    """Freeze the split of every row in the store; returns it by ``video_id``, with those of the store's other videos.

    The rows may be more than will be prepared: which of them are prepared later then does not change any split. What
    was frozen stays, and ties new rows to a side. The arguments are those of :func:`dfd.data.splits.assign_splits`;
    ``extra["official_split"]`` of a row is what the data set's owners say.

    Videos of equal content count as of one source, unless ``mode`` is random_video; near copies that an earlier
    preparation found do where nothing is frozen and ``mode`` is source.

    Raises:
        ManifestError: equal files have two labels.
        SplitLeak: the rows and what the store holds already would put one person, or equal videos, on two sides.
        SplitError: the store was divided in another mode, or a data set has no official split.
    """
    store = Path(store)
    plan, earlier_plan = SplitPlan(mode, tuple(fractions), seed), read_split_plan(store)
    frozen = read_splits(store)
    earlier_mode = earlier_plan.mode if earlier_plan else SplitPlan().mode if frozen else mode
    if mode != earlier_mode:
        raise SplitError(
            f"{store}: its videos were divided with split={earlier_mode}, and this run asks for split={mode}; to "
            f"divide them anew, delete {SPLITS_NAME} and {PLAN_NAME} there (the clips stay) and run this again"
        )
    # Videos of earlier manifests tie their people to a side; a row of this manifest stands for itself.
    ids = {row.video_id for row in rows}
    records = read_records(store, but=ids)
    earlier = known_videos(store, records)
    same = find_same_content(store, rows, records)
    official = {video.video_id: video.official_split for video in earlier if video.official_split}
    official |= {row.video_id: row.extra["official_split"] for row in rows if row.extra.get("official_split")}
    names = {record.video_id: record.name for record in records} | {row.video_id: row.name for row in rows}
    videos: list[IndexVideo | VideoRow] = [*earlier, *rows]
    if mode != RANDOM_VIDEO:
        same.refuse_divided(store, {v.video_id: frozen.get(v.video_id) or v.split for v in videos}, names)
        ties = same.source_ids(names, with_near=mode == SplitPlan().mode and not frozen)
        videos = [replace(v, source_ids=(*v.source_ids, *ties.get(v.video_id, ()))) for v in videos]
    splits = assign_splits(videos, fractions=fractions, seed=seed, frozen=frozen, mode=mode, official=official)
    if mode != RANDOM_VIDEO:
        same.refuse_divided(store, splits, names)
    num_new = len(splits.keys() - frozen.keys())
    if earlier_plan and plan != earlier_plan:
        logger.warning(
            "%s: %d videos were divided by fractions %s with seed %d and stay; %d new ones are placed by %s with seed "
            "%d. To divide all anew, delete %s and %s there (the clips stay) and run this again",
            store,
            len(frozen),
            list(earlier_plan.fractions),
            earlier_plan.seed,
            num_new,
            list(plan.fractions),
            seed,
            SPLITS_NAME,
            PLAN_NAME,
        )
    if num_new and plan != earlier_plan:
        # Before the assignment: one without a plan would pass for one by source.
        write_split_plan(store, plan)
    if num_new:
        write_splits(store, frozen | splits)
    return splits


def prepare_store(
    rows: Sequence[VideoRow],
    store: str | Path,
    settings: PreparationSettings,
    *,
    mode: str = "source",
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    num_workers: int | None = None,
    deadline_seconds: float = 600.0,
    engine: Engine | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] = (0, 1),
    on_record: Callable[[VideoRecord], None] | None = None,
) -> Counter[str]:
    """Make or complete a clip store; returns how many of this shard's videos have each status.

    Work that an earlier run committed with the same settings is kept. What failed for a reason of the moment is tried
    again; what was unreadable or had no face only with ``retry_failed``. ``on_record`` is called with each record as it
    is committed, those kept from before first. All of ``rows`` are prepared, also those that are in no split. Without
    an ``engine`` it is :func:`prepare_here`, with ``num_workers`` and ``deadline_seconds``.

    Raises:
        ManifestError, SplitLeak, SplitError: as :func:`plan_splits` does, and as :func:`_check_content` at the end.
        DfdError: the engine cannot go on; what is done is kept.
    """
    store = Path(store)
    plan_splits(store, rows, mode=mode, fractions=fractions, seed=seed)
    waiting: list[VideoRow] = []
    undescribed: dict[str, VideoRecord] = {}
    counts: Counter[str] = Counter()

    def commit(record: VideoRecord) -> None:
        counts[str(record.status)] += 1
        if on_record:
            on_record(record)

    digest = settings_hash(settings.as_dict())
    for row in sorted(rows, key=lambda row: row.video_id)[shard[0] :: shard[1]]:
        record = read_record(video_folder(store, row))
        again = record is not None and (record.status in TRANSIENT or (retry_failed and not record.status.has_faces))
        if record is None or again or not is_current(store, record, row, digest):
            waiting.append(row)
            continue
        current = record.with_row(row)
        if current != record:  # the manifest was corrected; the clips stay
            (store / INDEX_NAME).unlink(missing_ok=True)
            write_record(store, current)
        clean_video_folder(video_folder(store, row))
        if is_incomplete(current):
            undescribed[row.video_id] = current
            waiting.append(row)
        else:
            commit(current)
    if undescribed:
        logger.info("%s: %d videos of an earlier dfd are read again for their fingerprints", store, len(undescribed))
    run = engine or partial(prepare_here, num_workers=num_workers, deadline_seconds=deadline_seconds)
    try:
        if waiting:
            (store / INDEX_NAME).unlink(missing_ok=True)  # until the end it would mix what was with what will be
            for row, result in run(waiting, store, settings):
                record = _record_of(result, row, store, settings, undescribed.get(row.video_id))
                write_record(store, record)
                commit(record)
    finally:
        index = build_index(store)
    _check_content(store, index_videos(index), rows, mode)
    return counts


def _check_content(store: Path, videos: Sequence[IndexVideo], rows: Sequence[VideoRow], mode: str) -> None:
    """Look at what only decoding can tell: equal frames, and near copies.

    Raises:
        ManifestError: videos with equal frames have two labels. Those among ``rows`` have left the store.
        SplitLeak: copies are in two splits, in a ``mode`` that promises none.
    """
    findings = find_leaks(store, videos)
    if findings.contradictions:
        by_id = {row.video_id: row for row in rows}
        for finding in findings.contradictions:
            for video_id in {finding.copy.video_id, finding.copy.copy_id} & by_id.keys():
                discard_video(video_folder(store, by_id[video_id]))
        build_index(store)
        raise ManifestError(
            f"{store}: equal videos under two labels, which are not kept; leave the wrong one of each pair out (of one "
            "that an earlier run prepared, delete the folder in the store). If only the sound of a fake was altered, "
            "audio_only.check=true leaves it out",
            [str(finding) for finding in findings.contradictions],
        )
    if findings.caveat:
        logger.warning("%s: %s", store, findings.caveat)
    findings.check(store, mode)


def _record_of(
    result: VideoRecord | Failure,
    row: VideoRow,
    store: Path,
    settings: PreparationSettings,
    undescribed: VideoRecord | None,
) -> VideoRecord:
    if isinstance(result, VideoRecord):
        return result
    if undescribed is None:
        return _failed(row, store, settings, result)
    # Its clips are good: what failed is reading the source again.
    logger.warning("%s: no fingerprint could be taken, and the audit cannot compare it (%s)", row.name, result.message)
    return undescribed


def _failed(row: VideoRow, store: Path, settings: PreparationSettings, failure: Failure) -> VideoRecord:
    discard_video(video_folder(store, row))
    return VideoRecord(
        **row_fields(row),
        status=failure.status,
        settings=settings.as_dict(),
        message=failure.message,
        size_bytes=file_size(row.path),
    )
