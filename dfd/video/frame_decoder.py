"""Decodes the frames of a stream by index, in spite of damage (:class:`FrameDecoder`)."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dfd.video.damage.libav_log import errors, listening
from dfd.video.damage.words import Damage
from dfd.video.decoders import new_decoder
from dfd.video.file.container import VideoInfo, VideoLimits, other_streams, plausible_aspect
from dfd.video.file.opening import open_container, refuse_huge
from dfd.video.file.packet_index import PacketIndex

_MAX_SEEK_TRIES = 4
# Codecs whose decoders accept, per packet, to skip frames that no other refers to. AV1's takes the option only once.
_SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})
# Frames before an interlaced one that the filter needs: it fills the missing lines from both neighbours.
_FIELD_NEIGHBOURS = 2


class FrameDecoder:
    """Decodes frames by ascending index.

    If the container gives every frame a time stamp, frames are identified by it, so that a dropped frame does not shift
    the others; otherwise they are counted, and decoding stops at the first error. After an error, decoding resumes at
    the next key frame, since the frames before it refer to lost data. Interlaced frames are deinterlaced, one for one.

    Attributes:
        error: FFmpeg's message, once decoding has failed.
        damage: frames that are missing or not as they were written.
        has_ended: whether no frame comes after the last one asked for.
    """

    def __init__(self, info: VideoInfo, index: PacketIndex, limits: VideoLimits) -> None:
        self.error: str | None = None
        self.damage = Damage()
        self.has_ended = False
        self._info, self._index, self._limits = info, index, limits
        self._by_time = len(index.pts) > 0
        self._container: InputContainer | None = None
        self._numbered: Iterator[tuple[int, VideoFrame]] = iter(())
        self._next = self._wanted = self._missing_from = 0
        self._held: tuple[int, VideoFrame] | None = None
        self._is_interlaced = False
        self._restart()

    @property
    def context(self) -> VideoCodecContext:
        """Properties of the stream, as its container describes it."""
        return self._stream.codec_context

    @property
    def pixel_aspect(self) -> Fraction:
        """Pixel aspect of the current frames by their own headers; 1 if they state none."""
        return plausible_aspect(self._decoder.sample_aspect_ratio)

    def close(self) -> None:
        """Free the decoder."""
        self._numbered, self._held = iter(()), None
        if self._container is not None:
            self._container.close()
            self._container = None

    def get(self, index: int) -> VideoFrame | None:
        """Decode the frame at ``index``; None if that fails, and ``has_ended`` says whether later frames remain."""
        keys = self._index.key_ranks
        behind = index < (self._next if self._held is None else self._missing_from)
        self._wanted = index
        # Seeking is cheaper if a key frame lies in between.
        nearest = int(np.searchsorted(keys, index, side="right")) - 1
        if len(keys) and (behind or keys[max(0, nearest)] > self._next):
            self._seek(index)
        elif behind:
            self._restart()
        while True:
            place, frame = self._held or next(self._numbered, (None, None))
            self._held = None
            if place is None:
                self.has_ended = True
                return None
            assert frame is not None
            self._next = place + 1
            if place == index:
                self._missing_from = place + 1
                return frame
            if place > index:
                # All frames between the previous one and this one are missing, and need not be searched for again.
                self._held, self._missing_from = (place, frame), min(self._missing_from, index)
                self.damage.note(self.damage.missing, index)
                return None
            self._missing_from = place + 1

    def _restart(self) -> None:
        self.close()
        self.has_ended = False
        self._missing_from = 0
        self._container = open_container(self._info.path, self._limits)
        streams = self._container.streams
        stream = streams[self._index.stream_index] if self._index.stream_index < len(streams) else None
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise other_streams(self._info.path)
        self._stream = stream
        self._decoder = new_decoder(stream, self._limits)
        self._numbered = self._number(self._progressive(self._decode(self._container, is_after_jump=False)))
        self._next = 0

    def _seek(self, index: int) -> None:
        """Seek to the last key frame from which the frame at ``index`` can be decoded."""
        assert self._container is not None
        if self._next == 0:
            self._read_encoder_s_name(self._container)
        self._held = None
        self.has_ended = False
        keys = self._index.key_ranks
        target = max(0, index - _FIELD_NEIGHBOURS) if self._is_interlaced else index
        nearest = int(np.searchsorted(keys, target, side="right")) - 1
        # A key frame may lead only to frames after ``index`` (intra refresh shows nothing until it is complete).
        for candidate in range(nearest, max(-1, nearest - _MAX_SEEK_TRIES), -1):
            if keys[candidate] == 0:
                break
            try:
                self._container.seek(int(self._index.pts[keys[candidate]]), stream=self._stream, backward=True)
                self._decoder.flush_buffers()
            except FFmpegError:
                break
            numbered = self._number(self._progressive(self._decode(self._container, is_after_jump=True)))
            first = next(numbered, None)
            if first is not None and first[0] <= target:
                self._numbered = chain([first], numbered)
                self._next = self._missing_from = first[0]
                return
            self.error = None
        self._restart()

    def _read_encoder_s_name(self, container: InputContainer) -> None:
        """Feed the first packet, which names x264's version: full chroma of old versions needs another way of decoding.

        Without it, FFmpeg's decoder would make up half of the frames after a seek.
        """
        if self._info.codec != "h264":
            return
        try:
            for packet in container.demux(self._stream):
                self._decoder.decode(packet)
                return
        except FFmpegError:
            return  # decoding after the seek shows what is left

    def _number(self, frames: Iterator[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        if not self._by_time:
            yield from enumerate(frames)
            return
        last = -1
        for frame in frames:
            rank = self._index.rank(frame.pts)
            if rank is not None and rank > last:
                last = rank
                yield rank, frame

    def _decode(self, container: InputContainer, *, is_after_jump: bool) -> Iterator[VideoFrame]:
        """Decode all frames; after a seek, skip those before the wanted one that no other frame refers to."""
        context = self._decoder
        may_skip = is_after_jump and self._info.codec in _SKIPPING and not self._is_interlaced
        waits_for_key = False
        resumes_at: int | None = None
        demuxer = self._demux(container)
        while True:
            try:
                packet = next(demuxer, None)
            except FFmpegError as error:
                self.error = error.strerror or str(error)
                break
            if packet is None:
                return
            if waits_for_key:
                if packet.size and not packet.is_keyframe:
                    continue
                waits_for_key, resumes_at = False, packet.pts
            if may_skip:
                passed_over = packet.pts is not None and packet.pts < self._index.pts[self._wanted]
                context.skip_frame = "NONREF" if passed_over else "DEFAULT"
            with listening() as log:
                try:
                    frames = context.decode(packet if packet.size else None)
                    failed = None
                except FFmpegError as error:
                    frames, failed = [], error.strerror or str(error)
            complaints = errors(log, (self._info.codec, context.name)) if log else []
            refuse_huge(self._info.path, log, self._limits)
            if complaints and not self.damage.words:
                self.damage.words = complaints[0]
            for frame in frames:
                self._limits.check(self._info.path, frame.width, frame.height)
                if frame.is_corrupt:
                    self._note(frame.pts)
                if resumes_at is None or frame.pts is None or frame.pts >= resumes_at:
                    yield frame
            if complaints and not any(frame.is_corrupt for frame in frames) and failed is None:
                self._note(packet.pts)
            if failed is not None:
                self.error = failed
                if not self._by_time or not packet.size:
                    break  # without time stamps, later frames cannot be numbered
                # FFmpeg still returns the sound frames from before; those that refer to the lost one would be made up.
                yield from self._held_back()
                context.flush_buffers()
                waits_for_key = True
        yield from self._held_back()

    def _demux(self, container: InputContainer) -> "Iterator[Packet[VideoStream]]":
        try:
            yield from container.demux(self._stream)
        except IndexError:
            raise other_streams(self._info.path) from None

    def _note(self, pts: int | None) -> None:
        rank = self._index.rank(pts) if self._by_time else None
        self.damage.note(self.damage.made_up, self._next if rank is None else rank)

    def _held_back(self) -> Iterator[VideoFrame]:
        """Frames that the decoder holds back for reordering: they precede the damage."""
        try:
            yield from self._decoder.decode(None)
        except FFmpegError:
            return

    def _progressive(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Pass frames on, and deinterlace those whose two fields differ in time (FFmpeg's bwdif)."""
        graph: av.filter.Graph | None = None
        size: tuple[int, int, str] | None = None
        for frame in frames:
            if not frame.interlaced_frame and graph is None:
                yield frame
                continue
            self._is_interlaced = True
            this = (frame.width, frame.height, frame.format.name)
            if graph is None or this != size:
                if graph is not None:
                    yield from _drained(graph)
                graph, size = _deinterlacer(frame), this
            stamp = frame.pts
            graph.push(frame)
            frame.pts = stamp
            yield from _pulled(graph)
        if graph is not None:
            yield from _drained(graph)


def _deinterlacer(frame: VideoFrame) -> "av.filter.Graph":
    graph = av.filter.Graph()
    assert frame.time_base is not None
    filters = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        # The filter doubles the resolution of the clock.
        graph.add("settb", f"{frame.time_base.numerator}/{frame.time_base.denominator}"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*filters).configure()
    return graph


def _pulled(graph: "av.filter.Graph") -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame


def _drained(graph: "av.filter.Graph") -> Iterator[VideoFrame]:
    graph.push(None)
    yield from _pulled(graph)
