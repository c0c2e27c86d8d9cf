"""The clips of a video that are scored: chosen over its whole length, decoded and cropped in a worker process.

They come as they are cut, so that the network works while the rest is decoded, and memory does not grow with the video.
Nothing here needs the network, so a worker starts without loading the libraries that it is made with.
"""

import hashlib
import importlib
import os
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import ceil
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import numpy as np

from dfd.card import DetectorCard
from dfd.errors import NoFaceFound
from dfd.faces.detect import DETECTOR_MODULES, FaceDetector, build_detector
from dfd.faces.extract import ExtractionSettings, FaceChunk, FaceExtractor, confirmed, shrink
from dfd.faces.from_card import extraction_of, face_detector_of
from dfd.faces.no_face import no_face_message
from dfd.faces.turned import ENOUGH_FACES, WORDS, quarter_turns_with_faces, turned, turned_back
from dfd.memory import limit_tasks
from dfd.stages import StageClock, ahead
from dfd.types import FileFacts, FloatArray, FrameArray
from dfd.video.container import DEFAULT_LIMITS, VideoLimits
from dfd.video.decode import VideoReader
from dfd.video.sampling import clip_frame_indices, window_starts
from dfd.workers import WorkerPool, hold_to_one_core, num_cores

THUMBNAIL_SIDE = 320
"""Longer side of the picture that stands for a video, in pixels."""

_HASHED_AT_ONCE = 2**25
# Frames that may be decoded before they are looked at.
_AHEAD_BYTES = 40 * 2**20


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Which clips of a video are scored.

    Args:
        clip_len: frames per clip.
        clip_stride: from one frame of a clip to the next.
        window_stride: frames from the start of one clip to the start of the next; None: the clips follow each other
            without overlap, so that every frame is in one.
        max_windows: of the clips that fit, so many, evenly spaced over the whole video; None: all of them.
        max_faces: faces scored in each clip, the largest.
        max_decode_side: longer side of the decoded frames in pixels; None: the source's.
        every_frame: look for faces in all frames, also in those that no clip needs: for boxes on the whole video.
        video_stream: which of a file's video streams, from 0; None: the one that players show.
        limits: the largest frame that is decoded.

    Raises:
        ValueError: one is out of range.
    """

    clip_len: int
    clip_stride: int = 1
    window_stride: int | None = None
    max_windows: int | None = 32
    max_faces: int = 8
    max_decode_side: int | None = 1920
    every_frame: bool = False
    video_stream: int | None = None
    limits: VideoLimits = field(default_factory=VideoLimits)

    def __post_init__(self) -> None:
        for name in ("clip_len", "clip_stride", "window_stride", "max_windows", "max_faces", "max_decode_side"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.video_stream is not None and self.video_stream < 0:
            raise ValueError(f"video_stream must be 0 or more, got {self.video_stream}")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return (self.clip_len - 1) * self.clip_stride + 1

    def num_possible(self, num_frames: int) -> int:
        """How many clips there are in a video, one at least.

        >>> WindowSettings(clip_len=10).num_possible(309), WindowSettings(clip_len=10, window_stride=5).num_possible(25)
        (30, 4)
        """
        return max(1, (num_frames - self.span) // (self.window_stride or self.span) + 1)

    def starts(self, num_frames: int, *, first: int = 0) -> list[int]:
        """The first frame of each clip; the first at ``first``, the last so that it ends with the video.

        >>> WindowSettings(clip_len=10, max_windows=4).starts(100)
        [0, 30, 60, 90]
        >>> WindowSettings(clip_len=10, max_windows=None).starts(43)
        [0, 11, 22, 33]
        """
        number = self.num_possible(num_frames - first)
        if self.max_windows is not None:
            number = min(number, self.max_windows)
        starts = window_starts(num_frames - first, clip_len=self.clip_len, stride=self.clip_stride, num_windows=number)
        return [first + start for start in starts]


def look_settings(
    card: DetectorCard,
    *,
    name: str,
    face_detector: Mapping[str, Any] | None = None,
    window_stride: int | None = None,
    max_windows: int | None = 32,
    max_faces: int = 8,
    max_decode_side: int | None = 1920,
    video_stream: int | None = None,
    limits: VideoLimits | None = None,
    every_frame: bool = False,
) -> tuple[dict[str, Any], ExtractionSettings, WindowSettings]:
    """The arguments of :func:`start_worker` for a detector with this card, which ``name`` names in errors.

    ``face_detector`` is its name and options; None: the one that the detector was trained with.

    Raises:
        CheckpointError: the card says things that are unknown here.
        ValueError: an option is out of range.
    """
    extraction = extraction_of(card.crop, name=name)
    windows = WindowSettings(
        clip_len=card.clip_len,
        clip_stride=card.clip_stride,
        window_stride=window_stride,
        max_windows=max_windows,
        max_faces=max_faces,
        max_decode_side=max_decode_side,
        every_frame=every_frame,
        video_stream=video_stream,
        limits=limits or DEFAULT_LIMITS,
    )
    return dict(face_detector or face_detector_of(card.crop, name=name)), extraction, windows


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """One clip of one face track: ``crops`` (T, S, S, 3), ``box`` in source pixels in the middle of it.

    ``frame_seconds`` is when each of its frames is shown.
    """

    track: int
    start_frame: int
    start_seconds: float
    end_seconds: float
    frame_seconds: tuple[float, ...]
    crops: FrameArray
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of the video, ``(h, w, 3)``; a later one is a better one."""

    picture: FrameArray


