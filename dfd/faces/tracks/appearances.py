"""Appearances: what is reported as one face of a video, from its first to its last frame within one shot.

A cut begins new appearances. Within a shot, a track that ends and one that begins soon after it at the same place, of
the same size and of the same looks, are one appearance: a face that was hidden for a moment. Two that may as well be
different people stay apart.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray
from dfd.faces.crop.base import filters, opencv
from dfd.faces.tracks.persons import Persons
from dfd.faces.tracks.track import TrackSummary

MAX_GAP_SECONDS = 10.0
"""Longest interruption of an appearance."""
MAX_DISTANCE = 0.75
"""Farthest that the centre of a face may have moved in the meantime, in face sizes."""
MAX_SIZE_RATIO = 1.5
MIN_LIKENESS = 0.75
"""Least correlation of small pictures of a face and what surrounds it, of the best pair of first and last looks.

Measured on eight videos of people talking: 129 of 131 tracks that were divided at some place reach it, and 4 of 1063
pairs of tracks of different videos.
"""
CUT_OFF = 0.1
"""Share of a box outside of the frame from which a face is cut off by the frame's edge."""
AROUND = 1.0
"""How much of what surrounds a face is compared with it, to each side, in sides of its box: hair, clothes, place."""
_LOOK_SIDE = 16


@dataclass(frozen=True, slots=True)
class Appearance:
    """One face within one shot: the numbers of its tracks, in order, and how surely it is a face.

    ``number`` counts the appearances of a video from 0, those with a scored window first, without holes.
    ``face_score`` is the face detector's mean score, and ``is_sure`` tells whether it is nearer to 1 than to the
    detector's threshold. ``edge_fraction`` is the share of frames in which the frame's edge cuts the face off.
    ``num_shots`` is above 1 if the person was recognised across cuts; ``shot`` is the first then.
    """

    number: int
    tracks: tuple[int, ...]
    shot: int
    face_score: float
    edge_fraction: float
    is_sure: bool = True
    num_shots: int = 1


@dataclass(frozen=True, slots=True)
class _Look:
    """A face in one frame: its box ``(4,)`` and a small picture of it, ``(S, S, 3)``."""

    frame: int
    box: FloatArray
    picture: FloatArray


