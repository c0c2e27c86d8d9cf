"""Reading the frames of a video (:class:`VideoReader`).

Two decoders stand behind one reader. decord reads small videos, where it is known to be exact.
PyAV, which shares FFmpeg with it, does the rest, through the same chain of filters, so that both give the same pixels:

- what is left of a damaged file: decord raises, or repeats an earlier frame in silence (forbidden here by its fault
  tolerance), where PyAV hands out every frame up to the damage;
- MPEG transport and program streams, and files whose edit list hides frames: decord numbers frames by packet and
  ends by repeating the last one;
- jumps in files whose key frames are not clean starts (open groups of pictures, the habit of x265; intra refresh):
  decord then lands a few frames off. PyAV seeks here by time stamp, and the frame is known by its own;
- frames with full chroma: where they are neither scaled nor turned, RGB is made of them here, in a fifth of the time
  and to a level (:mod:`dfd.video.colours`);
- mirrored display matrices, which decord takes for a half turn, frames of a few pixels, odd file names;
- long or large videos: decord's decoder runs ahead of its reader, by as much as the whole video, and keeps the frames
  (1.5 GB in a 720p video, measured; PyAV took 150 MB and was not slower). It reads what would fit in memory anyway.

A frame's index is its place in the order of presentation, whichever decoder reads it.
"""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# PyAV comes before decord in a process, always: decord loads its own copy of FFmpeg for all to see, and PyAV would
# be bound to that copy, whose version may differ.
import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dfd.errors import UnreadableVideo
from dfd.types import FrameArray
from dfd.video.colours import rows, write_rgb
from dfd.video.container import DEFAULT_LIMITS, VideoInfo, VideoLimits, open_container
from dfd.video.decord_library import load_decord
from dfd.video.packet_index import TOLERATED_FRACTION, TOLERATED_FRAMES, PacketIndex, scan

# A share of the number of frames that may fail in silence. 0 would mean any number, so: less than one frame.
_NO_DUPLICATES = "0.000000001"
# Frames that decord may keep, in bytes.
_DECORD_MAX_BYTES = 64 * 2**20
# Frames that come as one array unless told otherwise: a frame that is held on to holds all of its array.
_CHUNK_BYTES, _CHUNK_FRAMES = 8 * 2**20, 16
_MAX_SEEK_TRIES = 4
# Whose decoders can be told anew with each packet to leave out frames that no other needs. AV1's is told once for all.
_SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})


