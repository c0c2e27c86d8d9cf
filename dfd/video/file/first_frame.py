"""Decodes the first frame, which alone shows a video's rotation, its true size, and where decoding can start."""

import gc
from dataclasses import dataclass, replace
from math import atan2, degrees, floor
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfd.video.damage.libav_log import listening
from dfd.video.file.container import VideoInfo, VideoLimits, packets, shown_size
from dfd.video.file.opening import refuse_huge

# Packets to try until a frame comes: several times the key frame interval of a broadcast.
_MAX_TRIES = 1200


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """``info`` completed from the frame; ``pts`` is its time stamp, None if it has none or no frame was decoded."""

    info: VideoInfo
    pts: int | None
    was_decoded: bool


class FirstFrameSearch:
    """Decodes packets, fed in order, until a frame comes out.

    Raises:
        VideoTooLarge: when the frame is beyond ``limits``.
    """

    def __init__(self, info: VideoInfo, stream: VideoStream, limits: VideoLimits) -> None:
        self.result = FirstFrame(info, None, was_decoded=False)
        self._stream, self._limits = stream, limits
        self._tries = 0
        context = stream.codec_context
        context.thread_count = 1  # starting threads costs more than it saves
        context.options = {"max_pixels": str(limits.max_pixels)}

    @property
    def is_done(self) -> bool:
        """Whether a frame was found, or the search was given up."""
        return self.result.was_decoded or self._tries >= _MAX_TRIES

    def feed(self, packet: "Packet[VideoStream]") -> None:
        """Try the next packet."""
        self._tries += 1
        info = self.result.info
        with listening() as log:
            frame = self._decode(packet)
        refuse_huge(info.path, log, self._limits)
        if frame is None:
            return
        self._limits.check(info.path, frame.width, frame.height)
        width, height = shown_size(frame.width, frame.height, info.pixel_aspect)
        self._limits.check(info.path, width, height)
        rotation, mirrored = _turn(frame)
        turned = rotation % 180 == 90
        info = replace(
            info,
            width=height if turned else width,
            height=width if turned else height,
            rotation_degrees=rotation,
            mirrored=mirrored,
        )
        self.result = FirstFrame(info, frame.pts, was_decoded=True)
        del frame
        # PyAV frames whose side data was read are part of a reference cycle. A video creates so few Python objects that
        # hundreds of frames would pile up before a collection; collecting the young generations is quick.
        gc.collect(1)

    def _decode(self, packet: "Packet[VideoStream]") -> VideoFrame | None:
        context = self._stream.codec_context
        try:
            frames = self._stream.decode(packet)
            if not frames and self._tries == 1:
                # Draining the decoder at once saves feeding it all the frames that it waits for to reorder.
                frames = self._stream.decode(None)
                if not frames:
                    context.flush_buffers()
                    frames = self._stream.decode(packet)
        except FFmpegError:
            return None
        return frames[0] if frames else None


def look_at_first(info: VideoInfo, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> FirstFrame:
    """First frame of a container that was just opened.

    Raises:
        VideoTooLarge: when the frame is beyond ``limits``.
    """
    search = FirstFrameSearch(info, stream, limits)
    try:
        for packet in packets(container, stream):
            search.feed(packet)
            if search.is_done:
                break
    except FFmpegError:
        pass  # the reader reports what cannot be decoded
    return search.result


def _turn(frame: VideoFrame) -> tuple[int, bool]:
    """Counterclockwise rotation in degrees (a multiple of 90), and whether a left-right flip comes before it."""
    fixed_point: Any = frame.side_data.get("DISPLAYMATRIX")
    if fixed_point is None:
        return 0, False
    matrix: NDArray[np.float64] = np.frombuffer(fixed_point, dtype="=i4").astype(np.float64)
    # Shown x = a x + c y, shown y = b x + d y, in 16.16 fixed point (ISO/IEC 14496-12, 8.3.2).
    a, b, _, c, d = matrix[:5]
    mirrored = bool(a * d - b * c < 0)
    if mirrored:
        a, b = -a, -b
    return floor(degrees(-atan2(b, a)) / 90 + 0.5) * 90 % 360, mirrored