@dataclass(frozen=True, slots=True)
class FaceBoxes:
    """Where a face is: boxes ``(F, 4)`` in source pixels on F consecutive frames from ``start_frame`` on."""

    track: int
    start_frame: int
    boxes_xyxy: FloatArray


@dataclass(frozen=True, slots=True)
class WindowsEnd:
    """What is known of a video when all of it has been looked at."""

    num_faces: int
    num_frames: int
    num_windows: int
    num_windows_possible: int
    duration_seconds: float | None
    partial: str | None
    message: str
    seconds_by_stage: dict[str, float]


Found = FileFacts | Thumbnail | FaceWindow | FaceBoxes | float | WindowsEnd
"""What comes out of a video, piece by piece; a number is the share of it that has been looked at, 0..1."""


def stream_windows(
    path: Path, detector: FaceDetector, extraction: ExtractionSettings, settings: WindowSettings
) -> Iterator[Found]:
    """Decode a video and cut the windows of its faces, in the order of their start.

    A window in which a track is seen for less than half of the frames is left out; one that the track leaves early
    repeats its last crop, as short clips do in training. A window comes as soon as its faces are known to be faces: a
    few key frames after its end. The last piece is a :class:`WindowsEnd`.

    Where few frames show a face, faces are looked for in the picture turned by quarters too, and if there are, the
    video is gone through once more, turned so; the windows of that pass follow, with tracks of their own.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        NoFaceFound: no track was confirmed, or none fills half a window.
    """
    clock = StageClock()
    facts = None
    for facts in clock.iterate("hash", file_facts(path)):
        yield facts or 0.0
    with clock("decode"):
        reader = VideoReader(
            path, max_side=settings.max_decode_side, limits=settings.limits, stream=settings.video_stream
        )
    with reader:
        if facts is not None:
            yield _video_facts(facts, reader)
        starts = settings.starts(reader.num_frames, first=reader.first_frame)
        upright = _Pass(reader, FaceExtractor(detector, extraction, clock=clock), settings, starts)
        yield from upright.run()
        if upright.extractor.num_frames == 0:
            reason = f": {reader.partial}" if reader.partial else ""
            raise NoFaceFound(f"{path}: no frame could be decoded from the windows looked at{reason}")
        passes, words = [upright], []
        if not upright.has_enough_faces:
            with clock("detect"):
                turns = quarter_turns_with_faces(upright.extractor.small_faceless(), detector)
            if turns:
                again = FaceExtractor(detector, extraction, clock=clock)
                passes.append(_Pass(reader, again, settings, starts, turns, upright.next_track))
                yield from passes[-1].run()
                words.append(f"the picture {WORDS[turns]}")
        faces = {track for one in passes for track in one.faces}
        scored = {track for one in passes for track in one.collector.scored}
        unscored = len(faces - scored - {track for one in passes for track in one.collector.dropped})
        if not scored:
            if faces:
                raise NoFaceFound(
                    f"{path}: {_counted(unscored)} found, but none for half of a clip of {settings.clip_len} frames, "
                    f"{settings.clip_stride} frames apart; use a detector with shorter clips"
                )
            with clock("detect"):
                why = no_face_message(upright.extractor.num_frames, upright.extractor.faceless, detector, extraction)
            raise NoFaceFound("; ".join(part for part in (f"{path}: {why}", reader.partial) if part))
        # Of a damaged video, what the frames that could be decoded hold.
        num_possible = settings.num_possible(reader.num_frames - reader.first_frame)
        num_windows = min(num_possible, sum(start < reader.num_frames for start in starts))
        num_dropped = sum(one.collector.num_dropped for one in passes)
        yield WindowsEnd(
            num_faces=len(faces),
            num_frames=upright.extractor.num_frames,
            num_windows=num_windows,
            num_windows_possible=num_possible,
            duration_seconds=reader.info.duration_seconds or reader.num_frames / reader.fps,
            partial=reader.partial,
            message="; ".join(
                (*_video_remarks(reader), *words, *_remarks(settings, num_windows, num_possible, num_dropped, unscored))
            ),
            seconds_by_stage=dict(clock.seconds),
        )


