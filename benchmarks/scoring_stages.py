"""Where the time of scoring goes: seconds of work per video in each stage, for each face detector.

    python benchmarks/scoring_stages.py VIDEO… --checkpoint detector.safetensors [--face-detectors mtcnn,yunet:FILE]

One worker process and the network beside it, as in a run with num_workers=1. The stages overlap in time, so their sum
is the work and `wall` is what one waits. The first video of a detector starts the worker and is not counted. Medians
over --repeats, and the lowest and highest; seconds depend on the machine, shares and ratios much less.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from dfd import Detector

STAGES = ("hash", "decode", "detect", "crop", "network", "explain")


def parse_detector(text: str) -> dict[str, Any]:
    name, _, weights = text.partition(":")
    return {"name": name, **({"weights": weights} if weights else {})}


def measure(detector: Detector, video: Path, repeats: int) -> list[dict[str, float]]:
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        score = detector.score(video)
        wall = time.perf_counter() - began
        if not score.status.has_faces:
            raise SystemExit(f"{video}: {score.status}: {score.message}")
        stages = {stage: score.seconds_by_stage.get(stage, 0.0) for stage in STAGES}
        runs.append({**stages, "wall": wall, "windows": score.num_windows, "frames": score.num_frames})
    return runs


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--face-detectors", default="mtcnn", help="comma-separated; NAME or NAME:WEIGHTS")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-windows", type=int, default=32)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.checkpoint.name}\n")
    heads = [*STAGES, "wall"]
    print(f"| face detector | video | frames | {' | '.join(f'{head}, s' for head in heads)} |")
    print(f"|{'---|' * (3 + len(heads))}")
    rows = []
    for name in arguments.face_detectors.split(","):
        options = {"face_detector": parse_detector(name), "num_workers": 1, "runtime": arguments.runtime}
        with Detector.load(arguments.checkpoint, max_windows=arguments.max_windows, **options) as detector:
            detector.score(arguments.videos[0])
            for video in arguments.videos:
                runs = measure(detector, video, arguments.repeats)
                rows.append({"face_detector": name, "video": video.name, "runs": runs})
                cells = [shown([run[head] for run in runs]) for head in heads]
                print(
                    f"| {name.partition(':')[0]} | {video.name} | {runs[0]['frames']:.0f} | {' | '.join(cells)} |",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
