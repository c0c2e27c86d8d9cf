"""Preparing videos against the floor, which is decoding them: single videos, and a folder on all cores.

    python benchmarks/preprocess_floor.py VIDEO... [--yunet FILE] [--before CHECKOUT] [--number 100] [--repeats 5]

Floor: FFmpeg's decoders on the same frames, on one thread, nothing else done with them. Each checkout works in a
process of its own, held to one core, with its detectors loaded; all take turns. Seconds are of the CPU; a ratio is the
median over the rounds, and over the videos in the last row. The peak is that of such a process.

The folder is copies of the videos, prepared by this checkout's `dfd preprocess` as a user would: wall time against the
CPU time of the videos alone, spread over the cores (1: every core busy with nothing else), and against their floor.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
from _measure import parser, ratios, report, shown

ROOT = Path(__file__).resolve().parents[1]
TITLE = "From a video to face clips, against decoding"


def decode(path: Path, num_frames: int) -> float:
    """CPU seconds that FFmpeg's decoder takes for the first frames, on one thread."""
    began = time.process_time()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, _ in enumerate(container.decode(stream), 1):
            if number == num_frames:
                break
    return time.process_time() - began


class Checkout:
    """A process that prepares videos with the code of a checkout."""

    def __init__(self, root: Path, yunet: Path | None, num_frames: int) -> None:
        given = [str(root), str(yunet or ""), str(num_frames)]
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", *given]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self._process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def prepare(self, path: Path, detector: str) -> tuple[float, float]:
        """CPU seconds for a video, and the peak of the process so far in MB."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(path), detector]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a checkout's process ended; its error is above")
        seconds, peak = json.loads(line)
        return seconds, peak

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(root: str, yunet: str, num_frames: str) -> None:
    """Prepare the videos named on standard input; answers with CPU seconds and the peak in MB."""
    from dfd.base.machine import hold_to_one_core

    hold_to_one_core()
    import dfd
    from dfd.base.types import Label
    from dfd.data.prepare.video import PreparationSettings, prepare_video
    from dfd.data.sources.row import VideoRow
    from dfd.faces.detect import build_detector

    if Path(dfd.__file__).resolve().parents[1] != Path(root).resolve():
        raise SystemExit(f"{root}: another dfd is imported: {dfd.__file__}")
    detectors: dict[str, Any] = {}
    for line in sys.stdin:
        path, name = json.loads(line)
        if name not in detectors:
            detectors[name] = build_detector(name, **({"weights": yunet} if name == "yunet" else {}))
        settings = PreparationSettings(face_detector={"name": name}, num_frames=int(num_frames))
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            prepare_video(VideoRow(Path(path), Path(path).name, Label.REAL), Path(folder), settings, detectors[name])
            seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps([seconds, peak]), flush=True)


def prepare_folder(root: Path, videos: Sequence[Path], options: Sequence[str], folder: Path) -> dict[str, float]:
    """`dfd preprocess` over these videos: seconds of wall and of the CPU."""
    store, manifest = folder / "store", folder / "videos.csv"
    shutil.rmtree(store, ignore_errors=True)
    manifest.write_text("\n".join(["path,label", *(f"{video},real" for video in videos)]) + "\n")
    command = [sys.executable, "-m", "dfd.preprocess", f"manifest={manifest}", f"store={store}", *options]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [*command, f"hydra.run.dir={folder}/run"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "cpu": used}


def single_videos(
    arguments: argparse.Namespace, checkouts: dict[str, Path], detectors: Sequence[str]
) -> list[dict[str, Any]]:
    """The floor and each way in turns, for each video."""
    processes = {
        (name, detector): Checkout(root, arguments.yunet, arguments.frames)
        for name, root in checkouts.items()
        for detector in detectors
    }
    values = []
    for path in arguments.videos:
        taken: dict[str, list[float]] = {"floor": []}
        peaks: dict[str, float] = {}
        for number in range(arguments.repeats + 1):
            floor = decode(path, arguments.frames)
            each = {key: process.prepare(path, key[1]) for key, process in processes.items()}
            if number:  # the first round does not count
                taken["floor"].append(floor)
                for (name, detector), (seconds, peak) in each.items():
                    taken.setdefault(f"{name}, {detector}", []).append(seconds)
                    peaks[f"{name}, {detector}"] = peak
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            size = f"{stream.width} x {stream.height}, {stream.pix_fmt}"
        values.append({"size": size, "seconds": taken, "peaks": peaks})
    for process in processes.values():
        process.close()
    return values


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    options = parser(__doc__)
    options.add_argument("videos", nargs="+", type=lambda text: Path(text).resolve())
    options.add_argument("--frames", type=int, default=150)
    options.add_argument("--yunet", type=lambda text: Path(text).resolve(), help="weights of YuNet")
    options.add_argument("--before", type=Path, help="another checkout, to compare with")
    options.add_argument("--number", type=int, default=100, help="videos of the folder; 0: no folder")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.frames, arguments.number = 1, 15, 2
    detectors = ["yunet", "mtcnn"] if arguments.yunet else ["mtcnn"]
    checkouts = {**({"before": arguments.before.resolve()} if arguments.before else {}), "now": ROOT}
    values = single_videos(arguments, checkouts, detectors)
    rows: list[list[str]] = []
    medians: dict[str, list[float]] = {}
    for number, value in enumerate(values, 1):
        floor = value["seconds"]["floor"]
        for way, seconds in value["seconds"].items():
            times = ratios(seconds, floor)
            if way != "floor":
                medians.setdefault(way, []).append(statistics.median(times))
            peak = f"{value['peaks'][way]:.0f}" if way in value["peaks"] else ""
            rows.append([f"{number}: {value['size']}", way, shown(seconds), shown(times), peak])
    rows += [["median of the videos", way, "", shown(times), ""] for way, times in medians.items()]
    cores = len(os.sched_getaffinity(0))
    folders: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, inbox = Path(name), []
        for number in range(arguments.number):
            source = number % len(arguments.videos)
            copy = folder / f"{number:04}{arguments.videos[source].suffix}"
            shutil.copyfile(arguments.videos[source], copy)
            inbox.append((copy, source))
        for way in (way for way in medians if inbox and way.startswith("now")):
            checkout, _, detector = way.partition(", ")
            given = [f"num_frames={arguments.frames}", f"face_detector={detector}"]
            given += [f"face_detector.weights={arguments.yunet}"] if detector == "yunet" else []
            found = prepare_folder(checkouts[checkout], [path for path, _ in inbox], given, folder)
            alone = sum(statistics.median(values[source]["seconds"][way]) for _, source in inbox)
            floor = sum(statistics.median(values[source]["seconds"]["floor"]) for _, source in inbox)
            folders[way] = {**found, "alone": alone, "floor": floor}
            share = f"{found['wall']:.1f} s of wall, {found['cpu']:.1f} of CPU, of single videos {alone:.1f}"
            rows.append(
                [
                    f"folder of {len(inbox)}",
                    way,
                    share,
                    f"{found['wall'] * cores / floor:.2f}; of the cores' share {found['wall'] * cores / alone:.2f}",
                    "",
                ]
            )
    columns = ["video", "way", "CPU seconds", "times the floor", "peak MB"]
    report(arguments, "preprocess_floor", TITLE, columns, rows, {"videos": values, "folders": folders})


if __name__ == "__main__":
    main()
