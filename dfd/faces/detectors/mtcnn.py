"""MTCNN face detector: three small networks in a cascade, run from an integral image.

The weights are those of facenet-pytorch 2.6.0 and lie beside this module with their licence. On a CPU, the networks are
computed without torch (:mod:`dfd.faces.detectors.cascade`). The cascade around them is dfd's own, because
facenet-pytorch spends most of its time outside the networks.

Every resize in MTCNN is an average over boxes of pixels. With one integral image per frame each of those averages is
four look-ups, for the whole pyramid and for all candidates at once, and the sums are integers, so nothing is lost: the
boxes equal facenet-pytorch's (a test holds this) at a third of its time or less.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FaceBox, FloatArray, FrameArray
from dfd.faces.detectors.region import Region

WEIGHTS = Path(__file__).parent / "weights" / "mtcnn.safetensors"
PYRAMID_FACTOR = 0.709  # about sqrt(1/2): each level of the pyramid has half the pixels of the one before
CELL = 12  # P-net sees 12 x 12 pixels and decides on a face that fills them
STRIDE = 2
FACE_PIXELS = 20  # smaller faces give O-net, whose input is 48 x 48, too little detail
ROOM = 0.8
"""Part of a face's side around it in which its candidates lie, and it from one key frame to the next."""
PNET_THRESHOLD, RNET_THRESHOLD = 0.6, 0.7

Integers = NDArray[np.int64]
Cascaded = Callable[[FloatArray], list[FloatArray]]
"""A network of the cascade; see :class:`dfd.faces.detectors.cascade.Network`."""


