"""Worker processes that look at videos, and the settings by which they choose windows."""

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

from dfd.base.machine import hold_to_one_core, limit_tasks, num_cores
from dfd.faces.crop import Crop
from dfd.faces.detect import DETECTOR_MODULES, build_detector
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import Found, View, WindowSettings
from dfd.faces.settings import extraction_of, face_detector_of
from dfd.models.files.card import DetectorCard
from dfd.process.pool import WorkerPool
from dfd.scoring.look.stream import stream_windows


def look_settings(
    card: DetectorCard,
    *,
    name: str,
    face_detector: Mapping[str, Any] | None = None,
    crop: Crop | None = None,
    **windows: Any,
) -> tuple[dict[str, Any], ExtractionSettings, WindowSettings]:
    """The arguments of :func:`~dfd.scoring.look.workers.start_worker` for a detector with this card, which ``name``
    names in errors.

    ``face_detector`` is its name and options, ``crop`` what is cut out of a frame; None: those that the detector was
    trained with. ``windows`` are options of :class:`WindowSettings`; the card's ``max_windows``, else
    32, is the number where it is ``auto``.

    Raises:
        CheckpointError: the card says things that are unknown here.
        ValueError: an option is out of range.
    """
    number = windows.get("max_windows", "auto")
    if not (number == "auto" or number is None or (isinstance(number, int) and number is not True)):
        raise ValueError(f"max_windows must be a whole number, null or auto, got {number!r}")
    if number == "auto":
        windows["max_windows"] = card.scoring.get(
            "max_windows", WindowSettings.__dataclass_fields__["max_windows"].default
        )
    extraction = extraction_of(card.crop, name=name)
    if crop is not None:
        extraction = replace(extraction, crop=crop)
    settings = WindowSettings(clip_len=card.clip_len, clip_stride=card.clip_stride, **windows)
    return dict(face_detector or face_detector_of(card.crop, name=name)), extraction, settings


def looks_of(each: Sequence[tuple[dict[str, Any], ExtractionSettings, WindowSettings]]) -> tuple[Any, ...]:
    """Arguments of :func:`start_worker` for several detectors at once, by those for each: the first one looks."""
    face_detector, extraction, settings = each[0]
    views = dict.fromkeys(View(extraction.crop, windows) for _, extraction, windows in each)
    return face_detector, extraction, settings, list(views)[1:]


Task = tuple[int, Path] | tuple[int, Path, Mapping[str, Any]]
"""A numbered video, and what differs for it from the settings of the workers."""

_MAX_WAITING_BYTES = 2**25
"""Clips that workers may have ready: the first ones are while the network's libraries are imported."""

_worker: dict[str, Any] = {}
"""What a worker process builds once: its face detector and settings."""


def worker_pool(
    num_workers: int, *, deadline_seconds: float, stall_seconds: float, batch_size: int, detector: str | None = None
) -> WorkerPool:
    """Processes for :func:`numbered_windows_task`, once they have been told to prepare :func:`start_worker`.

    Told so or not, they can be started: they then import what the face detector of this name needs. That keeps a core
    busy, and so does this process, which loads the network. Those for which no core is left let the others go first, so
    that the first video is not late.
    """
    free_cores = get_context("spawn").Semaphore(max(1, num_cores() - 1))
    return WorkerPool(
        num_workers=num_workers,
        deadline_seconds=deadline_seconds,
        stall_seconds=stall_seconds,
        initializer=import_ahead,
        initargs=(detector, free_cores),
        max_waiting=max(64, 4 * batch_size),
        max_waiting_bytes=_MAX_WAITING_BYTES,
    )


def import_ahead(detector: str | None, free_cores: Semaphore) -> None:
    """For a worker whose settings are still being read: most of its start is waiting for libraries."""
    hold_to_one_core()
    if detector in DETECTOR_MODULES:
        module = DETECTOR_MODULES[detector]
        if free_cores.acquire(block=False):
            try:
                importlib.import_module(module)
            finally:
                free_cores.release()
        else:
            _import_when_idle(module)


def _import_when_idle(module: str) -> None:
    """Import it in a thread that leaves the cores to all others that want them; Linux has priorities of threads."""

    def low_priority() -> None:
        if sys.platform == "linux":
            this = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, this, min(19, os.getpriority(os.PRIO_PROCESS, this) + 10))
        importlib.import_module(module)

    with ThreadPoolExecutor(1, thread_name_prefix="import") as thread:
        thread.submit(low_priority).result()


def start_worker(
    detector: Mapping[str, Any],
    extraction: ExtractionSettings,
    settings: WindowSettings,
    others: Sequence[View] = (),
) -> None:
    """For :class:`dfd.process.pool.WorkerPool`: build what :func:`windows_task` needs, and bound what it may take."""
    hold_to_one_core()
    _worker["arguments"] = (build_detector(**detector), extraction, settings, others)
    on_cpu = str(detector.get("device", "cpu")) == "cpu"
    limit_tasks(settings.limits.task_bytes if on_cpu else None)


def windows_task(path: Path, changes: Mapping[str, Any] | None = None) -> Iterator[Found]:
    """In a worker: the windows of one video, piece by piece, with ``changes`` of the settings for this video alone."""
    detector, extraction, settings, others = _worker["arguments"]
    if changes:
        settings = replace(settings, **changes)
        others = [replace(view, windows=replace(view.windows, **changes)) for view in others]
    yield from stream_windows(path, detector, extraction, settings, others)


def numbered_windows_task(task: Task) -> Iterator[Found]:
    """Run :func:`windows_task` on a numbered path; the number tells equal paths apart. A third item: the changes.

    It is defined here and not where it is used, so that a worker does not import the network's libraries.
    """
    return windows_task(*task[1:])
