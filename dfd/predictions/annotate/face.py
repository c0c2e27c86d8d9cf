"""Times of frames, and the boxes and scores of one face at each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray, TrackScore, Verdict, VideoScore
from dfd.video.decode import VideoReader

IntArray = NDArray[np.int64]


FaceBoxes = tuple[IntArray, FloatArray]
"""Ascending frame indices ``(F,)`` and the boxes of one face there ``(F, 4)``, in pixels of the rotated source."""


@dataclass(frozen=True, slots=True)
class Look:
    """Rules by which scores are shown: verdicts, and how long a face between two boxes counts as seen."""

    judge: Callable[[float], Verdict]
    threshold: float
    max_gap_seconds: float


class _Clock:
    """Times in the video that is written: 0 is when the first frame that can be decoded is shown."""

    def __init__(self, reader: VideoReader) -> None:
        self._reader = reader
        first = min(reader.first_frame, reader.num_frames - 1)
        self._first = reader.timestamps([first])[0]
        self._on_file_clock = reader.clock_seconds([first])[0]
        self.zero = reader.start_seconds + Fraction(self._first).limit_denominator(1_000_000)
        """The same moment on the clock that the sound shares, in seconds."""

    def seconds(self, indices: Sequence[int]) -> list[float]:
        """When these frames are shown."""
        return [seconds - self._first for seconds in self._reader.timestamps(indices)]

    def shifted(self, score: VideoScore) -> VideoScore:
        """The score with the times of its windows on this clock."""
        zero = self._on_file_clock

        def moved(track: TrackScore) -> TrackScore:
            windows = (
                replace(window, start_seconds=window.start_seconds - zero, end_seconds=window.end_seconds - zero)
                for window in track.windows
            )
            return replace(track, windows=tuple(windows))

        return replace(score, tracks=tuple(map(moved, score.tracks))) if zero else score


class _Face:
    """One track: where it is and how it was scored."""

    def __init__(
        self, track: int, boxes: FaceBoxes | None, score: TrackScore | None, reader: VideoReader, clock: _Clock
    ) -> None:
        self.track = track
        self.windows = score.windows if score is not None else ()
        indices, self._boxes = boxes if boxes is not None else (np.empty(0, np.int64), np.empty((0, 4), np.float32))
        if indices.ndim != 1 or self._boxes.shape != (len(indices), 4) or (np.diff(indices) <= 0).any():
            raise ValueError(
                f"boxes of track {track}: there must be one for each of the frames, in order; "
                f"got {indices.shape} frames and {self._boxes.shape} boxes"
            )
        if len(indices) and indices[0] < 0:
            raise ValueError(f"boxes of track {track}: frame {indices[0]} is below 0")
        self._indices = indices[indices < reader.num_frames]
        self._times = np.array(clock.seconds(self._indices.tolist()))

    def box(self, index: int, max_gap_seconds: float) -> FloatArray | None:
        """The box on a frame; None where the face was not seen, or not looked for too long."""
        after = int(np.searchsorted(self._indices, index))
        if after == len(self._indices):
            return None
        if self._indices[after] == index:
            return np.asarray(self._boxes[after], np.float32)
        if after == 0 or self._times[after] - self._times[after - 1] > max_gap_seconds + 1e-6:
            return None
        first, last = self._indices[after - 1 : after + 1]
        share = (index - first) / (last - first)
        return np.asarray(self._boxes[after - 1] * (1 - share) + self._boxes[after] * share, np.float32)

    def score_at(self, seconds: float) -> tuple[float, bool] | None:
        """Score of the window that covers this time, or else of the nearest; and whether it covers it."""
        if not self.windows:
            return None
        distances = [max(window.start_seconds - seconds, seconds - window.end_seconds, 0.0) for window in self.windows]
        nearest = int(np.argmin(distances))
        window = self.windows[nearest]
        return window.prob_fake, window.start_seconds - 1e-6 <= seconds < window.end_seconds

    def is_present(self, seconds: float, max_gap_seconds: float) -> bool:
        """True between boxes that are near in time, and within windows."""
        if any(window.start_seconds <= seconds < window.end_seconds for window in self.windows):
            return True
        after = int(np.searchsorted(self._times, seconds))
        return 0 < after < len(self._times) and self._times[after] - self._times[after - 1] <= max_gap_seconds + 1e-6
