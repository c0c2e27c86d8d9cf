"""How the time of scoring grows: with the number of videos, with their length, and with the faces in a frame.

    python benchmarks/growth.py VIDEO [--numbers 10,100,1000] [--lengths 1,2,4,8] [--faces 1,2,4,8]

VIDEO is short and shows one face. Many videos are links to it, scored by predict.py as a user would; besides, how much
of the work overlaps (wall time against the CPU seconds divided by the cores) and when the first row is there. A longer
video repeats its packets; more faces are its frames side by side. A small network of random weights: the rest of the
work shows. Writes a plot beside the table.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from _measure import SMALL_NETWORK, parser, random_checkpoint, report, results_folder, take_turns
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from memory import ROOT, repeat

from dfd.faces.detect import build_detector
from dfd.scoring.detector import Detector
from dfd.scoring.look.stream import stream_windows
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter


def predict(video: Path, number: int, checkpoint: Path, folder: Path) -> dict[str, float]:
    """predict.py over so many links to a video: seconds of wall and CPU, and to the first row."""
    inbox, output = folder / f"inbox-{number}", folder / f"scores-{number}"
    shutil.rmtree(output, ignore_errors=True)
    inbox.mkdir(exist_ok=True)
    for index in range(number):
        link = inbox / f"{index:05}{video.suffix}"
        if not link.exists():
            os.link(video, link)
    command = [sys.executable, "predict.py", f"input={inbox}", f"checkpoint={checkpoint}", f"output={output}"]
    before, began, first = _children_cpu(), time.perf_counter(), None
    process = psutil.Popen([*command, "max_windows=2", "report=false", f"hydra.run.dir={folder}/run"], cwd=ROOT)
    rows = output / "predictions.jsonl"
    while process.poll() is None:
        if first is None and rows.exists() and rows.stat().st_size:
            first = time.perf_counter() - began
        time.sleep(0.01)
    wall = time.perf_counter() - began
    if process.returncode:
        raise SystemExit("predict.py failed")
    scored = [json.loads(line) for line in rows.read_text().splitlines()]
    if len(scored) != number or any(score["prob_fake"] is None for score in scored):
        raise SystemExit(f"of {number} videos {len(scored)} have rows, and some no score: take a VIDEO with a face")
    return {"wall": wall, "cpu": _children_cpu() - before, "first_row": first or wall}


def _children_cpu() -> float:
    """Of all processes that were started and have ended, their own children included."""
    times = os.times()
    return times.children_user + times.children_system


def side_by_side(video: Path, number: int, target: Path) -> None:
    """A video whose frames hold ``number`` copies of the first 50 of ``video``, in a square as far as it goes."""
    columns = int(np.ceil(np.sqrt(number)))
    with VideoReader(video) as reader:
        frames = reader.frames(range(min(50, reader.num_frames)))
        fps = reader.fps
    tiled = []
    for frame in frames:
        blank = np.zeros_like(frame)
        copies = [frame if index < number else blank for index in range(columns * -(-number // columns))]
        lines = [np.concatenate(copies[i : i + columns], axis=1) for i in range(0, len(copies), columns)]
        tiled.append(np.concatenate(lines))
    height, width = (side // 2 * 2 for side in tiled[0].shape[:2])
    usual = {"crf": 20, "pixel_format": "yuv420p", "keyframe_interval": 50, "fast_decode": False}
    with VideoWriter(target, width=width, height=height, fps=fps, **usual) as writer:
        writer.write(np.stack(tiled)[:, :height, :width])


def scorer(checkpoint: Path) -> Callable[[Path], Any]:
    """Scores all windows of a video in this process."""
    detector = Detector.load(checkpoint, device="cpu", max_windows=None, heatmaps=False, max_faces=64)
    faces = build_detector("mtcnn")

    def score(path: Path) -> Any:
        found = stream_windows(path, faces, detector.extraction, detector.windows)
        return detector.score_windows(path, found)

    return score


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def plot(values: dict[str, dict[int, float]], target: Path) -> None:
    """Time against each, both on logarithmic axes, with what would be linear from the first on."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(values)), values.items(), strict=True):
        x, y = list(points), list(points.values())
        axes.plot(x, y, "o-", color="#1f77b4", label="measured")
        axes.plot(x, [y[0] * value / x[0] for value in x], "--", color="#888888", label="linear from the first")
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="CPU seconds", xticks=x)
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([str(value) for value in x])
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter() if max(y) < 10 * min(y) else NullFormatter())
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    figure.savefig(target, dpi=110)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("video", type=Path)
    options.add_argument("--numbers", default="10,100,1000")
    options.add_argument("--lengths", default="1,2,4,8", help="times the length of VIDEO")
    options.add_argument("--faces", default="1,2,4,8")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.numbers, arguments.lengths, arguments.faces = 1, "2", "1,2", "1,2"
    torch.set_num_threads(arguments.threads)
    rows: list[list[str]] = []
    runs: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = random_checkpoint(folder / "random.safetensors", SMALL_NETWORK)
        video = folder / f"short{arguments.video.suffix}"
        shutil.copyfile(arguments.video, video)
        for number in numbers(arguments.numbers):
            runs[number] = predict(video, number, checkpoint, folder)
        score = scorer(checkpoint)
        with VideoReader(video) as reader:
            seconds = reader.num_frames / reader.fps
        ways: dict[str, Callable[[], Any]] = {}
        for times in numbers(arguments.lengths):
            longer = folder / f"long-{times}{video.suffix}"
            repeat(video, longer, (times - 0.5) * seconds / 60)
            ways[f"length {times}"] = lambda path=longer: score(path)  # type: ignore[misc]
        for count in numbers(arguments.faces):
            crowd = folder / f"faces-{count}.mp4"
            side_by_side(video, count, crowd)
            ways[f"faces {count}"] = lambda path=crowd: score(path)  # type: ignore[misc]
        taken = {what: float(np.median(values)) for what, values in take_turns(ways, arguments.repeats).items()}
    values = {
        "videos": {number: run["cpu"] for number, run in runs.items()},
        "times the length": {n: taken[f"length {n}"] for n in numbers(arguments.lengths)},
        "faces per frame": {n: taken[f"faces {n}"] for n in numbers(arguments.faces)},
    }
    for what, points in values.items():
        first, *_ = points
        for number, cpu in points.items():
            linear = f"{cpu / points[first] / (number / first):.2f}"
            run = runs[number] if what == "videos" else None
            overlap = f"{run['wall'] / (run['cpu'] / (os.cpu_count() or 1)):.2f}" if run else ""
            rows.append([what, str(number), f"{cpu:.1f}", linear, overlap, f"{run['first_row']:.1f}" if run else ""])
    if target := results_folder(arguments):
        plot(values, target / "growth.png")
    columns = ["growing", "number", "CPU seconds", "of linear", "wall / (CPU / cores)", "first row, s"]
    report(arguments, "growth", "How the time of scoring grows", columns, rows, {"runs": runs, **values})


if __name__ == "__main__":
    main()
