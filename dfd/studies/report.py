"""What happens when a multirun ends: its runs are compared in a report, and its exit status says if any failed."""

import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig

from dfd.outcomes import JobRecord, JobsFailed, Outcome

logger = logging.getLogger(__name__)


class StudyReport(Callback):
    """Write ``report/`` into the folder of a multirun, as ``python -m dfd.report FOLDER`` makes it again later.

    Under the joblib launcher, it also gives each process a GPU of its own.
    """

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        """Take a GPU, where several processes of one machine would all take the first."""
        if "joblib" in str(config.hydra.launcher.get("_target_", "")).lower():
            from dfd.studies.gpus import take_gpu

            take_gpu(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs; a study without any has no report. With a failed one, the exit status is 1."""
        from dfd.errors import ReportError
        from dfd.report.study import write_study_report

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
                f"{len(failed)} of the study's jobs failed; the same command with hydra.sweep.dir={folder} runs "
                "those that are not finished",
                file=sys.stderr,
            )
            raise JobsFailed
