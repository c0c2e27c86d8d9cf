"""Callback for a multirun: gives each process a GPU, and at the end compares the runs and sets the exit status."""

import logging
import os
import sys
from pathlib import Path
from typing import IO, Any

import torch
from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig

from dfd.base.errors import ReportError
from dfd.base.files import take_lock
from dfd.report.runs.write import write_study_report
from dfd.runs.records import JobRecord, JobsFailed, Outcome

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


logger = logging.getLogger(__name__)


class StudyReport(Callback):
    """Callback that writes ``report/`` into a multirun's folder, as ``python -m dfd.report FOLDER`` does.

    Under the joblib launcher, it also gives each process its own GPU.
    """

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        """Take a GPU under the joblib launcher, whose processes would otherwise all use the first."""
        if "joblib" in str(config.hydra.launcher.get("_target_", "")).lower():
            take_gpu(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs, if there are any; the exit status is 1 if one failed."""
        folder = Path(config.hydra.sweep.dir)
        try:
            page = write_study_report(folder)
        except ReportError as error:
            logger.warning("no report of this study: %s", error)
        else:
            print(f"the study's report is {page}")
        failed = []
        for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
            try:
                record = JobRecord.read(path) if path.is_dir() else None
            except ReportError as error:
                record = JobRecord(Outcome.FAILED, message=str(error))
            if record and record.outcome is Outcome.FAILED:
                failed.append(f"error: job {path.name}: {record.message}")
        if failed:
            remedy = f"run the same command with hydra.sweep.dir={folder} for those that are not finished"
            print(*failed, f"{len(failed)} of the study's jobs failed; {remedy}", sep="\n", file=sys.stderr)
            raise JobsFailed
