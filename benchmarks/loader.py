"""How many clips a second the loader's own work gives on one core: from the store, augmented, and as cached features.

    python benchmarks/loader.py STORE [--clips 200] [--repeats 5]

Ten-frame clips of the store's training split, by random draws, in this process: what one worker of the loader does.
`decode alone` is decord with one thread reading the same frames: the floor for a store of H.264 files.
"""

from pathlib import Path
from statistics import median
from typing import Any

import torch
from _measure import parser, ratios, report, shown, take_turns
from torch.utils.data import Dataset

from dfd.data.clips import read_frames
from dfd.data.features import FeatureDataset
from dfd.data.module import ClipDataModule
from dfd.data.transforms import clip_augmentation
from dfd.models.classifier import build_model


def main() -> None:
    options = parser(__doc__)
    options.add_argument("store", type=Path)
    options.add_argument("--clips", type=int, default=200)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.clips = 1, 4
    torch.set_num_threads(arguments.threads)
    data = ClipDataModule(arguments.store, clip_len=10, num_workers=0, augmentation=clip_augmentation())
    data.setup("fit")
    augmented = data.dataset("train", training=True)
    plain = ClipDataModule(arguments.store, clip_len=10, num_workers=0).dataset("train", training=True)
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False, "freeze": True}
    model = build_model({"backbone": backbone, "temporal": {"_target_": "dfd.models.temporal.mean"}})
    cache = data.use_features(model)
    cache.fill()
    items = [(number % len(plain), number) for number in range(arguments.clips)]

    def read(dataset: Dataset[Any]) -> None:
        for item in items:
            dataset[item]

    def decode() -> None:
        for item in items:
            chosen = plain.choose(item)
            read_frames(plain.store / chosen.path, chosen.indices)

    features = FeatureDataset(plain, cache)
    ways = {
        "decode alone": decode,
        "clips": lambda: read(plain),
        "clips, augmented": lambda: read(augmented),
        "cached features": lambda: read(features),
    }
    seconds = take_turns(ways, arguments.repeats)
    rows = [
        [name, f"{arguments.clips / median(taken):.0f}", shown(ratios(seconds["decode alone"], taken))]
        for name, taken in seconds.items()
    ]
    columns = ["way", "clips/s per core", "of decoding alone"]
    report(arguments, "loader", "The loader's work on one core", columns, rows, seconds, frames_per_clip=10)


if __name__ == "__main__":
    main()
