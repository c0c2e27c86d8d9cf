"""What `data=blend` costs per clip, beside reading it: python benchmarks/blends.py STORE [--starter] [--reader pyav]

CPU time of one thread, medians over clips drawn from a clip store, all three stages of each clip in turn; and how many
clips, real ones and fakes, a core gives a training in a second, by the mean. `--starter` takes the augmentation of
`experiment=starter`, which encodes half of the clips anew.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dfd.data.augment.transforms import clip_augmentation
from dfd.data.blend.dataset import BlendDataset
from dfd.data.blend.module import BlendDataModule

CONF = Path(__file__).resolve().parents[1] / "conf"
STAGES = ("reading", "reading and blending", "and the usual augmentation of both")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="folder that python -m dfd.preprocess made")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--clip-len", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--reader", default="decord", help="as data.reader")
    parser.add_argument("--starter", action="store_true", help="augmentation of experiment=starter")
    options = parser.parse_args()
    given = starter_augmentation() if options.starter else {}
    torch.set_num_threads(1)
    print(f"| ms per clip | {' | '.join(STAGES)} | clips/s per core |")
    print(f"|{'---|' * (len(STAGES) + 2)}")
    for clip_len in options.clip_len:
        augmentation = clip_augmentation(**given)
        data = BlendDataModule(
            options.store, clip_len=clip_len, num_workers=0, augmentation=augmentation, reader=options.reader
        )
        dataset = data.dataset("train", training=True)
        rng = np.random.default_rng(0)
        items = [(int(rng.integers(dataset.num_pairs)), int(rng.integers(2**62))) for _ in range(options.clips)]
        stages: tuple[Callable[[tuple[int, int]], object], ...] = (
            partial(_read, dataset),
            dataset.blended,
            partial(_whole, dataset),
        )
        for stage in stages:
            stage(items[0])  # the first one loads
        times = [[_cpu_seconds(stage, item) for stage in stages] for item in items]
        medians = (1e3 * np.median(times, axis=0)).tolist()
        rate = 2 / np.mean(times, axis=0)[-1]  # a pair at a time
        print(f"| {clip_len} frames | {' | '.join(f'{median:.1f}' for median in medians)} | {rate:.0f} |")


def starter_augmentation() -> dict[str, Any]:
    """Arguments of the augmentation of ``experiment=starter``."""
    files = (CONF / "data" / "augmentation" / "platforms.yaml", CONF / "experiment" / "starter.yaml")
    platforms, starter = (yaml.safe_load(file.read_text()) for file in files)
    return {**platforms, **starter["data"]["augmentation"]}


def _read(dataset: BlendDataset, item: tuple[int, int]) -> object:
    return dataset.read(dataset.choose(item))


def _whole(dataset: BlendDataset, item: tuple[int, int]) -> object:
    number, seed = item
    return dataset.__getitems__([(2 * number, seed), (2 * number + 1, seed)])


def _cpu_seconds(stage: Callable[[tuple[int, int]], object], item: tuple[int, int]) -> float:
    start = time.process_time()
    stage(item)
    return time.process_time() - start


if __name__ == "__main__":
    main()
