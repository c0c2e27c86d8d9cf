"""YuNet face detector, through OpenCV's FaceDetectorYN.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.errors import WeightsMissing
from dfd.base.types import FaceBox, FrameArray
from dfd.faces.detectors.region import Region, disjoint

NMS_THRESHOLD = 0.3
MAX_CANDIDATES = 5000
FIELD = 160
"""Pixels around a face that affect its box. In eight videos, boxes from this much of a frame are those of the whole;
with 128 pixels their median IoU is 0.995 to 1, with half of a face's side 0.94 to 0.99."""


class Yunet:
    """YuNet detector; for the options see :func:`dfd.faces.detect.yunet`."""

    name = "yunet"
    batch_size = 1  # FaceDetectorYN takes one image at a time

    def __init__(self, *, threshold: float, weights: Path) -> None:
        self.threshold = threshold
        # OpenCV 5 warns on every creation that its new engine has no targets, which users cannot change.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(weights), "", (320, 320), threshold, NMS_THRESHOLD, MAX_CANDIDATES
            )
        except cv2.error as error:
            raise WeightsMissing(f"{weights}: OpenCV cannot read it as a YuNet model: {error.err or error}") from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """Faces in each frame of ``(N, H, W, 3)`` RGB, best first."""
        return [self._detect(frame, 0, 0) for frame in frames]

    def room(self, side: float) -> float:
        """Pixels around a face: as far as the network sees."""
        return float(FIELD)

    def within(self, frame: NDArray[np.uint8], regions: Sequence[Region]) -> list[FaceBox]:
        """Faces of a frame ``(H, W, 3)`` that lie in some regions, best first."""
        parts = [(frame[top:bottom, left:right], left, top) for left, top, right, bottom, _ in disjoint(regions)]
        faces = [face for part in parts for face in self._detect(*part)]
        return sorted(faces, key=lambda face: -face.score)

    def _detect(self, picture: NDArray[np.uint8], left: int, top: int) -> list[FaceBox]:
        """Faces in a picture that lies at ``left`` and ``top`` in its frame, in pixels of the frame."""
        self._detector.setInputSize(picture.shape[1::-1])
        _, rows = self._detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        faces = [] if rows is None else [_face(row, left, top) for row in rows if _is_box(row)]
        return sorted(faces, key=lambda face: -face.score)


def _is_box(row: np.ndarray) -> bool:
    return bool(np.isfinite(row).all() and row[2] > 0 and row[3] > 0)


def _face(row: np.ndarray, left: int, top: int) -> FaceBox:
    """Face from FaceDetectorYN's 15 columns: x, y, width, height, five points (left in the picture first), score."""
    x, y, width, height = map(float, row[:4] + np.array([left, top, 0, 0], np.float32))
    points = tuple((float(px) + left, float(py) + top) for px, py in row[4:14].reshape(5, 2))
    return FaceBox(x, y, x + width, y + height, score=float(row[14]), landmarks=points)
