"""MTCNN face detector: three small networks in a cascade, run from an integral image.

The weights are those of facenet-pytorch 2.6.0 and lie beside this module with their licence. The networks are defined
here without torchvision, whose import takes longer than torch's own; so is the cascade around them, because
facenet-pytorch spends most of its time outside the networks.

Every resize in MTCNN is an average over boxes of pixels. With one integral image per frame each of those averages is
four look-ups, for the whole pyramid and for all candidates at once, and the sums are integers, so nothing is lost: the
boxes equal facenet-pytorch's (a test holds this) at a third of its time or less.

Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

from collections.abc import Mapping
from copy import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.types import FaceBox, FrameArray
from dfd.faces.detectors.device import check_device

WEIGHTS = Path(__file__).parent / "weights" / "mtcnn.safetensors"
PYRAMID_FACTOR = 0.709  # about sqrt(1/2): each level of the pyramid has half the pixels of the one before
CELL = 12  # P-net sees 12 x 12 pixels and decides on a face that fills them
STRIDE = 2
FACE_PIXELS = 20  # smaller faces give O-net, whose input is 48 x 48, too little detail
PNET_THRESHOLD, RNET_THRESHOLD = 0.6, 0.7
MAX_CANDIDATES = 32  # in one pass of R-net or O-net: more do not fit into the cache

Integers = NDArray[np.int64]


class Mtcnn:
    """MTCNN detector; for the options see :func:`dfd.faces.detect.mtcnn`."""

    name = "mtcnn"
    batch_size = 1  # see __call__
    # In three frames of each of 36 videos the best face scored 0.9990 to 1 upright, and at most 0.9984 on its side or
    # upside down. The two are close: frames below are only tried turned, and stay upright if that scores no higher.
    sure_score = 0.999

    def __init__(self, *, threshold: float, min_face_fraction: float, device: str) -> None:
        check_device(device)
        networks = nn.ModuleDict({"pnet": _pnet(), "rnet": _rnet(), "onet": _onet()})
        networks.load_state_dict(load_file(WEIGHTS))
        self._pnet, self._rnet, self._onet = networks.eval().requires_grad_(requires_grad=False).to(device).values()
        self.threshold = threshold
        self.min_face_fraction = min_face_fraction
        self._device = torch.device(device)

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """Faces in each frame of ``(N, H, W, 3)``, best first.

        Frames are processed one by one: on a CPU a batch is no faster, and no frame depends on its neighbours.
        """
        with torch.inference_mode():
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

    def _detect(self, frame: NDArray[np.uint8]) -> list[FaceBox]:
        min_face = max(CELL, self.min_face_fraction * min(frame.shape[:2]))
        image = _IntegralImage(frame, self._device)
        boxes = self._propose(image, min_face)
        boxes = self._refine(image, boxes)
        faces, landmarks = self._output(image, boxes)
        return [
            FaceBox(x1, y1, x2, y2, score, tuple((x, y) for x, y in points))
            for (x1, y1, x2, y2, score), points in zip(faces.tolist(), landmarks.tolist(), strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _propose(self, image: "_IntegralImage", min_face: float) -> Tensor:
        """Candidates ``(K, 5)`` from P-net over the pyramid: x1, y1, x2, y2, score, made square."""
        levels = []
        scale = CELL / min_face
        while min(image.height, image.width) * scale >= CELL:
            level = image.resample(image.whole, (int(image.height * scale + 1), int(image.width * scale + 1)))
            offsets, prob = self._pnet(level)
            prob = prob[0, 1]
            at = (prob >= PNET_THRESHOLD).nonzero()
            score = prob[at[:, 0], at[:, 1]]
            corner = at.flip(1).to(score.dtype)
            found = torch.cat(
                [
                    ((STRIDE * corner + 1) / scale).floor(),
                    ((STRIDE * corner + CELL) / scale).floor(),
                    score[:, None],
                    offsets[0, :, at[:, 0], at[:, 1]].T,
                ],
                dim=1,
            )
            levels.append(found[nms(found[:, :4], found[:, 4], 0.5)])
            scale *= PYRAMID_FACTOR
        if not levels:
            return torch.zeros(0, 5, device=self._device)
        found = torch.cat(levels)
        found = found[nms(found[:, :4], found[:, 4], 0.7)]
        size = found[:, 2:4] - found[:, :2]
        corners = found[:, :4] + found[:, 5:] * size.repeat(1, 2)
        return _squared(torch.cat([corners, found[:, 4:5]], dim=1))

    def _refine(self, image: "_IntegralImage", boxes: Tensor) -> Tensor:
        """Candidates ``(K, 5)`` that R-net accepts, with corrected corners, made square."""
        boxes, regions = image.regions(boxes)
        if len(boxes) == 0:
            return boxes
        offsets, prob = _in_batches(self._rnet, image.resample(regions, (24, 24)))
        keep = prob[:, 1] > RNET_THRESHOLD
        boxes, offsets = torch.cat([boxes[keep, :4], prob[keep, 1:]], dim=1), offsets[keep]
        pick = nms(boxes[:, :4], boxes[:, 4], 0.7)
        return _squared(_moved(boxes[pick], offsets[pick]))

    def _output(self, image: "_IntegralImage", boxes: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Faces ``(K, 5)`` and landmarks ``(K, 5, 2)`` from O-net, best first."""
        boxes, regions = image.regions(boxes)
        if len(boxes) == 0:
            return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)
        offsets, points, prob = _in_batches(self._onet, image.resample(regions, (48, 48)))
        keep = prob[:, 1] > self.threshold
        boxes, offsets, points = torch.cat([boxes[keep, :4], prob[keep, 1:]], dim=1), offsets[keep], points[keep]
        size = boxes[:, 2:4] - boxes[:, :2] + 1
        # O-net gives five x, then five y, as fractions of the box.
        landmarks = points.reshape(-1, 2, 5).mT * size[:, None] + boxes[:, None, :2] - 1
        faces = _moved(boxes, offsets).cpu().numpy()
        kept = _without_nested(faces)
        return faces[kept], landmarks.cpu().numpy()[kept]


