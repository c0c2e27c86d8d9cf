"""Where the time of scoring goes: seconds of work per video in each stage, for each face detector.

    python benchmarks/scoring_stages.py [VIDEO…] [--checkpoint FILE] [--face-detectors mtcnn,yunet:FILE]

One worker process, and the network beside it, as in a run with num_workers=1. The stages of the two overlap: `wall` is
what one waits, and its floor the busier of the two. The floor of decoding is PyAV over the same file in one thread,
without colours; that of the network its operations at the peak of a float32 matrix product on the same threads. Seconds
are of wall time, which mean something on a quiet machine only; the load is in the results. The first video of a
detector starts the worker and is not counted. Without a VIDEO one is drawn, without a checkpoint it is a ResNeXt50 with
LSTM(2048) of random weights.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import av
from _measure import NETWORK, SMALL_NETWORK, drawn_video, matrix_peak, parser, random_checkpoint, report, shown

from dfd.base.machine import num_cores, wait_without_spinning

if TYPE_CHECKING:
    from dfd.scoring.detector import Detector

WORKER, MAIN = ("hash", "decode", "detect", "crop"), ("network", "explain")
"""Stages of the worker process, and of the one with the network."""


def parse_detector(text: str) -> dict[str, Any]:
    name, _, weights = text.partition(":")
    return {"name": name, **({"weights": weights} if weights else {})}


def measure(detector: "Detector", video: Path, repeats: int) -> list[dict[str, float]]:
    """Seconds of each stage, of the wait and of the busier process, in each repetition."""
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        score = detector.score(video)
        wall = time.perf_counter() - began
        if not score.status.has_faces:
            raise SystemExit(f"{video}: {score.status}: {score.message}")
        stages = {stage: score.seconds_by_stage.get(stage, 0.0) for stage in (*WORKER, *MAIN)}
        busier = max(sum(stages[stage] for stage in process) for process in (WORKER, MAIN))
        clips = sum(len(track.windows) for track in score.tracks)
        runs.append({**stages, "wall": wall, "busier": busier, "frames": score.num_frames, "clips": clips})
    return runs


def seconds_to_decode(video: Path, repeats: int) -> list[float]:
    """All frames of a video, as the decoder gives them, in one thread."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            for _frame in container.decode(stream):
                pass
        taken.append(time.perf_counter() - began)
    return taken


def rows_of(name: str, runtime: str, video: str, runs: Sequence[dict[str, float]]) -> list[str]:
    stages = [shown([run[stage] for run in runs]) for stage in (*WORKER[1:], *MAIN, "wall")]
    over = shown([run["wall"] / run["busier"] for run in runs])
    return [name, runtime, video, f"{runs[0]['frames']:.0f}", *stages, over]


def main() -> None:
    wait_without_spinning()  # as predict.py does, before torch is imported
    import torch
    from train_step import GFLOP_PER_FRAME, GFLOP_PER_LSTM_FRAME

    from dfd.scoring.detector import Detector

    options = parser(__doc__)
    options.set_defaults(threads=num_cores())
    options.add_argument("videos", nargs="*", type=Path)
    options.add_argument("--checkpoint", type=Path)
    options.add_argument("--face-detectors", default="mtcnn", help="comma-separated; NAME or NAME:WEIGHTS")
    options.add_argument("--runtimes", default="torch", help="comma-separated: torch, onnx")
    options.add_argument("--max-windows", type=int, default=32)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.max_windows = 1, 2
    torch.set_num_threads(arguments.threads)
    peak = matrix_peak(side=256 if arguments.quick else 2048)
    rows, values = [], []
    num_frames: dict[Path, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or random_checkpoint(
            Path(folder) / "random.safetensors", SMALL_NETWORK if arguments.quick else NETWORK
        )
        width, height = (320, 240) if arguments.quick else (1280, 720)
        videos = arguments.videos or [drawn_video(Path(folder) / "drawn.mp4", seconds=1.0, width=width, height=height)]
        sizes = {}
        for video in videos:
            with av.open(str(video)) as container:
                sizes[video] = f"{container.streams.video[0].width} x {container.streams.video[0].height}"
        for text in arguments.face_detectors.split(","):
            for runtime in arguments.runtimes.split(","):
                given = {"face_detector": parse_detector(text), "num_workers": 1, "max_windows": arguments.max_windows}
                with Detector.load(checkpoint, runtime=runtime, **given) as detector:
                    detector.score(videos[0])
                    for video in videos:
                        runs = measure(detector, video, arguments.repeats)
                        name = text.partition(":")[0]
                        rows.append(rows_of(name, runtime, sizes[video], runs))
                        values.append({"face_detector": name, "runtime": runtime, "video": sizes[video], "runs": runs})
                        num_frames[video] = runs[0]["clips"] * detector.card.clip_len
        for video in videos:
            decoding = seconds_to_decode(video, arguments.repeats)
            gflop = num_frames[video] * (GFLOP_PER_FRAME + GFLOP_PER_LSTM_FRAME)
            network = "" if arguments.checkpoint or arguments.quick else f"{gflop / peak:.2f}"
            rows.append(["floor", "", sizes[video], "", shown(decoding), "", "", network, "", "", ""])
            values.append({"floor": sizes[video], "decode": median(decoding), "gflop": gflop, "matrix_peak": peak})
    heads = [f"{stage}, s" for stage in (*WORKER[1:], *MAIN, "wall")]
    columns = ["face detector", "runtime", "video", "frames", *heads, "wall / busier process"]
    report(
        arguments,
        "scoring_stages",
        "Where the time of scoring goes",
        columns,
        rows,
        values,
        matrix_peak=f"{peak:.0f} GFLOP/s on {arguments.threads} threads",
    )


if __name__ == "__main__":
    main()
