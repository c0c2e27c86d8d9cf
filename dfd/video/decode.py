"""Reading video: what a file claims to be (:func:`probe`) and its frames (:class:`VideoReader`).

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

import gc
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from math import atan2, degrees, floor
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
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfd.errors import UnreadableVideo, VideoTooLarge
from dfd.types import FrameArray
from dfd.video.colours import FULL_CHROMA, rows, write_rgb
from dfd.video.decord_library import load_decord

ALLOWED_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "gif", "prores", "png"}
)
"""Codecs that are decoded. Each decoder is an attack surface; the rare ones of FFmpeg are the badly kept ones."""

# FFmpeg's names of containers. Lists of other files (HLS, concat) would open what they name, so they are not here.
_CONTAINERS = ("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "gif")
# Containers that decord reads exactly from the first frame to the last, and those in which it also seeks exactly.
_DECORD_READS = frozenset({"mov", "matroska", "avi", "gif"})
_DECORD_SEEKS = frozenset({"mov", "matroska"})
# A share of the number of frames that may fail in silence. 0 would mean any number, so: less than one frame.
_NO_DUPLICATES = "0.000000001"
# Frames that decord may keep, in bytes.
_DECORD_MAX_BYTES = 64 * 2**20
# Frames that come as one array unless told otherwise: a frame that is held on to holds all of its array.
_CHUNK_BYTES, _CHUNK_FRAMES = 16 * 2**20, 16
# Frames missing at the end that are no loss worth a word: encoders and cutters often leave two or three undecodable.
_TOLERATED_FRAMES = 3
_TOLERATED_FRACTION = 0.02
_TOLERATED_SECONDS = 0.5
# Only a file that states no frame rate at all gets this one.
_DEFAULT_FPS = 25.0
_MAX_SEEK_TRIES = 4
# Whose decoders can be told anew with each packet to leave out frames that no other needs. AV1's is told once for all.
_SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """The largest frame that is decoded, in pixels as stored (before rotation).

    Raises:
        ValueError: a limit is not positive.
    """

    max_width: int = 4096
    max_height: int = 4096

    def __post_init__(self) -> None:
        if self.max_width < 1 or self.max_height < 1:
            raise ValueError(f"limits must be 1 pixel or more, got {self.max_width} x {self.max_height}")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the header of a video claims, its size as shown (after rotation).

    ``num_frames`` and ``duration_seconds`` are the header's claims: None where it makes none, wrong where the file was
    cut. ``rotation_degrees`` (0, 90, 180 or 270, counterclockwise) is applied by the reader, after a left-right flip
    if ``mirrored``. ``codec`` is FFmpeg's name of it.
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


def probe(path: str | os.PathLike[str], *, limits: VideoLimits = VideoLimits()) -> VideoInfo:
    """What the file claims to be. No frame but the first is decoded, and that one only if all of this allows it.

    Raises:
        UnreadableVideo: there is no such file, or it holds no video stream, or one whose codec is not allowed.
        VideoTooLarge: its frames exceed ``limits``.
    """
    path = Path(path)
    with open_container(path) as container:
        stream = _video_stream(path, container)
        info = _unrotated_info(path, container, stream, limits)
        try:
            first = next(_packets(container, stream), None)
        except FFmpegError:
            first = None
        return info if first is None else _rotated(info, *_orientation(stream, first))


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
        limits: see :func:`probe`.
        num_threads: of the decoder. More than one helps with large frames only.

    Raises:
        UnreadableVideo: as :func:`probe`, or there is no frame in the file.
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
        limits: VideoLimits = VideoLimits(),
        num_threads: int = 1,
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ValueError(f"max_side must be 1 pixel or more, got {max_side}")
        if num_threads < 1:
            raise ValueError(f"num_threads must be 1 or more, got {num_threads}")
        self.path = Path(path)
        self._num_threads = num_threads
        self.info, self._index = _scan(self.path, limits)
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

        A chunk has ``chunk_len`` frames (None: 16, and of large ones as many as 16 MiB hold, one at least), the last of
        a range what is left; it never spans two ranges. A range that
        goes past the end just ends. Where damage is met, what lies before it is given, ``partial`` says what happened,
        and nothing follows.

        Raises:
            ValueError: ``chunk_len`` is not positive, or a range has a step or a negative start.
            UnreadableVideo: no frame at all can be decoded.
        """
        if chunk_len is None:
            chunk_len = min(_CHUNK_FRAMES, max(1, _CHUNK_BYTES // (self.height * self.width * 3)))
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
        tolerated = max(_TOLERATED_FRAMES, _TOLERATED_FRACTION * self._index.num_frames)
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


@dataclass(frozen=True, slots=True)
class _Index:
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

    def counted(self) -> "_Index":
        """This index without the means to seek: frames are then found by counting from the start."""
        return _Index(
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


class _AvDecoder:
    """Frames by ascending index through PyAV, converted by the filters that decord uses.

    From the start of the file frames are counted; after a jump they are known by their time stamps.
    ``error`` is set, to FFmpeg's words, once decoding has failed; ``num_corrupt`` counts frames marked as damaged.
    """

    def __init__(self, info: VideoInfo, index: _Index, *, width: int, height: int, num_threads: int) -> None:
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


def open_container(path: Path) -> InputContainer:
    """The file's container.

    Raises:
        UnreadableVideo: with what is wrong and what to do.
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
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise UnreadableVideo(f"{path}: no such file") from None
    except PermissionError:
        raise UnreadableVideo(f"{path}: permission denied; make the file readable") from None
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: cannot be opened ({error})") from None
    try:
        # An absolute path is never taken for a URL. Names and titles inside may be in any encoding.
        return av.open(
            str(path.absolute()),
            metadata_errors="replace",
            options={"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file"},
        )
    except av.error.ArgumentError:
        raise UnreadableVideo(
            f"{path}: not in a container that is read ({', '.join(_CONTAINERS)}); a still picture is not a video"
        ) from None
    except FFmpegError as error:
        raise UnreadableVideo(
            f"{path}: not a video, or damaged beyond use ({error.strerror}); try to play it, or get it again"
        ) from None


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream that players show. A picture attached to sound (cover art) is none."""
    best = container.streams.best("video")
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        found = "only a cover picture" if best is not None else "no video stream"
        raise UnreadableVideo(f"{path}: {found} in it; give a file that holds video")
    return best if isinstance(best, VideoStream) and best in candidates else candidates[0]


def _unrotated_info(path: Path, container: InputContainer, stream: VideoStream, limits: VideoLimits) -> VideoInfo:
    # A stream in a codec that FFmpeg does not know has no codec context, whatever the type stubs say.
    context: Any = stream.codec_context
    codec = "unknown" if context is None else str(context.codec.canonical_name)
    if codec not in ALLOWED_CODECS:
        raise UnreadableVideo(
            f"{path}: codec {codec} is not allowed ({', '.join(sorted(ALLOWED_CODECS))} are); convert it to h264"
        )
    width, height = stream.width, stream.height
    if width > limits.max_width or height > limits.max_height:
        raise VideoTooLarge(
            f"{path}: frames of {width} x {height} pixels exceed the limit of "
            f"{limits.max_width} x {limits.max_height}; scale the video down or raise the limit"
        )
    if width < 1 or height < 1:
        raise UnreadableVideo(f"{path}: its frames have no size; the file is damaged: get it again")
    rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=rates[0] if rates else _DEFAULT_FPS,
        num_frames=stream.frames or None,
        duration_seconds=_promised_seconds(container, stream) or _container_seconds(container),
        codec=codec,
        rotation_degrees=0,
    )


def _promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says this stream is. The container's length counts if it has no other stream."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    clock = stream.metadata.get("DURATION", "").split(":")  # Matroska: 00:00:09.600000000
    try:
        hours, minutes, seconds = clock
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return _container_seconds(container) if len(container.streams) == 1 else None


def _container_seconds(container: InputContainer) -> float | None:
    return container.duration / av.time_base if container.duration else None


def _packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    return (packet for packet in container.demux(stream) if packet.size)


def _orientation(stream: VideoStream, first: "Packet[VideoStream]") -> tuple[int, bool]:
    """Counterclockwise quarter turns in degrees, and whether a left-right flip comes before them.

    FFmpeg hands out the display matrix with decoded frames, so the first one is decoded.
    """
    stream.codec_context.thread_count = 1  # starting threads would cost more than they save
    matrix = _display_matrix(stream, first)
    # A frame of PyAV's whose side data was asked for is part of a cycle. So few objects come with a video that Python
    # would let the frames of a hundred pile up before it looks for those; among the youngest it is quick to look.
    gc.collect(1)
    if matrix is None:
        return 0, False
    # Shown x = a x + c y, shown y = b x + d y, in 16.16 fixed point (ISO/IEC 14496-12, 8.3.2).
    a, b, _, c, d = matrix[:5]
    mirrored = bool(a * d - b * c < 0)
    if mirrored:
        a, b = -a, -b
    return floor(degrees(-atan2(b, a)) / 90 + 0.5) * 90 % 360, mirrored


def _display_matrix(stream: VideoStream, first: "Packet[VideoStream]") -> NDArray[np.float64] | None:
    """The nine numbers of the first frame's, if it can be decoded and has one."""
    try:
        # Asked at once for what it holds back, a decoder need not be fed the frames that reordering waits for.
        frames = stream.decode(first) or stream.decode(None)
    except FFmpegError:
        return None
    fixed_point: Any = frames[0].side_data.get("DISPLAYMATRIX") if frames else None
    return None if fixed_point is None else np.frombuffer(fixed_point, dtype="=i4").astype(np.float64)


def _rotated(info: VideoInfo, rotation_degrees: int, mirrored: bool) -> VideoInfo:
    turned = rotation_degrees % 180 == 90
    return VideoInfo(
        path=info.path,
        width=info.height if turned else info.width,
        height=info.width if turned else info.height,
        fps=info.fps,
        num_frames=info.num_frames,
        duration_seconds=info.duration_seconds,
        codec=info.codec,
        rotation_degrees=rotation_degrees,
        mirrored=mirrored,
    )


def _scan(path: Path, limits: VideoLimits) -> tuple[VideoInfo, _Index]:
    """Probe, and go once over all packets: which frames there are, when they are shown, where one can start.

    Raises:
        UnreadableVideo, VideoTooLarge: as :func:`probe`, or the stream has no packet.
    """
    with open_container(path) as container:
        stream = _video_stream(path, container)
        info = _unrotated_info(path, container, stream, limits)
        length_size = _nal_length_size(info.codec, stream.codec_context.extradata)
        pts: list[int | None] = []
        keys: list[int] = []
        num_hidden = num_damaged = 0
        clean_keys = True
        end = 0
        error: str | None = None
        try:
            for packet in _packets(container, stream):
                if not pts and not num_hidden:
                    info = _rotated(info, *_orientation(stream, packet))
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
            promised = _promised_seconds(container, stream)
            damage = _too_short(info, float((end - int(shown[0])) * time_base), promised)

        suits_decord = (
            bool(formats & _DECORD_READS)
            and not (num_hidden or num_damaged or error or info.mirrored)
            and stream.codec_context.pix_fmt != FULL_CHROMA
            and container.streams.best("video") is stream  # decord opens no other
        )
        return info, _Index(
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
    if (
        claim is not None
        and not num_hidden
        and claim - num_frames > max(_TOLERATED_FRAMES, _TOLERATED_FRACTION * claim)
    ):
        return f"cut short: its header promises {claim} frames, and {num_frames} are in the file"
    if error is not None:
        return f"damaged after {num_frames} frames ({error})"
    return f"damaged: {num_damaged} of its packets are incomplete" if num_damaged else None


def _too_short(info: VideoInfo, seconds: float, promised: float | None) -> str | None:
    """For headers that promise a length but no number of frames."""
    if promised is None or info.num_frames is not None:
        return None
    tolerated = max(_TOLERATED_SECONDS, _TOLERATED_FRACTION * promised, _TOLERATED_FRAMES / info.fps)
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
