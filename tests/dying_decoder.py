"""For Ray's workers in tests: decoding that hangs, dies or takes the worker along, by the file's name."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dfd.data.prepare.ray
import dfd.scoring.ray
from dfd.data.prepare.store import prepare_task
from dfd.data.sources.row import VideoRow
from dfd.data.store.records import VideoRecord
from dfd.faces.found import Found
from dfd.scoring.look.workers import windows_task


def install() -> None:
    """For ``worker_process_setup_hook``: decode by :func:`task` and :func:`preparation` in this worker."""
    dfd.scoring.ray.windows_task = task
    dfd.data.prepare.ray.prepare_task = preparation


def task(path: Path) -> Iterator[Found]:
    """In the process below a Ray worker."""
    die_of(path)
    yield from windows_task(path)


def preparation(row: VideoRow) -> VideoRecord:
    """In the process below a Ray worker."""
    die_of(row.path)
    return prepare_task(row)


def die_of(path: Path) -> None:
    """Die, hang or return, as the file's name says."""
    match path.stem:
        case "kills_decoder":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills_worker" | "kills_worker_once":
            deaths = path.with_name("deaths")
            if path.stem == "kills_worker_once" and deaths.exists():
                return
            with deaths.open("a") as file:
                file.write("x")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        case "hangs":
            time.sleep(60)
