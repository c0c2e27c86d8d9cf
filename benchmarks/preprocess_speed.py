"""How much faster than detecting a face in every frame at native size is preprocessing?

    python benchmarks/preprocess_speed.py VIDEO... [--repeats 5] [--frames 150] [--output table.json]

Four ways decode the first frames of a video, find the face with MTCNN, crop it to 112 px and encode the crops, in one
process on one thread: the product, and three that detect in every frame at native size, as scripts in this field do:

- `package`: facenet-pytorch's MTCNN at its defaults (faces of 20 px and more), the usual script;
- `package, our min. face`: the same, looking for no smaller faces than we do;
- `ours, every frame`: our own cascade over the same networks.

They take turns, so a machine that slows down slows all; a ratio is the median over the rounds. The slow ways detect
in every n-th frame only (`--sample`), and their detection time is scaled up by n.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from dfd.data.manifest import VideoRow
from dfd.data.preparation import PreparationSettings, prepare_video
from dfd.faces.crop import crop_faces
from dfd.faces.detect import FaceDetector, build_detector
from dfd.types import Label
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter

Detect = Callable[[np.ndarray], Sequence[Sequence[float]]]


def every_frame(path: Path, detect: Detect, folder: Path, num_frames: int, sample: int) -> tuple[float, int]:
    """Decode, detect, crop the largest face and encode. Returns seconds, detection scaled to every frame, and faces."""
    began, detecting, found, looked_at = time.perf_counter(), 0.0, 0, 0
    with VideoReader(path) as reader, VideoWriter(folder / "x.mp4", width=112, height=112, fps=reader.fps) as writer:
        box = [0.0, 0.0, reader.width, reader.height]
        for start, frames in reader.chunks([range(num_frames)]):
            for index, frame in enumerate(frames, start):
                if index % sample == 0:
                    before = time.perf_counter()
                    boxes = detect(frame)
                    detecting += time.perf_counter() - before
                    looked_at += 1
                    found += bool(boxes)
                    box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=box)
                writer.write(crop_faces(frame[None], np.array([box]), size=112, margin_fraction=0.3))
                count = index + 1
    seconds = time.perf_counter() - began
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
    settings = PreparationSettings(face_detector={"name": "mtcnn"}, num_frames=num_frames)
    row = VideoRow(path.absolute(), path.name, Label.REAL)
    record = prepare_video(row, folder, settings, detector)
    return max((track.num_frames for track in record.tracks), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--sample", type=int, default=5, help="the slow ways detect in every n-th frame")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = build_detector("mtcnn")

    def own(frame: np.ndarray) -> Sequence[Sequence[float]]:
        return [(b.x1, b.y1, b.x2, b.y2) for b in detector(frame[None])[0]]

    rows = []
    for path in arguments.videos:
        with VideoReader(path) as reader:
            height, size = min(reader.height, reader.width), f"{reader.info.width}x{reader.info.height}"
        ways = {
            "package": package(20),
            "package, our min. face": package(round(0.08 * height)),
            "ours, every frame": own,
        }
        seconds: dict[str, list[float]] = {name: [] for name in ["product", *ways]}
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                ours(path, detector, Path(folder) / "store", arguments.frames)
                seconds["product"].append(time.perf_counter() - began)
                for name, detect in ways.items():
                    spent, _ = every_frame(path, detect, Path(folder), arguments.frames, arguments.sample)
                    seconds[name].append(spent)
        ratios = {
            name: [slow / fast for slow, fast in zip(seconds[name], seconds["product"], strict=True)] for name in ways
        }
        rows.append({"video": path.name, "size": size, "seconds": seconds, "ratios": ratios})
        print(f"{path.name}: done", flush=True)
    print("\n| video | size | product, s | " + " | ".join(f"{name}: ratio (s)" for name in ways) + " |")
    print("|---" * (3 + len(ways)) + "|")
    for row in rows:
        cells = []
        for name in ways:
            r = row["ratios"][name]
            cells.append(f"{median(r):.1f}x, {min(r):.1f}–{max(r):.1f} ({median(row['seconds'][name]):.1f})")
        print(f"| {row['video']} | {row['size']} | {median(row['seconds']['product']):.2f} | {' | '.join(cells)} |")
    if arguments.output:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        arguments.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
