"""Crops in which the face is turned, scaled and moved onto a template of five points."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dfd.base.types import FrameArray
from dfd.faces.crop.base import Crop, Matrix, filters, opencv

ARCFACE_112 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
TEMPLATES: dict[str, Matrix] = {
    "gend": np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)]),
    "arcface": np.array(ARCFACE_112) / 112,
}
"""Places of the five points (left eye, right eye, nose, left and right corner of the mouth, as seen in the picture) as
fractions of the side. ``gend``: that of GenD (Yermakov and others, WACV 2026); ``arcface``: that of InsightFace's
ArcFace, which DeepfakeBench (NeurIPS 2023) uses."""


@dataclass(frozen=True, slots=True)
class FivePoints(Crop):
    """Face turned, scaled and moved so that its five points lie on a template, as most published detectors expect.

    Args:
        template: ``gend`` or ``arcface``, see :data:`TEMPLATES`; they differ by at most 0.4 % of the side.
        scale: how much more than the template's square is shown: 1.3 adds 15 % of its side all around.
        border: what lies outside of the frame: ``black``, or ``edge`` for its outermost pixels.
        filter: resampling, without antialiasing.
        fit: ``least_squares``, or ``lmeds`` for the robust estimate that published code takes from OpenCV.
    """

    kind = "five_points"
    size: int = 256
    template: Literal["gend", "arcface"] = "gend"
    scale: float = 1.3
    border: Literal["black", "edge"] = "black"
    filter: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    fit: Literal["least_squares", "lmeds"] = "least_squares"

    def matrix(self, box_xyxy: ArrayLike, landmarks: ArrayLike, *, width: int, height: int) -> Matrix:  # noqa: D102
        points = np.asarray(landmarks, np.float64)
        targets = self.targets
        if self.fit == "lmeds":
            cv2 = opencv()
            found, _ = cv2.estimateAffinePartial2D(points, targets, method=cv2.LMEDS)
            if found is not None:
                return np.asarray(found, np.float64)
        return similarity(points, targets)

    @property
    def targets(self) -> Matrix:
        """Places of the five points in the crop, in pixels ``(5, 2)``."""
        return (TEMPLATES[self.template] + (self.scale - 1) / 2) / self.scale * self.size

    def cut(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FrameArray:  # noqa: D102
        cv2 = opencv()
        matrix = self.matrix(box_xyxy, landmarks, width=frame.shape[1], height=frame.shape[0])
        border = cv2.BORDER_CONSTANT if self.border == "black" else cv2.BORDER_REPLICATE
        size = self.size, self.size
        return np.asarray(cv2.warpAffine(frame, matrix, size, flags=filters()[self.filter], borderMode=border))


@dataclass(frozen=True, slots=True)
class Eyes(Crop):
    """Level square around both eyes.

    Args:
        scale: side of the square, in distances between the eyes.
    """

    kind = "eyes"
    size: int = 224
    scale: float = 2.0

    def matrix(self, box_xyxy: ArrayLike, landmarks: ArrayLike, *, width: int, height: int) -> Matrix:  # noqa: D102
        half = self.size / (2 * self.scale)  # of the distance between the eyes
        middle = self.size / 2
        return similarity(
            np.asarray(landmarks, np.float64)[:2], np.array([(middle - half, middle), (middle + half, middle)])
        )

    def cut(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FrameArray:  # noqa: D102
        matrix = self.matrix(box_xyxy, landmarks, width=frame.shape[1], height=frame.shape[0])
        return np.asarray(opencv().warpAffine(frame, matrix, (self.size, self.size)))


def similarity(points: Matrix, targets: Matrix) -> Matrix:
    """Rotation, scale and shift ``(2, 3)`` that map points ``(N, 2)`` nearest to targets, by least squares.

    >>> similarity(np.array([(0.0, 0), (2, 0), (0, 2)]), np.array([(1.0, 1), (1, 3), (-1, 1)])).round(6).tolist()
    [[0.0, -1.0, 1.0], [1.0, 0.0, 1.0]]
    """
    x, y = points.T
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, ones, zeros], axis=1), np.stack([y, x, zeros, ones], axis=1)])
    (a, b, dx, dy), *_ = np.linalg.lstsq(rows, np.concatenate([targets[:, 0], targets[:, 1]]), rcond=None)
    return np.array([[a, -b, dx], [b, a, dy]])
