"""One video while it is scored: its windows, and the score that they come to."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dfd.base.types import FileFacts, FloatArray, FrameArray, Moment, Status, TrackScore, Verdict, WindowScore
from dfd.faces.found import FaceBoxes, FaceWindow, Thumbnail, WindowsEnd, read_picture
from dfd.faces.tracks.appearances import Appearance
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import scope_of, why_no_verdict
from dfd.models.files.scope import trace_of
from dfd.process.failure import Failure
from dfd.scoring.aggregation import Aggregation, Judge, weakness, without_weak
from dfd.scoring.explain import clips_evidence, explanation

OF_THE_END = ("num_faces", "num_frames", "num_windows", "num_windows_possible", "duration_seconds")
"""Facts of a score that the last piece of a video brings."""
MAX_SHOWN_FACES = 8
"""Faces of a video whose moments are kept, the most suspicious: what a person looks at, and a bound on memory."""


def weaknesses(appearances: Sequence[Appearance], num_windows: Sequence[int]) -> list[str]:
    """Reason for each appearance why it may not decide alone, by the number of its windows; empty where it may."""
    most = max(num_windows)
    return [
        weakness(number, most, edge_fraction=one.edge_fraction, is_sure=one.is_sure)
        for one, number in zip(appearances, num_windows, strict=True)
    ]


Piece = FaceWindow | FileFacts | Thumbnail | FaceBoxes | WindowsEnd
"""What a worker finds in a video, other than failures and signs of life."""


def judge_of(card: DetectorCard, name: str, *, threshold: float, margin: float) -> Judge:
    """Rule of the detector called ``name``, at a threshold that may be another than its own."""
    return Judge(threshold, margin, scope_of(card, threshold), trace_of(card.data), why_no_verdict(card, name))


@dataclass(slots=True)
class _Kept:
    """A window that may be shown: the ``place``-th of its track."""

    prob_fake: float
    place: int
    window: FaceWindow


LOOKING, NETWORK = 0.1, 0.7
"""Parts of a video's progress that looking for faces and the network are; the rest is the end, with its heat maps."""


