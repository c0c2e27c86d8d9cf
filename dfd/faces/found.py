"""What is looked for in a video, and what comes out of it piece by piece."""

from dataclasses import dataclass, field

from dfd.types import FileFacts, FloatArray, FrameArray
from dfd.video.container import VideoLimits
from dfd.video.sampling import window_starts


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