class _IntegralImage:
    """Integral image of a frame: the sum over any rectangle takes four look-ups."""

    def __init__(self, frame: NDArray[np.uint8], device: torch.device) -> None:
        self.height, self.width = frame.shape[:2]
        self.whole = np.array([[0, 0, self.width, self.height]])
        self._device = device
        # (H+1) * (W+1) rows of three. int32 may overflow above 8 megapixels; differences stay correct.
        self._sums = cv2.integral(np.ascontiguousarray(frame), sdepth=cv2.CV_32S).reshape(-1, 3)

    def regions(self, boxes: Tensor) -> tuple[Tensor, Integers]:
        """Boxes that cover part of the frame, and the covered pixel edges ``(K, 4)``: x1, y1, x2, y2.

        MTCNN counts pixels from 1, including both ends; hence the minus one on the left and top only.
        """
        corners = boxes[:, :4].trunc().long().cpu().numpy()
        edges = np.column_stack(
            [np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], [self.width, self.height])]
        )
        covers = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
        return boxes[torch.from_numpy(covers).to(boxes.device)], edges[covers]

    def resample(self, regions: Integers, size: tuple[int, int]) -> Tensor:
        """Average or spread each region to ``size`` (rows, columns): ``(K, 3, rows, columns)`` in -1..1.

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
        areas = (bottom - top)[:, :, None] * (right - left)[:, None, :]
        pixels = torch.from_numpy(sums).to(self._device).permute(0, 3, 1, 2).float().contiguous()
        pixels /= torch.from_numpy(areas).to(self._device)[:, None].float()
        return pixels.sub_(127.5).mul_(1 / 128)


def _cells(start: Integers, stop: Integers, num_cells: int) -> tuple[Integers, Integers]:
    """Edges of the ``num_cells`` cells between each start and stop: two arrays ``(K, num_cells)``."""
    length = (stop - start)[:, None]
    i = np.arange(num_cells)[None]
    return start[:, None] + i * length // num_cells, start[:, None] - (-(i + 1) * length // num_cells)


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes ``(K, 5)`` with their corners moved by fractions ``(K, 4)`` of their size."""
    size = boxes[:, 2:4] - boxes[:, :2] + 1
    return torch.cat([boxes[:, :4] + offsets * size.repeat(1, 2), boxes[:, 4:]], dim=1)


