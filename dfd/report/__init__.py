"""``python -m dfd.report DIR…``: training runs beside each other, as a page, Markdown and tables; or scored videos.

The page of scored videos is in :mod:`dfd.report.videos`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.errors import ReportError

if TYPE_CHECKING:
    from dfd.report.study import Study

__all__ = ["write_report"]

TITLE = "Comparison of runs"
# Of an earlier report in the same folder: none of it may stand beside the new one.
OWN_FILES = (
    *("report.html", "report.md", "runs.csv", "configurations.csv", "table_*.csv", "learning_curves_*.png"),
    *("comparison.png", "confusion_matrices.png", "roc.png", "against_setting.png"),
    *("study.csv", "study_jobs.csv", "parallel_coordinates.png", "metric_by_parameter.png"),
)


def write_report(runs: Sequence[Path], output: Path, *, title: str = TITLE, study: "Study | None" = None) -> Path:
    """Compare runs and write ``report.html``, ``report.md``, the figures and the tables as CSV to ``output``.

    Args:
        runs: folders of runs, as :func:`dfd.report.runs.find_runs` gives them.
        output: made if it is not there; an earlier report in it is replaced.
        title: over the report.
        study: that they are of: the report begins with the table and the figures of all its jobs.

    Returns:
        The path of report.html, one file that needs no other.

    Raises:
        ReportError: there are no runs, or a file of one is damaged.
    """
    from dfd.report.runs import read_run

    if not runs and study is None:
        raise ReportError("there are no runs to compare; give the folders that train.py prints at its end")
    runs_read = [read_run(Path(folder)) for folder in runs]

    # Not before: what is wrong with a folder is said without waiting for torch.
    from dfd.predictions import write_table
    from dfd.report.document import write_csv, write_html, write_markdown
    from dfd.report.repetitions import configurations, numbers_of
    from dfd.report.reproduction import all_numbers
    from dfd.report.results import ESTIMATED, evaluate
    from dfd.report.sections import document

    found = configurations(evaluate(runs_read))
    output.mkdir(parents=True, exist_ok=True)
    for pattern in OWN_FILES:
        for path in output.glob(pattern):
            path.unlink()
    page = document(found, output, title=title, study=study)
    for table in page.tables():
        write_csv(table, output)
    tables = {"runs.csv": [all_numbers(result, one.name) for one in found for result in one.results]}
    if any(one.is_repeated for one in found):
        tables["configurations.csv"] = [numbers_of(one, ESTIMATED) for one in found]
    if study is not None:
        tables |= {"study.csv": study.records(), "study_jobs.csv": study.job_records()}
    for name, rows in tables.items():
        if rows:
            write_table(output / name, rows, dict.fromkeys(column for row in rows for column in row))
    write_markdown(page, output / "report.md")
    return write_html(page, output / "report.html")