class Mtcnn:
    """MTCNN detector; for the options see :func:`dfd.faces.detect.mtcnn`.

    ``networks`` are P-net, R-net and O-net.
    """

    name = "mtcnn"
    batch_size = 1  # see __call__
    # In three frames of each of 36 videos the best face scored 0.9990 to 1 upright, and at most 0.9984 on its side or
    # upside down. The two are close: frames below are only tried turned, and stay upright if that scores no higher.
    sure_score = 0.999

    def __init__(self, *, threshold: float, min_face_fraction: float, networks: Sequence[Cascaded]) -> None:
        self._pnet, self._rnet, self._onet = networks
        self.threshold = threshold
        self.min_face_fraction = min_face_fraction

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """Faces in each frame of ``(N, H, W, 3)``, best first.

        Frames are processed one by one: on a CPU a batch is no faster, and no frame depends on its neighbours.
        """
        return [self._detect(frame) for frame in frames]

    @property
    def min_short_side(self) -> int:
        """Shorter side that a picture needs for the smallest face to have enough pixels."""
        return round(FACE_PIXELS / self.min_face_fraction)

    def with_min_face_fraction(self, min_face_fraction: float) -> "Mtcnn":
        """Copy of this detector with the same networks and another smallest face."""
        other = copy(self)
        other.min_face_fraction = min_face_fraction
        return other

    def room(self, side: float) -> float:
        """Pixels around a face of which the longer side is ``side``."""
        return ROOM * side

    def within(self, frame: NDArray[np.uint8], regions: Sequence[Region]) -> list[FaceBox]:
        """Faces of a frame ``(H, W, 3)`` that lie in some regions, best first.

        They are those of the whole frame, since the networks see the same pixels.
        """
        return self._detect(frame, regions)

    def _detect(self, frame: NDArray[np.uint8], regions: Sequence[Region] = ()) -> list[FaceBox]:
        min_face = max(CELL, self.min_face_fraction * min(frame.shape[:2]))
        image = _IntegralImage(frame)
        boxes = self._propose(image, min_face, regions or [Region(0, 0, image.width, image.height)])
        boxes = self._refine(image, boxes)
        faces, landmarks = self._output(image, boxes)
        return [
            FaceBox(x1, y1, x2, y2, score, tuple((x, y) for x, y in points))
            for (x1, y1, x2, y2, score), points in zip(faces.tolist(), landmarks.tolist(), strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _propose(self, image: "_IntegralImage", min_face: float, regions: Sequence[Region]) -> FloatArray:
        """Candidates ``(K, 5)`` from P-net over the pyramid: x1, y1, x2, y2, score, made square."""
        levels = []
        scale = CELL / min_face
        while min(image.height, image.width) * scale >= CELL:
            parts = [self._at_scale(image, scale, region) for region in regions if scale * region.smallest <= CELL]
            if parts:
                found = np.concatenate(parts)
                levels.append(found[nms(found[:, :4], found[:, 4], 0.5)])
            scale *= PYRAMID_FACTOR
        if not levels:
            return np.zeros((0, 5), np.float32)
        found = np.concatenate(levels)
        found = found[nms(found[:, :4], found[:, 4], 0.7)]
        size = found[:, 2:4] - found[:, :2]
        corners = found[:, :4] + found[:, 5:] * np.tile(size, 2)
        return _squared(np.column_stack([corners, found[:, 4]]))

    def _at_scale(self, image: "_IntegralImage", scale: float, region: Region) -> FloatArray:
        """Candidates ``(K, 9)`` of P-net in a region, on one level: x1, y1, x2, y2, score, and the corners' offsets."""
        size = int(image.height * scale + 1), int(image.width * scale + 1)
        down = _part(region.top, region.bottom, scale, size[0])
        across = _part(region.left, region.right, scale, size[1])
        offsets, prob = self._pnet(image.shrunk(size, down, across))
        rows, columns = np.nonzero(prob[0, ..., 1] >= PNET_THRESHOLD)
        places = np.column_stack([columns + across.start // STRIDE, rows + down.start // STRIDE])
        corner = STRIDE * places.astype(np.float32)
        return np.column_stack(
            [
                np.floor((corner + 1) / np.float32(scale)),
                np.floor((corner + CELL) / np.float32(scale)),
                prob[0, rows, columns, 1],
                offsets[0, rows, columns],
            ]
        )

    def _refine(self, image: "_IntegralImage", boxes: FloatArray) -> FloatArray:
        """Candidates ``(K, 5)`` that R-net accepts, with corrected corners, made square."""
        boxes, regions = image.regions(boxes)
        if len(boxes) == 0:
            return boxes
        offsets, prob = self._rnet(image.resample(regions, (24, 24)))
        keep = prob[:, 1] > RNET_THRESHOLD
        boxes, offsets = np.column_stack([boxes[keep, :4], prob[keep, 1]]), offsets[keep]
        pick = nms(boxes[:, :4], boxes[:, 4], 0.7)
        return _squared(_moved(boxes[pick], offsets[pick]))

    def _output(self, image: "_IntegralImage", boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Faces ``(K, 5)`` and landmarks ``(K, 5, 2)`` from O-net, best first."""
        boxes, regions = image.regions(boxes)
        if len(boxes) == 0:
            return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)
        offsets, points, prob = self._onet(image.resample(regions, (48, 48)))
        keep = prob[:, 1] > self.threshold
        boxes, offsets, points = np.column_stack([boxes[keep, :4], prob[keep, 1]]), offsets[keep], points[keep]
        size = boxes[:, 2:4] - boxes[:, :2] + 1
        # O-net gives five x, then five y, as fractions of the box.
        landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None] + boxes[:, None, :2] - 1
        faces = _moved(boxes, offsets)
        kept = _without_nested(faces)
        return faces[kept], landmarks[kept]


class _IntegralImage:
    """Integral image of a frame: the sum over any rectangle takes four look-ups."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        self.height, self.width = frame.shape[:2]
        self.whole = np.array([[0, 0, self.width, self.height]])
        # (H+1) * (W+1) rows of three. int32 may overflow above 8 megapixels; differences stay correct.
        self._sums = cv2.integral(np.ascontiguousarray(frame), sdepth=cv2.CV_32S).reshape(-1, 3)

    def regions(self, boxes: FloatArray) -> tuple[FloatArray, Integers]:
        """Boxes that cover part of the frame, and the covered pixel edges ``(K, 4)``: x1, y1, x2, y2.

        MTCNN counts pixels from 1, including both ends; hence the minus one on the left and top only.
        """
        corners = np.trunc(boxes[:, :4]).astype(np.int64)
        edges = np.column_stack(
            [np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], [self.width, self.height])]
        )
        covers = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
        return boxes[covers], edges[covers]

    def shrunk(self, size: tuple[int, int], down: slice, across: slice) -> FloatArray:
        """Rows ``down`` and columns ``across`` of the whole frame shrunk to ``size``, as :meth:`resample` does it."""
        rows, columns = size
        top, bottom = (edges[0, down] for edges in _cells(self.whole[:, 1], self.whole[:, 3], rows))
        left, right = (edges[0, across] for edges in _cells(self.whole[:, 0], self.whole[:, 2], columns))
        sums = self._sums.reshape(self.height + 1, self.width + 1, 3)[:, left[0] : right[-1] + 1]
        strips = sums.take(bottom, axis=0) - sums.take(top, axis=0)
        sums = strips.take(right - left[0], axis=1) - strips.take(left - left[0], axis=1)
        return _scaled(sums, (bottom - top)[:, None] * (right - left))[None]

    def resample(self, regions: Integers, size: tuple[int, int]) -> FloatArray:
        """Average or spread each region to ``size`` (rows, columns): ``(K, rows, columns, 3)`` in -1..1.

        Cells are those of torch's ``adaptive_avg_pool2d``: cell i of n over a length L covers the pixels from
        floor(iL/n) up to ceil((i+1)L/n).
        """
        rows, columns = size
        top, bottom = _cells(regions[:, 1], regions[:, 3], rows)
        left, right = _cells(regions[:, 0], regions[:, 2], columns)
        pitch = self.width + 1

        def corner(y: Integers, x: Integers) -> NDArray[np.int32]:
            found: NDArray[np.int32] = self._sums.take(y[:, :, None] * pitch + x[:, None, :], axis=0)
            return found

        sums = corner(bottom, right) - corner(bottom, left) - corner(top, right) + corner(top, left)
        return _scaled(sums, (bottom - top)[:, :, None] * (right - left)[:, None, :])


def _scaled(sums: NDArray[np.int32], areas: Integers) -> FloatArray:
    """Averages, from sums ``(..., 3)`` over cells of these areas, in -1..1."""
    pixels = sums.astype(np.float32)
    pixels /= areas[..., None].astype(np.float32)
    pixels -= 127.5
    pixels *= 1 / 128
    return pixels


def _part(low: int, high: int, scale: float, length: int) -> slice:
    """Rows or columns, of ``length`` in a level of the pyramid, on which P-net decides about a part of a frame."""
    first = max(0, int(low * scale)) // STRIDE * STRIDE
    last = min(length, int(np.ceil(high * scale)) + 1)
    return slice(min(first, max(0, length - CELL) // STRIDE * STRIDE), max(last, min(length, first + CELL)))


def _cells(start: Integers, stop: Integers, num_cells: int) -> tuple[Integers, Integers]:
    """Edges of the ``num_cells`` cells between each start and stop: two arrays ``(K, num_cells)``."""
    length = (stop - start)[:, None]
    i = np.arange(num_cells)[None]
    return start[:, None] + i * length // num_cells, start[:, None] - (-(i + 1) * length // num_cells)


def _moved(boxes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Boxes ``(K, 5)`` with their corners moved by fractions ``(K, 4)`` of their size."""
    size = boxes[:, 2:4] - boxes[:, :2] + 1
    return np.column_stack([boxes[:, :4] + offsets * np.tile(size, 2), boxes[:, 4]])


def _squared(boxes: FloatArray) -> FloatArray:
    """Boxes ``(K, 5)`` enlarged around their centre to squares."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.column_stack([corner, corner + side, boxes[:, 4]])


def _without_nested(faces: NDArray[np.float32], max_overlap: float = 0.7) -> list[int]:
    """Indices of the faces to keep, best first, without those inside or around a better one.

    ``max_overlap`` is a fraction of the smaller of the two, in pixels counted with both ends as MTCNN does.
    """
    areas = (faces[:, 2] - faces[:, 0] + 1) * (faces[:, 3] - faces[:, 1] + 1)
    kept: list[int] = []
    for i in np.argsort(-faces[:, 4], kind="stable").tolist():
        overlap = np.minimum(faces[i, 2:4], faces[kept, 2:4]) - np.maximum(faces[i, :2], faces[kept, :2]) + 1
        shared = np.prod(np.maximum(overlap, 0), axis=1)
        if (shared <= max_overlap * np.minimum(areas[i], areas[kept])).all():
            kept.append(i)
    return kept


def nms(boxes: FloatArray, scores: FloatArray, max_iou: float) -> Integers:
    """Indices of the boxes ``(K, 4)``, best first, without those that overlap a better one by more than ``max_iou``.

    Same as ``torchvision.ops.nms``, in NumPy, so that torchvision need not be imported.

    >>> nms(np.array([[0.0, 0, 4, 4], [0, 0, 4, 5], [4, 4, 8, 8]]), np.array([0.7, 0.9, 0.8]), 0.5).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
    areas = (x2 - x1) * (y2 - y1)
    stays = np.ones(len(order), bool)
    for i in range(len(order)):
        if not stays[i]:
            continue
        width = np.minimum(x2[i], x2[i + 1 :]) - np.maximum(x1[i], x1[i + 1 :])
        height = np.minimum(y2[i], y2[i + 1 :]) - np.maximum(y1[i], y1[i + 1 :])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        stays[i + 1 :] &= shared <= max_iou * (areas[i] + areas[i + 1 :] - shared)
    return order[stays]
