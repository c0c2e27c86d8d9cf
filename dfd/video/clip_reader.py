"""Reading the clips of a store, which this package's own encoder wrote: nothing need be found out about them first.

Two readers give the same frames, each channel within 1 of 255: ``decord``, and ``pyav``, which leaves out what only a
stranger's video needs and knows a damaged frame. A store may have come from a stranger all the same: see
:mod:`dfd.data.clip_check`, which looks at each clip before it is read.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dfd.errors import UnreadableVideo
from dfd.types import FrameArray
from dfd.video.colours import rows, write_rgb
from dfd.video.container import DEFAULT_LIMITS, open_container
from dfd.video.decode import VideoReader
from dfd.video.decord_library import load_decord
from dfd.video.encode import PIXEL_FORMATS

READERS = ("decord", "pyav")


def read_frames_of(path: Path, indices: Sequence[int], *, reader: str = "decord") -> FrameArray:
    """Frames of a clip, (T, H, W, 3) RGB, by ascending ``indices``; one may come more than once.

    Args:
        path: of the clip.
        indices: of its frames.
        reader: one of :data:`READERS`.

    Raises:
        UnreadableVideo, VideoTooLarge: it cannot be read.
        IndexError: it has fewer frames.
    """
    return _read_with_decord(path, indices) if reader == "decord" else _read_with_pyav(path, indices)


def reader_version(reader: str) -> str:
    """The reader and its version, as in names of files that are made of its frames.

    >>> reader_version("pyav").startswith("pyav-")
    True
    """
    return f"{reader}-{version('decord2' if reader == 'decord' else 'av')}"


def _read_with_pyav(path: Path, indices: Sequence[int]) -> FrameArray:
    frames = read_clip(path, indices)
    if frames is not None:
        return frames
    with VideoReader(path) as video:
        return video.frames(indices)


def _read_with_decord(path: Path, indices: Sequence[int]) -> FrameArray:
    if not path.is_file():
        raise UnreadableVideo(f"{path}: no such file")
    decord = load_decord()
    try:
        # fault_tol: not one frame may be made up.
        video = decord.VideoReader(str(path), num_threads=1, fault_tol=1e-9)
        if indices[-1] >= len(video):
            raise IndexError(f"frame {indices[-1]} of {len(video)}")
        frames: FrameArray = video.get_batch(list(indices)).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        if "DECORDArrayCopyFromTo" in str(error):
            # Rows of some widths (16, 24, 32, 48 and 96 pixels) are padded to a multiple of their length, and decord
            # takes the padding for a fourth channel.
            return _read_with_pyav(path, indices)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UnreadableVideo(f"{path}: cannot be decoded ({reason}); the file is damaged") from None
    return frames


def read_clip(path: Path, indices: Sequence[int]) -> FrameArray | None:
    """Frames of a clip, (T, H, W, 3), by ascending ``indices``; one may come more than once.

    Returns:
        None if the file is plainly not one of the encoder's, or has not all of these frames.
        :class:`dfd.video.decode.VideoReader`, which goes over all packets first, then reads it or says what is wrong.

    Raises:
        UnreadableVideo: it cannot be opened, or a frame on the way to the last of these is damaged.
    """
    with open_container(path) as container:
        try:
            pictures = _pictures(path, container, indices)
        except FFmpegError as error:
            raise UnreadableVideo(f"{path}: cannot be decoded ({error.strerror}); the file is damaged") from None
        return None if pictures is None else _to_rgb([pictures[index] for index in indices])


def _pictures(path: Path, container: InputContainer, indices: Sequence[int]) -> dict[int, VideoFrame] | None:
    """Every frame from the first to the last of ``indices``, or None where times do not tell which frame is which."""
    stream = _stream_of_the_encoder(container)
    if stream is None:
        return None
    assert stream.average_rate is not None
    assert stream.time_base is not None
    ticks = 1 / (stream.average_rate * stream.time_base)
    if ticks.denominator != 1:
        return None
    frame_ticks = ticks.numerator
    size = stream.width, stream.height  # the header's; the decoder's own changes with its frames
    context = stream.codec_context
    context.thread_count = 1
    next_index, last = indices[0], indices[-1]
    start = next_index * frame_ticks
    container.seek(start, stream=stream)
    pictures: dict[int, VideoFrame] = {}
    for packet in container.demux(stream):
        # On the way to the first frame, what no other frame is made from need not be decoded.
        on_the_way = packet.pts is not None and packet.pts < start
        context.skip_frame = "NONREF" if on_the_way else "DEFAULT"
        for frame in stream.decode(packet):
            if frame.pts is None or frame.pts % frame_ticks:
                return None
            index = frame.pts // frame_ticks
            if frame.is_corrupt:
                raise UnreadableVideo(f"{path}: frame {index} is damaged: the decoder had to make up parts of it")
            if frame.pts < start:
                continue
            if index != next_index or (frame.width, frame.height) != size:
                return None
            pictures[index] = frame
            if index == last:
                return pictures
            next_index += 1
    return None


def _stream_of_the_encoder(container: InputContainer) -> VideoStream | None:
    """The only stream, if it looks like :class:`dfd.video.encode.VideoWriter`'s work."""
    if len(container.streams) != 1 or not container.streams.video:
        return None
    stream = container.streams.video[0]
    context: Any = stream.codec_context  # None for a codec that FFmpeg does not know, whatever the type stubs say
    if context is None or context.codec.canonical_name != "h264" or context.pix_fmt not in PIXEL_FORMATS:
        return None
    if stream.width > DEFAULT_LIMITS.max_width or stream.height > DEFAULT_LIMITS.max_height:
        return None
    return stream if stream.average_rate and stream.time_base and not stream.start_time else None


def _to_rgb(pictures: Sequence[VideoFrame]) -> FrameArray:
    rgb: FrameArray = np.empty((len(pictures), pictures[0].height, pictures[0].width, 3), np.uint8)
    converter = VideoReformatter()
    for place, picture in zip(rgb, pictures, strict=True):
        if not write_rgb(picture, place):
            plane = converter.reformat(picture, format="rgb24").planes[0]
            place[...] = rows(plane, plane.width * 3).reshape(place.shape)
    return rgb
