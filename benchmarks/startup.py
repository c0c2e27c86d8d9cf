"""How long one waits for predict.py: for its help, for a worker's first look at a video, for the first row.

    python benchmarks/startup.py VIDEO [--checkpoint starter] [--yunet FILE] [--repeats 5]

Seconds of wall time, which mean something on a quiet machine only; the load is in the results. The first look is when a
worker has the video's file open. Linux: it looks into /proc.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from _measure import parser, report, shown
from memory import ROOT


def seconds_of_help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "predict.py", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def seconds_of_scoring(video: Path, checkpoint: str, options: list[str], folder: Path) -> dict[str, float]:
    """To a worker's first look, to the first row, to the end."""
    output = folder / "scores"
    arguments = [f"input={video}", f"checkpoint={checkpoint}", f"output={output}", "overwrite=true", "report=false"]
    command = [sys.executable, "predict.py", *arguments, *options, f"hydra.run.dir={folder}/run"]
    rows = output / "predictions.jsonl"
    rows.unlink(missing_ok=True)
    found: dict[str, float] = {}
    began = time.perf_counter()
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if "first look" not in found and _has_open(process, video):
            found["first look"] = time.perf_counter() - began
        if "first row" not in found and rows.exists() and rows.stat().st_size:
            found["first row"] = time.perf_counter() - began
        time.sleep(0.02)
    found["all"] = time.perf_counter() - began
    if process.returncode or len(found) < 3:
        raise SystemExit(f"predict.py failed: {' '.join(command)}")
    return found


def _has_open(process: psutil.Process, video: Path) -> bool:
    """A worker has it open; predict.py itself looks at it before, to see whether it is a video."""
    for child in process.children(recursive=True):
        try:
            if any(Path(file.path) == video for file in child.open_files()):
                return True
        except psutil.Error:
            continue
    return False


def main() -> None:
    options = parser(__doc__)
    options.add_argument("video", type=Path)
    options.add_argument("--checkpoint", default="starter")
    options.add_argument("--yunet", type=Path, help="weights of YuNet")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    video = arguments.video.resolve()
    ways = {"MTCNN": ["face_detector=mtcnn"]}
    if arguments.yunet:
        ways["YuNet"] = ["face_detector=yunet", f"face_detector.weights={arguments.yunet.resolve()}"]
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.repeats + 1):
            seconds = {"predict.py --help": seconds_of_help()}
            for way, given in ways.items():
                found = seconds_of_scoring(video, arguments.checkpoint, given, Path(name))
                seconds |= {f"{way}: {what}": value for what, value in found.items()}
            if number:  # the first fills the caches
                for what, value in seconds.items():
                    taken.setdefault(what, []).append(value)
    rows = [[what, shown(values)] for what, values in taken.items()]
    report(
        arguments, "startup", "How long one waits for predict.py", ["from its call to", "seconds of wall"], rows, taken
    )


if __name__ == "__main__":
    main()