class VideoReader:
    """The frames of one video, as RGB, rotated as they are meant to be seen. A context manager.

    Frames are decoded at the size asked for: the longest side at most ``max_side`` pixels, the aspect kept, never
    enlarged. Memory does not grow with the length of the video, but for 8 bytes per frame of time stamps.

    Attributes:
        info: what the header claims; ``fps`` repeats its frame rate.
        width: of the decoded frames, as is ``height``.
        source_scale: a coordinate in decoded pixels times this is one in source pixels.

    Args:
        path: the video.
        max_side: longest side of the decoded frames in pixels; None for the source's size.
        limits: see :func:`dfd.video.container.probe`.
        num_threads: of the decoder. More than one helps with large frames only.

    Raises:
        UnreadableVideo: as :func:`dfd.video.container.probe`, or there is no frame in the file.
        VideoTooLarge: its frames exceed ``limits``.
        ValueError: ``max_side`` or ``num_threads`` is not positive.
    """

    info: VideoInfo
    fps: float
    width: int
    height: int
    source_scale: float

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_side: int | None = None,
        limits: VideoLimits = DEFAULT_LIMITS,
        num_threads: int = 1,
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ValueError(f"max_side must be 1 pixel or more, got {max_side}")
        if num_threads < 1:
            raise ValueError(f"num_threads must be 1 or more, got {num_threads}")
        self.path = Path(path)
        self._num_threads = num_threads
        self.info, self._index = scan(self.path, limits)
        self.fps = self.info.fps
        longest = max(self.info.width, self.info.height)
        self.source_scale = max(1.0, longest / max_side) if max_side is not None else 1.0
        self.width = max(1, round(self.info.width / self.source_scale))
        self.height = max(1, round(self.info.height / self.source_scale))
        self._num_frames = self._index.num_frames
        self._partial = self._index.damage
        self._decord: Any = None
        self._decord_next = 0
        decoded_bytes = self._index.num_frames * self.height * self.width * 3
        self._decord_fits = self._index.suits_decord and decoded_bytes <= _DECORD_MAX_BYTES
        self._av: _AvDecoder | None = None
        self._any_decoded = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoders. Frames handed out stay valid; reading more is an error."""
        self._closed = True
        self._decord = None
        if self._av is not None:
            self._av.close()
            self._av = None

    @property
    def chunk_len(self) -> int:
        """Frames of a chunk unless told otherwise: 16, and of large ones as many as 8 MiB hold, one at least."""
        return min(_CHUNK_FRAMES, max(1, _CHUNK_BYTES // (self.height * self.width * 3)))

    @property
    def num_frames(self) -> int:
        """How many frames there are: counted in the container, and lowered when fewer can be decoded."""
        return self._num_frames

    @property
    def partial(self) -> str | None:
        """Why less than the whole video could be read, once that is known; None while all is well."""
        if self._partial is None and self._av is not None and self._av.num_corrupt:
            return f"damaged: the decoder had to make up parts of {self._av.num_corrupt} frames"
        return self._partial

    def frames(self, indices: Sequence[int]) -> FrameArray:
        """The frames at ``indices``, in that order, ``(N, H, W, 3)``. An index may come more than once.

        Raises:
            IndexError: an index is negative or not below ``num_frames``.
            UnreadableVideo: a frame cannot be decoded. ``num_frames`` then says how many can.
        """
        self._check_indices(indices)
        if not len(indices):
            return self._empty()
        unique, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        frames = self._read([int(index) for index in unique])
        if len(frames) < len(unique):
            raise UnreadableVideo(
                f"{self.path}: frame {unique[len(frames)]} cannot be decoded ({self._reason()}); "
                f"the {self._num_frames} frames before it can"
            )
        return frames if np.array_equal(places, np.arange(len(unique))) else frames[places]

    def chunks(
        self, ranges: Sequence[range] | None = None, *, chunk_len: int | None = None
    ) -> Iterator[tuple[int, FrameArray]]:
        """The whole video, or ``ranges`` of it, as (index of the first frame, consecutive frames ``(N, H, W, 3)``).

        A chunk has ``chunk_len`` frames (None: the attribute of that name), the last of a range what is left; it never
        spans two ranges. A range that goes past the end just ends. Where damage is met, what lies before it is given,
        ``partial`` says what happened, and nothing follows.

        Raises:
            ValueError: ``chunk_len`` is not positive, or a range has a step or a negative start.
            UnreadableVideo: no frame at all can be decoded.
        """
        if chunk_len is None:
            chunk_len = self.chunk_len
        if chunk_len < 1:
            raise ValueError(f"chunk_len must be 1 or more, got {chunk_len}")
        for frame_range in ranges or ():
            if frame_range.step != 1 or frame_range.start < 0:
                raise ValueError(f"ranges must count up by one from 0 or more, got {frame_range}")
        for frame_range in [range(self._num_frames)] if ranges is None else ranges:
            for start in range(frame_range.start, min(frame_range.stop, self._num_frames), chunk_len):
                wanted = range(start, min(start + chunk_len, frame_range.stop, self._num_frames))
                frames = self._read(wanted)
                if len(frames):
                    yield start, frames
                if len(frames) < len(wanted):
                    # A late range may fail in a file whose beginning is sound; only if that fails too is it unreadable.
                    if not self._any_decoded:
                        self._read([0])
                    return

    @property
    def start_seconds(self) -> Fraction:
        """When the first frame is shown, on the file's own clock, which its sound shares; 0 without time stamps."""
        return int(self._index.pts[0]) * self._index.time_base if len(self._index.pts) else Fraction(0)

    def timestamps(self, indices: Sequence[int]) -> list[float]:
        """When each frame is shown, in seconds after the first one; right for a variable frame rate.

        Where the container holds no time stamps it is index / fps.

        Raises:
            IndexError: an index is negative or not below ``num_frames``.
        """
        self._check_indices(indices)
        if not len(self._index.pts):
            return [index / self.fps for index in indices]
        first = int(self._index.pts[0])
        return [float((int(self._index.pts[index]) - first) * self._index.time_base) for index in indices]

    def _check_indices(self, indices: Sequence[int]) -> None:
        for index in indices:
            if not 0 <= index < self._num_frames:
                raise IndexError(f"{self.path}: frame {index} is not in 0..{self._num_frames - 1}")

    def _empty(self) -> FrameArray:
        return np.empty((0, self.height, self.width, 3), np.uint8)

    def _read(self, indices: Sequence[int]) -> FrameArray:
        """The frames at ascending ``indices``; fewer where the video cannot be read that far."""
        if self._closed:
            raise ValueError(f"{self.path}: the reader is closed")
        frames = self._read_with_decord(indices) if self._decord_fits else None
        if frames is None:
            frames = self._read_with_av(indices)
        if len(frames):
            self._any_decoded = True
        if len(frames) < len(indices):
            self._end_at(indices[len(frames)])
        return frames

    def _read_with_decord(self, indices: Sequence[int]) -> FrameArray | None:
        """The frames, or None where decord cannot give all of them exactly: it is then done with."""
        decord = load_decord()
        consecutive = indices[0] == self._decord_next and indices[-1] - indices[0] == len(indices) - 1
        if not (consecutive or self._index.decord_seeks):
            self._forgo_decord()
            return None
        try:
            if self._decord is None:
                self._decord = self._open_decord()
            if len(self._decord) == self._index.num_frames:
                frames: FrameArray = self._decord.get_batch(list(indices)).asnumpy()
                if frames.shape == (len(indices), self.height, self.width, 3):
                    self._decord_next = indices[-1] + 1
                    return frames
        # Besides its own errors decord raises RuntimeError (cannot open), AssertionError (no frames) and, for a file
        # name that is not UTF-8, UnicodeEncodeError. Whatever it is, PyAV then finds out what can be read.
        except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, UnicodeEncodeError):
            # What decord has handed out was numbered by counting from the start: go on in the same way.
            self._index = self._index.counted()
        self._forgo_decord()
        return None

    def _open_decord(self) -> Any:
        decord = load_decord()
        # Equal sizes are passed as "unchanged": a scale filter less.
        scaled = (self.width, self.height) != (self.info.width, self.info.height)
        return decord.VideoReader(
            str(self.path.absolute()),
            ctx=decord.cpu(0),
            width=self.width if scaled else -1,
            height=self.height if scaled else -1,
            num_threads=self._num_threads,
            fault_tol=_NO_DUPLICATES,
        )

    def _forgo_decord(self) -> None:
        self._decord = None
        self._decord_fits = False

    def _read_with_av(self, indices: Sequence[int]) -> FrameArray:
        if self._av is None:
            self._av = _AvDecoder(
                self.info, self._index, width=self.width, height=self.height, num_threads=self._num_threads
            )
        return self._av.read(indices)

    def _end_at(self, index: int) -> None:
        """Note that the frame at ``index`` and those after it cannot be had."""
        error = self._av.error if self._av is not None else None
        missing = self._index.num_frames - index
        tolerated = max(TOLERATED_FRAMES, TOLERATED_FRACTION * self._index.num_frames)
        if self._partial is None and (error is not None or missing > tolerated):
            reason = error or "the decoder gives no more"
            self._partial = f"cannot be read past frame {index} of {self._index.num_frames} ({reason})"
        self._num_frames = min(self._num_frames, index)
        if index == 0 and not self._any_decoded:
            raise UnreadableVideo(
                f"{self.path}: no frame can be decoded ({self._reason()}); the file is damaged: get it again"
            )

    def _reason(self) -> str:
        error = self._av.error if self._av is not None else None
        return error or self._partial or "the decoder gives nothing"


