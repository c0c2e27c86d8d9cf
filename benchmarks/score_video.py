"""Scoring a video, against stand-ins of our own for the paths that public systems take.

    python benchmarks/score_video.py VIDEO... [--yunet FILE] [--repeats 5]
    uv run --with dlib-bin python benchmarks/score_video.py VIDEO...        # with dlib's HOG for the two that use it

Each way decodes, finds faces, crops and scores in this process, models loaded, all networks with random weights:

- `notebook`: the first 20 frames, a HOG detector on each at native size, ResNeXt50 and LSTM with gradients on;
- `view`: reads the whole video, writes 20 frames and the faces that it finds in them as PNG pictures, to show them,
  detects once more to score, and scores alike;
- `32 frames`: 32 frames over the whole video, a fast detector on each, EfficientNet-B4 at 224 px;
- `ours`: predict.py's own code, 20 frames (two windows over the whole video) and 32 (four of eight), as with
  `heatmaps=false`: no peer explains its score, and that would double the time. In torch, as for few videos, and in
  onnxruntime, as for many or with a kept export.

Seconds are of wall time, with as many threads as there are cores (`--threads`), which sleep when they wait for each
other, as in predict.py: the published network takes 0.07 s longer for it, ours with onnxruntime 0.25 less. With
`--threads 1` they are of the CPU, which other work on the machine does not change, and what runs at the same time
counts as if it came one after the other; that table has a name of its own.

Without dlib, facenet-pytorch's MTCNN at its defaults stands in for HOG (`uv pip install --no-deps
facenet-pytorch==2.6.0`), and the table says so. For `32 frames` YuNet at a longest side of 640 stands in for BlazeFace,
which is as light.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import cv2
import numpy as np
import torch
from _measure import parser, ratios, report, shown, take_turns
from PIL import Image

from dfd.base.machine import num_cores
from dfd.faces.detect import build_detector
from dfd.faces.extract import shrink
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.onnx import to_onnx
from dfd.scoring.detector import Detector
from dfd.scoring.look.stream import stream_windows
from dfd.scoring.runtimes.runtime import OnnxRuntime, Runtime, TorchRuntime

TITLE = "Scoring a video, models loaded"
COLUMNS = ["video", "frames", "way", "seconds", "times notebook", "times view", "times 32 frames"]

Boxes = Sequence[tuple[int, int, int, int]]
Detect = Callable[[np.ndarray], Boxes]
Score = Callable[[Path], Any]


def hog() -> tuple[str, Detect]:
    """Dlib's face detector, upsampling once as face_recognition does by default; else MTCNN's package."""
    try:
        import dlib
    except ImportError:
        from facenet_pytorch import MTCNN

        network = MTCNN(keep_all=True, device="cpu")

        def package(frame: np.ndarray) -> Boxes:
            boxes, _ = network.detect(frame)
            return [] if boxes is None else [tuple(int(v) for v in box) for box in boxes]

        return "MTCNN's package, for want of dlib", package
    detector = dlib.get_frontal_face_detector()

    def detect(frame: np.ndarray) -> Boxes:
        return [(r.left(), r.top(), r.right(), r.bottom()) for r in detector(frame, 1)]

    return "dlib HOG", detect


def read(path: Path, wanted: set[int] | None) -> list[np.ndarray]:
    """Frames in RGB by OpenCV; None: all."""
    capture, frames, index = cv2.VideoCapture(str(path)), [], 0
    while (wanted is None or index <= max(wanted)) and capture.grab():
        if wanted is None or index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
        index += 1
    return frames


def faces(frames: Sequence[np.ndarray], detect: Detect) -> Iterator[np.ndarray]:
    """The first face of each frame, else the whole frame, as those systems do."""
    for frame in frames:
        x1, y1, x2, y2 = next(iter(detect(frame)), (0, 0, frame.shape[1], frame.shape[0]))
        face = frame[max(0, y1) : max(y2, y1 + 1), max(0, x1) : max(x2, x1 + 1)]
        yield face if face.size else frame


def crops(frames: Sequence[np.ndarray], detect: Detect, side: int) -> torch.Tensor:
    """Those at one size, uint8 (1, T, 3, side, side)."""
    pieces = [cv2.resize(face, (side, side)) for face in faces(frames, detect)]
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2)[None]


def network(backbone: dict[str, Any], temporal: str = "lstm") -> ClipClassifier:
    config = {
        "backbone": {**backbone, "pretrained": False},
        "temporal": {"_target_": f"dfd.models.temporal.{temporal}"},
    }
    return build_model(config).eval()


def ours(clip_len: int, max_windows: int, face_detector: dict[str, Any], runtime: Runtime) -> Callable[[Path], Any]:
    card = DetectorCard(model={}, image_size=112, clip_len=clip_len)
    detector = Detector(runtime, card, name="random", heatmaps=False, max_windows=max_windows)
    faces = build_detector(**face_detector)

    def score(path: Path) -> Any:
        scored = detector.score_windows(path, stream_windows(path, faces, detector.extraction, detector.windows))
        if scored.prob_fake is None:
            raise SystemExit(f"{path}: {scored.status}: {scored.message}")
        return scored

    return score


def build_ways(arguments: argparse.Namespace) -> tuple[str, dict[str, Score]]:
    name, detect = hog()
    light = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet"}
    resnext = light if arguments.quick else {"_target_": "dfd.models.backbones.resnext50"}
    b4 = light if arguments.quick else {"_target_": "dfd.models.backbones.timm", "name": "efficientnet_b4"}
    published, tuned = network(resnext), network(resnext)
    published.backbone.to(memory_format=torch.contiguous_format)
    efficient = network(b4, "mean")
    card = DetectorCard(model=tuned.config, image_size=112, clip_len=10)
    torchs = TorchRuntime(tuned, card, "cpu")
    torchs.tune()
    onnxs = OnnxRuntime(to_onnx(network(resnext), card), num_threads=arguments.threads)

    def notebook(path: Path) -> None:
        published(crops(read(path, set(range(20))), detect, 112))  # gradients on, as published

    def view(path: Path) -> None:
        frames = read(path, None)[:20]
        with TemporaryDirectory() as folder:
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(f"{folder}/frame_{number}.png")
            for number, face in enumerate(faces(frames, detect)):
                Image.fromarray(face).save(f"{folder}/face_{number}.png")
        published(crops(frames, detect, 112))

    ways: dict[str, Score] = {
        "notebook": notebook,
        "view": view,
        "ours, 20 frames, MTCNN": ours(10, 2, {"name": "mtcnn"}, torchs),
        "ours, 20 frames, MTCNN, onnxruntime": ours(10, 2, {"name": "mtcnn"}, onnxs),
    }
    if arguments.yunet:
        yunet = {"name": "yunet", "weights": str(arguments.yunet)}
        fast = build_detector(**yunet)

        def spread(path: Path) -> None:
            capture = cv2.VideoCapture(str(path))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            frames = read(path, set(np.linspace(0, count - 1, 32).astype(int).tolist()))
            with torch.inference_mode():
                efficient(crops(frames, small_boxes, 224))

        def small_boxes(frame: np.ndarray) -> Boxes:
            small = shrink(frame, 640)
            scale = frame.shape[1] / small.shape[1]
            return [tuple(int(v * scale) for v in (f.x1, f.y1, f.x2, f.y2)) for f in fast(small[None])[0]]

        ways |= {
            "ours, 20 frames, YuNet": ours(10, 2, yunet, torchs),
            "ours, 20 frames, YuNet, onnxruntime": ours(10, 2, yunet, onnxs),
            "32 frames": spread,
            "ours, 32 frames, MTCNN": ours(8, 4, {"name": "mtcnn"}, torchs),
            "ours, 32 frames, YuNet": ours(8, 4, yunet, torchs),
        }
    return name, ways


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(threads=num_cores())
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--yunet", type=Path, help="weights of YuNet")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    name, ways = build_ways(arguments)
    in_parallel = arguments.threads > 1
    rows, values = [], {}
    for path in arguments.videos:
        capture = cv2.VideoCapture(str(path))
        size = f"{capture.get(cv2.CAP_PROP_FRAME_WIDTH):.0f} x {capture.get(cv2.CAP_PROP_FRAME_HEIGHT):.0f}"
        frames = f"{capture.get(cv2.CAP_PROP_FRAME_COUNT):.0f}"
        bound = {way: (lambda score=score, path=path: score(path)) for way, score in ways.items()}  # type: ignore[misc]
        seconds = take_turns(bound, arguments.repeats, wall=in_parallel)
        values[size] = seconds
        for way, taken in seconds.items():
            compared = ["notebook", "view"] if "20" in way else ["32 frames"] if "ours, 32" in way else []
            speedups = [shown(ratios(seconds[other], taken), 1) for other in compared]
            cells = [*speedups, "", ""][:2] if "20" in way else ["", ""]
            rows.append([size, frames, way, shown(taken), *cells, speedups[0] if "ours, 32" in way else ""])
        file = "score_video" if in_parallel else "score_video_one_thread"
        report(arguments, file, TITLE, COLUMNS, rows, values, per_frame_detector=name)  # as far as it is


if __name__ == "__main__":
    main()
