"""Callback for the end of a multirun: compares the runs in a report and sets the exit status."""

import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig

from dfd.base.errors import ReportError
from dfd.report.runs.write import write_study_report
from dfd.runs.records import JobRecord, JobsFailed, Outcome
from dfd.studies.gpus import take_gpu

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
        failed: dict[str, str] = {}
        for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
            try:
                record = JobRecord.read(path) if path.is_dir() else None
            except ReportError as error:
                failed[path.name] = str(error)
            else:
                if record and record.outcome is Outcome.FAILED:
                    failed[path.name] = record.message
        if failed:
            for name, message in failed.items():
                print(f"error: job {name}: {message}", file=sys.stderr)
            print(
                f"{len(failed)} of the study's jobs failed; run the same command with hydra.sweep.dir={folder} for "
                "those that are not finished",
                file=sys.stderr,
            )
            raise JobsFailed
