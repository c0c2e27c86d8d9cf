"""Scoring: load a detector once, give it videos, get a :class:`~dfd.types.VideoScore` for each, whatever the video is.

Decoding, face detection and cropping run in worker processes with a deadline, by the same code that prepared the
training clips; the network runs here, on windows of all faces of a video at once.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dfd.checkpoint import DetectorCard, load_model, weights_sha256
from dfd.errors import NoFaceFound
from dfd.faces.detect import FaceDetector, build_detector
from dfd.faces.extract import ExtractionSettings, FaceExtractor, confirmed
from dfd.models.classifier import ClipClassifier
from dfd.types import FloatArray, FrameArray, Label, Status, TrackScore, VideoScore, WindowScore
from dfd.video.decode import VideoLimits, VideoReader
from dfd.video.sampling import clip_frame_indices, window_starts
from dfd.workers import Failure, WorkerPool


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Which clips of a video are scored.

    ``max_windows`` clips of ``clip_len`` frames, ``clip_stride`` frames apart, evenly spaced over the whole video and
    never overlapping; of at most ``max_faces`` tracks, the largest first.
    """

    clip_len: int
    clip_stride: int = 1
    max_windows: int = 16
    max_faces: int = 8
    max_decode_side: int | None = 1920
    limits: VideoLimits = field(default_factory=VideoLimits)

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return (self.clip_len - 1) * self.clip_stride + 1


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """One clip of one face track, ``crops`` (T, S, S, 3); ``box`` in source pixels, of the middle of the window."""

    track: int
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
        tracks = sorted(confirmed(extractor.tracks), key=lambda track: -track.total_area)
        kept = [track.track for track in tracks[: settings.max_faces]]
        enough = min(settings.clip_len, extractor.num_frames) / 2
        windows = tuple(
            _window(reader, track, start, crops, settings)
            for (track, start), crops in sorted(seen.items())
            if track in kept and len(crops) >= enough
        )
        if not windows:
            raise NoFaceFound(
                f"{path}: no face in any of {extractor.num_frames} frames looked at (detector {detector.name}); "
                "lower face_detector.threshold or try another face_detector"
            )
        dropped = len(tracks) - len(kept)
        return FaceWindows(
            windows=windows,
            num_faces=len(tracks),
            num_frames=extractor.num_frames,
            duration_seconds=reader.info.duration_seconds or reader.num_frames / reader.fps,
            partial=reader.partial,
            message=f"{dropped} smaller faces were not scored (max_faces={settings.max_faces})" if dropped else "",
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
    return FaceWindow(track, begin, end + 1 / reader.fps, crops, (x1, y1, x2, y2))


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


def _start_worker(detector: Mapping[str, Any], extraction: ExtractionSettings, settings: WindowSettings) -> None:
    torch.set_num_threads(1)  # the workers themselves are the parallelism
    _worker["arguments"] = (build_detector(**detector), extraction, settings)


def _windows_task(path: Path) -> tuple[FaceWindows, float]:
    began = time.perf_counter()
    return extract_windows(path, *_worker["arguments"]), time.perf_counter() - began


class Detector:
    """A trained detector, ready to score videos.

    Args:
        model: the network, in evaluation mode.
        card: what the checkpoint says about it.
        name: what the rows of its scores call it.
        device: ``auto`` takes a GPU if there is one.
        face_detector: name and options, as :func:`dfd.faces.detect.build_detector` takes them.
        max_windows, max_faces, limits, max_decode_side: see :class:`WindowSettings`.
        batch_size: clips through the network at once.
        num_workers: processes that decode and find faces; None: one per core.
        deadline_seconds: a video that takes longer is given up as ``timeout``.
    """

    def __init__(
        self,
        model: ClipClassifier,
        card: DetectorCard,
        *,
        name: str,
        device: str = "auto",
        face_detector: Mapping[str, Any] | None = None,
        max_windows: int = 16,
        max_faces: int = 8,
        limits: VideoLimits | None = None,
        max_decode_side: int | None = 1920,
        batch_size: int = 8,
        num_workers: int | None = None,
        deadline_seconds: float = 600.0,
    ) -> None:
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.card = card
        self.name = name
        self.face_detector = dict(face_detector or {"name": "mtcnn"})
        self.batch_size = batch_size
        self.num_workers = num_workers or os.cpu_count() or 1
        self.deadline_seconds = deadline_seconds
        self.extraction = ExtractionSettings(**card.crop.get("extraction", {}))
        self.windows = WindowSettings(
            clip_len=card.clip_len,
            clip_stride=card.clip_stride,
            max_windows=max_windows,
            max_faces=max_faces,
            max_decode_side=max_decode_side,
            limits=limits or VideoLimits(),
        )

    @classmethod
    def load(cls, checkpoint: str | Path, **options: Any) -> Self:
        """The detector in a ``.safetensors`` or ``.ckpt`` file; no code in the file is ever run.

        Raises:
            CheckpointError: the file is missing, damaged, or of another program.
        """
        model, card = load_model(checkpoint)
        digest = weights_sha256(model.state_dict())[:12]
        return cls(model, card, name=f"{Path(checkpoint).stem}@{digest}", **options)

    def score(self, path: str | Path) -> VideoScore:
        """Score one video. A video that cannot be scored gets a status and a message, not an exception."""
        return next(iter(self.score_many([path])))

    def score_many(self, paths: Iterable[str | Path]) -> Iterator[VideoScore]:
        """Score videos as they come out of the workers, in no particular order; one score for each path."""
        with WorkerPool(
            num_workers=self.num_workers,
            deadline_seconds=self.deadline_seconds,
            initializer=_start_worker,
            initargs=(self.face_detector, self.extraction, self.windows),
        ) as pool:
            for path, result in pool.map(_windows_task, map(Path, paths)):
                if isinstance(result, Failure):
                    yield VideoScore(str(path), result.status, model=self.name, message=result.message)
                else:
                    yield self._score(path, *result)

    def _score(self, path: Path, found: FaceWindows, seconds: float) -> VideoScore:
        began = time.perf_counter()
        probs = self.prob_fake([window.crops for window in found.windows])
        tracks = []
        for track in sorted({window.track for window in found.windows}):
            scored = tuple(
                WindowScore(window.start_seconds, window.end_seconds, prob, window.box)
                for window, prob in zip(found.windows, probs, strict=True)
                if window.track == track
            )
            tracks.append(TrackScore(track, float(np.mean([window.prob_fake for window in scored])), scored))
        prob_fake = max(track.prob_fake for track in tracks)
        label = Label.FAKE if prob_fake >= self.card.threshold else Label.REAL
        return VideoScore(
            path=str(path),
            status=Status.PARTIAL if found.partial else Status.OK,
            label=label,
            prob_fake=prob_fake,
            confidence=prob_fake if label is Label.FAKE else 1 - prob_fake,
            num_faces=found.num_faces,
            num_frames=found.num_frames,
            duration_seconds=found.duration_seconds,
            seconds=seconds + time.perf_counter() - began,
            model=self.name,
            message="; ".join(part for part in (found.partial, found.message) if part),
            tracks=tuple(tracks),
        )

    def prob_fake(self, clips: Iterable[FrameArray]) -> list[float]:
        """The probability of FAKE of each clip (T, S, S, 3), calibrated if the checkpoint holds a temperature."""
        probs: list[float] = []
        waiting = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        for first in range(0, len(waiting), self.batch_size):
            probs += self.prob_fake_batch(torch.stack(waiting[first : first + self.batch_size]))
        return probs

    @torch.inference_mode()
    def prob_fake_batch(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip of a batch, (B, T, C, H, W) uint8."""
        logits = self.model(frames_BTCHW.to(self.device)).float() / (self.card.temperature or 1.0)
        probs: list[float] = logits.softmax(dim=-1)[:, Label.FAKE].double().tolist()
        return probs


def pick_device(name: str) -> torch.device:
    """``auto`` is a CUDA device if there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
