"""What each disturbance costs beside reading the clip. The table in docs/robustness.md.

    python benchmarks/disturbances.py STORE [--frames 10] [--clips 8] [--repeats 5]

For each disturbance and level, clips of the store are read and disturbed; the time of a clip is the median of its
repeats, that of the disturbance the median over clips. One thread, and the time that it computes, not the clock's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dfd.data.augment.disturbances import DISTURBANCES, NUM_LEVELS, Disturb
from dfd.data.clips.dataset import read_frames
from dfd.data.store.tables import read_index


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """The median of the repeats, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--frames", type=int, default=10, help="of a clip (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=8, help="of the store, the first (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)

    index = read_index(options.store)
    index = index[index["is_main"] & (index["num_frames"] >= options.frames)][: options.clips]
    paths = [options.store / path for path in index["path"]]
    frames = list(range(options.frames))
    clips = [torch.from_numpy(read_frames(path, frames)).permute(0, 3, 1, 2).contiguous() for path in paths]
    reading = statistics.median(
        milliseconds(lambda path=path: read_frames(path, frames), options.repeats)  # type: ignore[misc]
        for path in paths
    )
    side = clips[0].shape[-1]
    print(f"{len(clips)} clips of {options.frames} frames, {side} px; reading one: {reading:.1f} ms\n")
    print("| disturbance | " + " | ".join(f"level {level}" for level in range(1, NUM_LEVELS + 1)) + " | over reading |")
    print("|---|" + "---|" * (NUM_LEVELS + 1))
    for name in DISTURBANCES:
        costs = []
        for level in range(1, NUM_LEVELS + 1):
            disturb = Disturb(name, level)
            each = [milliseconds(lambda clip=clip: disturb(clip, "clip"), options.repeats) for clip in clips]  # type: ignore[misc]  # noqa: B023
            costs.append(statistics.median(each))
        cells = " | ".join(f"{cost:.1f}" for cost in costs)
        print(f"| {name} | {cells} | {statistics.median(costs) / reading:.1f} |")


if __name__ == "__main__":
    main()
