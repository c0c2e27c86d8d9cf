"""``python -m dfd.report DIR…``: compare training runs, or show scored videos; which of the two, the folders say."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dfd.errors import DfdError, ReportError, disk_sentence
from dfd.files import inside
from dfd.outcomes import StudyRecord
from dfd.report import TITLE, write_report
from dfd.report.runs import find_runs
from dfd.report.scored import find_scored
from dfd.report.videos import TITLE as VIDEOS_TITLE
from dfd.report.videos import write_videos_report

DESCRIPTION = """For folders of train.py: compare the runs, with tables of training, validation and test with intervals,
McNemar's test between every two runs, learning curves, confusion matrices and ROC curves, and what is needed to
reproduce them. Writes report.html (one file, to be mailed or printed), report.md, the figures as PNG and the tables as
CSV; runs.csv has every number. For a study's folder, of train.py -m: also a table of all its jobs, best first, those
that failed or were pruned too, and figures of the metric against what was varied.

For folders of predict.py: show the scored videos, with a table to sort and filter, and for each video the faces over
time and the moments that speak for fake. Writes report.html (one file); of several folders, such as those of shards,
the merged predictions.csv, predictions.jsonl and pictures, too."""
EXAMPLES = """examples:
  python -m dfd.report outputs/train/2026-01-31_12-00-00
  python -m dfd.report multirun/train/2026-01-31_12-00-00 --title "Sequence lengths"
  python -m dfd.report outputs/train/A outputs/train/B --output reports/a-or-b
  python -m dfd.report scores
  python -m dfd.report shards/0 shards/1 --output scores"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the report was written, 1 if there is nothing to report on, or a mixture."""
    parser = argparse.ArgumentParser(
        prog="python -m dfd.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="a run's folder, or a multirun's with its runs; or an output folder of predict.py",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="default: for one run, report/ in DIR; for one folder of scores, DIR itself; else outputs/report/TIME",
    )
    parser.add_argument("--title", help=f'over the report (default: "{TITLE}" or "{VIDEOS_TITLE}")')
    chosen = parser.parse_args(arguments)
    folders: list[Path] = chosen.folders
    try:
        scored = find_scored(folders)
        if scored:
            output = chosen.output or (scored[0] if len(scored) == 1 else _dated_output())
            page = write_videos_report(scored, output, title=chosen.title or VIDEOS_TITLE)
            done = f"{len(scored)} folder{'s' if len(scored) != 1 else ''} of scored videos read"
        else:
            if len(folders) == 1 and StudyRecord.read(folders[0]):
                from dfd.report.study import read_study, write_study_report  # not above: they import torch

                study = read_study(folders[0])
                assert study is not None
                page = write_study_report(folders[0], chosen.output or _report_within(folders[0]), title=chosen.title)
                print(f"{study.counts()}; the report is {_shown(page)}")
                return 0
            output = chosen.output or (_report_within(folders[0]) if len(folders) == 1 else _dated_output())
            runs = find_runs(folders)
            page = write_report(runs, output, title=chosen.title or TITLE)
            done = f"{len(runs)} run{'s' if len(runs) != 1 else ''} compared"
    except (DfdError, OSError) as error:  # OSError: the output cannot be written, and its message says where
        said = (isinstance(error, OSError) and disk_sentence(error)) or str(error)
        print(f"error: {said}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        return 1
    print(f"{done}; the report is {_shown(page)}")
    return 0


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()  # a folder's name need not be text


def _report_within(folder: Path) -> Path:
    """Raises:
    ReportError: it is a link to another folder.
    """
    try:
        return inside(folder, folder / "report")
    except ValueError as error:
        raise ReportError(f"{folder / 'report'}: {error}; remove it, or give --output") from error


def _dated_output() -> Path:
    return Path("outputs", "report", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")


if __name__ == "__main__":
    sys.exit(main())
