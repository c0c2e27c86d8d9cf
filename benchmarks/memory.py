"""Peak memory of preprocessing and scoring a long video, all worker processes included.

    python benchmarks/memory.py VIDEO [--minutes 10] [--checkpoint detector.safetensors]

A long video is made by repeating VIDEO's packets without encoding them again. Each command runs as a user would run it,
with one worker. Resident memory is read every 50 ms: the largest of the processes, and their sum, which counts the
libraries that they share (torch's alone are about 600 MB) once for each.
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


def peak_megabytes(command: list[str]) -> tuple[float, float, float]:
    """Run a command; MB of its largest process, MB of all its processes together, and its seconds."""
    began, largest, together = time.perf_counter(), 0, 0
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        sizes = []
        for one in [process, *process.children(recursive=True)]:
            try:
                sizes.append(one.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        largest, together = max(largest, max(sizes, default=0)), max(together, sum(sizes))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return largest / 1e6, together / 1e6, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--checkpoint", type=Path)
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
            commands["predict, 16 windows"] = [*predict, f"output={folder}/scores", "deadline_seconds=7200"]
        print(f"{arguments.video.name} repeated to {arguments.minutes:g} minutes\n")
        print("| command | largest process, MB | all together, MB | seconds |\n|---|---|---|---|")
        for name, command in commands.items():
            largest, together, seconds = peak_megabytes([sys.executable, *command, f"hydra.run.dir={folder}/run"])
            print(f"| {name} | {largest:.0f} | {together:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
