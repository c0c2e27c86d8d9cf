"""Reads the frames of a video (:class:`VideoReader`) with PyAV, that is FFmpeg's decoders, which report damage.

A frame's index is its place in presentation order among all frames of the container, including those that cannot be
decoded. docs/videos.md describes what is read and how pictures are brought to one form.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from av.video.frame import VideoFrame

from dfd.base.errors import UnreadableVideo
from dfd.base.types import FrameArray
from dfd.video.file.container import DEFAULT_LIMITS, VideoInfo, VideoLimits
from dfd.video.file.packet_index import TOLERATED_FRACTION, TOLERATED_FRAMES, scan
from dfd.video.frame_decoder import FrameDecoder
from dfd.video.pictures.picture import Converter, Shape

# Default length of a chunk. It is small because a caller that keeps one frame keeps the whole array.
_CHUNK_BYTES, _CHUNK_FRAMES = 8 * 2**20, 16


class VideoReader:
    """Context manager that reads the frames of one video as RGB, the way they are meant to be seen.

    Frames are rotated, deinterlaced, in square pixels and BT.709. They are scaled down until the longest side is at
    most ``max_side`` pixels; the aspect ratio is kept, and frames are never enlarged. If the size changes within the
    video, each part has its own shape. Memory does not grow with the length of the video, except for some bytes per
    frame.

    Attributes:
        info: claims of the header; ``fps`` repeats its frame rate.
        width: width in pixels of the decoded frames of the first part; ``height`` likewise.
        source_scale: factor from coordinates in decoded frames of the first part to source pixels.
        first_frame: index of the first frame that can be decoded; above 0 if the file does not start with a key frame.

    Args:
        path: the video.
        max_side: longest side of the decoded frames in pixels; None keeps the size of the source.
        limits: largest frame that is decoded, see :func:`dfd.video.file.probe.probe`; checked for every frame.
        stream: number of the video stream in the file, from 0; None selects the one that players show.

    Raises:
        UnreadableVideo: when :func:`dfd.video.file.probe.probe` raises it, or the file holds no frame.
        VideoTooLarge: when the frames exceed ``limits``.
        ValueError: when ``max_side`` is not positive.
    """

    info: VideoInfo
    fps: float
    width: int
    height: int
    source_scale: float
    first_frame: int

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_side: int | None = None,
        limits: VideoLimits = DEFAULT_LIMITS,
        stream: int | None = None,
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ValueError(f"max_side must be 1 pixel or more, got {max_side}")
        self.path = Path(path)
        self._limits = limits
        self._max_side = max_side
        self.info, self._index = scan(self.path, limits, stream_number=stream)
        self.fps = self.info.fps
        shape = Shape.of(self.info.width, self.info.height, max_side)
        self.width, self.height, self.source_scale = shape.width, shape.height, shape.scale
        self.first_frame = self._index.first
        self._num_frames = self._index.num_frames
        self._end: str | None = None
        self._decoder: FrameDecoder | None = None
        self._converter: Converter | None = None
        # First index and shape of each part with its own shape, as far as the video was read.
        self._shapes: list[tuple[int, Shape]] = [(0, shape)]
        self._coded: tuple[int, int, Fraction] | None = None
        self._any_decoded = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder. Frames already returned stay valid; reading more is an error."""
        self._closed = True
        if self._decoder is not None:
            self._decoder.close()
        if self._converter is not None:
            self._converter.close()

    @property
    def chunk_len(self) -> int:
        """Default number of frames in a chunk: 16, or as many as fit into 8 MiB, but at least one."""
        return min(_CHUNK_FRAMES, max(1, _CHUNK_BYTES // (self.height * self.width * 3)))

    @property
    def num_frames(self) -> int:
        """Number of frames counted in the container; lowered if the last frames cannot be decoded."""
        return self._num_frames

    @property
    def partial(self) -> str | None:
        """Damage found so far, in words; None while everything could be read as it was written."""
        told = [self._index.damage] if self._index.damage is not None else []
        if self.first_frame > TOLERATED_FRAMES:
            told.append(
                f"the first {self.first_frame} frames, up to {self._clock(self.first_frame):.2f} s, cannot be decoded: "
                "the file begins between two key frames"
            )
        if self._end is not None:
            told.append(self._end)
        if self._decoder is not None:
            told += self._decoder.damage.sentences(self._clock, self.first_frame)
        return "; ".join(told) or None

    @property
    def sizes(self) -> list[tuple[int, int, int]]:
        """Parts of different size met so far: index of the first frame, width and height as shown."""
        return [(index, shape.shown_width, shape.shown_height) for index, shape in self._shapes]

    def scale_at(self, index: int) -> float:
        """Factor from decoded to source pixels for a frame that was read; see ``source_scale``."""
        return self._shape_at(index).scale

    def size_at(self, index: int) -> tuple[int, int]:
        """Width and height in pixels, as decoded, of a frame that was read."""
        shape = self._shape_at(index)
        return shape.width, shape.height

    def _shape_at(self, index: int) -> Shape:
        return self._shapes[max(0, bisect_right(self._shapes, index, key=lambda item: item[0]) - 1)][1]

    def frames(self, indices: Sequence[int]) -> FrameArray:
        """Frames at ``indices``, in that order, ``(N, H, W, 3)``; an index may occur more than once.

        Raises:
            IndexError: when an index is negative or not below ``num_frames``.
            UnreadableVideo: when a frame cannot be decoded, or the frames differ in size.
        """
        self._check_indices(indices)
        if not len(indices):
            return np.empty((0, self.height, self.width, 3), np.uint8)
        unique, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        runs = list(self._runs([int(index) for index in unique]))
        num_read = sum(len(frames) for _, frames in runs)
        if num_read < len(unique):
            found = {int(index) for first, frames in runs for index in first[: len(frames)]}
            lost = next(int(index) for index in unique if int(index) not in found)
            others = f"; the {lost} frames before it can" if lost == self._num_frames else ""
            raise UnreadableVideo(f"{self.path}: frame {lost} cannot be decoded ({self._reason()}){others}")
        if len({frames.shape[1:] for _, frames in runs}) > 1:
            raise UnreadableVideo(f"{self.path}: the frames asked for differ in size; ask for frames of one size")
        frames = runs[0][1] if len(runs) == 1 else np.concatenate([frames for _, frames in runs])
        return frames if np.array_equal(places, np.arange(len(unique))) else frames[places]

    def chunks(
        self, ranges: Sequence[range] | None = None, *, chunk_len: int | None = None
    ) -> Iterator[tuple[int, FrameArray]]:
        """Iterate over the video, or ``ranges`` of it, as (index of the first frame, frames ``(N, H, W, 3)``).

        A chunk has ``chunk_len`` consecutive frames (None: the property ``chunk_len``); the last of a range may have
        fewer. It never spans two ranges, two sizes, or frames that cannot be decoded: these are left out and reported
        by ``partial``. A range that goes past the end of the video stops there.

        Raises:
            ValueError: when ``chunk_len`` is not positive, or a range has a step or a negative start.
            UnreadableVideo: when no frame at all can be decoded.
            VideoTooLarge: when a part of the video exceeds the limits.
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
                for indices, frames in self._runs(wanted):
                    yield indices[0], frames
                if self._num_frames <= wanted[-1]:
                    # A late range may fail in a file with a sound start; it is unreadable only if that fails too.
                    if not self._any_decoded:
                        list(self._runs([self.first_frame]))
                    return
        if not self._any_decoded and self._num_frames:
            self._refuse_if_nothing()

    @property
    def start_seconds(self) -> Fraction:
        """Time of the first frame on the file's own clock, shared with its sound; 0 without time stamps."""
        return int(self._index.pts[0]) * self._index.time_base if len(self._index.pts) else Fraction(0)

    def timestamps(self, indices: Sequence[int]) -> list[float]:
        """Time of each frame in seconds after the first one; correct for variable frame rates.

        Without time stamps in the container the time is index / fps.

        Raises:
            IndexError: when an index is negative or not below ``num_frames``.
        """
        self._check_indices(indices)
        return [self._seconds(index) for index in indices]

    def clock_seconds(self, indices: Sequence[int]) -> list[float]:
        """Time of each frame in seconds on the file's own clock, which players use for pictures and sound.

        A clock that started long before the file, as in a recorded broadcast, is counted from the file's start.

        Raises:
            IndexError: when an index is negative or not below ``num_frames``.
        """
        self._check_indices(indices)
        return [self._clock(index) for index in indices]

    def _clock(self, index: int) -> float:
        return float(self.start_seconds) - self._index.clock_zero + self._seconds(index)

    def _seconds(self, index: int) -> float:
        pts = self._index.pts
        return float((int(pts[index]) - int(pts[0])) * self._index.time_base) if len(pts) else index / self.fps

    def _check_indices(self, indices: Sequence[int]) -> None:
        for index in indices:
            if not 0 <= index < self._num_frames:
                raise IndexError(f"{self.path}: frame {index} is not in 0..{self._num_frames - 1}")

    def _runs(self, indices: Sequence[int]) -> Iterator[tuple[list[int], FrameArray]]:
        """Decode frames at ascending ``indices``: arrays of consecutive entries and one shape; some may be missing."""
        if self._closed:
            raise ValueError(f"{self.path}: the reader is closed")
        if self._decoder is None or self._converter is None:
            self._decoder = FrameDecoder(self.info, self._index, self._limits)
            context = self._decoder.context
            self._converter = Converter(
                self.info, self._max_side, transfer=context.color_trc, primaries=context.color_primaries
            )
        run: FrameArray | None = None
        first = length = 0
        for place, index in enumerate(indices):
            frame = self._decoder.get(index)
            if frame is None:
                if run is not None:
                    yield list(indices[first : first + length]), run[:length]
                    run = None
                if self._decoder.has_ended:
                    self._end_at(index)
                    return
                continue
            self._any_decoded = True
            shape = self._shape_of(index, frame)
            if run is not None and run.shape[1:3] != (shape.height, shape.width):
                yield list(indices[first : first + length]), run[:length]
                run = None
            if run is None:
                run, first, length = np.empty((len(indices) - place, shape.height, shape.width, 3), np.uint8), place, 0
            self._converter.write(frame, run[length])
            length += 1
        if run is not None:
            yield list(indices[first : first + length]), run[:length]

    def _shape_of(self, index: int, frame: VideoFrame) -> Shape:
        """Shape of a frame; noted if it differs from that of the previous frame."""
        assert self._converter is not None
        assert self._decoder is not None
        stored = frame.width, frame.height
        coded = (*stored, self._decoder.pixel_aspect)
        if self._coded is None:
            self._coded = coded
        # The container states the pixel aspect of the first part only; other parts have their own header.
        aspect = self.info.pixel_aspect if coded == self._coded else coded[2]
        shape = self._converter.shape(*stored, aspect)
        place = bisect_right(self._shapes, index, key=lambda item: item[0])
        if shape != self._shapes[place - 1][1]:
            self._limits.check(self.path, shape.shown_width, shape.shown_height)
            self._shapes.insert(place, (index, shape))
        return shape

    def _end_at(self, index: int) -> None:
        """Note that the frame at ``index`` and all later ones cannot be read."""
        assert self._decoder is not None
        error = self._decoder.error
        missing = self._index.num_frames - index
        tolerated = max(TOLERATED_FRAMES, TOLERATED_FRACTION * self._index.num_frames)
        if self._end is None and self._index.damage is None and (error is not None or missing > tolerated):
            reason = error or "the decoder returns no more frames"
            self._end = f"cannot be read past frame {index} of {self._index.num_frames} ({reason})"
        self._num_frames = min(self._num_frames, index)
        if index == 0:
            self._refuse_if_nothing()

    def _refuse_if_nothing(self) -> None:
        if not self._any_decoded:
            raise UnreadableVideo(
                f"{self.path}: no frame can be decoded ({self._reason()}); the file is damaged: get it again"
            )

    def _reason(self) -> str:
        error = self._decoder.error if self._decoder is not None else None
        return error or self.partial or "the decoder returns no frame"
