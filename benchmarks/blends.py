"""What `data=blend` costs per clip, beside reading it: python benchmarks/blends.py STORE

CPU time of one thread, medians over clips drawn from a clip store, all three stages of each clip in turn.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from dfd.data.blend_module import BlendDataModule
from dfd.data.transforms import clip_augmentation

STAGES = ("reading", "reading and blending", "and the usual augmentation of both")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, help="folder that python -m dfd.preprocess made")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--clip-len", type=int, nargs="+", default=[1, 10])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| ms per clip | {' | '.join(STAGES)} |")
    print(f"|{'---|' * (len(STAGES) + 1)}")
    for clip_len in options.clip_len:
        data = BlendDataModule(options.store, clip_len=clip_len, num_workers=0, augmentation=clip_augmentation())
        dataset = data.dataset("train", training=True)
        rng = np.random.default_rng(0)
        cut, blended, whole = [], [], []
        for _ in range(options.clips + 1):
            item = int(rng.integers(dataset.num_pairs)), int(rng.integers(2**62))
            pair = [(2 * item[0], item[1]), (2 * item[0] + 1, item[1])]
            for times, stage in ((cut, lambda i=item: dataset.cut(i)), (blended, lambda i=item: dataset.blended(i))):
                start = time.process_time()
                stage()
                times.append(time.process_time() - start)
            start = time.process_time()
            dataset.__getitems__(pair)
            whole.append(time.process_time() - start)
        medians = [1e3 * float(np.median(times[1:])) for times in (cut, blended, whole)]  # the first one loads
        print(f"| {clip_len} frames | {' | '.join(f'{median:.1f}' for median in medians)} |")


if __name__ == "__main__":
    main()
