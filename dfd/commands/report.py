"""``python -m dfd.report DIR…``: compare training runs, or show scored videos; which of the two, the folders say."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dfd.base.errors import DfdError, disk_sentence
from dfd.config.cli.catalogue import Arguments
from dfd.predictions.layout import ANNOTATED_NAME
from dfd.report.videos.scored import find_scored
from dfd.report.videos.single import write_scored_report

DESCRIPTION = """For folders of train.py: compare the runs, with tables of training, validation and test with intervals,
McNemar's test between every two runs, learning curves, confusion matrices and ROC curves, and what is needed to
reproduce them. Writes report.html (one file, to be mailed or printed), report.md, the figures as PNG and the tables as
CSV; runs.csv has every number. For a study's folder, of train.py -m: also a table of all its jobs, best first, those
that failed or were pruned too, and figures of the metric against what was varied.

For folders of predict.py: show the scored videos, with a table to sort and filter, and for each video the faces over
time and the moments that speak for fake. Writes report.html (one file); of several folders, such as those of shards,
the merged predictions.csv, predictions.jsonl and pictures, too. With --threshold, --uncertain-margin or --prevalence
the verdicts are told anew, into another folder."""
CHANGES = {
    "threshold": "scored videos: signs of a fake from this score on, without scoring them again",
    "uncertain_margin": "scored videos: half the width of the band of `cannot tell` around a threshold of 0.5",
    "prevalence": "scored videos: share of fakes that you expect, such as 0.02, for how often such a score is right",
}
EXAMPLES = (
    "dfd report scores",
    "dfd report scores --threshold 0.9 --output scores-0.9",
    "dfd report shards/* --output scores",
    "dfd report outputs/train/A outputs/train/B --output reports/a-or-b",
    'dfd report multirun/train/2026-01-31_12-00-00 --title "Sequence lengths"',
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the report was written, 1 if there is nothing to report on, or a mixture."""
    parser = Arguments("report", description=DESCRIPTION, examples=EXAMPLES)
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
    parser.add_argument("--title", help="heading of the report")
    for name, words in CHANGES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="NUMBER", type=float, help=words)
    chosen = parser.parse_args(arguments)
    folders: list[Path] = chosen.folders
    try:
        scored = find_scored(folders)
        if scored:
            changes = {name: value for name in CHANGES if (value := getattr(chosen, name)) is not None}
            output = chosen.output or (scored[0] if len(scored) == 1 and not changes else _dated_output())
            page = write_scored_report(scored, output, title=chosen.title, changes=changes)
            done = f"{len(scored)} folder{'s' if len(scored) != 1 else ''} of scored videos read"
            if changes and (drawn := [str(folder) for folder in scored if (folder / ANNOTATED_NAME).is_dir()]):
                done += f"; the annotated videos in {', '.join(drawn)} show the verdicts of before"
        else:
            # Not at the top: figures and metrics import torch, and --help does not wait for it.
            from dfd.report.runs.write import write_comparison

            output = chosen.output or (None if len(folders) == 1 else _dated_output())
            done, page = write_comparison(folders, output, title=chosen.title)
    except (DfdError, OSError) as error:  # OSError: the output cannot be written, and its message says where
        said = (isinstance(error, OSError) and disk_sentence(error)) or str(error)
        print(f"error: {said}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        return 1
    print(f"{done}; the report is {page}".encode("utf-8", "backslashreplace").decode())  # a name need not be text
    return 0


def _dated_output() -> Path:
    return Path("outputs", "report", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
