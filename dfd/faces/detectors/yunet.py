"""YuNet face detector, through OpenCV's FaceDetectorYN.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023.
"""

from pathlib import Path

import cv2
import numpy as np

from dfd.base.errors import WeightsMissing
from dfd.base.types import FaceBox, FrameArray

NMS_THRESHOLD = 0.3
MAX_CANDIDATES = 5000


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
        height, width = frames.shape[1:3]
        self._detector.setInputSize((width, height))
        found = []
        for frame in frames:
            _, rows = self._detector.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            faces = [] if rows is None else [_face(row) for row in rows if _is_box(row)]
            found.append(sorted(faces, key=lambda face: -face.score))
        return found


def _is_box(row: np.ndarray) -> bool:
    return bool(np.isfinite(row).all() and row[2] > 0 and row[3] > 0)


def _face(row: np.ndarray) -> FaceBox:
    """Face from FaceDetectorYN's 15 columns: x, y, width, height, five points (left in the picture first), score."""
    x, y, width, height = map(float, row[:4])
    points = tuple((float(px), float(py)) for px, py in row[4:14].reshape(5, 2))
    return FaceBox(x, y, x + width, y + height, score=float(row[14]), landmarks=points)
