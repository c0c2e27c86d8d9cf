"""Index of a video's frames, made in one pass over the packets that decodes only the first frame (:func:`scan`)."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.base.machine import bounded
from dfd.video.damage.gif_check import num_wrong_pictures
from dfd.video.damage.libav_log import errors, listening
from dfd.video.damage.matroska_crc import num_wrong_checksums
from dfd.video.damage.payload import PayloadCheck
from dfd.video.file.container import VideoInfo, VideoLimits, packets, promised_seconds, stored_info, video_stream
from dfd.video.file.first_frame import FirstFrame, FirstFrameSearch
from dfd.video.file.opening import open_and_listen, refuse_huge

# Missing frames at the end that are not reported: encoders and cutters often leave two or three undecodable.
TOLERATED_FRAMES = 3
TOLERATED_FRACTION = 0.02
_TOLERATED_SECONDS = 0.5
# More than 18 hours at 60 frames a second: a file with more is meant to waste time.
_MAX_FRAMES = 4_000_000
_WITHOUT_CLOCK = frozenset({"mpegvideo", "h264", "hevc"})
# A clock with a later start was not started with the file; a broadcast's, for instance.
_MAX_CLOCK_START = 10.0


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Facts about a stream from one pass over its packets, without decoding.

    ``pts`` holds the time stamps of the shown frames in presentation order, in units of ``time_base`` seconds; empty if
    the container does not give one to every frame. ``key_ranks`` are the indices of key frames to which the reader may
    seek. ``first`` is the index of the first frame that can be decoded. ``clock_zero`` is the time in seconds that
    counts as second 0 of the file's clock.
    """

    stream_index: int
    num_frames: int
    pts: NDArray[np.int64]
    time_base: Fraction
    key_ranks: NDArray[np.int64]
    first: int
    clock_zero: float
    damage: str | None

    def rank(self, pts: int | None) -> int | None:
        """Index of the frame with this time stamp, or None if there is none."""
        if pts is None:
            return None
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and self.pts[place] == pts else None


class _Places:
    """Number and time range of packets with some property."""

    def __init__(self) -> None:
        self.count = 0
        self._first: int | None = None
        self._last: int | None = None

    def note(self, pts: int | None) -> None:
        self.count += 1
        if pts is not None:
            self._first = pts if self._first is None else min(self._first, pts)
            self._last = pts if self._last is None else max(self._last, pts)

    def when(self, time_base: Fraction) -> str:
        """Part of a sentence that gives the time range; empty if no time is known."""
        if self._first is None or self._last is None:
            return ""
        first, last = float(self._first * time_base), float(self._last * time_base)
        return f", at {first:.2f} s" if first == last else f", from {first:.2f} to {last:.2f} s"


class _Packets:
    """Facts collected from the packets as they are read."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.codec = codec
        self._payload = PayloadCheck(codec, extradata)
        self.wrong, self.incomplete = _Places(), _Places()
        self.pts = array("q")
        self.keys = array("q")
        self.num_hidden = self.num_untimed = 0
        self.end = 0
        self.error: str | None = None
        self.goes_back = False
        self._last_dts: int | None = None

    def note(self, packet: "Packet[VideoStream]") -> None:
        if packet.is_corrupt:
            self.incomplete.note(packet.pts)
        if packet.is_discard or (self.codec == "vp8" and not _vp8_is_shown(packet)):
            self.num_hidden += 1
            return
        if self._payload.is_needed and self._payload.is_wrong(bytes(packet)):
            self.wrong.note(packet.pts)
        if packet.is_keyframe:
            self.keys.append(len(self.pts))
        if packet.dts is not None:
            self.goes_back = self.goes_back or (self._last_dts is not None and packet.dts < self._last_dts)
            self._last_dts = packet.dts
        self.num_untimed += packet.pts is None
        self.pts.append(packet.pts or 0)
        self.end = max(self.end, (packet.pts or 0) + (packet.duration or 0))


def scan(path: Path, limits: VideoLimits, *, stream_number: int | None = None) -> tuple[VideoInfo, PacketIndex]:
    """Probe a file and read all its packets once: number and times of frames, key frames, damage.

    Raises:
        UnreadableVideo: when :func:`dfd.video.file.probe.probe` raises it, or the stream has no packet.
        VideoTooLarge: when the frames exceed ``limits``, or there are too many.
    """
    container, said = open_and_listen(path, limits)
    with container:
        try:
            stream = video_stream(path, container, stream_number)
            info = stored_info(path, container, stream, limits)
        except UnreadableVideo:
            refuse_huge(path, said, limits)
            raise
        seen, search, complaints = _pass_over(path, info, container, stream, limits)
        if not seen.pts:
            raise UnreadableVideo(f"{path}: there is no frame in it ({seen.error or 'no data'}); get the file again")
        names = (container.format.name, *container.format.name.split(","))
        complaints = errors(said, names) + complaints
        info = search.info
        stamps = np.frombuffer(seen.pts, np.int64)
        order = np.argsort(stamps, kind="stable")
        shown = stamps[order]
        timed = not seen.num_untimed and not seen.goes_back and bool((np.diff(shown) > 0).all())
        if "avi" in names and info.codec in ("h264", "hevc") and stream.codec_context.has_b_frames:
            timed = False  # AVI has no presentation times; its time stamps give the order of storage
        if _WITHOUT_CLOCK & set(names):
            timed = False  # a stream without a container: FFmpeg invents its times
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        time_base = stream.time_base or Fraction(1, 1000)
        seconds = float((seen.end - int(shown[0])) * time_base) if timed else None
        promised = promised_seconds(container, stream)
        broken = _broken(info, seen, time_base) or _too_short(info, seconds, promised)
        if broken is None and complaints:
            broken = f"damaged: errors in its container ({complaints[0]})"
        if seconds is not None and (info.duration_seconds is None or "matroska" in names):
            info = replace(info, duration_seconds=seconds)
        begin = (container.start_time or 0) / 1_000_000
        index = PacketIndex(
            stream_index=stream.index,
            num_frames=len(stamps),
            pts=shown if timed else np.empty(0, np.int64),
            time_base=time_base,
            key_ranks=_clean_keys(ranks, seen.keys) if timed and broken is None else np.empty(0, np.int64),
            first=_first(search, shown, ranks, seen.keys) if timed else 0,
            clock_zero=0.0 if 0 <= begin <= _MAX_CLOCK_START else begin,
            damage=broken or _overwritten(path, seen, time_base),
        )
        return info, index


def _pass_over(
    path: Path, info: VideoInfo, container: InputContainer, stream: VideoStream, limits: VideoLimits
) -> tuple[_Packets, FirstFrame, list[str]]:
    """Facts from the packets, the first frame, and the demuxer's error messages."""
    seen = _Packets(info.codec, stream.codec_context.extradata)
    search = FirstFrameSearch(info, stream, limits)
    name = container.format.name
    with listening() as log, bounded(2 * limits.opening_bytes):
        try:
            for packet in packets(container, stream):
                if not search.is_done:
                    search.feed(packet)
                seen.note(packet)
                if len(seen.pts) > _MAX_FRAMES:
                    raise VideoTooLarge(f"{path}: more than {_MAX_FRAMES:,} frames; cut it into parts")
        except FFmpegError as failure:
            seen.error = failure.strerror or str(failure)
        except MemoryError:
            megabytes = 2 * limits.opening_bytes // 2**20
            raise UnreadableVideo(
                f"{path}: reading it takes more than {megabytes} MB: it is damaged, or malicious"
            ) from None
    return seen, search.result, errors(log, (name, *name.split(",")))


