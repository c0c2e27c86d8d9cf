"""One GPU for each of several processes on one machine."""

import os
from pathlib import Path
from typing import IO

from dfd.files import open_lock

_held: list[IO[bytes]] = []
"""The lock of this process: it ends with it, however it ends."""


def take_gpu(folder: Path) -> int | None:
    """Let this process see one GPU, which as few as possible of the study have; None if there is one or none.

    What it takes it keeps: CUDA reads ``CUDA_VISIBLE_DEVICES`` once. Locks in ``folder`` keep the processes apart.
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
    """What ``CUDA_VISIBLE_DEVICES`` may name. Asks the driver without beginning to use it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def lease(folder: Path, count: int) -> tuple[int, IO[bytes]]:
    """The first of ``count`` places that nobody holds, with its lock; if all are held, one is shared."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    share = 0
    while True:
        for index in range(count):
            file = open_lock(folder / f".gpu{index}.{share}")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return index, file
        share += 1
