"""From boxes on some frames to smooth boxes on every frame, one track for each face.

Nothing here looks at pixels. The tracker is given the detections of *key frames*, in order, and hands out what lies
between them as soon as it is settled: the place of a face on a key frame once the next key frame has been seen
(smoothing looks at both sides, so that it does not lag), and the frames before it at the same time.

A track begins at its first detection and ends at its last. Frames before the first or after the last are never guessed:
a face that comes into view between two key frames loses the few frames in between, and no crop is without a face.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd.types import FaceBox, FloatArray

Vector = NDArray[np.float64]

# Two detections of one frame are the same face if they share this much of their union, or of the smaller of the two.
DUPLICATE_IOU = 0.5
DUPLICATE_OVERLAP = 0.75
# A detection may be the face of a track if it overlaps by this much ...
MIN_IOU = 0.25
# ... or if its centre is nearer than this many face sizes and its size within a factor of two: a fast motion.
REACH = 1.0
MAX_SIZE_RATIO = 2.0
# A detector's own jitter, as a fraction of the face's size; what is off steady motion by more is taken for motion.
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
    """What a track came to. ``last_frame`` is its last, included.

    ``num_detections`` of its frames had a detection; ``num_key_frames`` is the number of key frames in its shot up to
    its end, the most that could have. ``mean_score`` is over the detections, ``total_area`` the box's area summed over
    the frames, in square pixels.
    """

    track: int
    first_frame: int
    last_frame: int
    num_frames: int
    num_detections: int
    num_key_frames: int
    mean_score: float
    total_area: float


def main_track(tracks: Iterable[TrackSummary]) -> int | None:
    """The track with the largest total area: large, or there for long, or both. The earlier one if two are equal."""
    best = max(tracks, key=lambda track: (track.total_area, -track.track), default=None)
    return None if best is None else best.track


def confirmed(tracks: Iterable[TrackSummary], *, min_detections: int = 2) -> list[TrackSummary]:
    """Without the faces that a detector saw once and not again, which are mostly no faces.

    A track stays if it has ``min_detections``, or a detection on every key frame where the shot has fewer.
    """
    return [track for track in tracks if track.num_detections >= min(min_detections, track.num_key_frames)]


@dataclass(slots=True)
class _Sighting:
    """A face on a key frame: ``state`` is the box, the five points and the score, ``(15,)``."""

    frame: int
    state: Vector


class _Track:
    def __init__(self, number: int, sighting: _Sighting) -> None:
        self.number = number
        self.settled: _Sighting | None = None  # smoothed; the frames up to it are handed out
        self.settled_as_seen: _Sighting | None = None  # the same, before smoothing
        self.newest: _Sighting | None = sighting
        self.last = sighting
        self.velocity = np.zeros(4)  # of the box's corners, in pixels per frame
        self.missed = 0
        self.first_frame = sighting.frame
        self.num_frames = self.num_detections = 0
        self.total_score = self.total_area = 0.0
        self._count(sighting)

    def see(self, sighting: _Sighting) -> None:
        if self.settled is not None or self.newest is not None:  # not across a gap in the frames
            elapsed = sighting.frame - self.last.frame
            self.velocity = (sighting.state[:4] - self.last.state[:4]) / elapsed
        self.newest = self.last = sighting
        self.missed = 0
        self._count(sighting)

    def _count(self, sighting: _Sighting) -> None:
        self.num_detections += 1
        self.total_score += float(sighting.state[-1])

    def settle(self, following: _Sighting | None, smoothing: float) -> TrackSpan:
        """Fixes the newest sighting, smoothed if both neighbours are known; gives the frames since the one before."""
        assert self.newest is not None
        seen, before = self.newest, self.settled_as_seen
        state = seen.state.copy()
        if before is not None and following is not None:
            # Towards the straight line between the neighbours: jitter shrinks, motion is left as it is.
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
        )


class Tracker:
    """Gives detections on key frames to tracks, and fills in the frames between.

    Detections are matched to tracks all at once, by overlap with where the track was and where its motion takes it, or
    by nearness where nothing overlaps. A track that misses ``max_missed`` key frames in a row lives on and is filled in
    if it is seen again; one more and it ends.

    ``smoothing`` (0..1) is how far what was seen on a key frame is moved towards the line between its neighbours, where
    it is off by no more than a detector's jitter. 0.5 makes the weights 1/4, 1/2, 1/4 on evenly spaced key frames. What
    is off by more is motion and stays: on dancing and nodding heads, plain smoothing doubled the distance to the boxes
    found on each frame.
    """

    def __init__(self, *, max_missed: int = 1, smoothing: float = 0.5) -> None:
        if max_missed < 0:
            raise ValueError(f"max_missed must not be negative, got {max_missed}")
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing must be in 0..1, got {smoothing}")
        self._max_missed, self._smoothing = max_missed, smoothing
        self._live: list[_Track] = []
        self._ended: list[TrackSummary] = []
        self._num_tracks = 0
        self._num_key_frames = 0  # in this shot
        self._last_key_frame: int | None = None

    def update(self, frame: int, faces: Sequence[FaceBox], *, size: tuple[int, int] | None = None) -> list[TrackSpan]:
        """Takes the faces of the next key frame; returns what is now settled, at most one span for each track.

        With ``size``, the frame's width and height, faces are compared by what the frame shows of them: of a face that
        is larger than the frame a detector finds now this and now that much.

        Raises:
            ValueError: ``frame`` is not after the key frame before it.
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
                staying.append(_Track(self._num_tracks, sighting))
                self._num_tracks += 1
        self._live = staying
        return spans

    def end_segment(self) -> list[TrackSpan]:
        """The frames have a gap here: nothing is filled in across it, but the tracks may go on behind it."""
        spans = [track.settle(None, self._smoothing) for track in self._live if track.newest is not None]
        for track in self._live:
            track.leave_segment()
        return spans

    def end_shot(self) -> list[TrackSpan]:
        """The picture changes here, or the video ends: every track ends."""
        spans = self.end_segment()
        self._ended += [track.summary(self._num_key_frames) for track in self._live]
        self._live = []
        self._num_key_frames = 0
        return spans

    @property
    def oldest_needed_frame(self) -> int | None:
        """No span to come begins before this frame; None if only frames not yet seen can be in one."""
        return min((first for track in self._live if (first := track.needed_from) is not None), default=None)

    @property
    def tracks(self) -> list[TrackSummary]:
        """The tracks that have ended, in the order in which they began."""
        return sorted(self._ended, key=lambda track: track.track)

    @property
    def live_tracks(self) -> list[TrackSummary]:
        """The tracks that may still go on, as far as they have come."""
        return [track.summary(self._num_key_frames) for track in self._live]

    def _match(self, frame: int, sightings: list[_Sighting], size: tuple[int, int] | None) -> dict[int, _Sighting]:
        """By track number, the sighting that continues it."""
        if not self._live or not sightings:
            return {}
        seen = np.stack([sighting.state[:4] for sighting in sightings])
        last = np.stack([track.last.state[:4] for track in self._live])
        moved = np.stack([t.last.state[:4] + t.velocity * (frame - t.last.frame) for t in self._live])
        if size is not None:
            seen, last, moved = (_within(boxes, *size) for boxes in (seen, last, moved))
        # A face may go on moving or have stopped; both are tried.
        likeness = np.maximum(_likeness(last, seen), _likeness(moved, seen))
        return {self._live[i].number: sightings[j] for i, j in _best_pairs(likeness)}


