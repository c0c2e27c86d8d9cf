"""The clips of a video that are scored: chosen over its whole length, decoded and cropped in a worker process.

Nothing here needs the network, so a worker starts without loading the libraries that it is made with.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dfd.errors import NoFaceFound
from dfd.faces.detect import FaceDetector, build_detector
from dfd.faces.extract import ExtractionSettings, FaceExtractor, confirmed
from dfd.types import FloatArray, FrameArray
from dfd.video.decode import VideoLimits, VideoReader
from dfd.video.sampling import clip_frame_indices, window_starts
from dfd.workers import hold_to_one_core


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Which clips of a video are scored.

    ``max_windows`` clips of ``clip_len`` frames, ``clip_stride`` frames apart, evenly spaced over the whole video and
    never overlapping; in each, at most ``max_faces`` faces, the largest.
    """

    clip_len: int
    clip_stride: int = 1
    max_windows: int = 16
    max_faces: int = 8
    max_decode_side: int | None = 1920
    limits: VideoLimits = field(default_factory=VideoLimits)

    def __post_init__(self) -> None:
        for name in ("clip_len", "clip_stride", "max_windows", "max_faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return (self.clip_len - 1) * self.clip_stride + 1


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """One clip of one face track, ``crops`` (T, S, S, 3); ``box`` in source pixels, of the middle of the window."""

    track: int
    start_frame: int
    start_seconds: float
    end_seconds: float
    crops: FrameArray
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FaceWindows:
    """What a worker found in one video."""

    windows: tuple[FaceWindow, ...]
    num_faces: int
    num_frames: int
    duration_seconds: float | None
    partial: str | None
    message: str


def extract_windows(
    path: Path, detector: FaceDetector, extraction: ExtractionSettings, settings: WindowSettings
) -> FaceWindows:
    """Decode a video and crop the windows of its faces.

    A window in which a track is seen for less than half of the frames is left out; one that the track leaves early
    repeats its last crop, as short clips do in training.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        NoFaceFound: no track was confirmed, or none fills half a window.
    """
    with VideoReader(path, max_side=settings.max_decode_side, limits=settings.limits) as reader:
        windows_wanted = max(1, min(settings.max_windows, reader.num_frames // settings.span))
        starts = window_starts(
            reader.num_frames, clip_len=settings.clip_len, stride=settings.clip_stride, num_windows=windows_wanted
        )
        seen: dict[tuple[int, int], dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = {}
        extractor = FaceExtractor(detector, extraction)
        ranges = merge_ranges([range(s, s + settings.span) for s in starts], max_gap=extraction.key_frame_stride)
        offsets = {s + k * settings.clip_stride: (s, k) for s in starts for k in range(settings.clip_len)}
        for chunk in extractor.run(reader.chunks(ranges)):
            for index in range(len(chunk.crops)):
                wanted = offsets.get(chunk.start_frame + index)
                if wanted:
                    window = seen.setdefault((chunk.track, wanted[0]), {})
                    window[wanted[1]] = (chunk.crops[index].copy(), chunk.boxes_xyxy[index])
        if extractor.num_frames == 0:
            raise NoFaceFound(f"{path}: no frame could be decoded from the windows looked at")
        tracks = {track.track for track in confirmed(extractor.tracks)}
        enough = min(settings.clip_len, extractor.num_frames) / 2
        found = [
            _window(reader, track, start, crops, settings)
            for (track, start), crops in sorted(seen.items())
            if track in tracks and len(crops) >= enough
        ]
        windows = tuple(largest_of_each(found, settings.max_faces))
        if not windows:
            raise NoFaceFound(
                f"{path}: no face in any of {extractor.num_frames} frames looked at (detector {detector.name}); "
                "lower face_detector.threshold or try another face_detector"
            )
        dropped = len(found) - len(windows)
        return FaceWindows(
            windows=windows,
            num_faces=len(tracks),
            num_frames=extractor.num_frames,
            duration_seconds=reader.info.duration_seconds or reader.num_frames / reader.fps,
            partial=reader.partial,
            message=f"{dropped} clips of smaller faces were not scored (max_faces={settings.max_faces})"
            if dropped
            else "",
        )


def _window(
    reader: VideoReader,
    track: int,
    start: int,
    seen: Mapping[int, tuple[np.ndarray[Any, Any], FloatArray]],
    settings: WindowSettings,
) -> FaceWindow:
    present = sorted(seen)
    order = clip_frame_indices(len(present), clip_len=settings.clip_len)
    crops = np.stack([seen[present[i]][0] for i in order])
    x1, y1, x2, y2 = (float(v) * reader.source_scale for v in seen[present[len(present) // 2]][1])
    first, last = (start + present[i] * settings.clip_stride for i in (0, -1))
    begin, end = reader.timestamps([first, last])
    return FaceWindow(track, start, begin, end + 1 / reader.fps, crops, (x1, y1, x2, y2))


def largest_of_each(windows: Sequence[FaceWindow], max_faces: int) -> Iterator[FaceWindow]:
    """Of the windows that begin at the same frame, those of the ``max_faces`` largest faces; the order is kept."""

    def area(window: FaceWindow) -> float:
        x1, y1, x2, y2 = window.box
        return (x2 - x1) * (y2 - y1)

    by_start: dict[int, list[FaceWindow]] = {}
    for window in windows:
        by_start.setdefault(window.start_frame, []).append(window)
    for window in windows:
        if sum(area(other) > area(window) for other in by_start[window.start_frame]) < max_faces:
            yield window


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


def start_worker(detector: Mapping[str, Any], extraction: ExtractionSettings, settings: WindowSettings) -> None:
    """For :class:`dfd.workers.WorkerPool`: build what :func:`windows_task` needs."""
    hold_to_one_core()
    _worker["arguments"] = (build_detector(**detector), extraction, settings)


def windows_task(path: Path) -> tuple[FaceWindows, float]:
    """In a worker: the windows of one video, and the seconds it took to find them."""
    began = time.perf_counter()
    return extract_windows(path, *_worker["arguments"]), time.perf_counter() - began
