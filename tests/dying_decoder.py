"""For Ray's workers in test_ray_engine.py: decoding that hangs, dies or takes the worker along, by the file's name."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dfd.ray_engine
from dfd.faces.windows import Found, windows_task


def install() -> None:
    """For ``worker_process_setup_hook``: decode by :func:`task` in this worker."""
    dfd.ray_engine.windows_task = task


def task(path: Path) -> Iterator[Found]:
    """In the process below a Ray worker."""
    match path.stem:
        case "kills_decoder":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills_worker":
            with (path.parent / "deaths").open("a") as file:
                file.write("x")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        case "hangs":
            time.sleep(60)
        case _:
            yield from windows_task(path)