def _best_pairs(likeness: Vector) -> list[tuple[int, int]]:
    """Row and column of the pairs, each in one at most, whose likeness is largest in sum; none of likeness 0."""
    possible = likeness > 0
    if possible.sum(axis=0).max() <= 1 and possible.sum(axis=1).max() <= 1:
        rows, columns = np.nonzero(possible)
    else:
        # Not before faces come near each other: importing it takes longer than many a video.
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(likeness, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if possible[row, column]]


def without_duplicates(faces: Iterable[FaceBox]) -> list[FaceBox]:
    """Best first, without the boxes that lie on, within or around a better one: one face found twice."""
    kept: list[FaceBox] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_is_duplicate(face, other) for other in kept):
            kept.append(face)
    return kept


def _is_duplicate(a: FaceBox, b: FaceBox) -> bool:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return False
    shared = width * height
    return shared > DUPLICATE_IOU * (a.area + b.area - shared) or shared > DUPLICATE_OVERLAP * min(a.area, b.area)


def _state(face: FaceBox) -> Vector:
    return np.array([face.x1, face.y1, face.x2, face.y2, *np.ravel(face.landmarks), face.score], np.float64)


def _within(boxes: Vector, width: int, height: int) -> Vector:
    """What lies in the frame of boxes that are larger than it in some direction; all others as they are."""
    too_large = (boxes[:, 2] - boxes[:, 0] > width) | (boxes[:, 3] - boxes[:, 1] > height)
    clipped = np.clip(boxes, 0, [width, height, width, height])
    return np.where(too_large[:, None], clipped, boxes)


def _likeness(boxes: Vector, others: Vector) -> Vector:
    """How well each of K boxes continues into each of M others, ``(K, M)``: 0 where it cannot, up to 2."""
    a, b = boxes[:, None], others[None]
    size_a, size_b = np.maximum(a[..., 2:] - a[..., :2], 1e-6), np.maximum(b[..., 2:] - b[..., :2], 1e-6)
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(overlap, 0), axis=-1)
    area_a, area_b = np.prod(size_a, axis=-1), np.prod(size_b, axis=-1)
    iou = shared / (area_a + area_b - shared)
    distance = np.linalg.norm(a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:], axis=-1) / 2
    nearness = 1 - distance / (REACH * (area_a * area_b) ** 0.25)
    ratio = np.sqrt(area_a / area_b)
    similar = (ratio < MAX_SIZE_RATIO) & (ratio > 1 / MAX_SIZE_RATIO)
    possible = (iou >= MIN_IOU) | ((nearness > 0) & similar)
    return np.where(possible, iou + np.maximum(nearness, 0), 0.0)
