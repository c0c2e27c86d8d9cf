"""Scoring many short videos against the floor: decoding them, and the network's operations at the processor's peak.

    python benchmarks/throughput.py VIDEO... [--number 200] [--seconds 2.5] [--yunet FILE] [--before CHECKOUT]

The short videos are cut out of VIDEO..., scaled to 640 pixels and encoded anew as H.264; the folder repeats them. They
are scored by predict.py as a user would, with the starter, without heat maps and report. A quarter of the folder is
scored first: what each further video costs is the slope between the two, which is what a folder of millions pays.

The network runs in the runtime that a folder of that many would get, onnxruntime, whose export is made beforehand.
Peaks are those of all processes of a run, with shared pages counted once.

Floor: the CPU time of FFmpeg's decoder on every frame, and the operations of the network on the windows that were
scored, at the rate of a matrix product on a core; spread over all cores. With faces: the products of MTCNN's networks
in the key frames too, at the same rate.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from _measure import matrix_peak, parser, report
from cold_start import SECONDS_OF_A_SAMPLE, shared_once
from preprocess_floor import ROOT, decode
from torch.utils.flop_counter import FlopCounterMode

from dfd.base.types import FloatArray
from dfd.faces.detectors.cascade import Convolution, load_networks
from dfd.faces.detectors.mtcnn import WEIGHTS, Mtcnn
from dfd.faces.extract import FaceExtractor
from dfd.scoring.detector import Detector
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

NUM_CUTS = 24
"""Different cuts; more videos are links to them."""


def cuts(videos: Sequence[Path], folder: Path, *, seconds: float, number: int = NUM_CUTS) -> list[Path]:
    """So many short videos of at most 640 pixels, one part after the other of each of the videos."""
    made: list[Path] = []
    places = Counter[Path]()
    for path in islice(cycle(videos), 4 * number):
        with VideoReader(path, max_side=640) as reader:
            length = round(seconds * reader.fps)
            start = reader.first_frame + places[path] * length
            if start + length > reader.num_frames:
                continue
            frames = reader.frames(range(start, start + length))[:, : reader.height // 2 * 2, : reader.width // 2 * 2]
            places[path] += 1
            made.append(folder / f"{len(made):03}.mp4")
            usual: dict[str, Any] = {"crf": 23, "pixel_format": "yuv420p", "keyframe_interval": 50}
            write_video(made[-1], frames, fps=reader.fps, fast_decode=False, **usual)
        if len(made) == number:
            return made
    if not made:
        raise SystemExit(f"no video is {seconds} s long")
    return made


def inbox_of(short: Sequence[Path], number: int, folder: Path) -> Path:
    """A folder of so many links to the short videos."""
    inbox = folder / f"inbox-{number}"
    inbox.mkdir()
    for place, path in enumerate(islice(cycle(short), number)):
        os.link(path, inbox / f"{place:05}.mp4")
    return inbox


def predict(root: Path, inbox: Path, output: Path, options: Sequence[str]) -> dict[str, Any]:
    """predict.py of a checkout over a folder: wall and CPU seconds, the peak in MB, and the rows."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "predict.py", f"input={inbox}", "checkpoint=starter", f"output={output}"]
    command += ["heatmaps=false", "report=false", f"hydra.run.dir={output}.run", *options]
    before, began, peak = os.times(), time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as told:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=told, stderr=told)
        while process.poll() is None:
            time.sleep(SECONDS_OF_A_SAMPLE)
            peak = max(peak, shared_once(process.pid))
        wall, after = time.perf_counter() - began, os.times()
        if process.returncode:
            told.seek(0)
            raise SystemExit(told.read().decode(errors="replace"))
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "cpu": cpu, "peak": peak, "rows": rows}


def gigaflops_of_faces(short: Sequence[Path]) -> float:
    """Operations of MTCNN's products for a video, in 10^9: a multiplication and an addition for each weight read."""
    operations = 0.0

    class Counted(Convolution):
        def __call__(self, x_KHWC: FloatArray) -> FloatArray:
            nonlocal operations
            found = super().__call__(x_KHWC)
            operations += 2 * found.size * len(self.weight)
            return found

    networks = load_networks(WEIGHTS)
    for network in networks:
        for convolution in network.convolutions:
            convolution.__class__ = Counted
    detector = Mtcnn(threshold=0.9, min_face_fraction=0.08, networks=networks)
    for path in short:
        with VideoReader(path) as reader:
            for _ in FaceExtractor(detector).run(reader.chunks()):
                pass
    return operations / len(short) / 1e9


