"""What happens when a multirun ends: its runs are compared in a report."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

logger = logging.getLogger(__name__)


class StudyReport(Callback):
    """Write ``report/`` into the folder of a multirun, as ``python -m dfd.report FOLDER`` makes it again later.

    Hydra does not come to a multirun's end if a job of it failed. From then on the report is written after each job.
    """

    def __init__(self) -> None:
        self._has_failed = False

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """After a failure, report what there is."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        self._has_failed |= job_return.status is JobStatus.FAILED
        if self._has_failed:
            _write(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs; a study without any has no report."""
        _write(config)


def _write(config: DictConfig) -> None:
    from dfd.errors import ReportError
    from dfd.report import write_report
    from dfd.report.runs import find_runs

    folder = Path(config.hydra.sweep.dir)
    try:
        page = write_report(find_runs([folder]), folder / "report", title=_title(config))
    except ReportError as error:
        logger.warning("no report of this study: %s", error)
        return
    print(f"the study's report is {page}")


def _title(config: DictConfig) -> str:
    choices = config.hydra.runtime.choices
    names = [str(choices[group]) for group in ("experiment", "study") if choices.get(group)]
    return " · ".join(names) or "Comparison of runs"
