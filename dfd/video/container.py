"""What a video file claims to be, before any of its frames is asked for (:func:`probe`)."""

import gc
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from math import atan2, degrees, floor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfd.errors import MissingVideo, UnreadableVideo, VideoTooLarge

ALLOWED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "gif", "prores", "png"}
)
"""Codecs that are decoded. Each decoder is an attack surface; the rare ones of FFmpeg are the badly kept ones."""

# FFmpeg's names of containers. Lists of other files (HLS, concat) would open what they name, so they are not here.
_CONTAINERS = ("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "gif")
# Only a file that states no frame rate at all gets this one.
_DEFAULT_FPS = 25.0


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """The largest frame that is decoded, in pixels as stored (before rotation).

    Raises:
        ValueError: a limit is not positive.
    """

    max_width: int = 4096
    max_height: int = 4096

    def __post_init__(self) -> None:
        if self.max_width < 1 or self.max_height < 1:
            raise ValueError(f"limits must be 1 pixel or more, got {self.max_width} x {self.max_height}")


DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the header of a video claims, its size as shown (after rotation).

    ``num_frames`` and ``duration_seconds`` are the header's claims: None where it makes none, wrong where the file was
    cut. ``rotation_degrees`` (0, 90, 180 or 270, counterclockwise) is applied by the reader, after a left-right flip
    if ``mirrored``. ``codec`` is FFmpeg's name of it.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int | None
    duration_seconds: float | None
    codec: str
    rotation_degrees: int
    mirrored: bool = False


def probe(path: str | os.PathLike[str], *, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """What the file claims to be. No frame but the first is decoded, and that one only if all of this allows it.

    Raises:
        UnreadableVideo: there is no such file, or it holds no video stream, or one whose codec is not allowed.
        VideoTooLarge: its frames exceed ``limits``.
    """
    path = Path(path)
    with open_container(path) as container:
        stream = video_stream(path, container)
        info = unrotated_info(path, container, stream, limits)
        try:
            first = next(packets(container, stream), None)
        except FFmpegError:
            first = None
        return info if first is None else rotated(info, *orientation(stream, first))


def open_container(path: Path) -> InputContainer:
    """The file's container.

    Raises:
        UnreadableVideo: with what is wrong and what to do.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableVideo(f"{path}: is a directory; give a video file")
        if not stat.S_ISREG(status.st_mode):
            # A pipe would block for ever, a device might never end.
            raise UnreadableVideo(f"{path}: is not a regular file; save the video to a file first")
        if status.st_size == 0:
            raise UnreadableVideo(f"{path}: is empty (0 bytes); get the file again")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from None
    except PermissionError:
        raise UnreadableVideo(f"{path}: permission denied; make the file readable") from None
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: cannot be opened ({error})") from None
    try:
        # An absolute path is never taken for a URL. Names and titles inside may be in any encoding.
        return av.open(
            str(path.absolute()),
            metadata_errors="replace",
            options={"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file"},
        )
    except av.error.ArgumentError:
        raise UnreadableVideo(
            f"{path}: not in a container that is read ({', '.join(_CONTAINERS)}); a still picture is not a video"
        ) from None
    except FFmpegError as error:
        raise UnreadableVideo(
            f"{path}: not a video, or damaged beyond use ({error.strerror}); try to play it, or get it again"
        ) from None


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream that players show. A picture attached to sound (cover art) is none.

    Raises:
        UnreadableVideo: there is none.
    """
    best = container.streams.best("video")
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        found = "only a cover picture" if best is not None else "no video stream"
        raise UnreadableVideo(f"{path}: {found} in it; give a file that holds video")
    return best if isinstance(best, VideoStream) and best in candidates else candidates[0]


def unrotated_info(path: Path, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> VideoInfo:
    """What the header claims, as the frames are stored: how they are turned is found in the first packet.

    Raises:
        UnreadableVideo: its codec is not allowed, or its frames have no size.
        VideoTooLarge: its frames exceed ``limits``.
    """
    # A stream in a codec that FFmpeg does not know has no codec context, whatever the type stubs say.
    context: Any = stream.codec_context
    codec = "unknown" if context is None else str(context.codec.canonical_name)
    if codec not in ALLOWED_CODECS:
        raise UnreadableVideo(
            f"{path}: codec {codec} is not allowed ({', '.join(sorted(ALLOWED_CODECS))} are); convert it to h264"
        )
    width, height = stream.width, stream.height
    if width > limits.max_width or height > limits.max_height:
        raise VideoTooLarge(
            f"{path}: frames of {width} x {height} pixels exceed the limit of "
            f"{limits.max_width} x {limits.max_height}; scale the video down or raise the limit"
        )
    if width < 1 or height < 1:
        raise UnreadableVideo(f"{path}: its frames have no size; the file is damaged: get it again")
    rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=rates[0] if rates else _DEFAULT_FPS,
        num_frames=stream.frames or None,
        duration_seconds=promised_seconds(container, stream) or _container_seconds(container),
        codec=codec,
        rotation_degrees=0,
    )


def promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says this stream is. The container's length counts if it has no other stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:09.600000000
    try:
        hours, minutes, seconds = clock
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return _container_seconds(container) if len(container.streams) == 1 else None


def _container_seconds(container: InputContainer) -> float | None:
    return container.duration / av.time_base if container.duration else None


def packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Those that hold something: the last one of a container's is empty."""
    return (packet for packet in container.demux(stream) if packet.size)


def orientation(stream: VideoStream, first: "Packet[VideoStream]") -> tuple[int, bool]:
    """Counterclockwise quarter turns in degrees, and whether a left-right flip comes before them.

    FFmpeg hands out the display matrix with decoded frames, so the first one is decoded.
    """
    stream.codec_context.thread_count = 1  # starting threads would cost more than they save
    matrix = _display_matrix(stream, first)
    # A frame of PyAV's whose side data was asked for is part of a cycle. So few objects come with a video that Python
    # would let the frames of a hundred pile up before it looks for those; among the youngest it is quick to look.
    gc.collect(1)
    if matrix is None:
        return 0, False
    # Shown x = a x + c y, shown y = b x + d y, in 16.16 fixed point (ISO/IEC 14496-12, 8.3.2).
    a, b, _, c, d = matrix[:5]
    mirrored = bool(a * d - b * c < 0)
    if mirrored:
        a, b = -a, -b
    return floor(degrees(-atan2(b, a)) / 90 + 0.5) * 90 % 360, mirrored


def _display_matrix(stream: VideoStream, first: "Packet[VideoStream]") -> NDArray[np.float64] | None:
    """The nine numbers of the first frame's, if it can be decoded and has one."""
    try:
        # Asked at once for what it holds back, a decoder need not be fed the frames that reordering waits for.
        frames = stream.decode(first) or stream.decode(None)
    except FFmpegError:
        return None
    fixed_point: Any = frames[0].side_data.get("DISPLAYMATRIX") if frames else None
    return None if fixed_point is None else np.frombuffer(fixed_point, dtype="=i4").astype(np.float64)


def rotated(info: VideoInfo, rotation_degrees: int, mirrored: bool) -> VideoInfo:
    """What is shown of a video whose frames are to be flipped, if ``mirrored``, and then turned."""
    turned = rotation_degrees % 180 == 90
    return VideoInfo(
        path=info.path,
        width=info.height if turned else info.width,
        height=info.width if turned else info.height,
        fps=info.fps,
        num_frames=info.num_frames,
        duration_seconds=info.duration_seconds,
        codec=info.codec,
        rotation_degrees=rotation_degrees,
        mirrored=mirrored,
    )
