"""Reading the clips of a store, which this package's own encoder wrote: nothing need be found out about them first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from dfd.errors import UnreadableVideo
from dfd.types import FrameArray
from dfd.video.colours import rows, write_rgb
from dfd.video.decode import open_container


def read_clip(path: Path, indices: Sequence[int]) -> FrameArray | None:
    """Frames of a clip, (T, H, W, 3), by ascending ``indices``; one may come more than once.

    Returns:
        None if the file is not as the encoder writes it, or has not all of these frames.
        :class:`dfd.video.decode.VideoReader`, which takes twice as long because it goes over all packets first, then
        reads it or says what is wrong. Its colours may differ by a level.

    Raises:
        UnreadableVideo: it cannot be opened, or a frame on the way to the last of these is damaged.
    """
    with open_container(path) as container:
        try:
            return _read(path, container, indices)
        except FFmpegError as error:
            raise UnreadableVideo(f"{path}: cannot be decoded ({error.strerror}); the file is damaged") from None


def _read(path: Path, container: InputContainer, indices: Sequence[int]) -> FrameArray | None:
    if len(container.streams) != 1 or not container.streams.video:
        return None
    stream = container.streams.video[0]
    if not stream.average_rate or not stream.time_base or stream.start_time:
        return None
    ticks = 1 / (stream.average_rate * stream.time_base)
    if ticks.denominator != 1:
        return None
    frame_ticks = ticks.numerator
    context = stream.codec_context
    context.thread_count = 1
    first = indices[0] * frame_ticks
    container.seek(first, stream=stream)
    wanted = set(indices)
    pictures: dict[int, VideoFrame] = {}
    for packet in container.demux(stream):
        # On the way to the first frame, what no other frame is made from need not be decoded.
        on_the_way = packet.pts is not None and packet.pts < first
        context.skip_frame = "NONREF" if on_the_way else "DEFAULT"
        for frame in stream.decode(packet):
            if frame.pts is None or frame.pts % frame_ticks:
                return None
            index = frame.pts // frame_ticks
            if frame.is_corrupt:
                raise UnreadableVideo(f"{path}: frame {index} is damaged: the decoder had to make up parts of it")
            if index in wanted:
                pictures[index] = frame
        if len(pictures) == len(wanted):
            return _to_rgb([pictures[index] for index in indices])
    return None


def _to_rgb(pictures: Sequence[VideoFrame]) -> FrameArray:
    rgb: FrameArray = np.empty((len(pictures), pictures[0].height, pictures[0].width, 3), np.uint8)
    converter = VideoReformatter()
    for place, picture in zip(rgb, pictures, strict=True):
        if not write_rgb(picture, place):
            plane = converter.reformat(picture, format="rgb24").planes[0]
            place[...] = rows(plane, plane.width * 3).reshape(place.shape)
    return rgb
