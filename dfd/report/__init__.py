"""``python -m dfd.report DIR…``: training runs beside each other, as a page, Markdown and tables; or scored videos.

The page of scored videos is in :mod:`dfd.report.videos`.
"""

from collections.abc import Sequence
from pathlib import Path

from dfd.errors import ReportError

__all__ = ["write_report"]

TITLE = "Comparison of runs"
# Of an earlier report in the same folder: none of it may stand beside the new one.
OWN_FILES = (
    *("report.html", "report.md", "runs.csv", "table_*.csv", "learning_curves_*.png"),
    *("comparison.png", "confusion_matrices.png", "roc.png", "against_setting.png"),
)


def write_report(runs: Sequence[Path], output: Path, *, title: str = TITLE) -> Path:
    """Compare runs and write ``report.html``, ``report.md``, the figures and the tables as CSV to ``output``.

    Args:
        runs: folders of runs, as :func:`dfd.report.runs.find_runs` gives them.
        output: made if it is not there; an earlier report in it is replaced.
        title: over the report.

    Returns:
        The path of report.html, one file that needs no other.

    Raises:
        ReportError: there are no runs, or a file of one is damaged.
    """
    from dfd.predictions import write_table
    from dfd.report.document import write_csv, write_html, write_markdown
    from dfd.report.reproduction import all_numbers
    from dfd.report.results import evaluate
    from dfd.report.runs import read_run
    from dfd.report.sections import document

    if not runs:
        raise ReportError("there are no runs to compare; give the folders that train.py prints at its end")
    results = evaluate([read_run(Path(folder)) for folder in runs])
    output.mkdir(parents=True, exist_ok=True)
    for pattern in OWN_FILES:
        for path in output.glob(pattern):
            path.unlink()
    page = document(results, output, title=title)
    for table in page.tables():
        write_csv(table, output)
    rows = [all_numbers(result) for result in results]
    write_table(output / "runs.csv", rows, dict.fromkeys(column for row in rows for column in row))
    write_markdown(page, output / "report.md")
    return write_html(page, output / "report.html")
