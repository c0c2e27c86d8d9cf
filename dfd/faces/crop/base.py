"""Contract of the crops, and what several of them use."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfd.base.types import FrameArray

Matrix = NDArray[np.float64]
Filter = Literal["nearest", "bilinear", "bicubic", "area", "auto"]
MAX_SIZE, MAX_MARGIN = 1024, 10.0
"""Largest side of a crop in pixels, and largest margin as a fraction of the face."""


@dataclass(frozen=True, slots=True)
class Crop(ABC):
    """Square picture of a face.

    Args:
        size: side of the crop in pixels.

    Raises:
        ValueError: when an option is out of range.
    """

    kind: ClassVar[str]
    size: int

    def __post_init__(self) -> None:
        for name, low, high in (
            ("size", 8, MAX_SIZE),
            ("margin_fraction", 0, MAX_MARGIN),
            ("scale", 0.5, 4),
        ):
            value = getattr(self, name, low)
            if not low <= value <= high:
                raise ValueError(f"crop.{name} of {self.kind} must be in {low}..{high}, got {value}")

    @abstractmethod
    def matrix(self, box_xyxy: ArrayLike, landmarks: ArrayLike, *, width: int, height: int) -> Matrix:
        """Affine map ``(2, 3)`` from pixels of a frame of this size to pixels of the crop."""

    @abstractmethod
    def cut(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FrameArray:
        """Crop ``(size, size, 3)`` of the face with this box ``(4,)`` and these points ``(5, 2)`` in pixels."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the kind and its options."""
        return {"kind": self.kind, **asdict(self)}


def onto(left: float, top: float, scale_x: float, scale_y: float) -> Matrix:
    """Map that shifts a corner to the origin and scales."""
    return np.array([[scale_x, 0.0, -left * scale_x], [0.0, scale_y, -top * scale_y]])


def opencv() -> Any:
    """OpenCV, imported when the first crop needs it."""
    import cv2

    return cv2


@cache
def filters() -> dict[str, int]:
    """OpenCV's interpolation flags by the name of the filter."""
    cv2 = opencv()
    return {
        "nearest": cv2.INTER_NEAREST_EXACT,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
    }
