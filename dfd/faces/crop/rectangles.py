"""Crops of a region of whole pixels: with its shape kept, squashed to a square, or as it is in the source."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dfd.base.types import FrameArray
from dfd.faces.crop.base import Crop, Filter, Matrix, filters, onto, opencv


@dataclass(frozen=True, slots=True)
class _Rectangle(Crop):
    """Region of whole pixels that is resized to fill the crop, or part of it.

    Args:
        filter: resampling; ``auto`` averages areas to shrink and is bicubic to enlarge.
    """

    filter: Filter

    @abstractmethod
    def region(self, box_xyxy: ArrayLike, *, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge of the region, inside the frame."""

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height in the crop of a region of this size."""
        return 0, 0, self.size, self.size

    def matrix(self, box_xyxy: ArrayLike, landmarks: ArrayLike, *, width: int, height: int) -> Matrix:
        left, top, right, bottom = self.region(box_xyxy, width=width, height=height)
        x, y, across, down = self.place(right - left, bottom - top)
        matrix = onto(left, top, across / (right - left), down / (bottom - top))
        matrix[:, 2] += x, y
        return matrix

    def cut(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FrameArray:
        left, top, right, bottom = self.region(box_xyxy, width=frame.shape[1], height=frame.shape[0])
        x, y, across, down = self.place(right - left, bottom - top)
        crop = np.zeros((self.size, self.size, 3), np.uint8)
        shrinks = across < right - left or down < bottom - top
        name = self.filter if self.filter != "auto" else "area" if shrinks else "bicubic"
        region = np.ascontiguousarray(frame[top:bottom, left:right])
        crop[y : y + down, x : x + across] = opencv().resize(region, (across, down), interpolation=filters()[name])
        return crop


@dataclass(frozen=True, slots=True)
class Box(_Rectangle):
    """Face box with a margin, squashed to a square: as Self-Blended Images (Shiohara and Yamasaki, CVPR 2022) cropped.

    Args:
        margin_fraction: margin on each side, as a fraction of the box's width and height.
        filter: resampling; ``auto`` averages areas to shrink and is bicubic to enlarge.
    """

    kind = "box"
    size: int = 380
    margin_fraction: float = 0.125
    filter: Filter = "bilinear"

    def region(self, box_xyxy: ArrayLike, *, width: int, height: int) -> tuple[int, int, int, int]:  # noqa: D102
        return _with_margin(box_xyxy, self.margin_fraction, width=width, height=height)


@dataclass(frozen=True, slots=True)
class Letterbox(Box):
    """Face box with a margin, its shape kept, centred on black: as the winner of the DFDC (Seferbekov 2020) cropped.

    Its options are those of :class:`Box`.
    """

    kind = "letterbox"
    size: int = 380
    margin_fraction: float = 0.333333
    filter: Filter = "auto"

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height in the crop of a region of this size.

        >>> Letterbox(size=380).place(200, 100)
        (0, 95, 380, 190)
        """
        across, down = (max(1, side * self.size // max(width, height)) for side in (width, height))
        return (self.size - across) // 2, (self.size - down) // 2, across, down


@dataclass(frozen=True, slots=True)
class WholeFrame(_Rectangle):
    """Whole frame, squashed to a square, whoever is in it: as Guera and Delp (AVSS 2018) fed their network.

    Args:
        filter: resampling; ``auto`` averages areas to shrink and is bicubic to enlarge.
    """

    kind = "whole_frame"
    size: int = 299
    filter: Filter = "bilinear"

    def region(self, box_xyxy: ArrayLike, *, width: int, height: int) -> tuple[int, int, int, int]:  # noqa: D102
        return 0, 0, width, height


@dataclass(frozen=True, slots=True)
class Native(Crop):
    """Square of the source's own pixels around the middle of the face, never resampled; black outside of the frame."""

    kind = "native"
    size: int = 256

    def _corner(self, box_xyxy: ArrayLike) -> tuple[int, int]:
        x1, y1, x2, y2 = np.asarray(box_xyxy, np.float64).tolist()
        return round((x1 + x2 - self.size) / 2), round((y1 + y2 - self.size) / 2)

    def matrix(self, box_xyxy: ArrayLike, landmarks: ArrayLike, *, width: int, height: int) -> Matrix:  # noqa: D102
        return onto(*self._corner(box_xyxy), 1.0, 1.0)

    def cut(self, frame: FrameArray, box_xyxy: ArrayLike, landmarks: ArrayLike) -> FrameArray:  # noqa: D102
        left, top = self._corner(box_xyxy)
        height, width = frame.shape[:2]
        crop = np.zeros((self.size, self.size, 3), np.uint8)
        x, y, right, bottom = max(left, 0), max(top, 0), min(left + self.size, width), min(top + self.size, height)
        if x < right and y < bottom:
            crop[y - top : bottom - top, x - left : right - left] = frame[y:bottom, x:right]
        return crop


def _with_margin(box_xyxy: ArrayLike, margin: float, *, width: int, height: int) -> tuple[int, int, int, int]:
    """Box of whole pixels with a margin on each side, inside the frame and at least one pixel large."""
    x1, y1, x2, y2 = (int(value) for value in np.asarray(box_xyxy, np.float64).tolist())
    # A third of 300 pixels is 100 of them, though 0.333333 is a little less than a third.
    across, down = (int((end - start) * margin + 0.01) for start, end in ((x1, x2), (y1, y2)))
    left, top = min(max(x1 - across, 0), width - 1), min(max(y1 - down, 0), height - 1)
    return left, top, max(left + 1, min(x2 + across, width)), max(top + 1, min(y2 + down, height))
