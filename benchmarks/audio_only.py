"""What tells a fake from its original encoded again? The table behind dfd.data.prepare.audio_only.DEFAULT_THRESHOLD.

    python benchmarks/audio_only.py MANIFEST [--frames 48]

The first frames of every video of the manifest are encoded again at several qualities, as an alteration of the sound
alone would leave them, and compared. Then so is every fake with the real video of its first source id, if there is one
of the same size and length.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rich.progress import track

from dfd.base.types import Label
from dfd.data.prepare.audio_only import DEFAULT_THRESHOLD, NUM_FRAMES, frames_difference, picture_difference
from dfd.data.sources.manifest import read_manifest
from dfd.data.sources.row import VideoRow
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

# x264's crf of each encoding, one after the other, and its preset.
ENCODINGS: list[tuple[list[int], str]] = [
    *(([crf], "medium") for crf in (18, 28, 34, 40)),
    ([23, 28], "medium"),
    ([34], "veryfast"),
    ([40], "veryfast"),
]


def encoded_again(rows: list[VideoRow], num_frames: int) -> dict[str, dict[str, float]]:
    """By encoding, the difference of each video from itself."""
    differences: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.mp4"
        for row in track(rows, description="encoding again"):
            with VideoReader(row.path) as reader:
                originals, fps = reader.frames(range(min(num_frames, reader.num_frames))), reader.fps
            # 4:2:0 takes even sizes
            originals = originals[:, : originals.shape[1] // 2 * 2, : originals.shape[2] // 2 * 2]
            chosen = np.linspace(0, len(originals) - 1, NUM_FRAMES).astype(int)
            for crfs, preset in ENCODINGS:
                frames = originals
                for crf in crfs:
                    write_video(
                        path, frames, fps=fps, crf=crf, pixel_format="yuv420p", keyframe_interval=250, preset=preset
                    )
                    with VideoReader(path) as reader:
                        frames = reader.frames(range(len(originals)))
                name = f"{preset}, crf {', then '.join(map(str, crfs))}"
                differences.setdefault(name, {})[row.name] = frames_difference(frames[chosen], originals[chosen])
    return differences


def pairs(rows: list[VideoRow]) -> list[tuple[VideoRow, VideoRow]]:
    """Each fake with a real video of its first source id, of the same size and length."""

    def form(row: VideoRow) -> tuple[str, int, int, int]:
        with VideoReader(row.path) as reader:
            return row.source_ids[0], reader.width, reader.height, reader.num_frames

    originals = {form(row): row for row in rows if row.label is Label.REAL}
    return [(row, originals[form(row)]) for row in rows if row.label is Label.FAKE and form(row) in originals]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--frames", type=int, default=48, help="of each video, to encode again (default: %(default)s)")
    arguments = parser.parse_args()
    rows = read_manifest(arguments.manifest)
    again = encoded_again(rows, arguments.frames)
    print(f"| encoded again ({len(rows)} videos) | median | largest | of |")
    print("|---|---|---|---|")
    for name, differences in again.items():
        worst = max(differences, key=lambda video: differences[video])
        median = float(np.median(list(differences.values())))
        print(f"| {name} | {median:.2f} | {differences[worst]:.2f} | {worst} |")
    print("\n| fake | method | original | difference |")
    print("|---|---|---|---|")
    forged = []
    for fake, original in pairs(rows):
        forged.append(picture_difference(fake.path, original.path))
        print(f"| {fake.name} | {fake.method} | {original.name} | {forged[-1]:.2f} |")
    print(f"\nThreshold: {DEFAULT_THRESHOLD:g}")
    if forged:
        largest = max(value for differences in again.values() for value in differences.values())
        print(f"Smallest of the fakes / largest of those encoded again: {min(forged):.2f} / {largest:.2f}")


if __name__ == "__main__":
    main()