def _squared(boxes: Tensor) -> Tensor:
    """Boxes ``(K, 5)`` enlarged around their centre to squares."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(dim=1, keepdim=True).values
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side, boxes[:, 4:]], dim=1)


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


def _in_batches(network: nn.Module, pixels: Tensor) -> list[Tensor]:
    # Channels last: max pools take half the time of these two networks, and then handle 28 channels or more at once.
    pixels = pixels.to(memory_format=torch.channels_last)
    outputs = [network(batch) for batch in torch.split(pixels, MAX_CANDIDATES)]
    return [torch.cat(parts) for parts in zip(*outputs, strict=True)]


def nms(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Indices of the boxes ``(K, 4)``, best first, without those that overlap a better one by more than ``max_iou``.

    Same as ``torchvision.ops.nms``, in NumPy, so that torchvision need not be imported.

    >>> nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [4, 4, 8, 8]]), torch.tensor([0.7, 0.9, 0.8]), 0.5).tolist()
    [1, 2]
    """
    order = scores.argsort(descending=True, stable=True)
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T.cpu().numpy())
    areas = (x2 - x1) * (y2 - y1)
    stays = np.ones(len(order), bool)
    for i in range(len(order)):
        if not stays[i]:
            continue
        width = np.minimum(x2[i], x2[i + 1 :]) - np.maximum(x1[i], x1[i + 1 :])
        height = np.minimum(y2[i], y2[i + 1 :]) - np.maximum(y1[i], y1[i + 1 :])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        stays[i + 1 :] &= shared <= max_iou * (areas[i] + areas[i + 1 :] - shared)
    return order[torch.from_numpy(stays).to(order.device)]


class _Cascade(nn.Module):
    """Convolutions with PReLU, an optional dense layer, and a linear map for each output.

    ``layers`` are named as in the files of weights; the first of ``outputs`` gives two logits: no face, and face.
    """

    def __init__(self, layers: Mapping[str, nn.Module], outputs: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.num_layers = len(layers)
        for name, module in {**layers, **outputs}.items():
            self.add_module(name, module)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the other outputs, and then the first one as probabilities."""
        layers = list(self.children())
        x = pixels
        for layer in layers[: self.num_layers]:
            x = layer(x)
        prob, *others = (layer(x) for layer in layers[self.num_layers :])
        return *others, prob.softmax(dim=1)


class _Flatten(nn.Module):
    """Flattens ``(K, C, H, W)`` to ``(K, W * H * C)``, columns first, as in training."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def _convolutions(
    *channels: int, kernels: tuple[int, ...], pools: tuple[nn.Module | None, ...]
) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for number, (kernel, pool) in enumerate(zip(kernels, pools, strict=True), 1):
        layers[f"conv{number}"] = nn.Conv2d(channels[number - 1], channels[number], kernel)
        layers[f"prelu{number}"] = nn.PReLU(channels[number])
        if pool is not None:
            layers[f"pool{number}"] = pool
    return layers


def _dense(number: int, inputs: int, outputs: int) -> dict[str, nn.Module]:
    return {"flatten": _Flatten(), f"dense{number}": nn.Linear(inputs, outputs), f"prelu{number}": nn.PReLU(outputs)}


def _pool(kernel: int) -> nn.Module:
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


def _pnet() -> _Cascade:
    layers = _convolutions(3, 10, 16, 32, kernels=(3, 3, 3), pools=(_PairPool(), None, None))
    return _Cascade(layers, {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)})


def _rnet() -> _Cascade:
    layers = _convolutions(3, 28, 48, 64, kernels=(3, 3, 2), pools=(_pool(3), _pool(3), None))
    return _Cascade(layers | _dense(4, 576, 128), {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)})


def _onet() -> _Cascade:
    layers = _convolutions(3, 32, 64, 64, 128, kernels=(3, 3, 3, 2), pools=(_pool(3), _pool(3), _pool(2), None))
    outputs = {f"dense6_{number}": nn.Linear(256, size) for number, size in ((1, 2), (2, 4), (3, 10))}
    return _Cascade(layers | _dense(5, 1152, 256), outputs)


class _PairPool(nn.Module):
    """``MaxPool2d(2, 2, ceil_mode=True)`` by strided slices: four times as fast on P-net's ten channels.

    >>> x = torch.rand(1, 2, 5, 8)
    >>> torch.equal(_PairPool()(x), nn.MaxPool2d(2, 2, ceil_mode=True)(x))
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        # If the last window reaches over the edge, the edge pixel is repeated; it is in the window already.
        x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")
        rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])
