"""How much faster than detecting a face in every frame at native size is preprocessing, with the same detector?

    python benchmarks/preprocess_speed.py VIDEO... [--repeats 5] [--frames 150] [--output table.json]

Both ways decode the first frames of a video, find the face with MTCNN at its default settings, crop it to 112 px and
encode the crops alike, in one process on one thread. They take turns, so that a machine that slows down slows both; the
ratio is the median of the ratios of the pairs. The stand-in detects on each frame at its native size, as scripts in
this field do.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dfd.data.manifest import VideoRow
from dfd.data.preparation import PreparationSettings, prepare_video
from dfd.faces.crop import crop_faces
from dfd.faces.detect import FaceDetector, build_detector
from dfd.types import Label
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter


def every_frame_at_native_size(path: Path, detector: FaceDetector, folder: Path, num_frames: int) -> int:
    """Decode, detect on each frame, crop the best face, encode; returns the number of faces found."""
    found = 0
    with (
        VideoReader(path) as reader,
        VideoWriter(folder / "naive.mp4", width=112, height=112, fps=reader.fps) as writer,
    ):
        for _, frames in reader.chunks([range(num_frames)]):
            for frame in frames:
                boxes = detector(frame[None])[0]
                if boxes:
                    best = boxes[0]
                    corners = np.array([[best.x1, best.y1, best.x2, best.y2]], dtype=np.float32)
                    writer.write(crop_faces(frame[None], corners, size=112, margin_fraction=0.3))
                    found += 1
    return found


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
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = build_detector("mtcnn")
    rows = []
    for path in arguments.videos:
        ratios, seconds = [], {"ours": [], "every_frame": []}
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                found = every_frame_at_native_size(path, detector, Path(folder), arguments.frames)
                middle = time.perf_counter()
                kept = ours(path, detector, Path(folder) / "store", arguments.frames)
                ended = time.perf_counter()
            seconds["every_frame"].append(middle - began)
            seconds["ours"].append(ended - middle)
            ratios.append((middle - began) / (ended - middle))
        with VideoReader(path) as reader:
            size = f"{reader.info.width}x{reader.info.height}"
        medians = {name: round(statistics.median(values), 2) for name, values in seconds.items()}
        ratio = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        counts = {"faces_every_frame": found, "faces_ours": kept}
        rows.append({"video": path.name, "size": size, **medians, **ratio, **counts})
        print(f"{path.name} {size}: {ratio['ratio']:.1f}x ({min(ratios):.1f} to {max(ratios):.1f})", flush=True)
    print("\n| video | size | every frame, s | ours, s | ratio | faces in frames, every frame / ours |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['video']} | {row['size']} | {row['every_frame']} | {row['ours']} | {row['ratio']:.1f} "
            f"({row['lowest']:.1f}–{row['highest']:.1f}) | {row['faces_every_frame']} / {row['faces_ours']} |"
        )
    if arguments.output:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
        arguments.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
