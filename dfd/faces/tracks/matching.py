"""Matching of detections: duplicates in one frame, and which detection continues which track."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FaceBox

Vector = NDArray[np.float64]

# Two detections in one frame are the same face if they share this part of their union, or of the smaller of the two.
DUPLICATE_IOU = 0.5
DUPLICATE_OVERLAP = 0.75
# A detection may be the face of a track if it overlaps by this much ...
MIN_IOU = 0.25
# ... or, in fast motion, if its centre is nearer than this many face sizes and its size within a factor of two.
REACH = 1.0
MAX_SIZE_RATIO = 2.0


def best_pairs(likeness: Vector) -> list[tuple[int, int]]:
    """Pairs of row and column, each used once at most, with the largest sum of likeness; none with likeness 0."""
    possible = likeness > 0
    if possible.sum(axis=0).max() <= 1 and possible.sum(axis=1).max() <= 1:
        rows, columns = np.nonzero(possible)
    else:
        # Imported only when faces come near each other: it takes longer than processing many a video.
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(likeness, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if possible[row, column]]


def without_duplicates(faces: Iterable[FaceBox]) -> list[FaceBox]:
    """Faces, best first, without boxes that lie on, in or around a better one, as these show the same face."""
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


def within(boxes: Vector, width: int, height: int) -> Vector:
    """Clip boxes that are larger than the frame in some direction to the frame; return all others as they are."""
    too_large = (boxes[:, 2] - boxes[:, 0] > width) | (boxes[:, 3] - boxes[:, 1] > height)
    clipped = np.clip(boxes, 0, [width, height, width, height])
    return np.where(too_large[:, None], clipped, boxes)


def likeness_of(boxes: Vector, others: Vector) -> Vector:
    """Likeness of each of K boxes to each of M others as its continuation, ``(K, M)``: 0 if impossible, up to 2."""
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
