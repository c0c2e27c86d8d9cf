"""Tracks faces: turns boxes on some frames into smooth boxes on every frame, one track per face.

This module does not look at pixels. The tracker receives the detections of *key frames* in order, and returns what lies
between them once it is final: the position of a face on a key frame when the next key frame is known (smoothing uses
both sides, so that it does not lag), together with the frames before it.

A track begins at its first detection and ends at its last; frames outside are never guessed. A face that appears
between two key frames loses the few frames in between, and no crop is without a face.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FaceBox, FloatArray
from dfd.faces.tracks.matching import best_pairs, likeness_of, within, without_duplicates

Vector = NDArray[np.float64]

MAX_MISSED, SMOOTHING = 1, 0.5
"""Options of :class:`Tracker`, unless told otherwise."""
# Jitter of detectors, as a fraction of the face's size; a larger deviation from steady motion counts as motion.
NOISE = 0.03


@dataclass(frozen=True, slots=True)
class TrackSpan:
    """F consecutive frames of one track: boxes ``(F, 4)``, landmarks ``(F, 5, 2)`` and scores ``(F,)``."""

    track: int
    start_frame: int
    boxes_xyxy: FloatArray
    landmarks: FloatArray
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """Summary of a track, with ``last_frame`` included.

    ``num_detections`` frames of the track had a detection; ``num_key_frames``, the key frames of its shot up to its
    end, is the maximum. ``mean_score`` is over the detections; ``total_area`` is the sum of the box's area over the
    frames, in square pixels. ``shot`` is the number of the shot, from 0.
    """

    track: int
    first_frame: int
    last_frame: int
    num_frames: int
    num_detections: int
    num_key_frames: int
    mean_score: float
    total_area: float
    shot: int = 0


def main_track(tracks: Iterable[TrackSummary]) -> int | None:
    """Track with the largest total area, that is a large or a long-lasting face; the earlier one if two are equal."""
    best = max(tracks, key=lambda track: (track.total_area, -track.track), default=None)
    return None if best is None else best.track


def confirmed(tracks: Iterable[TrackSummary], *, min_detections: int = 2) -> list[TrackSummary]:
    """Drop faces that were detected only once, which are mostly false detections.

    A track is kept if it has ``min_detections``, or a detection on every key frame if the shot has fewer.
    """
    return [track for track in tracks if track.num_detections >= min(min_detections, track.num_key_frames)]


@dataclass(slots=True)
class _Sighting:
    """A face on a key frame; ``state`` ``(15,)`` holds the box, the five points and the score."""

    frame: int
    state: Vector


class _Track:
    def __init__(self, number: int, sighting: _Sighting, shot: int) -> None:
        self.number, self.shot = number, shot
        self.settled: _Sighting | None = None  # smoothed; frames up to it have been returned
        self.settled_as_seen: _Sighting | None = None  # the same before smoothing
        self.newest: _Sighting | None = sighting
        self.last = sighting
        self.velocity = np.zeros(4)  # of the box's corners, in pixels per frame
        self.missed = 0
        self.first_frame = sighting.frame
        self.num_frames = self.num_detections = 0
        self.total_score = self.total_area = 0.0
        self._count(sighting)

    def see(self, sighting: _Sighting) -> None:
        if self.settled is not None or self.newest is not None:  # no velocity across a gap in the frames
            elapsed = sighting.frame - self.last.frame
            self.velocity = (sighting.state[:4] - self.last.state[:4]) / elapsed
        self.newest = self.last = sighting
        self.missed = 0
        self._count(sighting)

    def _count(self, sighting: _Sighting) -> None:
        self.num_detections += 1
        self.total_score += float(sighting.state[-1])

    def settle(self, following: _Sighting | None, smoothing: float) -> TrackSpan:
        """Fix the newest sighting, smoothed if both neighbours are known; return the frames since the previous one."""
        assert self.newest is not None
        seen, before = self.newest, self.settled_as_seen
        state = seen.state.copy()
        if before is not None and following is not None:
            # Towards the straight line between the neighbours: reduces jitter, and leaves motion as it is.
            share = (seen.frame - before.frame) / (following.frame - before.frame)
            line = before.state + share * (following.state - before.state)
            off = (line - state)[:-1]
            noise = NOISE * float(np.max(state[2:4] - state[:2]))
            state[:-1] += smoothing * off / (1 + (off / noise) ** 2)
        settled = _Sighting(seen.frame, state)
        if self.settled is None:
            states = state[None]
        else:
            steps = np.arange(1, seen.frame - self.settled.frame + 1) / (seen.frame - self.settled.frame)
            states = self.settled.state + steps[:, None] * (state - self.settled.state)
        self.settled, self.settled_as_seen, self.newest = settled, seen, None
        self.num_frames += len(states)
        self.total_area += float(((states[:, 2] - states[:, 0]) * (states[:, 3] - states[:, 1])).sum())
        values = states.astype(np.float32)
        return TrackSpan(
            track=self.number,
            start_frame=seen.frame - len(states) + 1,
            boxes_xyxy=values[:, :4],
            landmarks=values[:, 4:14].reshape(-1, 5, 2),
            scores=values[:, 14],
        )

    @property
    def needed_from(self) -> int | None:
        if self.settled is not None:
            return self.settled.frame + 1
        return self.newest.frame if self.newest is not None else None

    def leave_segment(self) -> None:
        self.settled = self.settled_as_seen = None
        self.velocity = np.zeros(4)

    def summary(self, num_key_frames: int) -> TrackSummary:
        return TrackSummary(
            track=self.number,
            first_frame=self.first_frame,
            last_frame=self.last.frame,
            num_frames=self.num_frames,
            num_detections=self.num_detections,
            num_key_frames=num_key_frames,
            mean_score=self.total_score / self.num_detections,
            total_area=self.total_area,
            shot=self.shot,
        )


class Tracker:
    """Assigns detections on key frames to tracks, and interpolates the frames between.

    All detections are matched to tracks at once, by overlap with the last box of the track and with the box that its
    motion predicts, or by distance if nothing overlaps. A track that misses ``max_missed`` key frames in a row stays
    alive and is interpolated when seen again; after one more it ends.

    Args:
        max_missed: see above.
        smoothing: 0..1, how far a detection is moved towards the line between its neighbours if it is off by no more
            than a detector's jitter. 0.5 gives the weights 1/4, 1/2, 1/4 on evenly spaced key frames. Larger
            deviations are motion and stay: on dancing and nodding heads, plain smoothing doubled the distance to the
            boxes found on each frame.
    """

    def __init__(self, *, max_missed: int = MAX_MISSED, smoothing: float = SMOOTHING) -> None:
        self._max_missed, self._smoothing = max_missed, smoothing
        self._live: list[_Track] = []
        self._ended: list[TrackSummary] = []
        self._num_tracks = 0
        self._shot = 0
        self._num_key_frames = 0  # in this shot
        self._last_key_frame: int | None = None

    def update(self, frame: int, faces: Sequence[FaceBox], *, size: tuple[int, int] | None = None) -> list[TrackSpan]:
        """Process the faces of the next key frame; returns the frames now final, at most one span per track.

        With ``size``, the frame's width and height, boxes are compared within the frame only: of a face larger than the
        frame, a detector finds more or less each time.

        Raises:
            ValueError: when ``frame`` is not after the previous key frame.
        """
        if self._last_key_frame is not None and frame <= self._last_key_frame:
            raise ValueError(f"key frames must come in order, got {frame} after {self._last_key_frame}")
        self._last_key_frame = frame
        self._num_key_frames += 1
        sightings = [_Sighting(frame, _state(face)) for face in without_duplicates(faces)]
        matched = self._match(frame, sightings, size)

        spans: list[TrackSpan] = []
        staying: list[_Track] = []
        for track in self._live:
            sighting = matched.get(track.number)
            if track.newest is not None:
                spans.append(track.settle(sighting, self._smoothing))
            if sighting is not None:
                track.see(sighting)
            else:
                track.missed += 1
            if track.missed > self._max_missed:
                self._ended.append(track.summary(self._num_key_frames))
            else:
                staying.append(track)
        taken = {id(sighting) for sighting in matched.values()}
        for sighting in sightings:
            if id(sighting) not in taken:
                staying.append(_Track(self._num_tracks, sighting, self._shot))
                self._num_tracks += 1
        self._live = staying
        return spans

    def end_segment(self) -> list[TrackSpan]:
        """Stop interpolation at a gap in the frames; tracks may continue after it."""
        spans = [track.settle(None, self._smoothing) for track in self._live if track.newest is not None]
        for track in self._live:
            track.leave_segment()
        return spans

    def end_shot(self) -> list[TrackSpan]:
        """End all tracks, at a cut or at the end of the video."""
        spans = self.end_segment()
        self._ended += [track.summary(self._num_key_frames) for track in self._live]
        self._live = []
        self._num_key_frames = 0
        self._shot += 1
        return spans

    @property
    def oldest_needed_frame(self) -> int | None:
        """Earliest frame that a later span can contain; None if only frames not yet seen can be."""
        return min((first for track in self._live if (first := track.needed_from) is not None), default=None)

    @property
    def tracks(self) -> list[TrackSummary]:
        """Tracks that have ended, in the order in which they began."""
        return sorted(self._ended, key=lambda track: track.track)

    @property
    def live_tracks(self) -> list[TrackSummary]:
        """Tracks that may continue, up to the current frame."""
        return [track.summary(self._num_key_frames) for track in self._live]

    def _match(self, frame: int, sightings: list[_Sighting], size: tuple[int, int] | None) -> dict[int, _Sighting]:
        """Sightings that continue a track, by its number."""
        if not self._live or not sightings:
            return {}
        seen = np.stack([sighting.state[:4] for sighting in sightings])
        last = np.stack([track.last.state[:4] for track in self._live])
        moved = np.stack([t.last.state[:4] + t.velocity * (frame - t.last.frame) for t in self._live])
        if size is not None:
            seen, last, moved = (within(boxes, *size) for boxes in (seen, last, moved))
        # A face may continue its motion or stop; both are tried.
        likeness = np.maximum(likeness_of(last, seen), likeness_of(moved, seen))
        return {self._live[i].number: sightings[j] for i, j in best_pairs(likeness)}


def _state(face: FaceBox) -> Vector:
    return np.array([face.x1, face.y1, face.x2, face.y2, *np.ravel(face.landmarks), face.score], np.float64)