class _Pass:
    """The video gone through once, turned by some counterclockwise quarter turns; tracks count from ``first_track``."""

    def __init__(
        self,
        reader: VideoReader,
        extractor: FaceExtractor,
        settings: WindowSettings,
        starts: Sequence[int],
        quarter_turns: int = 0,
        first_track: int = 0,
    ) -> None:
        self.reader, self.extractor, self.settings, self.starts = reader, extractor, settings, starts
        self.quarter_turns, self.first_track = quarter_turns, first_track
        self.collector = _Collector(reader, extractor, settings, starts, self._in_source, first_track)

    def run(self) -> Iterator[Found]:
        """What is found, piece by piece."""
        reader, settings, extractor, collector = self.reader, self.settings, self.extractor, self.collector
        is_first = self.quarter_turns == 0
        ranges = [range(s, s + settings.span) for s in self.starts]
        looked_at = (
            [range(reader.first_frame, reader.num_frames)]
            if settings.every_frame
            else merge_ranges(ranges, max_gap=extractor.settings.key_frame_stride)
        )
        pictures = _Pictures(self.starts[0], self.starts[len(self.starts) // 2] + settings.span // 2)
        # Where a core is free, the next frames are decoded while faces are looked for in these. Only key frames are
        # looked at, so that it takes several chunks to be busy all the time.
        depth = max(1, _AHEAD_BYTES // (reader.chunk_len * reader.height * reader.width * 3))
        decoded = extractor.clock.iterate("decode", reader.chunks(looked_at))
        with closing(ahead(turned(decoded, self.quarter_turns), depth)) as chunks:
            for pieces, settled in extractor.steps(pictures.of(chunks)):
                if is_first:
                    yield from pictures.taken()
                for piece in pieces:
                    collector.add(piece)
                    if settings.every_frame:
                        boxes = self._in_source(piece.start_frame, piece.boxes_xyxy)
                        yield FaceBoxes(self.first_track + piece.track, piece.start_frame, boxes)
                yield from collector.ready(settled)
                yield settled / reader.num_frames if is_first else 1.0
        if is_first:
            yield from pictures.taken()
        yield from collector.ready(None)

    @property
    def faces(self) -> set[int]:
        """The tracks that are faces."""
        return {self.first_track + track.track for track in confirmed(self.extractor.tracks)}

    @property
    def next_track(self) -> int:
        """A number that no track of this pass has, nor any after it."""
        return self.first_track + len(self.extractor.tracks)

    @property
    def has_enough_faces(self) -> bool:
        """True if it need not be asked whether the picture is upright."""
        extractor = self.extractor
        return bool(self.collector.scored) and extractor.num_with_face >= ENOUGH_FACES * extractor.num_key_frames

    def _in_source(self, frame: int, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes ``(F, 4)`` on and after this frame in pixels of the source as it is shown."""
        width, height = self.reader.size_at(frame)
        scale = self.reader.scale_at(frame)
        return turned_back(boxes_xyxy, self.quarter_turns, width, height) * np.float32(scale)


def _video_remarks(reader: VideoReader) -> Iterator[str]:
    """What is out of the ordinary in how the file holds its pictures."""
    info = reader.info
    if info.num_streams > 1:
        yield (
            f"video stream {info.stream} of {info.num_streams} was looked at (they count from 0; video_stream=N takes "
            "another)"
        )
    if len(reader.sizes) > 1:
        sizes = [f"{width} x {height}" for _, width, height in reader.sizes]
        moment = reader.clock_seconds([min(reader.sizes[1][0], reader.num_frames - 1)])[0]
        yield f"the picture changes its size, first at {moment:.2f} s: {', then '.join(sizes[:4])}"


def _remarks(
    settings: WindowSettings, num_windows: int, num_possible: int, num_dropped: int, num_unscored: int
) -> Iterator[str]:
    if num_windows < num_possible:
        yield (
            f"{num_windows} of {num_possible} windows were looked at, evenly spaced "
            f"(max_windows={settings.max_windows})"
        )
    if num_unscored:
        yield f"{_counted(num_unscored)} seen for less than half of a clip and not scored"
    if num_dropped:
        yield f"{num_dropped} clips of smaller faces were not scored (max_faces={settings.max_faces})"


class _Collector:
    """Puts the pieces of tracks together to windows, and hands out those that nothing can change any more."""

    def __init__(
        self,
        reader: VideoReader,
        extractor: FaceExtractor,
        settings: WindowSettings,
        starts: Sequence[int],
        in_source: Callable[[int, FloatArray], FloatArray],
        first_track: int,
    ) -> None:
        self._reader, self._extractor, self._settings, self._starts = reader, extractor, settings, starts
        self._in_source, self._first_track = in_source, first_track
        self._seen: dict[int, dict[int, dict[int, tuple[FrameArray, FloatArray]]]] = {}
        """start -> track -> place in the clip -> crop and box."""
        self.scored: set[int] = set()
        self.dropped: set[int] = set()
        """Tracks that have a window, and those that lost one to larger faces."""
        self.num_dropped = 0

    def add(self, piece: FaceChunk) -> None:
        """Take what the windows need of a piece of a track."""
        settings = self._settings
        for index in range(len(piece.crops)):
            frame = piece.start_frame + index
            first = bisect_left(self._starts, frame - settings.span + 1)
            for start in self._starts[first : bisect_right(self._starts, frame)]:
                place, off = divmod(frame - start, settings.clip_stride)
                if off == 0:
                    window = self._seen.setdefault(start, {}).setdefault(self._first_track + piece.track, {})
                    window[place] = piece.crops[index].copy(), piece.boxes_xyxy[index]

    def ready(self, settled: int | None) -> Iterator[FaceWindow]:
        """The windows that end before frame ``settled``, in order; all that are left if it is None."""
        if not self._seen:
            return
        live = self._extractor.live_tracks
        known = [*confirmed(self._extractor.tracks), *(track for track in live if track.num_detections >= 2)]
        sure = {self._first_track + track.track for track in known}
        undecided = {self._first_track + track.track for track in live} - sure
        for start in sorted(self._seen):
            waits = settled is not None and (
                start + self._settings.span > settled or undecided & self._seen[start].keys()
            )
            if waits:
                return  # the order is kept
            yield from self._windows(start, self._seen.pop(start), sure)

    def _windows(
        self, start: int, by_track: Mapping[int, Mapping[int, tuple[FrameArray, FloatArray]]], sure: set[int]
    ) -> Iterator[FaceWindow]:
        # Of a video shorter than a clip, of the places that it has: every clip_stride-th of its frames.
        places = ceil((self._reader.num_frames - self._reader.first_frame) / self._settings.clip_stride)
        enough = min(self._settings.clip_len, places) / 2
        found = [
            self._window(track, start, seen)
            for track, seen in sorted(by_track.items())
            if track in sure and len(seen) >= enough
        ]
        largest = sorted(found, key=_area, reverse=True)[: self._settings.max_faces]
        self.num_dropped += len(found) - len(largest)
        self.scored |= {window.track for window in largest}
        self.dropped |= {window.track for window in found} - {window.track for window in largest}
        yield from sorted(largest, key=lambda window: window.track)

    def _window(self, track: int, start: int, seen: Mapping[int, tuple[FrameArray, FloatArray]]) -> FaceWindow:
        present = sorted(seen)
        order = [present[i] for i in clip_frame_indices(len(present), clip_len=self._settings.clip_len)]
        middle = present[len(present) // 2]
        box = self._in_source(start + middle * self._settings.clip_stride, seen[middle][1][None])
        x1, y1, x2, y2 = box[0].tolist()
        seconds = self._reader.clock_seconds([start + place * self._settings.clip_stride for place in order])
        return FaceWindow(
            track=track,
            start_frame=start,
            start_seconds=seconds[0],
            end_seconds=seconds[-1] + 1 / self._reader.fps,
            frame_seconds=tuple(seconds),
            crops=np.stack([seen[place][0] for place in order]),
            box=(x1, y1, x2, y2),
        )


def _area(window: FaceWindow) -> float:
    x1, y1, x2, y2 = window.box
    return (x2 - x1) * (y2 - y1)


class _Pictures:
    """Takes thumbnails out of the frames as they pass: the one at ``first``, and then the one at ``wanted``."""

    def __init__(self, first: int, wanted: int) -> None:
        self._wanted = [first, wanted]
        self._taken: list[Thumbnail] = []

    def of(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[tuple[int, FrameArray]]:
        """The same chunks."""
        for start, frames in chunks:
            while self._wanted and start + len(frames) > self._wanted[0]:
                place = max(0, self._wanted.pop(0) - start)
                self._taken.append(Thumbnail(np.ascontiguousarray(shrink(frames[place], THUMBNAIL_SIDE))))
            yield start, frames

    def taken(self) -> Iterator[Thumbnail]:
        """What was taken since the last call."""
        yield from self._taken[-1:]
        self._taken.clear()


def file_facts(path: Path) -> Iterator[FileFacts | None]:
    """Size and hash of a regular file, after a None for each part that was read: a sign of life.

    Nothing for anything else and for what may not be read: the reader says why.
    """
    try:
        if not path.is_file():
            return
        digest = hashlib.sha256()
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            while part := file.read(_HASHED_AT_ONCE):
                digest.update(part)
                if len(part) == _HASHED_AT_ONCE:
                    yield None
        yield FileFacts(status.st_size, digest.hexdigest(), modified_seconds=status.st_mtime)
    except (OSError, ValueError):
        return


def _counted(num_faces: int) -> str:
    """The beginning of a sentence about faces.

    >>> _counted(1), _counted(3)
    ('1 face was', '3 faces were')
    """
    return f"{num_faces} face was" if num_faces == 1 else f"{num_faces} faces were"


def _video_facts(facts: FileFacts, reader: VideoReader) -> FileFacts:
    info = reader.info
    return replace(
        facts, width=info.width, height=info.height, fps=info.fps, codec=info.codec, num_frames=reader.num_frames
    )


def merge_ranges(ranges: Iterable[range], *, max_gap: int) -> list[range]:
    """Ranges in order, those at most ``max_gap`` frames apart joined: reading on is cheaper than looking again.

    >>> merge_ranges([range(0, 10), range(12, 22), range(90, 100)], max_gap=10)
    [range(0, 22), range(90, 100)]
    """
    merged: list[range] = []
    for item in ranges:
        if merged and item.start - merged[-1].stop <= max_gap:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, item.stop))
        else:
            merged.append(item)
    return merged


_worker: dict[str, Any] = {}
"""What a worker process builds once: its face detector and settings."""


def worker_pool(
    num_workers: int, *, deadline_seconds: float, stall_seconds: float, batch_size: int, detector: str | None = None
) -> WorkerPool:
    """Processes for :func:`numbered_windows_task`, once they have been told to prepare :func:`start_worker`.

    Told so or not, they can be started: they then import what the face detector of this name needs. That keeps a core
    busy, and so does this process, which loads the network. Those for which no core is left let the others go first, so
    that the first video is not late.
    """
    free_cores = get_context("spawn").Semaphore(max(1, num_cores() - 1))
    return WorkerPool(
        num_workers=num_workers,
        deadline_seconds=deadline_seconds,
        stall_seconds=stall_seconds,
        initializer=import_ahead,
        initargs=(detector, free_cores),
        max_waiting=max(64, 4 * batch_size),
    )


def import_ahead(detector: str | None, free_cores: Semaphore) -> None:
    """For a worker whose settings are still being read: most of its start is waiting for libraries."""
    hold_to_one_core()
    if detector in DETECTOR_MODULES:
        module = DETECTOR_MODULES[detector]
        if free_cores.acquire(block=False):
            try:
                importlib.import_module(module)
            finally:
                free_cores.release()
        else:
            _import_when_idle(module)


def _import_when_idle(module: str) -> None:
    """Import it in a thread that leaves the cores to all others that want them; Linux has priorities of threads."""

    def low_priority() -> None:
        if sys.platform == "linux":
            this = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, this, min(19, os.getpriority(os.PRIO_PROCESS, this) + 10))
        importlib.import_module(module)

    with ThreadPoolExecutor(1, thread_name_prefix="import") as thread:
        thread.submit(low_priority).result()


def start_worker(detector: Mapping[str, Any], extraction: ExtractionSettings, settings: WindowSettings) -> None:
    """For :class:`dfd.workers.WorkerPool`: build what :func:`windows_task` needs, and bound what it may take."""
    hold_to_one_core()
    _worker["arguments"] = (build_detector(**detector), extraction, settings)
    on_cpu = str(detector.get("device", "cpu")) == "cpu"
    limit_tasks(settings.limits.task_bytes if on_cpu else None)


def windows_task(path: Path) -> Iterator[Found]:
    """In a worker: the windows of one video, piece by piece."""
    yield from stream_windows(path, *_worker["arguments"])


def numbered_windows_task(task: tuple[int, Path]) -> Iterator[Found]:
    """As :func:`windows_task` of the second part; the first tells equal paths apart.

    Here and not where it is used, so that a worker does not import the network's libraries.
    """
    return windows_task(task[1])
