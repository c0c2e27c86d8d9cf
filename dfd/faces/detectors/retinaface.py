"""RetinaFace face detector: the network of retinaface-pytorch on batches, with decoding of our own.

The package's ``predict_jsons`` takes one image, builds its priors in a Python loop for each, and reports "no face" as
one element with an empty box. With the same weights the boxes here equal its own (a test compares them).

Source: Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019.
"""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.base.types import FaceBox, FrameArray
from dfd.faces.detectors.device import check_device as check_device

# The network's own constants (retinaface-pytorch, predict_single.py): step and two prior sizes of each feature map.
STEPS_AND_SIZES = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for RGB in 0..1


def network_class() -> type[nn.Module]:
    """The network's class, from retinaface-pytorch.

    Raises:
        ConfigError: the package is not installed, or another one of the same import name is.
    """
    try:
        from retinaface.network import RetinaFace as Network
    except ImportError as error:
        raise ConfigError(
            f"face_detector=retinaface needs retinaface-pytorch ({error}): pip install --no-deps "
            "retinaface-pytorch==0.0.8 (it pins torch 1.9, hence --no-deps; what dfd uses of it needs nothing further)"
        ) from error
    return Network  # type: ignore[no-any-return]


class RetinaFace:
    """RetinaFace detector; for the options see :func:`dfd.faces.detect.retinaface`.

    Args:
        state_dict: weights of the package's network.
    """

    name = "retinaface"

    def __init__(
        self, state_dict: Mapping[str, Tensor], *, threshold: float, nms_threshold: float, batch_size: int, device: str
    ) -> None:
        check_device(device)
        with warnings.catch_warnings():  # it calls torchvision's resnet50(pretrained=False), a deprecated spelling
            warnings.simplefilter("ignore")
            network = network_class()(
                name="Resnet50",
                pretrained=False,
                return_layers={"layer2": 1, "layer3": 2, "layer4": 3},
                in_channels=256,
                out_channels=256,
            )
        try:
            network.load_state_dict(state_dict)
        except RuntimeError as error:
            raise WeightsMissing(f"the weights do not fit RetinaFace with ResNet-50: {error}") from error
        self._network = network.eval().requires_grad_(requires_grad=False).to(device)
        self.threshold, self._nms_threshold = threshold, nms_threshold
        self.batch_size = batch_size
        self._device = torch.device(device)

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """Faces in each frame of ``(N, H, W, 3)``, best first."""
        found: list[list[FaceBox]] = []
        with torch.inference_mode():
            for start in range(0, len(frames), self.batch_size):
                found += self._detect(frames[start : start + self.batch_size])
        return found

    def _detect(self, frames: FrameArray) -> list[list[FaceBox]]:
        height, width = frames.shape[1:3]
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device).permute(0, 3, 1, 2).float()
        mean, std = (255 * torch.tensor(v, device=self._device).view(3, 1, 1) for v in (MEAN, STD))
        offsets, logits, points = self._network((pixels - mean) / std)
        scores = logits.softmax(dim=-1)[..., 1]
        priors = torch.from_numpy(prior_boxes(height, width)).to(self._device)
        scale = torch.tensor([width, height], device=self._device)
        found = []
        for i in range(len(frames)):
            keep = scores[i] > self.threshold
            centre, size = priors[keep, :2], priors[keep, 2:]
            middle = centre + offsets[i, keep, :2] * CENTRE_VARIANCE * size
            extent = size * (offsets[i, keep, 2:] * SIZE_VARIANCE).exp()
            boxes = torch.cat([(middle - extent / 2) * scale, (middle + extent / 2) * scale], dim=1)
            landmarks = points[i, keep].unflatten(1, (5, 2)) * CENTRE_VARIANCE * size[:, None] + centre[:, None]
            best = nms(boxes, scores[i, keep], self._nms_threshold)
            found.append(_faces(boxes[best], scores[i, keep][best], landmarks[best] * scale, scale))
        return found


def _faces(boxes: Tensor, scores: Tensor, landmarks: Tensor, frame_size: Tensor) -> list[FaceBox]:
    """Faces from ``(K, 4)``, ``(K,)`` and ``(K, 5, 2)``; empty, non-finite and outside boxes are dropped."""
    sound = boxes.isfinite().all(1) & landmarks.isfinite().all(2).all(1)
    sound &= (boxes[:, 2:] > boxes[:, :2]).all(1) & (boxes[:, :2] < frame_size - 1).all(1)
    return [
        FaceBox(x1, y1, x2, y2, score, tuple((x, y) for x, y in points))
        for (x1, y1, x2, y2), score, points in zip(
            boxes[sound].tolist(), scores[sound].tolist(), landmarks[sound].tolist(), strict=True
        )
    ]


@lru_cache(maxsize=4)
def prior_boxes(height: int, width: int) -> np.ndarray:
    """Priors for one frame size: ``(P, 4)`` float32 of centre x, y and width, height, as fractions.

    >>> prior_boxes(32, 64).shape  # 2 priors in each of 4x8 + 2x4 + 1x2 cells
    (84, 4)
    """
    maps = []
    for step, sizes in STEPS_AND_SIZES:
        y, x, size = np.meshgrid(
            (np.arange(-(-height // step)) + 0.5) * step / height,
            (np.arange(-(-width // step)) + 0.5) * step / width,
            np.array(sizes, np.float64),
            indexing="ij",
        )
        maps.append(np.stack([x, y, size / width, size / height], axis=-1).reshape(-1, 4))
    return np.concatenate(maps).astype(np.float32)


def load_weights(path: Path) -> dict[str, Any]:
    """Load a state dict from a file of weights, without running code from it.

    Two kinds of zip file are read, as the release is named .zip: torch's own format, and an archive of one checkpoint.

    Raises:
        WeightsMissing: when the file is neither, or does not hold a state dict.
    """
    source: Path | io.BytesIO = path
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) == 1:
                    source = io.BytesIO(archive.read(names[0]))
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise WeightsMissing(f"{path}: not a checkpoint that can be read safely: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsMissing(f"{path}: not a state dict (names and tensors), but a {type(state).__name__}")
    return state
