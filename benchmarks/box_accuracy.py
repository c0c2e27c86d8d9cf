"""What key frames cost in the accuracy of boxes: IoU against detection in every frame, by the key frames' stride.

    python benchmarks/box_accuracy.py VIDEO... [--face-detector yunet:FILE] [--frames 100] [--strides 1,5,10,15,20]

Faces are detected once in each of the first frames, at a longest side of 640; the extractor then sees those detections
on its key frames only. Each of its boxes is held to the nearest detection of its own frame. A stride of 1 shows what
the smoothing of tracks alone does. Then the same with key frames that are looked at in parts (``whole_every``), as dfd
does it: lost are boxes that overlap none of those from whole key frames by half, and gained the other way round.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import parser, report

from dfd.base.types import FaceBox, FrameArray
from dfd.faces.detect import LooksWithin, build_detector
from dfd.faces.detectors.region import Region, disjoint
from dfd.faces.extract import ExtractionSettings, FaceExtractor, shrink
from dfd.video.decode import VideoReader


class Remembered:
    """A detector that has seen every frame, and counts those that it is asked for."""

    batch_size = 1

    def __init__(self, detector: LooksWithin) -> None:
        self.name, self._detector = detector.name, detector
        self.room = detector.room
        self._faces: dict[int, list[FaceBox]] = {}
        self.num_asked, self.pixels = 0, 0.0
        """Frames looked at, in parts or not; and whole frames of as many pixels."""

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        self.num_asked += len(frames)
        self.pixels += len(frames)
        found = []
        for frame in frames:
            key = hash(frame.tobytes())
            if key not in self._faces:
                (self._faces[key],) = self._detector(frame[None])
            found.append(self._faces[key])
        return found

    def within(self, frame: FrameArray, regions: Sequence[Region]) -> list[FaceBox]:
        self.num_asked += 1
        self.pixels += sum(region.area for region in disjoint(regions)) / frame[..., 0].size
        return self._detector.within(frame, regions)


def corners(face: FaceBox) -> np.ndarray:
    """Its box ``(4,)``."""
    return np.array([face.x1, face.y1, face.x2, face.y2])


def ious(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """The best IoU of a box with any other."""
    best = 0.0
    for other in others:
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        shared = float(np.prod(np.maximum(sides, 0)))
        best = max(best, shared / float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared))
    return best


def unmatched(videos: list[dict[int, list[np.ndarray]]], others: list[dict[int, list[np.ndarray]]]) -> int:
    """Boxes that overlap no other of their frame by half."""
    return sum(
        ious(box, other.get(index, [])) < 0.5
        for video, other in zip(videos, others, strict=True)
        for index, boxes in video.items()
        for box in boxes
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--face-detector", default="mtcnn", help="NAME or NAME:WEIGHTS")
    options.add_argument("--frames", type=int, default=100)
    options.add_argument("--strides", default="1,5,10,15,20")
    options.add_argument("--whole-every", type=int, default=ExtractionSettings().whole_every)
    options.add_argument("--name", default="box_accuracy", help="of the files of results")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.frames, arguments.strides = 24, "5"
    torch.set_num_threads(arguments.threads)
    name, _, weights = arguments.face_detector.partition(":")
    detector = build_detector(name, **({"weights": weights} if weights else {}))
    assert isinstance(detector, LooksWithin)
    ways = [(int(stride), every) for stride in arguments.strides.split(",") for every in (1, arguments.whole_every)]
    found: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
    boxes: dict[tuple[int, int], list[dict[int, list[np.ndarray]]]] = {way: [] for way in ways}
    asked, pixels, total = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0.0), 0
    for path in arguments.videos:
        with VideoReader(path) as reader:
            frames = reader.frames(range(min(arguments.frames, reader.num_frames)))
        total += len(frames)
        remembered = Remembered(detector)
        settings = ExtractionSettings()
        small = np.stack([shrink(frame, settings.detection_side) for frame in frames])
        every = remembered(small)
        scale = frames.shape[2] / small.shape[2]
        for way in ways:
            remembered.num_asked, remembered.pixels = 0, 0.0
            by_frame: dict[int, list[np.ndarray]] = {}
            chosen = replace(settings, key_frame_stride=way[0], whole_every=way[1])
            for piece in FaceExtractor(remembered, chosen).run([(0, frames)]):
                for index, box in enumerate(piece.boxes_xyxy, piece.start_frame):
                    by_frame.setdefault(index, []).append(box)
                    if every[index]:  # in a frame without any, there is nothing to be held to
                        found[way].append(ious(box, [corners(face) * scale for face in every[index]]))
            boxes[way].append(by_frame)
            asked[way] += remembered.num_asked
            pixels[way] += remembered.pixels
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    for way in ways:
        quantiles = np.quantile(found[way], [0.05, 0.25, 0.5])
        whole = boxes[way[0], 1]
        lost, gained = unmatched(whole, boxes[way]), unmatched(boxes[way], whole)
        values[f"stride {way[0]}, whole every {way[1]}"] = {
            "quantiles_5_25_50": quantiles.tolist(),
            "num_boxes": len(found[way]),
            "pixels": pixels[way] / total,
            "lost": lost,
            "gained": gained,
        }
        shares = [f"{asked[way] / total:.0%}", f"{pixels[way] / total:.1%}"]
        rows.append([f"{way[0]}, {way[1]}", *shares, *(f"{q:.3f}" for q in quantiles[::-1]), f"{lost}, {gained}"])
    columns = [
        "key frames' stride, whole every",
        "frames looked at",
        "pixels looked at",
        "IoU, median",
        "lower quarter",
    ]
    columns += ["lowest 20th", "boxes lost, gained"]
    more = {"face_detector": name, "videos": len(arguments.videos), "frames": total}
    title = "Boxes of key frames against detection in every frame"
    report(arguments, arguments.name, title, columns, rows, values, **more)


if __name__ == "__main__":
    main()
