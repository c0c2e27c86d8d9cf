"""What only a decoded frame tells of a video: how it is turned, its true size, and from where on it can be decoded."""

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

from dfd.video.container import VideoInfo, VideoLimits, packets, refuse_huge, shown_size
from dfd.video.libav_log import listening

# Packets that are tried until a frame comes: those between two key frames of a broadcast, several times over.
_MAX_TRIES = 1200


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """``info`` with what the frame showed; ``pts`` is its time stamp, None if it has none or no frame came."""

    info: VideoInfo
    pts: int | None
    was_decoded: bool


class FirstFrameSearch:
    """Decodes packets until a frame comes out. Given the packets of the stream in order.

    Raises:
        VideoTooLarge: the frame is beyond ``limits``.
    """

    def __init__(self, info: VideoInfo, stream: VideoStream, limits: VideoLimits) -> None:
        self.result = FirstFrame(info, None, was_decoded=False)
        self._stream, self._limits = stream, limits
        self._tries = 0
        context = stream.codec_context
        context.thread_count = 1  # starting threads would cost more than they save
        context.options = {"max_pixels": str(limits.max_pixels)}

    @property
    def is_done(self) -> bool:
        """True once there is a frame, or no hope of one."""
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
        # A frame of PyAV's whose side data was asked for is part of a cycle. So few objects come with a video that
        # Python would let the frames of a hundred pile up before it looks for those; among the youngest it is quick.
        gc.collect(1)

    def _decode(self, packet: "Packet[VideoStream]") -> VideoFrame | None:
        context = self._stream.codec_context
        try:
            frames = self._stream.decode(packet)
            if not frames and self._tries == 1:
                # Asked at once for what it holds back, a decoder need not be fed the frames that reordering waits for.
                frames = self._stream.decode(None)
                if not frames:
                    context.flush_buffers()
                    frames = self._stream.decode(packet)
        except FFmpegError:
            return None
        return frames[0] if frames else None


def look_at_first(info: VideoInfo, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> FirstFrame:
    """The first frame of a container that was just opened.

    Raises:
        VideoTooLarge: it is beyond ``limits``.
    """
    search = FirstFrameSearch(info, stream, limits)
    try:
        for packet in packets(container, stream):
            search.feed(packet)
            if search.is_done:
                break
    except FFmpegError:
        pass  # what can be decoded is for the reader to say
    return search.result


def _turn(frame: VideoFrame) -> tuple[int, bool]:
    """Counterclockwise quarter turns in degrees, and whether a left-right flip comes before them."""
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
