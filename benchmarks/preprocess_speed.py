"""How long a video takes from file to face clip: this product against detection in every frame.

    python benchmarks/preprocess_speed.py VIDEO... [--yunet FILE] [--repeats 5]
    uv run --with dlib-bin python benchmarks/preprocess_speed.py VIDEO...     # with dlib's HOG, as the original detects

Each way decodes the first frames of a video, finds the face, crops it to 112 px and encodes the crops, in one process
on one thread: the product with either detector, and scripts that detect in every frame at native size, as those of this
field do:

- `HOG`: dlib's detector, as face_recognition calls it;
- `package`: facenet-pytorch's MTCNN at its defaults (faces of 20 px and more), which is installed for this alone:
  `uv pip install --no-deps facenet-pytorch==2.6.0`;
- `package, our min. face`: the same, looking for no smaller faces than we do;
- `ours, every frame`: our own cascade over the same networks.

They take turns, so a machine that slows down slows all; a ratio is the median over the rounds. The slow ways detect
in every n-th frame only (`--sample`), and their detection time is scaled up by n.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import parser, ratios, report, shown
from score_video import hog

from dfd.base.types import Label
from dfd.data.prepare.video import PreparationSettings, prepare_video
from dfd.data.sources.row import VideoRow
from dfd.faces.crop import Square
from dfd.faces.detect import FaceDetector, build_detector
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter

SQUARE = Square(size=112, margin_fraction=0.3)

Detect = Callable[[np.ndarray], Sequence[Sequence[float]]]


def every_frame(path: Path, detect: Detect, folder: Path, num_frames: int, sample: int) -> tuple[float, int]:
    """Decode, detect, crop the largest face and encode. Returns seconds, detection scaled to every frame, and faces."""
    began, detecting, found, looked_at = time.process_time(), 0.0, 0, 0
    with VideoReader(path) as reader, VideoWriter(folder / "x.mp4", width=112, height=112, fps=reader.fps) as writer:
        box = [0.0, 0.0, reader.width, reader.height]
        for start, frames in reader.chunks([range(num_frames)]):
            for index, frame in enumerate(frames, start):
                if index % sample == 0:
                    before = time.process_time()
                    boxes = detect(frame)
                    detecting += time.process_time() - before
                    looked_at += 1
                    found += bool(boxes)
                    box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=box)
                writer.write(SQUARE.cut(frame, box, [])[None])
                count = index + 1
    seconds = time.process_time() - began
    return seconds + detecting * (count / looked_at - 1), found


def package(min_face_size: int) -> Detect:
    """facenet-pytorch's own detector."""
    from facenet_pytorch import MTCNN

    network = MTCNN(keep_all=True, min_face_size=min_face_size, device="cpu")

    def detect(frame: np.ndarray) -> Sequence[Sequence[float]]:
        boxes, _ = network.detect(frame)
        return [] if boxes is None else boxes.astype(float).tolist()

    return detect


def ours(path: Path, detector: FaceDetector, folder: Path, num_frames: int) -> int:
    """The product's own preprocessing of one video; returns the frames of the main track."""
    settings = PreparationSettings(face_detector={"name": detector.name}, num_frames=num_frames)
    row = VideoRow(path.absolute(), path.name, Label.REAL)
    record = prepare_video(row, folder, settings, detector)
    return max((track.num_frames for track in record.tracks), default=0)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--frames", type=int, default=150)
    options.add_argument("--sample", type=int, default=15, help="the slow ways detect in every n-th frame")
    options.add_argument("--yunet", type=Path, help="weights of YuNet, to measure the product with it, too")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.frames, arguments.sample = 1, 15, 15
    torch.set_num_threads(1)
    products = {"MTCNN": build_detector("mtcnn")}
    if arguments.yunet:
        products["YuNet"] = build_detector("yunet", weights=str(arguments.yunet))

    def own(frame: np.ndarray) -> Sequence[Sequence[float]]:
        return [(b.x1, b.y1, b.x2, b.y2) for b in products["MTCNN"](frame[None])[0]]

    rows: list[list[str]] = []
    values: list[dict[str, Any]] = []
    hog_name, hog_detect = hog()
    for path in arguments.videos:
        with VideoReader(path) as reader:
            height, size = min(reader.height, reader.width), f"{reader.info.width} x {reader.info.height}"
        ways = {
            hog_name: hog_detect,
            "package": package(20),
            "package, our min. face": package(round(0.08 * height)),
            "ours, every frame": own,
        }
        seconds: dict[str, list[float]] = {name: [] for name in [*products, *ways]}
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as folder:
                for name, detector in products.items():
                    began = time.process_time()
                    ours(path, detector, Path(folder) / name, arguments.frames)
                    seconds[name].append(time.process_time() - began)
                for name, detect in ways.items():
                    spent, _ = every_frame(path, detect, Path(folder), arguments.frames, arguments.sample)
                    seconds[name].append(spent)
        for name in products:
            times = [shown(ratios(seconds[way], seconds[name]), 1) for way in ways]
            rows.append([size, name, shown(seconds[name]), *times])
        values.append({"size": size, "seconds": seconds})
    columns = ["video", "product with", "its seconds of CPU", *(f"times longer: {way}" for way in ways)]
    report(arguments, "preprocess_speed", "From a video to face clips", columns, rows, values)


if __name__ == "__main__":
    main()
