"""What a video file claims to be, before any of its frames is asked for (:func:`probe`)."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from dfd.errors import MissingVideo, UnreadableVideo, VideoTooLarge
from dfd.memory import bounded
from dfd.video.boxes import read_boxes
from dfd.video.encryption import how_encrypted
from dfd.video.formats import (
    ALLOWED_CODECS,
    CONTAINERS,
    DECODER_NAMES,
    codec_name,
    encrypted,
    refused_codec,
    refused_container,
)
from dfd.video.libav_log import LogLine, listening

# Only a file that states no frame rate at all gets this one.
_DEFAULT_FPS = 25.0
_MAX_STREAMS = 256
# Decoders round sizes up to whole blocks, of at most so many pixels a side.
_BLOCK = 128
# Pixels that are narrower or wider than this are a damaged number, and not a camera's.
_MAX_PIXEL_ASPECT = 16


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """The largest frame that is decoded, in pixels, as stored and as shown.

    Raises:
        ValueError: a limit is not positive.
    """

    max_width: int = 4096
    max_height: int = 4096

    def __post_init__(self) -> None:
        if self.max_width < 1 or self.max_height < 1:
            raise ValueError(f"limits must be 1 pixel or more, got {self.max_width} x {self.max_height}")

    @property
    def max_pixels(self) -> int:
        """The bound that FFmpeg's decoders are given: what they allocate is rounded up to whole blocks."""
        width, height = (-(-side // _BLOCK) * _BLOCK for side in (self.max_width, self.max_height))
        return width * height

    @property
    def task_bytes(self) -> int:
        """Address space that decoding frames of this size and looking at them may take, above an idle process.

        A decoder holds some twenty frames (16 that others refer to, H.265 annex A.4.2), of 6 bytes a pixel at the
        most; 3 bytes is what is met. What follows holds frames of ``max_decode_side``, and less than 1 GiB.
        """
        return 2**30 + 64 * self.max_pixels

    @property
    def opening_bytes(self) -> int:
        """Address space that opening a file may take, while it is not known what it is: 384 MB with these defaults."""
        return 256 * 2**20 + 8 * self.max_pixels

    def check(self, path: Path, width: int, height: int) -> None:
        """Refuse frames of this size if they are too large.

        Raises:
            VideoTooLarge: it names the options that let them in.
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
            f"{' '.join(needed)} lets them in, at the cost of memory, or scale the video down"
        )


DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the header of a video claims, its size as shown: square pixels, after rotation.

    ``num_frames`` and ``duration_seconds`` are the header's claims: None where it makes none, wrong where the file was
    cut. ``rotation_degrees`` (0, 90, 180 or 270, counterclockwise) is applied by the reader, after a left-right flip
    if ``mirrored``; before both, a stored pixel is ``pixel_aspect`` times as wide as high. ``codec`` is FFmpeg's name
    of it. ``stream`` is the place of the stream among the file's ``num_streams`` video streams.
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
    """Width and height in square pixels: the lines stay as they are, and are stretched or squeezed.

    A width that is not whole is rounded down to an even one, as those who make a video square do: theirs often say that
    a pixel is 853/852, and are then left as they are.

    >>> shown_size(320, 360, Fraction(2)), shown_size(600, 480, Fraction(64, 45))
    ((640, 360), (852, 480))
    >>> shown_size(852, 480, Fraction(853, 852))
    (852, 480)
    """
    return width if pixel_aspect == 1 else max(1, int(width * pixel_aspect / 2) * 2), height


def open_container(path: Path, limits: VideoLimits = DEFAULT_LIMITS) -> InputContainer:
    """The file's container.

    Raises:
        UnreadableVideo: with what is wrong and what to do.
        VideoTooLarge: FFmpeg would have to decode frames beyond ``limits`` to find out what they are.
    """
    return open_and_listen(path, limits)[0]


def open_and_listen(path: Path, limits: VideoLimits) -> tuple[InputContainer, list[LogLine]]:
    """Open a file as :func:`open_container` does, and keep what FFmpeg says of it meanwhile."""
    head = _check_file(path)
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        # Opening a file decodes the first frame of each stream that its header leaves open: no rare decoder may run
        # for that, and none on a frame that is refused anyway.
        "codec_whitelist": ",".join(DECODER_NAMES),
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(_MAX_STREAMS),
        "probesize": str(5_000_000),
    }
    log: list[LogLine] = []
    try:
        with listening() as log, bounded(limits.opening_bytes):
            # An absolute path is never taken for a URL. Names and titles inside may be in any encoding.
            return av.open(str(path.absolute()), metadata_errors="replace", options=options), log
    except av.error.ArgumentError:
        refuse_huge(path, log, limits)
        raise refused_container(path, head) from None
    except MemoryError:
        raise UnreadableVideo(
            f"{path}: opening it takes more than {limits.opening_bytes // 2**20} MB: it is damaged, or made to do harm"
        ) from None
    except FFmpegError as error:
        refuse_huge(path, log, limits)
        raise UnreadableVideo(
            f"{path}: not a video, or damaged beyond use ({error.strerror}); try to play it, or get it again"
        ) from None


def refuse_huge(path: Path, log: list[LogLine], limits: VideoLimits) -> None:
    """Refuse a video of which a decoder said that its frames are beyond ``max_pixels``.

    Raises:
        VideoTooLarge: it did.
    """
    for _, _, text in log:
        size = re.search(r"(\d+)x(\d+) (?:exceeds specified max pixel|is invalid)", text)
        if size is not None:
            limits.check(path, int(size[1]), int(size[2]))


def _check_file(path: Path) -> bytes:
    """The first bytes of a file that may be a video.

    Raises:
        UnreadableVideo: it cannot be one, or is one that cannot be looked at.
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
        with path.open("rb") as file:
            head = file.read(64)
        facts = read_boxes(path)
        scheme = how_encrypted(path) if facts.encryption is None else f"common encryption, {facts.encryption}"
    except FileNotFoundError:
        raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from None
    except PermissionError:
        raise UnreadableVideo(f"{path}: permission denied; make the file readable") from None
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: cannot be opened ({error})") from None
    if facts.problem is not None:
        raise UnreadableVideo(f"{path}: damaged beyond use: {facts.problem}; get it again")
    if scheme is not None:
        raise encrypted(path, scheme)
    return head


def video_stream(path: Path, container: InputContainer, number: int | None = None) -> VideoStream:
    """The stream that players show, or the one with this number among those of pictures, from 0.

    A picture attached to sound (cover art) is none.

    Raises:
        UnreadableVideo: there is none, or none of this number.
    """
    best = container.streams.best("video")
    candidates = video_streams(container)
    if not candidates:
        found = "only a cover picture" if best is not None else "no video stream"
        raise UnreadableVideo(f"{path}: {found} in it; give a file that holds video")
    if number is not None:
        if number >= len(candidates):
            count = "1 video stream" if len(candidates) == 1 else f"{len(candidates)} video streams"
            raise UnreadableVideo(f"{path}: it has {count}, and none of number {number} (they count from 0)")
        return candidates[number]
    return best if isinstance(best, VideoStream) and best in candidates else candidates[0]


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Video streams that are not a cover picture."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def stored_info(path: Path, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> VideoInfo:
    """What the header claims, before rotation: how the frames are turned is found in the first packet.

    Raises:
        UnreadableVideo: its codec is not allowed, or its frames have no size.
        VideoTooLarge: its frames exceed ``limits``.
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
    """The width of a pixel over its height; 1 where the file states none, or one that no camera has."""
    if not ratio or not Fraction(1, _MAX_PIXEL_ASPECT) <= ratio <= _MAX_PIXEL_ASPECT:
        return Fraction(1)
    return Fraction(ratio)


def promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says this stream is. The container's length counts if it has no other stream."""
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
    """How long the header says that the longest stream is."""
    return container.duration / av.time_base if container.duration else None


def packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Packets that hold something: the last one of a container is empty.

    Raises:
        UnreadableVideo: the container has other streams than when it was opened.
    """
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except IndexError:
        raise other_streams(Path(container.name)) from None


def other_streams(path: Path) -> UnreadableVideo:
    """What is said of a file that does not have the streams that it had a moment ago."""
    return UnreadableVideo(f"{path}: shows other streams each time it is looked at; the file is damaged: get it again")


def probe(path: str | os.PathLike[str], *, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """What the file claims to be. No frame but the first is decoded, and that one only if all of this allows it.

    Raises:
        UnreadableVideo: there is no such file, or it holds no video stream, or one whose codec is not allowed.
        VideoTooLarge: its frames exceed ``limits``.
    """
    from dfd.video.first_frame import look_at_first  # which imports this module

    path = Path(path)
    with open_container(path, limits) as container:
        stream = video_stream(path, container)
        return look_at_first(stored_info(path, container, stream, limits), container, stream, limits).info
