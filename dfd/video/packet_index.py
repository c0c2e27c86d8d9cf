"""Which frames a video has, by a pass over its packets that decodes none but the first (:func:`scan`)."""

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

from dfd.errors import UnreadableVideo, VideoTooLarge
from dfd.memory import bounded
from dfd.video.container import (
    VideoInfo,
    VideoLimits,
    open_and_listen,
    packets,
    promised_seconds,
    refuse_huge,
    stored_info,
    video_stream,
)
from dfd.video.first_frame import FirstFrame, FirstFrameSearch
from dfd.video.gif_check import num_wrong_pictures
from dfd.video.libav_log import errors, listening
from dfd.video.matroska_crc import num_wrong_checksums
from dfd.video.payload import PayloadCheck

# Frames missing at the end that are no loss worth a word: encoders and cutters often leave two or three undecodable.
TOLERATED_FRAMES = 3
TOLERATED_FRACTION = 0.02
_TOLERATED_SECONDS = 0.5
# More frames than 18 hours at 60 a second have: a file that claims so many has been made to waste time.
_MAX_FRAMES = 4_000_000
_WITHOUT_CLOCK = frozenset({"mpegvideo", "h264", "hevc"})
# Clocks of files that begin later than this began somewhere else, a broadcast's for instance.
_MAX_CLOCK_START = 10.0


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """What a pass over the packets tells of a stream, without decoding.

    ``pts`` are the time stamps of the frames that are shown, in order of presentation, in units of ``time_base``
    seconds; empty if the container does not have one for each frame. ``key_ranks`` are the indices of key frames from
    which one may jump ahead. ``first`` is the index of the first frame that can be decoded. ``clock_zero`` is what is
    second 0 of the file's clock, in seconds.
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
        """The index of the frame with this time stamp, or None if there is none."""
        if pts is None:
            return None
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and self.pts[place] == pts else None


class _Places:
    """How many packets have something about them, and between which times."""

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
        """A piece of a sentence: empty if no time is known."""
        if self._first is None or self._last is None:
            return ""
        first, last = float(self._first * time_base), float(self._last * time_base)
        return f", at {first:.2f} s" if first == last else f", from {first:.2f} to {last:.2f} s"


class _Packets:
    """What is noted of the packets as they pass."""

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
    """Probe, and go once over all packets: which frames there are, when they are shown, where one can start.

    Raises:
        UnreadableVideo, VideoTooLarge: as :func:`dfd.video.container.probe`, or the stream has no packet.
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
            timed = False  # AVI has no times of presentation; those told are of the order in which it stores them
        if _WITHOUT_CLOCK & set(names):
            timed = False  # one stream without a container: FFmpeg makes up its times
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        time_base = stream.time_base or Fraction(1, 1000)
        seconds = float((seen.end - int(shown[0])) * time_base) if timed else None
        promised = promised_seconds(container, stream)
        broken = _broken(info, seen, time_base) or _too_short(info, seconds, promised)
        if broken is None and complaints:
            broken = f"damaged: its container is not as it must be ({complaints[0]})"
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
    """What the packets tell, the first frame, and what the demuxer complained of."""
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
                f"{path}: reading it takes more than {megabytes} MB: it is damaged, or made to do harm"
            ) from None
    return seen, search.result, errors(log, (name, *name.split(",")))


def _clean_keys(ranks: NDArray[np.int64], keys: Sequence[int]) -> NDArray[np.int64]:
    return np.sort(ranks[np.asarray(keys, np.int64)])


def _first(found: FirstFrame, shown: NDArray[np.int64], ranks: NDArray[np.int64], keys: Sequence[int]) -> int:
    """The index of the first frame that can be decoded: where the file begins between key frames, not the first."""
    if keys and keys[0] == 0:
        return 0
    if found.pts is not None:
        return int(np.searchsorted(shown, found.pts))
    return int(ranks[keys[0]]) if keys and not found.was_decoded else 0


def _broken(info: VideoInfo, seen: _Packets, time_base: Fraction) -> str | None:
    """What is wrong with the file as a whole, so that its own index is not to be trusted."""
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
    """What is not as it was written in a file that is whole."""
    if seen.wrong.count:
        frames = "1 frame holds" if seen.wrong.count == 1 else f"{seen.wrong.count} frames hold"
        return f"damaged: {frames} what no encoder writes{seen.wrong.when(time_base)}"
    if num_parts := num_wrong_checksums(path):
        parts = "part of the file does" if num_parts == 1 else "parts of the file do"
        return f"damaged: {num_parts} {parts} not fit its checksum"
    if num_pictures := num_wrong_pictures(path):
        pictures = "picture is" if num_pictures == 1 else "pictures are"
        return f"damaged: {num_pictures} of its {pictures} not stored whole"
    return None


def _too_short(info: VideoInfo, seconds: float | None, promised: float | None) -> str | None:
    """For headers that promise a length but no number of frames."""
    if seconds is None or promised is None or info.num_frames is not None:
        return None
    tolerated = max(_TOLERATED_SECONDS, TOLERATED_FRACTION * promised, TOLERATED_FRAMES / info.fps)
    if promised - seconds <= tolerated:
        return None
    return f"cut short: its header promises {promised:.2f} seconds, and {seconds:.2f} are in the file"


def _vp8_is_shown(packet: "Packet[VideoStream]") -> bool:
    """VP8 stores reference frames that are never shown in packets of their own (RFC 6386, 9.1: show_frame)."""
    return bool(bytes(packet)[0] >> 4 & 1)