class _AvDecoder:
    """Frames by ascending index through PyAV, converted by the filters that decord uses.

    From the start of the file frames are counted; after a jump they are known by their time stamps.
    ``error`` is set, to FFmpeg's words, once decoding has failed; ``num_corrupt`` counts frames marked as damaged.
    """

    def __init__(self, info: VideoInfo, index: PacketIndex, *, width: int, height: int, num_threads: int) -> None:
        self.error: str | None = None
        self.num_corrupt = 0
        self._info = info
        self._index = index
        self._size = (width, height)
        self._turned = info.mirrored or info.rotation_degrees != 0
        self._num_threads = num_threads
        self._graph_input: tuple[int, int, str] | None = None
        self._graph: av.filter.Graph | None = None
        self._container: InputContainer | None = None
        self._numbered: Iterator[tuple[int, VideoFrame]] = iter(())
        self._next = self._wanted = 0
        self._restart()

    def close(self) -> None:
        self._numbered = iter(())
        self._graph = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def read(self, indices: Sequence[int]) -> FrameArray:
        """The frames at ascending ``indices``; fewer if one of them cannot be had."""
        width, height = self._size
        frames: FrameArray = np.empty((len(indices), height, width, 3), np.uint8)
        for place, index in enumerate(indices):
            found = self._decode_to(index)
            if found is None:
                return frames[:place]
            self._convert(found, frames[place])
        return frames

    def _decode_to(self, index: int) -> VideoFrame | None:
        keys = self._index.key_ranks
        behind = index < self._next
        self._wanted = index
        # A key frame between here and there makes it cheaper to jump.
        if len(keys) and (behind or keys[np.searchsorted(keys, index, side="right") - 1] > self._next):
            self._seek(index)
        elif behind:
            self._restart()
        for place, frame in self._numbered:
            self._next = place + 1
            if place == index:
                return frame
            if place > index:
                break
        return None

    def _restart(self) -> None:
        self.close()
        self._container = open_container(self._info.path)
        stream = self._container.streams[self._index.stream_index]
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = self._num_threads
        # Threads that share a frame, not one frame each: damage then stays where it is.
        stream.codec_context.thread_type = "SLICE"
        self._stream = stream
        self._numbered = self._number(self._decode(self._container, by_time=False), by_time=False)
        self._next = 0

    def _seek(self, index: int) -> None:
        """Go to the last key frame from which the frame at ``index`` can be reached."""
        assert self._container is not None
        if self._next == 0:
            self._read_encoder_s_name(self._container)
        keys = self._index.key_ranks
        nearest = int(np.searchsorted(keys, index, side="right")) - 1
        # A key frame may lead to frames after ``index`` only (intra refresh shows nothing until all is refreshed).
        for candidate in range(nearest, max(-1, nearest - _MAX_SEEK_TRIES), -1):
            if keys[candidate] == 0:
                break
            try:
                self._container.seek(int(self._index.pts[keys[candidate]]), stream=self._stream, backward=True)
            except FFmpegError:
                break
            numbered = self._number(self._decode(self._container, by_time=True), by_time=True)
            first = next(numbered, None)
            if first is not None and first[0] <= index:
                self._numbered = chain([first], numbered)
                self._next = first[0]
                return
            self.error = None
        self._restart()

    def _read_encoder_s_name(self, container: InputContainer) -> None:
        """Feed the first packet, in which x264 tells its version: full chroma of old ones is decoded in another way.

        FFmpeg's decoder would not know of it after a jump, and make up half of the frames.
        """
        if self._info.codec != "h264":
            return
        try:
            for packet in container.demux(self._stream):
                self._stream.decode(packet)
                return
        except FFmpegError:
            return  # what can be decoded is found out after the jump

    def _number(self, frames: Iterator[VideoFrame], *, by_time: bool) -> Iterator[tuple[int, VideoFrame]]:
        if not by_time:
            yield from enumerate(frames)
            return
        for frame in frames:
            rank = self._index.rank(frame.pts)
            if rank is not None:
                yield rank, frame

    def _decode(self, container: InputContainer, *, by_time: bool) -> Iterator[VideoFrame]:
        """All frames; but if they are known by their time, none that is passed over and that no other is made from."""
        context = self._stream.codec_context
        may_skip = by_time and self._info.codec in _SKIPPING
        try:
            for packet in container.demux(self._stream):
                if may_skip:
                    passed_over = packet.pts is not None and packet.pts < self._index.pts[self._wanted]
                    context.skip_frame = "NONREF" if passed_over else "DEFAULT"
                for frame in self._stream.decode(packet):
                    self.num_corrupt += frame.is_corrupt
                    yield frame
        except FFmpegError as error:
            self.error = error.strerror or str(error)
        if self.error is None:
            return
        try:  # frames that the decoder holds back for reordering were sound before the damage
            yield from self._stream.decode(None)
        except FFmpegError:
            return

    def _convert(self, frame: VideoFrame, into: FrameArray) -> None:
        as_stored = not self._turned and (frame.width, frame.height) == self._size
        if as_stored and write_rgb(frame, into):
            return
        graph_input = (frame.width, frame.height, frame.format.name)
        if self._graph is None or graph_input != self._graph_input:
            self._graph_input = graph_input
            self._graph = self._build_graph(frame)
        self._graph.push(frame)
        pulled = self._graph.pull()
        assert isinstance(pulled, VideoFrame)
        plane = pulled.planes[0]
        into[...] = rows(plane, plane.width * 3).reshape(into.shape)

    def _build_graph(self, frame: VideoFrame) -> "av.filter.Graph":
        """Turn, scale and convert: decord's own chain, so that the pixels are the same."""
        graph = av.filter.Graph()
        filters: list[FilterContext] = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self._stream.time_base
            )
        ]
        if self._info.mirrored:
            filters.append(graph.add("hflip"))
        counterclockwise, clockwise = "2", "1"
        turns = {0: [], 90: [counterclockwise], 180: [clockwise, clockwise], 270: [clockwise]}
        filters += [graph.add("transpose", direction) for direction in turns[self._info.rotation_degrees]]
        width, height = self._size
        filters.append(graph.add("scale", f"{width}:{height}"))
        filters.append(graph.add("format", "pix_fmts=rgb24"))
        filters.append(graph.add("buffersink"))
        for before, after in pairwise(filters):
            before.link_to(after)
        graph.configure()
        return graph