@dataclass(slots=True)
class _Video:
    """What is known of a video so far."""

    path: Path
    began: float = field(default_factory=time.perf_counter)
    file: FileFacts | None = None
    thumbnail: FrameArray | None = None
    tracks: dict[int, list[WindowScore]] = field(default_factory=dict)
    kept: dict[int, list[_Kept]] = field(default_factory=dict)
    boxes: dict[int, list[FaceBoxes]] = field(default_factory=dict)
    waiting: list[FaceWindow] = field(default_factory=list)
    """Windows that have not been scored yet."""
    left_out: dict[int, int] = field(default_factory=dict)
    """Number of windows of each track that early stopping left out."""
    remark: str = ""
    network_seconds: float = 0.0
    end: WindowsEnd | None = None

    def take(self, item: Piece) -> None:
        """Keep what a worker found."""
        match item:
            case FaceWindow():
                self.waiting.append(item)
            case FileFacts():
                self.file = item
            case Thumbnail():
                self.thumbnail = item.picture
            case FaceBoxes():
                self.boxes.setdefault(item.track, []).append(item)
            case WindowsEnd():
                self.end = item

    def end_facts(self) -> dict[str, Any]:
        """Facts of the score that its last piece brought."""
        return {name: getattr(self.end, name) for name in OF_THE_END}

    def share(self, looked: float) -> float:
        """Share of the work that is done, 0..1.

        The clips that are still to be found are estimated by the share of the video that has been ``looked`` at.
        """
        scored = sum(len(windows) for windows in self.tracks.values())
        found = scored + len(self.waiting)
        if not found:
            return LOOKING * looked
        return LOOKING * looked + NETWORK * scored / found * looked

    def add(
        self, window: FaceWindow, prob_fake: float, *, seconds: float, num_kept: int, aggregation: Aggregation
    ) -> None:
        """A scored window; its crops are kept only if they may be shown in the end."""
        self.network_seconds += seconds
        scores = self.tracks.setdefault(window.track, [])
        scores.append(WindowScore(window.start_seconds, window.end_seconds, prob_fake, window.box))
        if not num_kept:
            return
        kept = self.kept.setdefault(window.track, [])
        kept.append(_Kept(prob_fake, len(scores) - 1, window))
        kept.sort(key=lambda item: (-item.prob_fake, item.place))
        del kept[num_kept:]
        if len(self.kept) > 4 * MAX_SHOWN_FACES:  # of hundreds of faces, the least suspicious so far is not shown
            tracks = list(self.kept)
            by_track, _ = aggregation([[score.prob_fake for score in self.tracks[track]] for track in tracks])
            del self.kept[min(zip(by_track, tracks, strict=True))[1]]

    def leave_out(self, windows: Iterable[FaceWindow]) -> None:
        """Note that these windows are not scored, and put those that are, in whatever order, into that of time."""
        for window in windows:
            self.left_out[window.track] = self.left_out.get(window.track, 0) + 1
        for track, scores in self.tracks.items():
            places = sorted(range(len(scores)), key=lambda place: scores[place].start_seconds)
            self.tracks[track] = [scores[place] for place in places]
            kept = [replace(one, place=places.index(one.place)) for one in self.kept.get(track, ())]
            if kept:
                self.kept[track] = sorted(kept, key=lambda one: (-one.prob_fake, one.place))

    def grouped(self, tracks: Collection[int]) -> Iterator[Appearance]:
        """Appearances that have one of these tracks, in the order of their numbers."""
        known = self.end.appearances if self.end is not None else ()
        wanted = set(tracks)
        lone = wanted - {track for one in known for track in one.tracks}
        others = (Appearance(len(known) + number, (track,), 0, 1.0, 0.0) for number, track in enumerate(sorted(lone)))
        return (one for one in (*known, *others) if not wanted.isdisjoint(one.tracks))

    def appearances(self) -> Iterator[tuple[Appearance, list[WindowScore], list[_Kept]]]:
        """Appearances that have a scored window, in the order of their numbers, with their windows in order.

        The places of what is kept of a track become those in the appearance.
        """
        for appearance in self.grouped(self.tracks):
            windows: list[WindowScore] = []
            kept: list[_Kept] = []
            for track in appearance.tracks:
                kept += (replace(one, place=one.place + len(windows)) for one in self.kept.get(track, ()))
                windows += self.tracks.get(track, ())
            yield appearance, windows, sorted(kept, key=lambda one: (-one.prob_fake, one.place))

    def aggregated(
        self, aggregation: Aggregation, judge: Callable[[float], Verdict]
    ) -> tuple[tuple[TrackScore, ...], dict[int, list[_Kept]], float]:
        """Scores of the appearances, what is kept of each by its number, and the score of the video.

        A weak appearance has no part in the video's score; see :func:`~dfd.scoring.aggregation.weakness`. Windows that
        were left out count as the mean of the appearance's others.
        """
        found = list(self.appearances())
        probs = [[window.prob_fake for window in windows] for _, windows, _ in found]
        for (one, _, _), of_one in zip(found, probs, strict=True):
            of_one += [fmean(of_one)] * sum(self.left_out.get(track, 0) for track in one.tracks)
        weak = weaknesses([one for one, _, _ in found], list(map(len, probs)))
        by_track, prob_fake = without_weak(aggregation, probs, list(map(bool, weak)))
        tracks = tuple(
            TrackScore(one.number, prob, judge(prob), tuple(windows), one.shot, one.face_score, why, one.num_shots)
            for (one, windows, _), prob, why in zip(found, by_track, weak, strict=True)
        )
        return tracks, {one.number: kept for one, _, kept in found}, prob_fake

    def no_score(self, model: ClipClassifier | None) -> Failure | None:
        """Failure of a video of which nothing, or no number, can be said; None: it has a score."""
        assert self.end is not None, "a worker ends every video that it does not fail on"
        if self.end.no_window:
            return Failure(Status.NO_FACE, f"{self.path}: {self.end.no_window}")
        if np.isfinite([window.prob_fake for scored in self.tracks.values() for window in scored]).all():
            return None
        if model is not None and model.backbone.why_nothing:
            return Failure(Status.ERROR, f"{self.path}: {model.backbone.why_nothing}")
        message = "the detector gave no number: its weights are not finite; train again with a lower learning rate"
        return Failure(Status.ERROR, message)

    def boxes_by_number(self) -> dict[int, tuple[NDArray[np.int64], FloatArray]]:
        """Frames and boxes of each appearance by its number; those of no appearance have the numbers after the last."""
        known = self.end.appearances if self.end is not None else ()
        number_of = {track: one.number for one in known for track in one.tracks}
        lone = (track for track in sorted(self.boxes) if track not in number_of)
        number_of |= {track: len(known) + place for place, track in enumerate(lone)}
        pieces: dict[int, list[FaceBoxes]] = {}
        for track in sorted(self.boxes):
            pieces.setdefault(number_of[track], []).extend(self.boxes[track])
        return {number: _joined(found) for number, found in sorted(pieces.items())}


