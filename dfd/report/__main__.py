"""``python -m dfd.report RUN…``: compare training runs."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dfd.errors import DfdError
from dfd.report import TITLE, find_runs, write_report

DESCRIPTION = """Compare training runs: tables of training, validation and test with intervals, McNemar's test between
every two runs, learning curves, confusion matrices and ROC curves, and what is needed to reproduce them.

Writes report.html (one file, to be mailed or printed), report.md, the figures as PNG and the tables as CSV;
runs.csv has every number."""
EXAMPLES = """examples:
  python -m dfd.report outputs/train/2026-01-31_12-00-00
  python -m dfd.report multirun/train/2026-01-31_12-00-00 --title "Sequence lengths"
  python -m dfd.report outputs/train/A outputs/train/B --output reports/a-or-b"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the report was written, 1 if there is nothing to report on."""
    parser = argparse.ArgumentParser(
        prog="python -m dfd.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="a run's folder, or a multirun's with its runs"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="default: report/ in RUN; for several, outputs/report/TIME"
    )
    parser.add_argument("--title", default=TITLE, help="over the report (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    output = chosen.output
    if output is None and len(chosen.runs) == 1:
        output = chosen.runs[0] / "report"
    elif output is None:
        output = Path("outputs", "report", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    try:
        runs = find_runs(chosen.runs)
        page = write_report(runs, output, title=chosen.title)
    except (DfdError, OSError) as error:  # OSError: the output cannot be written, and its message says where
        print(f"error: {error}", file=sys.stderr)
        return 1
    shown = str(page).encode("utf-8", "backslashreplace").decode()  # a folder's name need not be text
    print(f"{len(runs)} run{'s' if len(runs) != 1 else ''} compared; the report is {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
