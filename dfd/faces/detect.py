"""Builds face detectors by name, and declares the options of each.

Each public factory here is a detector: its name is the value of the config option, its keywords are the options. All
detectors return boxes with a score and the same five landmarks, whichever package does the work.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dfd.base.errors import ConfigError
from dfd.base.fetch import WeightsFile, fetch
from dfd.base.names import plugins
from dfd.base.types import FaceBox, FrameArray
from dfd.base.words import did_you_mean, nearest
from dfd.faces.detectors.region import Region

WEIGHTS_OPTION = "face_detector.weights=FILE"

# The edition for OpenCV 5 (input of any size); the same network as the 2023mar edition.
YUNET_WEIGHTS = WeightsFile(
    name="face_detection_yunet_2026may.onnx",
    url="https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/"
    "models/face_detection_yunet/face_detection_yunet_2026may.onnx",
    sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    size_bytes=229738,
    licence="MIT",
)
RETINAFACE_WEIGHTS = WeightsFile(
    name="retinaface_resnet50_2020-07-20-f168fae3c.zip",
    url="https://github.com/ternaus/retinaface/releases/download/0.01/retinaface_resnet50_2020-07-20-f168fae3c.zip",
    sha256="f168fae3c",  # from the name of the release; the full hash is not published
    size_bytes=None,
    licence="MIT",
)

DETECTOR_MODULES = {name: f"dfd.faces.detectors.{name}" for name in ("mtcnn", "yunet", "retinaface")}
"""Modules that a process can import before it builds a detector."""


class FaceDetector(Protocol):
    """Finds faces in frames; the result for one frame must not depend on the others of the batch."""

    name: str
    """Name as in ``face_detector=...``."""

    batch_size: int
    """Preferred number of frames per call."""

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """Faces in each of N frames ``(N, H, W, 3)``, in pixels of these frames, best score first."""
        ...


@runtime_checkable
class LooksWithin(FaceDetector, Protocol):
    """A detector that can look at parts of a picture, in less time than at all of it."""

    def room(self, side: float) -> float:
        """Pixels around a face of this longer side: for its motion, and for its box to be that of the whole picture."""
        ...

    def within(self, frame: NDArray[np.uint8], regions: Sequence[Region]) -> list[FaceBox]:
        """Faces of a frame ``(H, W, 3)`` that lie in one of some regions, in pixels of it, best first."""
        ...


def mtcnn(*, threshold: float = 0.9, min_face_fraction: float = 0.08, device: str = "cpu") -> FaceDetector:
    """MTCNN. Its weights come with dfd, so it works offline.

    Args:
        threshold: lowest score of a face, 0..1.
        min_face_fraction: size of the smallest face to find, as a fraction of the frame's shorter side. Half of it
            takes nearly twice the time, and gives more false detections.
        device: device of the networks: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ConfigError: when an option is out of range.
    """
    from dfd.faces.detectors.mtcnn import WEIGHTS, Mtcnn

    _check_fraction("threshold", threshold)
    _check_fraction("min_face_fraction", min_face_fraction)
    if device == "cpu":
        from dfd.faces.detectors.cascade import load_networks

        networks = load_networks(WEIGHTS)
    else:
        from dfd.faces.detectors.cascade_on_gpu import load_networks_on

        networks = load_networks_on(device, WEIGHTS)
    return Mtcnn(threshold=threshold, min_face_fraction=min_face_fraction, networks=networks)


def yunet(*, threshold: float = 0.7, weights: str | None = None) -> FaceDetector:
    """Build YuNet, OpenCV's FaceDetectorYN: several times as fast as MTCNN on a CPU.

    Args:
        threshold: lowest score of a face, 0..1.
        weights: the ONNX file (230 KB); None downloads it.

    Raises:
        ConfigError: when an option is out of range.
        WeightsMissing: when the weights cannot be found or downloaded, or OpenCV cannot read them.
    """
    from dfd.faces.detectors.yunet import Yunet

    _check_fraction("threshold", threshold)
    return Yunet(threshold=threshold, weights=fetch(YUNET_WEIGHTS, path=weights, option=WEIGHTS_OPTION))


def retinaface(
    *,
    threshold: float = 0.7,
    nms_threshold: float = 0.4,
    weights: str | None = None,
    batch_size: int = 1,
    device: str = "cpu",
) -> FaceDetector:
    """Build RetinaFace with ResNet-50, the network of retinaface-pytorch: for GPUs, since a CPU takes seconds per
    frame.

    The package is no requirement of dfd, because it pins torch 1.9; what is used of it runs on today's torch.

    Args:
        threshold: lowest score of a face, 0..1.
        nms_threshold: intersection over union above which only the better of two boxes is kept.
        weights: the release's file (about 100 MB); None downloads it.
        batch_size: frames per pass. More is faster on a GPU, and only costs memory on a CPU.
        device: device of the network: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ConfigError: an option is out of range, or retinaface-pytorch is not installed.
        WeightsMissing: the weights cannot be had, or do not fit the network.
    """
    from dfd.faces.detectors.retinaface import RetinaFace, check_device, load_weights, network_class

    _check_fraction("threshold", threshold)
    _check_fraction("nms_threshold", nms_threshold)
    if batch_size < 1:
        raise ConfigError(f"face_detector.batch_size must be at least 1, got {batch_size}")
    check_device(device)
    network_class()  # before 100 MB are downloaded for it
    path = fetch(RETINAFACE_WEIGHTS, path=weights, option=WEIGHTS_OPTION)
    return RetinaFace(
        load_weights(path), threshold=threshold, nms_threshold=nms_threshold, batch_size=batch_size, device=device
    )


def fixed_box(*, x1: float = 0.0, y1: float = 0.0, x2: float = 1.0, y2: float = 1.0) -> FaceDetector:
    """Build a detector that returns the same box, with score 1, in every frame: for videos that are face crops already.

    Args:
        x1: left edge, as a fraction of the frame's width.
        y1: top edge, as a fraction of its height.
        x2: right edge.
        y2: bottom edge.

    Raises:
        ConfigError: when the box is empty or reaches outside the frame.
    """
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise ConfigError(
            "face_detector=fixed_box needs 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1, "
            f"got x1={x1}, y1={y1}, x2={x2}, y2={y2}"
        )
    return FixedBox(x1, y1, x2, y2)


class FixedBox:
    """Detector that returns one fixed box, see :func:`fixed_box`."""

    name = "fixed_box"
    batch_size = 1

    # Positions of MTCNN's landmarks as fractions of its box: medians over 36 videos of people talking to the camera,
    # made symmetric.
    LANDMARKS = ((0.27, 0.39), (0.73, 0.39), (0.50, 0.59), (0.31, 0.76), (0.69, 0.76))

    def __init__(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self._box = (x1, y1, x2, y2)

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        """One face for each frame of ``(N, H, W, 3)``."""
        height, width = frames.shape[1:3]
        x1, y1, x2, y2 = self._box
        landmarks = tuple(((x1 + x * (x2 - x1)) * width, (y1 + y * (y2 - y1)) * height) for x, y in self.LANDMARKS)
        face = FaceBox(x1 * width, y1 * height, x2 * width, y2 * height, score=1.0, landmarks=landmarks)
        return [[face] for _ in frames]


DETECTORS: dict[str, Callable[..., FaceDetector]] = {
    "mtcnn": mtcnn,
    "yunet": yunet,
    "retinaface": retinaface,
    "fixed_box": fixed_box,
}


def fetch_weights(name: str, *, weights: str | None = None, **_: object) -> Path | None:
    """Path of the weights of a face detector, downloaded if need be; None if they come with dfd, or it has none.

    For a service that is to refuse at its start what each of its videos would fail on.

    Raises:
        WeightsMissing: when the weights cannot be found or downloaded.
    """
    known = {"yunet": YUNET_WEIGHTS, "retinaface": RETINAFACE_WEIGHTS}.get(name)
    return None if known is None else fetch(known, path=weights, option=WEIGHTS_OPTION)


def detector_options(name: str, **options: object) -> dict[str, object]:
    """Name and all options of a detector, with defaults for those not given.

    >>> detector_options("fixed_box", x1=0.25)
    {'name': 'fixed_box', 'x1': 0.25, 'y1': 0.0, 'x2': 1.0, 'y2': 1.0}
    """
    return {"name": name, **(factory(name).__kwdefaults__ or {}), **options}


def factory(name: str) -> Callable[..., FaceDetector]:
    """Function that builds the detector with this name: dfd's own, or the one of a plug-in at its dotted name.

    Raises:
        ConfigError: when there is none.
    """
    found = DETECTORS.get(name) or plugins.parts("face_detector").get(name)
    if found is None:
        close = nearest(name, DETECTORS)
        hint = f"; did you mean {close!r}?" if close else f"; {plugins.remedy(name)}" if "." in name else ""
        raise ConfigError(f"no face detector {name!r}: there are {', '.join(DETECTORS)}{hint}")
    return found


def build_detector(name: str, **options: object) -> FaceDetector:
    """Build the detector with this name.

    >>> build_detector("fixed_box", x1=0.25).name
    'fixed_box'

    Raises:
        ConfigError: when there is no such detector, or it has no such option.
    """
    make = factory(name)
    known = list(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            raise ConfigError(f"face detector {name} has no option {option!r}{did_you_mean(option, known)}")
    return make(**options)


def _check_fraction(option: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"face_detector.{option} must be between 0 and 1, got {value}")