class Sightings:
    """First and last look at each track of a video, and how many of its frames the frame's edge cuts off."""

    def __init__(self) -> None:
        self._first: dict[int, _Look] = {}
        self._last: dict[int, _Look] = {}
        self._num_cut: dict[int, int] = {}

    def add(self, track: int, start_frame: int, frames: Sequence[NDArray[np.uint8]], boxes_xyxy: FloatArray) -> None:
        """Take note of a face in F consecutive frames ``(H, W, 3)`` with its boxes ``(F, 4)``."""
        height, width = frames[0].shape[:2]
        inside = np.clip(boxes_xyxy, 0, [width, height, width, height])
        cut = _areas(inside) < (1 - CUT_OFF) * _areas(boxes_xyxy)
        self._num_cut[track] = self._num_cut.get(track, 0) + int(cut.sum())
        if track not in self._first:
            self._first[track] = _look(start_frame, frames[0], boxes_xyxy[0])
        self._last[track] = _look(start_frame + len(frames) - 1, frames[-1], boxes_xyxy[-1])

    def appearances(
        self,
        tracks: Iterable[TrackSummary],
        *,
        fps: float,
        threshold: float = 0.0,
        first_track: int = 0,
        persons: Persons | None = None,
    ) -> list[Appearance]:
        """Appearances that these tracks make up, in order; :func:`numbered` gives them their numbers.

        Args:
            tracks: those that count as faces.
            fps: frames per second.
            threshold: lowest score that the face detector gives to a face.
            first_track: added to the numbers of the tracks.
            persons: what recognises a person across cuts; None: nothing does.
        """
        chains = self._chains(sorted(tracks, key=lambda track: (track.first_frame, track.track)), fps)
        if persons is not None:
            chains = persons.joined(chains)
        found: list[Appearance] = []
        for chain in chains:
            detections = sum(track.num_detections for track in chain)
            cut = sum(self._num_cut.get(track.track, 0) for track in chain)
            face_score = sum(track.mean_score * track.num_detections for track in chain) / detections
            appearance = Appearance(
                number=len(found),
                tracks=tuple(first_track + track.track for track in chain),
                shot=chain[0].shot,
                face_score=min(1.0, max(0.0, face_score)),
                edge_fraction=cut / max(1, sum(track.num_frames for track in chain)),
                is_sure=face_score >= (threshold + 1) / 2,
                num_shots=len({track.shot for track in chain}),
            )
            found.append(appearance)
        return found

    def _chains(self, tracks: Sequence[TrackSummary], fps: float) -> list[list[TrackSummary]]:
        """Tracks that are one appearance, together: each continues the one before it, and no other might."""
        followers = {one.track: [two for two in tracks if self._may_follow(one, two, fps)] for one in tracks}
        num_before = {track.track: 0 for track in tracks}
        for one in followers.values():
            for two in one:
                num_before[two.track] += 1
        chains: list[list[TrackSummary]] = []
        chain_of: dict[int, list[TrackSummary]] = {}
        for track in tracks:
            chain = chain_of.get(track.track)
            if chain is None:
                chain = []
                chains.append(chain)
            chain.append(track)
            (follower,) = followers[track.track] if len(followers[track.track]) == 1 else (None,)
            if follower is not None and num_before[follower.track] == 1:
                chain_of[follower.track] = chain
        return chains

    def _may_follow(self, one: TrackSummary, two: TrackSummary, fps: float) -> bool:
        if one.shot != two.shot or one.track not in self._last or two.track not in self._first:
            return False
        before, after = self._last[one.track], self._first[two.track]
        if not 0 < after.frame - before.frame <= MAX_GAP_SECONDS * fps:
            return False
        size_before, size_after = np.sqrt(_areas(before.box[None])[0]), np.sqrt(_areas(after.box[None])[0])
        ratio = max(size_before, size_after) / max(1e-6, min(size_before, size_after))
        moved = np.linalg.norm(before.box[:2] + before.box[2:] - after.box[:2] - after.box[2:]) / 2
        if ratio > MAX_SIZE_RATIO or moved > MAX_DISTANCE * np.sqrt(size_before * size_after):
            return False
        # The last look before an interruption often shows what interrupts: a hand, or a head that turns away.
        pairs = product((self._first[one.track], before), (after, self._last[two.track]))
        return max(likeness(x.picture, y.picture) for x, y in pairs) >= MIN_LIKENESS


def numbered(appearances: Iterable[Appearance], *, scored: Collection[int]) -> list[Appearance]:
    """The appearances with numbers from 0 in the order of their tracks, those with a scored window first.

    >>> found = [Appearance(0, (0,), 0, 1.0, 0.0), Appearance(0, (3, 5), 0, 1.0, 0.0)]
    >>> [(one.number, one.tracks) for one in numbered(found, scored={5})]
    [(0, (3, 5)), (1, (0,))]
    """
    scored = set(scored)
    ordered = sorted(appearances, key=lambda one: (scored.isdisjoint(one.tracks), one.tracks))
    return [replace(one, number=number) for number, one in enumerate(ordered)]


def likeness(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two small pictures ``(S, S, 3)``, -1..1; 0 if one of them is of a single colour.

    >>> ramp = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    >>> round(likeness(ramp, 2 * ramp + 5), 6), likeness(ramp, np.ones_like(ramp))
    (1.0, 0.0)
    """
    a, b = (picture.ravel().astype(np.float64) - picture.mean() for picture in (one, other))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


def _areas(boxes: FloatArray) -> FloatArray:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def _look(frame: int, image: NDArray[np.uint8], box: FloatArray) -> _Look:
    height, width = image.shape[:2]
    margin = AROUND * (box[2:] - box[:2])
    left, top = np.floor(box[:2] - margin)
    right, bottom = np.ceil(box[2:] + margin)
    x1, y1 = (int(np.clip(value, 0, side - 1)) for value, side in ((left, width), (top, height)))
    x2, y2 = int(np.clip(right, x1 + 1, width)), int(np.clip(bottom, y1 + 1, height))
    small = opencv().resize(image[y1:y2, x1:x2], (_LOOK_SIDE, _LOOK_SIDE), interpolation=filters()["area"])
    return _Look(frame, np.array(box, np.float32), np.asarray(small, np.float32))
