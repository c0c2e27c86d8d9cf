"""Recognises pictures that lie on their side or upside down, without saying so, by the faces in them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FrameArray
from dfd.faces.detect import FaceDetector

Image = NDArray[np.uint8]

ENOUGH_FACES = 0.2
"""Minimum share of key frames with a face; below it, rotated pictures are searched for faces too."""

_MIN_SHARE, _MIN_FRAMES = 1 / 3, 2
_MAX_KEPT = 6

WORDS = {
    1: "lies on its side: faces were found after a quarter turn to the left",
    2: "is upside down: faces were found after a half turn",
    3: "lies on its side: faces were found after a quarter turn to the right",
}
"""Messages about a picture, by the counterclockwise quarter turns that make it upright."""


class PictureSample:
    """Some of the pictures that were added, with their scores, spread evenly: whenever it is full, half are dropped."""

    def __init__(self) -> None:
        self.kept: list[tuple[Image, float]] = []
        self._step = 1
        self._count = 0

    def add(self, image: Image, score: float) -> None:
        """Add a picture, of which a copy may be kept."""
        self._count += 1
        if self._count % self._step == 0:
            self.kept.append((image.copy(), score))  # a view would keep its whole chunk of frames in memory
            if len(self.kept) > _MAX_KEPT:
                del self.kept[1::2]
                self._step *= 2


def quarter_turns_with_faces(
    pictures: Sequence[Image], detector: FaceDetector, *, upright_scores: Sequence[float] = ()
) -> int:
    """Counterclockwise quarter turns after which the pictures show faces with the highest scores; 0 if few show any.

    Few means less than a third of them, or a single one of several. Scores decide, not numbers of faces: detectors also
    find faces that lie on their side, with lower scores.

    Args:
        pictures: pictures scaled as for the detector.
        detector: the face detector.
        upright_scores: score of the best face in each picture as it is, which rotated ones must exceed; empty if the
            pictures show no face.
    """
    if not pictures:
        return 0
    scores = {turns: [_best_score(picture, turns, detector) for picture in pictures] for turns in (1, 3, 2)}
    best = max(scores, key=lambda turns: sum(scores[turns]))
    num_with_face = sum(score > 0 for score in scores[best])
    enough = num_with_face >= max(_MIN_SHARE * len(pictures), min(_MIN_FRAMES, len(pictures)))
    return best if enough and sum(scores[best]) > sum(upright_scores) else 0


def _best_score(picture: Image, turns: int, detector: FaceDetector) -> float:
    """Score of the best face in the picture after ``turns`` quarter turns; 0 if there is none."""
    faces = detector(np.ascontiguousarray(np.rot90(picture, turns))[None])[0]
    return max((face.score for face in faces), default=0.0)


def turned(chunks: Iterable[tuple[int, FrameArray]], quarter_turns: int) -> Iterator[tuple[int, FrameArray]]:
    """Rotate the frames of all chunks counterclockwise."""
    for start, frames in chunks:
        yield start, np.rot90(frames, quarter_turns, axes=(1, 2)) if quarter_turns else frames


def turned_back(
    boxes_xyxy: NDArray[np.float32], quarter_turns: int, width: float, height: float
) -> NDArray[np.float32]:
    """Convert boxes ``(F, 4)`` from a rotated picture to the original one, of this width and height.

    >>> turned_back(np.array([[10, 0, 30, 20]], np.float32), 1, 100, 50).tolist()
    [[80.0, 10.0, 100.0, 30.0]]
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    match quarter_turns % 4:
        case 1:  # the right edge has become the top
            corners = width - y2, x1, width - y1, x2
        case 2:
            corners = width - x2, height - y2, width - x1, height - y1
        case 3:
            corners = y1, height - x2, y2, height - x1
        case _:
            return boxes_xyxy
    return np.stack(corners, axis=1).astype(np.float32)


def points_turned_back(
    points: NDArray[np.float32], quarter_turns: int, width: float, height: float
) -> NDArray[np.float32]:
    """Convert points ``(..., 2)`` from a rotated picture to the original one, like :func:`turned_back`.

    >>> points_turned_back(np.array([[10, 0]], np.float32), 1, 100, 50).tolist()
    [[100.0, 10.0]]
    """
    x, y = points[..., 0], points[..., 1]
    match quarter_turns % 4:
        case 1:
            moved = width - y, x
        case 2:
            moved = width - x, height - y
        case 3:
            moved = y, height - x
        case _:
            return points
    return np.stack(moved, axis=-1).astype(np.float32)
