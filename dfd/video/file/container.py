"""Reads what a video file claims to be before any frame is decoded (see :func:`~dfd.video.file.probe.probe`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.video.file.formats import ALLOWED_CODECS, codec_name, refused_codec

# Used for files that state no frame rate.
_DEFAULT_FPS = 25.0
_MAX_STREAMS = 256
# Decoders round sizes up to whole blocks of at most this many pixels a side.
_BLOCK = 128
# A more extreme pixel aspect is a damaged number, not a camera's.
_MAX_PIXEL_ASPECT = 16

MAX_DECODE_SIDE = 1920
"""Longer side of the decoded frames, unless told otherwise; larger ones are shrunk, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Largest frame that is decoded, in pixels, both as stored and as shown.

    Raises:
        ValueError: when a limit is not positive.
    """

    max_width: int = 4096
    max_height: int = 4096

    def __post_init__(self) -> None:
        if self.max_width < 1 or self.max_height < 1:
            raise ValueError(f"limits must be 1 pixel or more, got {self.max_width} x {self.max_height}")

    @property
    def max_pixels(self) -> int:
        """Limit given to FFmpeg's decoders, which allocate whole blocks."""
        width, height = (-(-side // _BLOCK) * _BLOCK for side in (self.max_width, self.max_height))
        return width * height

    @property
    def task_bytes(self) -> int:
        """Address space in bytes, above an idle process, that decoding and analysing frames of this size may take.

        A decoder holds about twenty frames (16 reference frames, H.265 annex A.4.2) of at most 6 bytes a pixel, in
        practice 3. Later steps hold frames of ``max_decode_side``, and less than 1 GiB.
        """
        return 2**30 + 64 * self.max_pixels

    @property
    def opening_bytes(self) -> int:
        """Address space in bytes that opening a file of unknown kind may take: 384 MB by default."""
        return 256 * 2**20 + 8 * self.max_pixels

    def check(self, path: Path, width: int, height: int) -> None:
        """Refuse frames that are too large.

        Raises:
            VideoTooLarge: when a side exceeds its limit; the message names the options that allow it.
        """
        if width <= self.max_width and height <= self.max_height:
            return
        needed = [
            f"limits.{name}={size}"
            for name, size, most in (("max_width", width, self.max_width), ("max_height", height, self.max_height))
            if size > most
        ]
        raise VideoTooLarge(
            f"{path}: frames of {width} x {height} pixels exceed the limit of {self.max_width} x {self.max_height}; "
            f"{' '.join(needed)} allows them, at the cost of memory, or scale the video down"
        )


DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Claims of a video's header; the size is as shown: in square pixels, after rotation.

    ``num_frames`` and ``duration_seconds`` are None if the header does not state them, and wrong if the file was
    truncated. The reader applies ``rotation_degrees`` (0, 90, 180 or 270, counterclockwise) after a left-right flip if
    ``mirrored``; before both, a stored pixel is ``pixel_aspect`` times as wide as high. ``codec`` is FFmpeg's name.
    ``stream`` is the number of the stream among the file's ``num_streams`` video streams, from 0.
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
    pixel_aspect: Fraction = Fraction(1)
    stream: int = 0
    num_streams: int = 1


def shown_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height in square pixels: the number of lines is kept, and lines are stretched or squeezed.

    A fractional width is rounded down to an even number, as encoders do when they store square pixels: such files often
    state an aspect of 853/852, and keep their size this way.
    >>> shown_size(320, 360, Fraction(2)), shown_size(600, 480, Fraction(64, 45))
    ((640, 360), (852, 480))
    >>> shown_size(852, 480, Fraction(853, 852))
    (852, 480)
    """
    return width if pixel_aspect == 1 else max(1, int(width * pixel_aspect / 2) * 2), height


def video_stream(path: Path, container: InputContainer, number: int | None = None) -> VideoStream:
    """Stream that players show, or video stream ``number``, counted from 0; cover art does not count.

    Raises:
        UnreadableVideo: when there is no video stream, or none with this number.
    """
    best = container.streams.best("video")
    candidates = video_streams(container)
    if not candidates:
        found = "only a cover picture" if best is not None else "no video stream"
        raise UnreadableVideo(f"{path}: {found} in it; give a file that holds video")
    if number is not None:
        if number >= len(candidates):
            count = "1 video stream" if len(candidates) == 1 else f"{len(candidates)} video streams"
            raise UnreadableVideo(f"{path}: it has {count}, but no number {number} (counting starts at 0)")
        return candidates[number]
    return best if isinstance(best, VideoStream) and best in candidates else candidates[0]


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Video streams that are not cover art."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def stored_info(path: Path, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> VideoInfo:
    """Claims of the header before rotation, which is found in the first packet.

    Raises:
        UnreadableVideo: when the codec is not allowed, or the frames have no size.
        VideoTooLarge: when the frames exceed ``limits``.
    """
    codec = codec_name(stream)
    if codec not in ALLOWED_CODECS:
        raise refused_codec(path, codec)
    limits.check(path, stream.width, stream.height)
    if stream.width < 1 or stream.height < 1:
        raise UnreadableVideo(f"{path}: its frames have no size; the file is damaged: get it again")
    aspect = plausible_aspect(stream.sample_aspect_ratio)
    width, height = shown_size(stream.width, stream.height, aspect)
    limits.check(path, width, height)
    rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    streams = video_streams(container)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=rates[0] if rates else _DEFAULT_FPS,
        num_frames=stream.frames or None,
        duration_seconds=promised_seconds(container, stream) or container_seconds(container),
        codec=codec,
        rotation_degrees=0,
        pixel_aspect=aspect,
        stream=streams.index(stream),
        num_streams=len(streams),
    )


def plausible_aspect(ratio: Fraction | None) -> Fraction:
    """Width of a pixel over its height; 1 if the file states none, or an implausible one."""
    if not ratio or not Fraction(1, _MAX_PIXEL_ASPECT) <= ratio <= _MAX_PIXEL_ASPECT:
        return Fraction(1)
    return Fraction(ratio)


def promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Length of this stream by the header, in seconds; the container's length counts if it has no other stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:09.600000000, when its last frame ends
    try:
        hours, minutes, seconds = clock
        end = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return container_seconds(container) if len(container.streams) == 1 else None
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return max(0.0, end - max(0.0, start))


def container_seconds(container: InputContainer) -> float | None:
    """Length of the longest stream by the header, in seconds."""
    return container.duration / av.time_base if container.duration else None


def packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Packets of the stream, without the empty one that ends a container.

    Raises:
        UnreadableVideo: when the container no longer has the streams that it was opened with.
    """
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except IndexError:
        raise other_streams(Path(container.name)) from None


def other_streams(path: Path) -> UnreadableVideo:
    """Error for a file whose streams changed since it was opened."""
    return UnreadableVideo(f"{path}: shows other streams each time it is looked at; the file is damaged: get it again")
