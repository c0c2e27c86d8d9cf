"""What key frames cost in the accuracy of boxes: IoU against detection in every frame, by the key frames' stride.

    python benchmarks/box_accuracy.py VIDEO... [--face-detector yunet:FILE] [--frames 100] [--strides 1,5,10,15,20]

Faces are detected once in each of the first frames, at a longest side of 640; the extractor then sees those detections
on its key frames only. Each of its boxes is held to the nearest detection of its own frame. A stride of 1 shows what
the smoothing of tracks alone does.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import parser, report

from dfd.base.types import FaceBox, FrameArray
from dfd.faces.detect import FaceDetector, build_detector
from dfd.faces.extract import ExtractionSettings, FaceExtractor, shrink
from dfd.video.decode import VideoReader


class Remembered:
    """A detector that has seen every frame, and counts those that it is asked for."""

    batch_size = 1

    def __init__(self, detector: FaceDetector) -> None:
        self.name, self._detector = detector.name, detector
        self._faces: dict[int, list[FaceBox]] = {}
        self.num_asked = 0

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        self.num_asked += len(frames)
        found = []
        for frame in frames:
            key = hash(frame.tobytes())
            if key not in self._faces:
                (self._faces[key],) = self._detector(frame[None])
            found.append(self._faces[key])
        return found


def ious(box: np.ndarray, faces: list[FaceBox], scale: float) -> float:
    """The best IoU of a box with any face."""
    best = 0.0
    for face in faces:
        other = np.array([face.x1, face.y1, face.x2, face.y2]) * scale
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        shared = float(np.prod(np.maximum(sides, 0)))
        best = max(best, shared / float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared))
    return best


def main() -> None:
    options = parser(__doc__)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--face-detector", default="mtcnn", help="NAME or NAME:WEIGHTS")
    options.add_argument("--frames", type=int, default=100)
    options.add_argument("--strides", default="1,5,10,15,20")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.frames, arguments.strides = 12, "5"
    torch.set_num_threads(arguments.threads)
    name, _, weights = arguments.face_detector.partition(":")
    detector = build_detector(name, **({"weights": weights} if weights else {}))
    strides = [int(stride) for stride in arguments.strides.split(",")]
    found: dict[int, list[float]] = {stride: [] for stride in strides}
    asked, total = dict.fromkeys(strides, 0), 0
    for path in arguments.videos:
        with VideoReader(path) as reader:
            frames = reader.frames(range(min(arguments.frames, reader.num_frames)))
        total += len(frames)
        remembered = Remembered(detector)
        settings = ExtractionSettings()
        small = np.stack([shrink(frame, settings.detection_side) for frame in frames])
        every = remembered(small)
        scale = frames.shape[2] / small.shape[2]
        for stride in strides:
            remembered.num_asked = 0
            for piece in FaceExtractor(remembered, replace(settings, key_frame_stride=stride)).run([(0, frames)]):
                for index, box in enumerate(piece.boxes_xyxy, piece.start_frame):
                    if every[index]:  # in a frame without any, there is nothing to be held to
                        found[stride].append(ious(box, every[index], scale))
            asked[stride] += remembered.num_asked
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    for stride in strides:
        quantiles = np.quantile(found[stride], [0.05, 0.25, 0.5])
        values[str(stride)] = {"quantiles_5_25_50": quantiles.tolist(), "num_boxes": len(found[stride])}
        rows.append([str(stride), f"{asked[stride] / total:.0%}", *(f"{q:.3f}" for q in quantiles[::-1])])
    columns = ["key frames' stride", "frames looked at", "IoU, median", "lower quarter", "lowest 20th"]
    more = {"face_detector": name, "videos": len(arguments.videos), "frames": total}
    title = "Boxes of key frames against detection in every frame"
    report(arguments, "box_accuracy", title, columns, rows, values, **more)


if __name__ == "__main__":
    main()