def gigaflops_of_a_window() -> float:
    """Operations of the starter on one clip, in 10^9."""
    detector = Detector.load("starter", device="cpu", heatmaps=False, runtime="torch")
    assert detector.model is not None
    size = detector.extraction.crop.size
    clip = torch.zeros(1, detector.card.clip_len, 3, size, size, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.model(clip, None)
    return counter.get_total_flops() / 1e9


def main() -> None:
    options = parser(__doc__)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--number", type=int, default=200)
    options.add_argument("--seconds", type=float, default=2.5)
    options.add_argument("--before", type=Path, help="another checkout, to compare with")
    options.add_argument("--runtime", default="onnx", help="of the network")
    options.add_argument("--yunet", type=lambda text: Path(text).resolve(), help="weights of YuNet")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.number, arguments.seconds = 4, 0.5
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    peak, window = matrix_peak(), gigaflops_of_a_window()
    detectors = {"MTCNN": ["face_detector=mtcnn"]}
    if arguments.yunet:
        detectors["YuNet"] = ["face_detector=yunet", f"face_detector.weights={arguments.yunet}"]
    checkouts = {**({"before": arguments.before.resolve()} if arguments.before else {}), "now": ROOT}
    ways = {(name, detector): root for detector in detectors for name, root in checkouts.items()}
    rows, values = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = cuts(arguments.videos, folder, seconds=arguments.seconds)
        decoding = sum(min(decode(path, 10**6) for _ in range(3)) for path in short) / len(short)
        faces = gigaflops_of_faces(short) / peak
        few, many = max(1, arguments.number // 4), arguments.number
        inboxes = {number: inbox_of(short, number, folder) for number in (few, many)}
        found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {way: {} for way in ways}
        options = [f"runtime={arguments.runtime}"]
        predict(ROOT, short[0], folder / "first", options)  # exports
        for number, inbox in inboxes.items():
            for way, root in ways.items():
                given = [*options, *detectors[way[1]]]
                found[way][number] = predict(root, inbox, folder / "scores", given)
        for way, runs in found.items():
            scored = runs[many].pop("rows")
            runs[few].pop("rows")
            windows = sum(len(track["windows"]) for row in scored for track in row["tracks"]) / many
            network = windows * window / peak
            slope = {key: (runs[many][key] - runs[few][key]) / (many - few) for key in ("wall", "cpu")}
            floor = decoding + network
            stages: Counter[str] = Counter()
            for row in scored:
                stages.update({stage: spent / many for stage, spent in row["seconds_by_stage"].items()})
            is_counted = way == ("now", "MTCNN")
            values[", ".join(way)] = {
                "runs": runs,
                "slope": slope,
                "windows": windows,
                "floor": {"decode": decoding, "network": network, **({"faces": faces} if is_counted else {})},
                "stages": dict(stages),
                "statuses": dict(Counter(row["status"] for row in scored)),
            }
            rows.append(
                [
                    ", ".join(way),
                    f"{runs[many]['wall']:.1f} ({runs[few]['wall']:.1f} for {few})",
                    f"{slope['wall']:.3f}",
                    f"{slope['cpu']:.3f}",
                    f"{decoding:.3f} + {network:.3f}" + (f", faces {faces:.3f}" if is_counted else ""),
                    f"{slope['cpu'] / floor:.2f}"
                    + (f", with faces {slope['cpu'] / (floor + faces):.2f}" if is_counted else ""),
                    f"{slope['wall'] * cores / slope['cpu']:.2f}",
                    f"{1000 * slope['cpu'] / 3600:.2f}",
                    f"{runs[many]['peak']:.0f}",
                    ", ".join(f"{stage} {spent:.3f}" for stage, spent in stages.items()),
                ]
            )
    columns = ["way", f"wall s for {many}", "wall s per further video", "CPU s per further video", "floor, CPU s"]
    columns += ["CPU, times the floor", "wall / (CPU / cores)", "core hours per 1000", "peak MB"]
    columns += ["seconds per video of each stage, as waited for"]
    facts = {"peak of a core, GFLOP/s": f"{peak:.0f}", "a window of the starter, GFLOP": f"{window:.2f}"}
    report(arguments, "throughput", "Scoring many short videos", columns, rows, values, **facts)


if __name__ == "__main__":
    main()
