"""Which copies of a video are found, and does another piece of the same recording pass for one? See docs/leaks.md.

    python benchmarks/copies.py MANIFEST [--every 5] [--frames 150]

Every n-th video of the manifest is changed and encoded again, and compared with itself; its pieces that do not overlap
are compared with each other. All that is compared are the first frames, as the preprocessing does.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from dfd.base.errors import DfdError
from dfd.base.types import FrameArray
from dfd.data.copies.compare import MIN_COMMON_SECONDS, SHORT_SECONDS, Seen, find_copies
from dfd.data.copies.content import RATE, FrameWatcher
from dfd.data.sources.manifest import read_manifest
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

MAX_SIDE = 640  # of what is encoded again
TRIMS = (0.5, 1.0, 1.37, 2.0, 3.0, 4.0)


def resized(side: float) -> Callable[[FrameArray], FrameArray]:
    """Scaled to this part of its size."""

    def change(frames: FrameArray) -> FrameArray:
        size = tuple(max(2, round(length * side / 2) * 2) for length in frames.shape[2:0:-1])
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])

    return change


def cropped(share: float) -> Callable[[FrameArray], FrameArray]:
    """Less this share of its size on each side."""

    def change(frames: FrameArray) -> FrameArray:
        dy, dx = (round(length * share) for length in frames.shape[1:3])
        return frames[:, dy : frames.shape[1] - dy, dx : frames.shape[2] - dx]

    return change


def variants(frames: FrameArray, num_frames: int, fps: float) -> Iterator[tuple[str, FrameArray, int, float]]:
    """Name, frames, crf, and seconds trimmed off the beginning of each."""
    first = frames[:num_frames]
    yield "crf 35", first, 35, 0
    yield "crf 42", first, 42, 0
    yield "half the size", resized(0.5)(first), 28, 0
    yield "mirrored", first[:, :, ::-1], 28, 0
    yield "gamma 0.7", np.asarray(255 * (np.arange(256) / 255) ** 0.7, np.uint8)[first], 28, 0
    for share in (0.02, 0.05, 0.1):
        yield f"{share:.0%} cut off each side", cropped(share)(first), 28, 0
    for seconds in TRIMS:
        trimmed = frames[round(seconds * fps) :][:num_frames]
        if len(trimmed) >= RATE:
            yield f"{seconds:g} s trimmed", trimmed, 28, seconds


def seen(name: str, path: Path, start: int, num_frames: int) -> Seen:
    with VideoReader(path) as reader:
        watcher = FrameWatcher(reader.fps)
        for _ in watcher.watch((at - start, chunk) for at, chunk in reader.chunks([range(start, start + num_frames)])):
            pass
    return Seen(name, name, watcher.fingerprint())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--every", type=int, default=5, help="take every n-th video (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=150, help="the first of each video (default: %(default)s)")
    arguments = parser.parse_args()
    found: dict[tuple[str, bool], list[float]] = {}
    alike, num_pieces = [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.mp4"
        for row in track(read_manifest(arguments.manifest)[:: arguments.every], description="encoding again"):
            try:
                with VideoReader(row.path, max_side=MAX_SIDE) as reader:
                    total, fps = reader.num_frames, reader.fps
                    frames = reader.frames(range(min(total, arguments.frames + round(max(TRIMS) * fps))))
            except DfdError as error:
                print(f"left out: {error}")
                continue
            original = seen("original", row.path, 0, arguments.frames)
            for name, changed, crf, trimmed in variants(frames, arguments.frames, fps):
                even = changed[:, : changed.shape[1] // 2 * 2, : changed.shape[2] // 2 * 2]
                write_video(path, even, fps=fps, crf=crf, pixel_format="yuv420p", keyframe_interval=250)
                copies = find_copies([original, seen("copy", path, 0, arguments.frames)])
                common = min(arguments.frames / fps, total / fps) - trimmed
                is_long = common >= SHORT_SECONDS
                found.setdefault((name, is_long), []).append(copies[0].likeness if copies else 0.0)
            starts = range(0, total - round(MIN_COMMON_SECONDS * fps), arguments.frames)
            pieces = [seen(f"{row.name}, piece {start}", row.path, start, arguments.frames) for start in starts]
            num_pieces += len(list(combinations(pieces, 2)))
            alike += find_copies(pieces)
    print(f"| copy | {SHORT_SECONDS:g} s or more in common | the least alike | less |\n|---|---|---|---|")
    for name in dict.fromkeys(name for name, _ in found):
        long, short = found.get((name, True), []), found.get((name, False), [])
        least = min((value for value in long if value), default=0.0)
        counts = [f"{sum(map(bool, values))} of {len(values)}" for values in (long, short)]
        print(f"| {name} | {counts[0]} | {least:.2f} | {counts[1]} |")
    print(f"\nPieces of one recording: {num_pieces} pairs, {len(alike)} alike")
    for copy in alike:
        print(f"  {copy.video_id} and {copy.copy_id} {copy}")


if __name__ == "__main__":
    main()
