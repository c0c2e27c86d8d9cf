"""Regions of key frames in which faces are looked for."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dfd.base.types import FaceBox
from dfd.faces.crop.base import filters, opencv
from dfd.faces.detectors.region import Region

Image = NDArray[np.uint8]


class Regions:
    """Chooses the parts of each key frame in which faces are looked for: where they were, and where it has changed.

    A face that a detector would find elsewhere was there before, since nothing has changed there. Every
    ``whole_every``-th key frame is looked at as a whole, and so are those without a face before them; 1: all are.
    ``room`` gives the room around a face, see :meth:`dfd.faces.detect.LooksWithin.room`.
    """

    CELL = 8
    """Side in pixels of the cells whose mean colour is compared; the smallest faces are three or four cells wide."""
    CHANGE = 20
    """Levels by which the mean of a cell must differ in some channel; a camera's noise is averaged to 1 or 2."""
    SQUARE = 3
    """Side, in cells, of the squares that must have changed as a whole: single cells are leaves, lamps, edges."""
    SMALLEST = 0.5
    """Least side of a face where only a known one is looked for, as a fraction of its own."""
    AROUND = 24
    """Room in pixels around what has changed."""
    GRID = 32
    """Pixels to whose multiples the edges of regions are moved: there YuNet sees what it sees in the whole picture."""
    MOST = 0.8
    """Share of the picture above which all of it is looked at."""

    def __init__(self, whole_every: int, room: Callable[[float], float] = float) -> None:
        self._whole_every, self._room = whole_every, room
        self._boxes = np.zeros((0, 4))
        """Faces of the last key frames, since the last whole one."""
        self._cells = np.zeros((0, 0, 3), np.int16)
        """Mean colours of the cells ``(h, w, 3)`` when they were looked at last."""
        self._looks = 0

    def forget(self) -> None:
        """Look at all of the next key frame: after a cut, or a gap in the frames."""
        self._boxes = np.zeros((0, 4))

    def of(self, image: Image) -> list[Region] | None:
        """Regions of a picture ``(H, W, 3)``, which may overlap; None if all of it is to be looked at."""
        if self._whole_every == 1:
            return None
        cells = self._coarse(image)
        self._looks += 1
        if len(self._boxes) and self._cells.shape == cells.shape and self._looks % self._whole_every:
            height, width = image.shape[:2]
            changed = np.abs(cells - self._cells).max(axis=2) > self.CHANGE
            regions = [part.clipped(width, height) for part in self._around(changed)]
            if sum(region.area for region in regions) <= self.MOST * width * height:
                for part in regions:
                    rows = slice(part.top // self.CELL, -(-part.bottom // self.CELL))
                    columns = slice(part.left // self.CELL, -(-part.right // self.CELL))
                    self._cells[rows, columns] = cells[rows, columns]
                return regions
        self._cells, self._looks = cells, 0
        return None

    def seen(self, faces: Sequence[FaceBox], *, whole: bool) -> None:
        """Note the faces that were found, in all of the picture or in the regions given before."""
        found = np.array([(face.x1, face.y1, face.x2, face.y2) for face in faces]).reshape(-1, 4)
        if not whole and len(found):
            # A face may be missed once, and not move: it is looked for again until a whole look misses it.
            centres = (found[:, :2] + found[:, 2:]) / 2
            inside = (centres >= self._boxes[:, None, :2]) & (centres <= self._boxes[:, None, 2:])
            found = np.vstack([found, self._boxes[~inside.all(axis=2).any(axis=1)]])
        self._boxes = found

    def _around(self, changed: NDArray[np.bool_]) -> list[Region]:
        """Regions around each face and around all that has changed, on the grid."""
        sides = self._boxes[:, 2:] - self._boxes[:, :2]
        room = np.array([[self._room(side)] for side in sides.max(axis=1).tolist()])
        low, high = self._boxes[:, :2] - room, self._boxes[:, 2:] + room
        smallest = (sides.min(axis=1) * self.SMALLEST).tolist()
        parts = [self._on_grid(*edges) for edges in zip(low, high, smallest, strict=True)]
        squares = sliding_window_view(changed, (self.SQUARE, self.SQUARE)).all(axis=(2, 3))
        corners = np.argwhere(squares)[:, ::-1] * self.CELL
        far = corners + self.SQUARE * self.CELL
        # Within their room, faces move.
        is_face = ((corners[:, None] >= low) & (far[:, None] <= high)).all(axis=2).any(axis=1)
        if not is_face.all():
            parts.append(
                self._on_grid(corners[~is_face].min(axis=0) - self.AROUND, far[~is_face].max(axis=0) + self.AROUND, 0.0)
            )
        return parts

    def _on_grid(self, low: NDArray[np.float64], high: NDArray[np.float64], smallest: float) -> Region:
        left, top = (np.floor(low / self.GRID) * self.GRID).astype(int).tolist()
        right, bottom = (np.ceil(high / self.GRID) * self.GRID).astype(int).tolist()
        return Region(left, top, right, bottom, smallest)

    def _coarse(self, image: Image) -> NDArray[np.int16]:
        size = [max(self.SQUARE, side // self.CELL) for side in image.shape[1::-1]]
        return np.asarray(opencv().resize(image, size, interpolation=filters()["area"]), np.int16)
