"""Times of frames, and the boxes and scores of one face at each of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray, TrackScore, Verdict, VideoScore, WindowScore
from dfd.models.files.scope import words_of_part
from dfd.scoring.aggregation import verdict
from dfd.video.decode import VideoReader
from dfd.video.still import StillReader

IntArray = NDArray[np.int64]

_SAME_MOMENT = 1e-4
"""Seconds by which two times of one frame may differ; no frame is shown for so short."""


FaceBoxes = tuple[IntArray, FloatArray]
"""Ascending frame indices ``(F,)`` and the boxes of one face there ``(F, 4)``, in pixels of the rotated source."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules by which scores are told.

    Args:
        threshold: probability from which a face is called fake; None: scores come without a verdict.
        uncertain_margin: as for :func:`dfd.scoring.aggregation.verdict`.
        by_detector: thresholds of several detectors by their names, where each has one of its own.
        titles: names for people of several detectors by their names; missing: the name without the hash.
        tells_real: whether a low score is more than ``uncertain``; see :class:`dfd.models.files.scope.Scope`.
        caveat: what must be said beside the scores; empty: nothing.
        max_gap_seconds: between two frames with boxes of one face that are no further apart, the box moves evenly.
    """

    threshold: float | None
    uncertain_margin: float = 0.0
    by_detector: tuple[tuple[str, float | None], ...] = ()
    titles: tuple[tuple[str, str], ...] = ()
    tells_real: bool = True
    caveat: str = ""
    max_gap_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Voice:
    """What one detector found: its name, empty for a single one, and the scores of each track by its number."""

    name: str
    threshold: float | None
    uncertain_margin: float
    prob_fake: float | None
    tracks: dict[int, TrackScore]
    tells_real: bool = True
    message: str = ""
    """Message of the score, which names the kinds of fakes that signs stand for."""

    def judge(self, prob: float) -> Verdict | None:
        """Verdict on a score; None if the detector gives none."""
        call = self._call(prob)
        return Verdict.UNCERTAIN if call is Verdict.REAL and not self.tells_real else call

    def words(self, prob: float) -> str:
        """Words of the verdict on a face, within the detector's scope."""
        told, call = self.judge(prob), self._call(prob)
        return Verdict.UNCERTAIN.words if told is None or call is None else words_of_part(told, call, self.message)

    def _call(self, prob: float) -> Verdict | None:
        """Side of the threshold on which a score lies, whatever the scope."""
        if self.threshold is None:
            return None
        return verdict(prob, threshold=self.threshold, margin=self.uncertain_margin)


def voices_of(score: VideoScore, rules: Rules) -> Iterator[Voice]:
    """The detectors that scored a video: several, or the one that is not named."""
    thresholds = dict(rules.by_detector)
    titles = {one.model: short_name(one.model) for one in score.detectors} | dict(rules.titles)
    are_apart = len({titles[one.model] for one in score.detectors}) == len(score.detectors)
    for one in score.detectors:
        threshold = thresholds.get(one.model, rules.threshold) if one.verdict is not None else None
        tracks = {track.track: track for track in one.tracks}
        name = titles[one.model] if are_apart else one.model
        yield Voice(name, threshold, rules.uncertain_margin, one.prob_fake, tracks, rules.tells_real, one.message)
    if not score.detectors:
        tracks = {track.track: track for track in score.tracks}
        margin, tells_real = rules.uncertain_margin, rules.tells_real
        yield Voice("", rules.threshold, margin, score.prob_fake, tracks, tells_real, score.message)


def short_name(model: str) -> str:
    """Name of a detector without the hash of its weights.

    >>> short_name("starter@0123456789ab")
    'starter'
    """
    return model.rpartition("@")[0] or model


class Clock:
    """Times in the video that is written: 0 is when the first frame that can be decoded is shown."""

    def __init__(self, reader: VideoReader | StillReader) -> None:
        self._reader = reader
        self._first = self._on_file_clock = 0.0
        self.zero = Fraction(0)
        """The same moment on the clock that the sound shares, in seconds."""
        if isinstance(reader, VideoReader):
            first = min(reader.first_frame, reader.num_frames - 1)
            self._first = reader.timestamps([first])[0]
            self._on_file_clock = reader.clock_seconds([first])[0]
            self.zero = reader.start_seconds + Fraction(self._first).limit_denominator(1_000_000)

    def seconds(self, indices: Sequence[int]) -> list[float]:
        """When these frames are shown."""
        if isinstance(self._reader, StillReader):
            return self._reader.clock_seconds(indices)
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

        if not zero:
            return score
        detectors = (replace(one, tracks=tuple(map(moved, one.tracks))) for one in score.detectors)
        return replace(score, tracks=tuple(map(moved, score.tracks)), detectors=tuple(detectors))


class Face:
    """One appearance: where it is, and the windows that each voice scored."""

    def __init__(
        self,
        track: int,
        boxes: FaceBoxes | None,
        scores: Sequence[TrackScore | None],
        reader: VideoReader | StillReader,
        clock: Clock,
    ) -> None:
        self.track = track
        self.windows = [score.windows if score is not None else () for score in scores]
        self.is_weak = any(score is not None and score.weak for score in scores)
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

    @property
    def is_scored(self) -> bool:
        """Whether any voice scored it."""
        return any(self.windows)

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

    def score_at(self, seconds: float, voice: int = 0) -> tuple[float, bool] | None:
        """Score of the window that covers this time, or else of the nearest; and whether it covers it.

        Of several that cover it, the one that begins last: where windows follow each other, it is this frame's own.
        """
        windows = self.windows[voice]
        if not windows:
            return None
        covering = [window for window in windows if _covers(window, seconds)]
        if covering:
            return max(covering, key=lambda window: window.start_seconds).prob_fake, True
        nearest = min(windows, key=lambda window: max(window.start_seconds - seconds, seconds - window.end_seconds))
        return nearest.prob_fake, False

    def is_present(self, seconds: float, max_gap_seconds: float) -> bool:
        """True between boxes that are near in time, and within windows."""
        if any(_covers(window, seconds) for windows in self.windows for window in windows):
            return True
        after = int(np.searchsorted(self._times, seconds))
        return 0 < after < len(self._times) and self._times[after] - self._times[after - 1] <= max_gap_seconds + 1e-6


def _covers(window: WindowScore, seconds: float) -> bool:
    return window.start_seconds - _SAME_MOMENT <= seconds < window.end_seconds - _SAME_MOMENT
