"""Assignment of one GPU to each of several processes on a machine."""

import os
from pathlib import Path
from typing import IO

from dfd.base.files import take_lock

_held: list[IO[bytes]] = []
"""Lock of this process, released when the process ends in any way."""


def take_gpu(folder: Path) -> int | None:
    """Restrict this process to the GPU that the fewest processes of the study use; None with fewer than two GPUs.

    The choice is final, since CUDA reads ``CUDA_VISIBLE_DEVICES`` once. Locks in ``folder`` coordinate the processes.
    """
    if _held:
        return None
    visible = visible_gpus()
    if len(visible) < 2:
        return None
    index, lock = lease(folder, len(visible))
    _held.append(lock)
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[index]
    return index


def visible_gpus() -> list[str]:
    """Names of GPUs for ``CUDA_VISIBLE_DEVICES``, without initialising CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def lease(folder: Path, count: int) -> tuple[int, IO[bytes]]:
    """First free of ``count`` places and its lock; if all are taken, one is shared."""
    folder.mkdir(parents=True, exist_ok=True)
    share = 0
    while True:
        for index in range(count):
            if lock := take_lock(folder / f".gpu{index}.{share}"):
                return index, lock
        share += 1