FRAMES_AT_ONCE = 32
"""Frames of clips that are explained in one pass: three clips of ten, as of a video with one face."""


def moments_of(
    tracks: Iterable[TrackScore],
    kept_by_track: Mapping[int, Sequence[_Kept]],
    *,
    number: int,
    model: ClipClassifier | None,
) -> Iterator[Moment]:
    """The ``number`` most suspicious windows of each of the most suspicious faces, both in falling order.

    ``model`` explains them with heat maps; None: without.
    """
    shown = [
        (track.track, kept)
        for track in sorted(tracks, key=lambda track: -track.prob_fake)[:MAX_SHOWN_FACES]
        for kept in kept_by_track[track.track][:number]
    ]
    each = explained(model, [kept.window.crops for _, kept in shown])
    for (track_number, kept), (frame, heatmap) in zip(shown, each, strict=True):
        window = kept.window
        # Of several detectors, only the frames that the first one looks at have a picture.
        jpeg = window.pictures[frame] if window.pictures else b""
        picture = read_picture(jpeg) if jpeg else None
        when, crop = window.frame_seconds[frame], window.crops[frame]
        yield Moment(track_number, kept.place, when, kept.prob_fake, crop, heatmap, picture)


def explained(model: ClipClassifier | None, clips: Sequence[FrameArray]) -> Iterator[tuple[int, FloatArray | None]]:
    """Frame of each clip ``(T, S, S, 3)`` that is shown, and its heat map; several clips go through in one pass.

    Without a network, the middle frame and no heat map.
    """
    if model is None:
        yield from ((len(crops_THWC) // 2, None) for crops_THWC in clips)
        return
    number = max(1, FRAMES_AT_ONCE // len(clips[0])) if clips else 1
    for part in (clips[first : first + number] for first in range(0, len(clips), number)):
        frames_BTCHW = torch.from_numpy(np.stack(part)).permute(0, 1, 4, 2, 3)
        for evidence in clips_evidence(model, frames_BTCHW):
            why = explanation(evidence, frames_BTCHW.shape[1], frames_BTCHW.shape[-1])
            yield why.frame, why.heatmap


def _joined(pieces: Iterable[FaceBoxes]) -> tuple[NDArray[np.int64], FloatArray]:
    """The frames of a track and its boxes on them."""
    ordered = list(pieces)
    frames = np.concatenate([piece.start_frame + np.arange(len(piece.boxes_xyxy)) for piece in ordered])
    return frames, np.concatenate([piece.boxes_xyxy for piece in ordered])


def now() -> str:
    """Time of day as it is written beside a score: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