def _clean_keys(ranks: NDArray[np.int64], keys: Sequence[int]) -> NDArray[np.int64]:
    return np.sort(ranks[np.asarray(keys, np.int64)])


def _first(found: FirstFrame, shown: NDArray[np.int64], ranks: NDArray[np.int64], keys: Sequence[int]) -> int:
    """Index of the first frame that can be decoded; above 0 if the file starts between key frames."""
    if keys and keys[0] == 0:
        return 0
    if found.pts is not None:
        return int(np.searchsorted(shown, found.pts))
    return int(ranks[keys[0]]) if keys and not found.was_decoded else 0


def _broken(info: VideoInfo, seen: _Packets, time_base: Fraction) -> str | None:
    """Damage to the file as a whole, which makes its index unreliable; None if there is none."""
    claim, num_frames = info.num_frames, len(seen.pts)
    missing = 0 if claim is None or seen.num_hidden else claim - num_frames
    if claim is not None and missing > max(TOLERATED_FRAMES, TOLERATED_FRACTION * claim):
        return f"cut short: its header promises {claim} frames, and {num_frames} are in the file"
    if seen.error is not None:
        return f"damaged after {num_frames} frames ({seen.error})"
    if seen.incomplete.count:
        return f"damaged: {seen.incomplete.count} of its packets are incomplete{seen.incomplete.when(time_base)}"
    return None


def _overwritten(path: Path, seen: _Packets, time_base: Fraction) -> str | None:
    """Damage to parts of an otherwise complete file; None if there is none."""
    if seen.wrong.count:
        frames = "1 frame holds" if seen.wrong.count == 1 else f"{seen.wrong.count} frames hold"
        return f"damaged: {frames} data that no encoder writes{seen.wrong.when(time_base)}"
    if num_parts := num_wrong_checksums(path):
        parts = "part of the file does" if num_parts == 1 else "parts of the file do"
        return f"damaged: {num_parts} {parts} not match its checksum"
    if num_pictures := num_wrong_pictures(path):
        pictures = "picture is" if num_pictures == 1 else "pictures are"
        return f"damaged: {num_pictures} of its {pictures} not stored whole"
    return None


def _too_short(info: VideoInfo, seconds: float | None, promised: float | None) -> str | None:
    """Damage to a file whose header states a length but no number of frames; None if it is long enough."""
    if seconds is None or promised is None or info.num_frames is not None:
        return None
    tolerated = max(_TOLERATED_SECONDS, TOLERATED_FRACTION * promised, TOLERATED_FRAMES / info.fps)
    if promised - seconds <= tolerated:
        return None
    return f"cut short: its header promises {promised:.2f} seconds, and {seconds:.2f} are in the file"


def _vp8_is_shown(packet: "Packet[VideoStream]") -> bool:
    """Whether a frame is shown: VP8 keeps hidden reference frames in their own packets (RFC 6386, 9.1: show_frame)."""
    return bool(bytes(packet)[0] >> 4 & 1)
