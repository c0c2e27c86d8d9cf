"""Peak memory of preprocessing and scoring a long video, all worker processes included.

    python benchmarks/memory.py VIDEO [--minutes 10] [--checkpoint detector.safetensors]

A long video is made by repeating VIDEO's packets without encoding them again. Each command runs as a user would run it,
with one worker. Memory is read every 100 ms: the resident memory of the largest process, the sum over all processes,
which counts the libraries that they share (torch's alone are about 600 MB) once for each, and on Linux the sum of their
proportional sets, in which what is shared counts once.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import psutil

ROOT = Path(__file__).resolve().parents[1]


def repeat(source: Path, target: Path, minutes: float) -> None:
    """Write the video stream of ``source`` again and again until it lasts ``minutes``."""
    offset = 0
    with av.open(str(target), "w") as out:
        stream = None
        while stream is None or float(offset * stream.time_base) < minutes * 60:
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                last = 0
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    last = max(last, packet.pts + (packet.duration or 1))
                    packet.time_base, packet.stream = video.time_base, stream
                    out.mux(packet)
                offset = last


def peak_megabytes(command: list[str]) -> tuple[float, float, float, float]:
    """Run a command; MB of its largest process, of all together, of all with what they share once; and its seconds."""
    began, largest, together, proportional = time.perf_counter(), 0, 0, 0
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        sizes, shares = [], []
        for one in [process, *process.children(recursive=True)]:
            try:
                info = one.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # just ended
                continue
            sizes.append(info.rss)
            shares.append(getattr(info, "pss", 0))
        largest, together = max(largest, max(sizes, default=0)), max(together, sum(sizes))
        proportional = max(proportional, sum(shares))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return largest / 1e6, together / 1e6, proportional / 1e6, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--windows", default="32", help="comma-separated values of max_windows for predict.py")
    parser.add_argument("--yunet", type=Path, help="weights of YuNet: measure predict.py with it, too")
    parser.add_argument("--only", default="", help="measure only commands whose name begins so")
    parser.add_argument("--every-frame", action="store_true", help="also preprocess the whole video: takes long")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.mp4"
        repeat(arguments.video, long, arguments.minutes)
        (Path(folder) / "manifest.csv").write_text("path,label\nlong.mp4,real\n")
        store = [f"manifest={folder}/manifest.csv", "num_workers=1"]
        first = ["-m", "dfd.preprocess", *store]
        commands = {"preprocess, first 150 frames": [*first, f"store={folder}/a"]}
        if arguments.every_frame:
            every = [*first, f"store={folder}/b", "num_frames=null", "deadline_seconds=7200"]
            commands["preprocess, every frame"] = every
        if arguments.checkpoint:
            predict = ["predict.py", f"input={long}", f"checkpoint={arguments.checkpoint.resolve()}", "num_workers=1"]
            detectors = {"": []}
            if arguments.yunet:
                detectors[" (YuNet)"] = ["face_detector=yunet", f"face_detector.weights={arguments.yunet.resolve()}"]
            for name, chosen in detectors.items():
                for windows in arguments.windows.split(","):
                    output = f"output={folder}/scores-{len(commands)}"
                    commands[f"predict, {windows} windows{name}"] = [
                        *predict,
                        *chosen,
                        output,
                        f"max_windows={windows}",
                    ]
        print(f"{arguments.video.name} repeated to {arguments.minutes:g} minutes\n")
        print(
            "| command | largest process, MB | all, sum, MB | all, shared once, MB | seconds |\n|---|---|---|---|---|"
        )
        for name, command in commands.items():
            if not name.startswith(arguments.only):
                continue
            *sizes, seconds = peak_megabytes([sys.executable, *command, f"hydra.run.dir={folder}/run"])
            print(f"| {name} | {' | '.join(f'{size:.0f}' for size in sizes)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
