"""Settings of the windows that are scored in a video, and the results that processing a video yields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from dfd.base.types import FileFacts, FloatArray, FrameArray
from dfd.faces.crop import Crop
from dfd.faces.crop.base import filters, opencv
from dfd.faces.tracks.appearances import Appearance
from dfd.faces.tracks.persons import LEAST_COSINE, Input
from dfd.video.file.container import MAX_DECODE_SIDE, VideoLimits
from dfd.video.sampling import window_starts

FRAME_SIDE, FRAME_QUALITY = 480, 80
"""Longer side in pixels and JPEG quality of the whole frame that is kept beside a crop."""


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Choice of the clips of a video that are scored.

    Args:
        clip_len: frames per clip.
        clip_stride: frames from one frame of a clip to the next.
        window_stride: frames from the start of one clip to the start of the next; None: clips follow each other without
            overlap, so that every frame is in one.
        max_windows: number of clips, spaced evenly over the whole video; None: all that fit.
        sparse_windows: number of clips, spaced evenly, of a video in which more than ``max_windows`` fit; None:
            ``max_windows``. Clips far apart cost more than those that follow each other: each is sought in the file.
        max_faces: faces scored in each clip, largest first.
        max_decode_side: longer side of the decoded frames in pixels; None keeps the size of the source.
        every_frame: detect faces in all frames, also those that no clip needs: for boxes on the whole video.
        embedding: ONNX file of a face recognition network that joins one person's appearances across cuts; None: none.
        embedding_takes: pixels that this network takes, see :class:`~dfd.faces.tracks.persons.Persons`.
        least_cosine: least cosine of two faces of one person.
        frames: keep a small picture of the whole frame beside each crop of the first view.
        span: part of the video in seconds, (start, end), from which clips are taken; None: all of it.
        video_stream: number of the video stream in the file, from 0; None: the one that players show.
        limits: largest frame that is decoded.

    Raises:
        ValueError: when a setting is out of range.
    """

    clip_len: int
    clip_stride: int = 1
    window_stride: int | None = None
    max_windows: int | None = 32
    max_faces: int = 8
    max_decode_side: int | None = MAX_DECODE_SIDE
    every_frame: bool = False
    frames: bool = False
    embedding: str | None = None
    embedding_takes: Input = "arcface"
    least_cosine: float = LEAST_COSINE
    span: tuple[float, float] | None = None
    sparse_windows: int | None = None
    video_stream: int | None = None
    limits: VideoLimits = field(default_factory=VideoLimits)

    def __post_init__(self) -> None:
        for name in (
            "clip_len",
            "clip_stride",
            "window_stride",
            "max_windows",
            "sparse_windows",
            "max_faces",
            "max_decode_side",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.video_stream is not None and self.video_stream < 0:
            raise ValueError(f"video_stream must be 0 or more, got {self.video_stream}")
        if self.embedding_takes not in get_args(Input):
            raise ValueError(f"embedding_takes must be arcface or sface, got {self.embedding_takes!r}")
        if not 0 < self.least_cosine <= 1:
            raise ValueError(f"least_cosine must be above 0 and at most 1, got {self.least_cosine}")
        if self.span is not None and not 0 <= self.span[0] < self.span[1]:
            raise ValueError(f"span must be (start, end) in seconds, with 0 <= start < end, got {self.span}")

    @property
    def clip_span(self) -> int:
        """Frames from the first to the last of a clip, both included."""
        return (self.clip_len - 1) * self.clip_stride + 1

    def num_possible(self, num_frames: int) -> int:
        """Number of clips in a video, at least one.

        >>> WindowSettings(clip_len=10).num_possible(309), WindowSettings(clip_len=10, window_stride=5).num_possible(25)
        (30, 4)
        """
        return max(1, (num_frames - self.clip_span) // (self.window_stride or self.clip_span) + 1)

    def starts(self, num_frames: int, *, first: int = 0) -> list[int]:
        """First frame of each clip, from ``first`` on; the last clip ends with the video.

        >>> WindowSettings(clip_len=10, max_windows=4).starts(100)
        [0, 30, 60, 90]
        >>> WindowSettings(clip_len=10, max_windows=None).starts(43)
        [0, 11, 22, 33]
        >>> sparse = WindowSettings(clip_len=1, max_windows=5, sparse_windows=2)
        >>> sparse.starts(5), sparse.starts(9)
        ([0, 1, 2, 3, 4], [0, 8])
        """
        number = self.num_possible(num_frames - first)
        if self.max_windows is not None and number > self.max_windows:
            number = self.sparse_windows or self.max_windows
        starts = window_starts(num_frames - first, clip_len=self.clip_len, stride=self.clip_stride, num_windows=number)
        return [first + start for start in starts]

    def num_frames_of(self, starts: Sequence[int], num_frames: int) -> int:
        """Number of different frames of a video of ``num_frames`` in the clips that begin at ``starts``.

        >>> WindowSettings(clip_len=3, clip_stride=2).num_frames_of([0, 2, 8], 11)
        6
        """
        places = range(0, self.clip_span, self.clip_stride)
        return len({frame for start in starts for place in places if (frame := start + place) < num_frames})


@dataclass(frozen=True, slots=True)
class View:
    """What one of several detectors is shown of the same faces: how they are cropped, and which clips."""

    crop: Crop
    windows: WindowSettings


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """One clip of one face track: ``crops`` (T, S, S, 3), and ``box`` at its middle in source pixels.

    ``frame_seconds`` holds the time of each of its frames; ``view`` is the number of the view that it belongs to.
    ``pictures`` are JPEGs of the whole frames, if they were asked for: see :func:`frame_picture`.
    """

    track: int
    start_frame: int
    start_seconds: float
    end_seconds: float
    frame_seconds: tuple[float, ...]
    crops: FrameArray
    box: tuple[float, float, float, float]
    view: int = 0
    pictures: tuple[bytes, ...] = ()


def frame_picture(frame: FrameArray, box_xyxy: FloatArray, *, quarter_turns: int = 0) -> bytes:
    """JPEG of a whole frame ``(H, W, 3)`` with a face's box ``(4,)`` drawn in, its longer side :data:`FRAME_SIDE`.

    A frame that was turned counterclockwise by ``quarter_turns`` is turned back.
    """
    height, width = frame.shape[:2]
    scale = min(1.0, FRAME_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if (factor := int(1 / scale)) > 1:
        # Averages of whole pixels first: for them OpenCV has a kernel that takes a tenth of the time of any other area.
        coarse = max(1, width // factor), max(1, height // factor)
        frame = opencv().resize(frame, coarse, interpolation=filters()["area"])
    shrunk = opencv().resize(frame, size, interpolation=filters()["bilinear"])
    picture = opencv().cvtColor(shrunk, opencv().COLOR_RGB2BGR)
    left, top, right, bottom = (round(float(value) * scale) for value in box_xyxy)
    for color, thickness in (((0, 0, 0), 4), ((64, 200, 255), 2)):
        opencv().rectangle(picture, (left, top), (right, bottom), color, thickness)
    quality = [opencv().IMWRITE_JPEG_QUALITY, FRAME_QUALITY]
    encoded = opencv().imencode(".jpg", np.rot90(picture, -quarter_turns), quality)[1]
    return bytes(encoded)


def read_picture(jpeg: bytes) -> FrameArray:
    """Picture ``(h, w, 3)`` in a JPEG of :func:`frame_picture`."""
    picture = opencv().imdecode(np.frombuffer(jpeg, np.uint8), opencv().IMREAD_COLOR)
    return np.ascontiguousarray(picture[..., ::-1])


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """Picture of the video, ``(h, w, 3)``; later ones are better."""

    picture: FrameArray


@dataclass(frozen=True, slots=True)
class FaceBoxes:
    """Boxes ``(F, 4)`` of one face in source pixels, in F consecutive frames from ``start_frame``."""

    track: int
    start_frame: int
    boxes_xyxy: FloatArray


@dataclass(frozen=True, slots=True)
class WindowsEnd:
    """Summary of a video, as one view shows it, after all of it was processed.

    ``num_frames`` counts the frames of the clips that were looked at, not those that were decoded to follow the faces.
    ``no_window`` says why the view has no window although another has; empty otherwise. ``appearances`` are the faces,
    the same for all views: those with a window in any view come first.
    """

    num_faces: int
    num_frames: int
    num_windows: int
    num_windows_possible: int
    duration_seconds: float | None
    partial: str | None
    message: str
    seconds_by_stage: dict[str, float]
    view: int = 0
    no_window: str = ""
    appearances: tuple[Appearance, ...] = ()


Found = FileFacts | Thumbnail | FaceWindow | FaceBoxes | float | WindowsEnd
"""Results of processing a video, in the order found; a number is the share processed so far, 0..1."""
