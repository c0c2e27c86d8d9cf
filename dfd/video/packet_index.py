"""Which frames a video has, by a pass over its packets that decodes none (:func:`scan`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfd.errors import UnreadableVideo
from dfd.video.colours import FULL_CHROMA
from dfd.video.container import (
    VideoInfo,
    VideoLimits,
    open_container,
    orientation,
    packets,
    promised_seconds,
    rotated,
    unrotated_info,
    video_stream,
)

# Frames missing at the end that are no loss worth a word: encoders and cutters often leave two or three undecodable.
TOLERATED_FRAMES = 3
TOLERATED_FRACTION = 0.02
_TOLERATED_SECONDS = 0.5
# Containers that decord reads exactly from the first frame to the last, and those in which it also seeks exactly.
_DECORD_READS = frozenset({"mov", "matroska", "avi", "gif"})
_DECORD_SEEKS = frozenset({"mov", "matroska"})


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """What a pass over the packets tells of a stream, without decoding.

    ``pts`` are the time stamps of the frames that are shown, in order of presentation, in units of ``time_base``
    seconds; empty if the container does not have one for each frame. ``key_ranks`` are the indices of key frames.
    """

    stream_index: int
    num_frames: int
    pts: NDArray[np.int64]
    time_base: Fraction
    key_ranks: NDArray[np.int64]
    suits_decord: bool
    decord_seeks: bool
    damage: str | None

    def counted(self) -> "PacketIndex":
        """This index without the means to seek: frames are then found by counting from the start."""
        return PacketIndex(
            stream_index=self.stream_index,
            num_frames=self.num_frames,
            pts=self.pts,
            time_base=self.time_base,
            key_ranks=np.empty(0, np.int64),
            suits_decord=False,
            decord_seeks=False,
            damage=self.damage,
        )

    def rank(self, pts: int | None) -> int | None:
        """The index of the frame with this time stamp, or None if there is none."""
        if pts is None:
            return None
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and self.pts[place] == pts else None


def scan(path: Path, limits: VideoLimits) -> tuple[VideoInfo, PacketIndex]:
    """Probe, and go once over all packets: which frames there are, when they are shown, where one can start.

    Raises:
        UnreadableVideo, VideoTooLarge: as :func:`dfd.video.container.probe`, or the stream has no packet.
    """
    with open_container(path) as container:
        stream = video_stream(path, container)
        info = unrotated_info(path, container, stream, limits)
        length_size = _nal_length_size(info.codec, stream.codec_context.extradata)
        pts: list[int | None] = []
        keys: list[int] = []
        num_hidden = num_damaged = 0
        clean_keys = True
        end = 0
        error: str | None = None
        try:
            for packet in packets(container, stream):
                if not pts and not num_hidden:
                    info = rotated(info, *orientation(stream, packet))
                num_damaged += packet.is_corrupt
                if packet.is_discard or (info.codec == "vp8" and not _vp8_is_shown(packet)):
                    num_hidden += 1
                    continue
                if packet.is_keyframe:
                    keys.append(len(pts))
                    clean_keys = clean_keys and _is_clean_start(info.codec, bytes(packet), length_size)
                pts.append(packet.pts)
                end = max(end, (packet.pts or 0) + (packet.duration or 0))
        except FFmpegError as failure:
            error = failure.strerror or str(failure)
        if not pts:
            raise UnreadableVideo(f"{path}: there is no frame in it ({error or 'no data'}); get the file again")

        formats = frozenset(container.format.name.split(","))
        known = np.array([stamp for stamp in pts if stamp is not None], np.int64)
        order = np.argsort(known, kind="stable")
        shown = known[order]
        timed = len(known) == len(pts) and bool((np.diff(shown) > 0).all())
        if "avi" in formats and info.codec in ("h264", "hevc") and stream.codec_context.has_b_frames:
            timed = False  # AVI has no times of presentation; those told are of the order in which it stores them
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        time_base = stream.time_base or Fraction(1, 1000)
        damage = _damage(info, len(pts), num_hidden, num_damaged, error)
        if damage is None and timed:
            promised = promised_seconds(container, stream)
            damage = _too_short(info, float((end - int(shown[0])) * time_base), promised)

        suits_decord = (
            bool(formats & _DECORD_READS)
            and not (num_hidden or num_damaged or error or info.mirrored)
            and stream.codec_context.pix_fmt != FULL_CHROMA
            and container.streams.best("video") is stream  # decord opens no other
        )
        return info, PacketIndex(
            stream_index=stream.index,
            num_frames=len(pts),
            pts=shown if timed else np.empty(0, np.int64),
            time_base=time_base,
            key_ranks=np.sort(ranks[keys]) if timed and damage is None else np.empty(0, np.int64),
            suits_decord=suits_decord,
            decord_seeks=bool(formats & _DECORD_SEEKS) and timed and clean_keys and _nothing_leads(ranks, keys),
            damage=damage,
        )


def _damage(info: VideoInfo, num_frames: int, num_hidden: int, num_damaged: int, error: str | None) -> str | None:
    claim = info.num_frames
    if claim is not None and not num_hidden and claim - num_frames > max(TOLERATED_FRAMES, TOLERATED_FRACTION * claim):
        return f"cut short: its header promises {claim} frames, and {num_frames} are in the file"
    if error is not None:
        return f"damaged after {num_frames} frames ({error})"
    return f"damaged: {num_damaged} of its packets are incomplete" if num_damaged else None


def _too_short(info: VideoInfo, seconds: float, promised: float | None) -> str | None:
    """For headers that promise a length but no number of frames."""
    if promised is None or info.num_frames is not None:
        return None
    tolerated = max(_TOLERATED_SECONDS, TOLERATED_FRACTION * promised, TOLERATED_FRAMES / info.fps)
    if promised - seconds <= tolerated:
        return None
    return f"cut short: its header promises {promised:.2f} seconds, and {seconds:.2f} are in the file"


def _nothing_leads(ranks: NDArray[np.int64], keys: Sequence[int]) -> bool:
    """True if every key frame is shown after all that are stored before it, and before all that follow it."""
    shown_so_far = np.maximum.accumulate(ranks)
    return all(ranks[key] == key and (key == 0 or shown_so_far[key - 1] == key - 1) for key in keys)


def _vp8_is_shown(packet: "Packet[VideoStream]") -> bool:
    """VP8 stores reference frames that are never shown in packets of their own (RFC 6386, 9.1: show_frame)."""
    return bool(bytes(packet)[0] >> 4 & 1)


def _nal_length_size(codec: str, extradata: bytes | None) -> int | None:
    """Bytes that give the length of each NAL unit (ISO/IEC 14496-15); None where start codes separate them."""
    place = {"h264": 4, "hevc": 21}.get(codec)
    if place is None or extradata is None or len(extradata) <= place or extradata[0] != 1:
        return None
    return (extradata[place] & 3) + 1


def _is_clean_start(codec: str, packet: bytes, length_size: int | None) -> bool:
    """True if decoding can start at this packet, which its container calls a key frame.

    Containers also call it so where a gradual refresh begins. For H.264 only an IDR picture is trusted (NAL unit type
    5, H.264 table 7-1), for HEVC every IRAP picture (types 16 to 21, H.265 table 7-1).
    """
    if codec not in ("h264", "hevc"):
        return True
    if length_size is None:
        return False
    at = 0
    while at + length_size < len(packet):
        header = packet[at + length_size]
        unit = header & 31 if codec == "h264" else header >> 1 & 63
        if codec == "h264" and 1 <= unit <= 5:
            return unit == 5
        if codec == "hevc" and unit < 32:
            return 16 <= unit <= 21
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    return False
