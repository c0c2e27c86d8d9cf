"""What happens when a multirun ends: its runs are compared in a report."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

logger = logging.getLogger(__name__)


class StudyReport(Callback):
    """Write ``report/`` into the folder of a multirun, as ``python -m dfd.report FOLDER`` makes it again later."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs that finished; a study without any has no report."""
        from dfd.report import ReportError, find_runs, write_report

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
