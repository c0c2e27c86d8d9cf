"""Detectors of which only the scores are known, measured like our own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dfd.data.sources.row import slug
from dfd.evaluation.labelled.measured import Options
from dfd.evaluation.labelled.scores import match, read_scores
from dfd.evaluation.splits import write_results
from dfd.report.evaluations.tables import Subject


def foreign_subjects(
    scores: Mapping[str, Path], labelled: pd.DataFrame, folder: Path, options: Options, *, alone: bool
) -> tuple[list[Subject], list[str]]:
    """Measure tables of scores on labelled videos; writes predictions.csv, metrics.json and figures of each.

    Args:
        scores: tables of scores by the detectors' names.
        labelled: from :mod:`dfd.evaluation.labelled.videos`.
        folder: output folder; each detector has a folder of its own in it, unless it is ``alone``.
        options: what is measured; methods of the training are unknown.
        alone: whether no other detector is evaluated.

    Returns:
        The detectors, and sentences on names that fit no video or several, and on videos without a score.

    Raises:
        ConfigError: a table cannot be read, or none of its names fits.
    """
    subjects, notes = [], []
    for name, path in scores.items():
        matched = match(read_scores(path), labelled, path)
        notes += matched.sentences(path)
        table = matched.table.assign(num_faces="")
        chosen = replace(options, methods=None, is_frame=True)
        facts = {"scores": str(path), "model": name, "num_unknown_names": len(matched.unknown)}
        facts["num_ambiguous_names"] = len(matched.ambiguous)
        place = folder if alone and len(scores) == 1 else folder / slug(name)
        title = f"{name} ({matched.num_scored} videos)"
        metrics = write_results(table, place, threshold=options.threshold, facts=facts, title=title, options=chosen)
        subjects.append(Subject(name, table, metrics, options.threshold, path.name))
    return subjects, notes
