"""Writing the report of training runs or of a study, and the result of a test into the card of its detector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import ReportError
from dfd.base.files import inside, write_table
from dfd.evaluation.labelled.measured import PREVALENCE
from dfd.metrics.intervals import intervals
from dfd.metrics.operating import operating_points
from dfd.metrics.videos import video_metrics
from dfd.models.files.caveat import with_made_caveat
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.report.comparison.repetitions import configurations, numbers_of
from dfd.report.comparison.results import ESTIMATED, evaluate, known
from dfd.report.page.document import write_csv, write_page
from dfd.report.runs.reproduction import all_numbers
from dfd.report.runs.sections import document
from dfd.report.studies.pooled import folds_of, pooled_predictions
from dfd.report.studies.study import Study, read_study
from dfd.runs.folder import find_runs, read_run

TITLE = "Comparison of runs"

# Files of an earlier report in the same folder, which are removed first.
OWN_FILES = (
    *("report.html", "report.md", "runs.csv", "configurations.csv", "table_*.csv", "learning_curves_*.png"),
    *("comparison.png", "confusion_matrices.png", "roc.png", "against_setting.png"),
    *("study.csv", "study_jobs.csv", "pooled_predictions.csv", "parallel_coordinates.png", "metric_by_parameter.png"),
)


def write_report(runs: Sequence[Path], output: Path, *, title: str = TITLE, study: Study | None = None) -> Path:
    """Compare runs and write ``report.html``, ``report.md``, the figures and the tables as CSV to ``output``.

    Args:
        runs: folders of runs, from :func:`dfd.runs.folder.find_runs`.
        output: output folder, created if missing; an earlier report in it is replaced.
        title: title of the report.
        study: study of the runs; the report then begins with the table and figures of all its jobs.

    Returns:
        Path of report.html, a self-contained file.

    Raises:
        ReportError: there are no runs, or a file of one is damaged.
    """
    if not runs and study is None:
        raise ReportError("there are no runs to compare; give the folders that train.py prints at its end")
    found = configurations(evaluate([read_run(Path(folder)) for folder in runs]))
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
    results = [result for one in found for result in one.results]
    tables["pooled_predictions.csv"] = pooled_predictions(folds_of(results))
    for name, rows in tables.items():
        if rows:
            write_table(output / name, rows, dict.fromkeys(column for row in rows for column in row))
    return write_page(page, output)


def write_comparison(folders: Sequence[Path], output: Path | None, *, title: str | None) -> tuple[str, Path]:
    """Write the report of a study's folder or of runs; returns its extent in words, and the page.

    Raises:
        ReportError: there is nothing to report on, or no ``output`` is given and ``report/`` in the folder is a link.
    """
    try:
        output = output or inside(folders[0], folders[0] / "report")
    except ValueError as error:
        raise ReportError(f"{folders[0] / 'report'}: {error}; remove it, or give --output") from error
    if len(folders) == 1 and (study := read_study(folders[0])):
        return study.counts(), write_study_report(folders[0], output, title=title)
    runs = find_runs(folders)
    page = write_report(runs, output, title=title or TITLE)
    return f"{len(runs)} run{'s' if len(runs) != 1 else ''} compared", page


def write_study_report(folder: Path, output: Path | None = None, *, title: str | None = None) -> Path:
    """Write ``report/`` in a multirun's folder: the study and a comparison of its runs.

    Raises:
        ReportError: there is nothing to report, or a file is damaged.
    """
    study = read_study(folder)
    output = output or folder / "report"
    if study is None:
        return write_report(find_runs([folder]), output, title=title or TITLE)
    return write_report(study.compared, output, title=title or study.record.name, study=study)


def add_test(folder: Path, *, data: Mapping[str, Any], windows_per_track: int) -> None:
    """Write the test result in ``folder`` into the card of its ``detector.safetensors``, if both exist.

    The weights stay as they are, and the file is replaced atomically.

    Args:
        folder: folder of a run, with ``test/predictions.csv``.
        data: summary of the test data, in the form that the card has of the training data.
        windows_per_track: maximum number of windows per track in a video's score.
    """
    path, run = folder / "detector.safetensors", read_run(folder)
    if not path.is_file() or run.test is None:
        return
    model, card = load_model(path)
    scored = run.test[run.test["prob_fake"].notna()]
    threshold = card.threshold if run.threshold is None else run.threshold
    found = video_metrics(scored["prob_fake"], scored["label"], threshold=threshold)
    ends = intervals(scored["prob_fake"], scored["label"], ESTIMATED, threshold=threshold)
    result = {
        **{"split": "test", "level": "video"},
        **{key: data.get(key) for key in ("store", "index_sha256", "videos_sha256")},
        **{"windows_per_track": windows_per_track, "threshold": threshold},
        **{key: found[key] for key in ("num_real", "num_fake")},
        "num_unscored": len(run.test) - len(scored),
        "metrics": {name: value for name in ESTIMATED if (value := known(found[name])) is not None},
        "intervals": {name: list(interval) for name, interval in ends.items() if interval is not None},
        **{"prevalence": PREVALENCE, "operating_points": _plain_points(scored, threshold)},
    }
    save_safetensors(path, model, with_made_caveat(card, test=result))


def _plain_points(scored: pd.DataFrame, threshold: float) -> list[dict[str, Any]]:
    """Operating points as a file has them: lists in place of tuples."""
    points = operating_points(scored["prob_fake"], scored["label"], threshold=threshold, prevalence=PREVALENCE)
    return [{k: list(v) if isinstance(v, tuple) else v for k, v in point.items()} for point in points]
