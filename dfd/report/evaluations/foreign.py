"""Detectors of which only the scores are known, measured like our own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.data.sources.row import slug
from dfd.evaluation.labelled.measured import Options, trained_methods
from dfd.evaluation.labelled.scores import match, read_scores
from dfd.evaluation.splits import write_results
from dfd.models.files.card import read_card
from dfd.report.evaluations.tables import Subject


def methods_by_name(given: Any, names: Sequence[str]) -> dict[str, set[str]]:
    """Methods of fakes that detectors were trained on, by their names, from ``methods_trained=``.

    >>> {name: sorted(methods) for name, methods in methods_by_name(["swap", "sync"], ["theirs"]).items()}
    {'theirs': ['swap', 'sync']}

    Args:
        given: methods of all detectors, or those of each by its name; in place of methods a ``.safetensors``, whose
            card names them; None: nobody knows.
        names: names of the detectors.

    Raises:
        ConfigError: a name is no detector's, a card cannot be read or names no methods.
    """
    if given is None:
        return {}
    each = {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
    if unknown := [name for name in each if name not in names]:
        raise ConfigError(f"methods_trained names {unknown[0]!r}, and the scores are of {', '.join(names)}")
    return {name: _methods(value) for name, value in (each or dict.fromkeys(names, given)).items()}


def _methods(value: Any) -> set[str]:
    if not (isinstance(value, str) and value.endswith(".safetensors")):
        return {str(one) for one in ([value] if isinstance(value, str) else value)}
    card = read_card(Path(value).expanduser())
    methods = trained_methods(card.data) if card else None
    if methods is None:
        why = "its card names no methods of fakes" if card else "there is no card of dfd to read"
        raise ConfigError(f"methods_trained={value}: {why}; give the methods: methods_trained=[NAME,NAME]")
    return methods


def foreign_subjects(
    scores: Mapping[str, Path],
    labelled: pd.DataFrame,
    folder: Path,
    options: Options,
    *,
    alone: bool,
    methods: Mapping[str, Collection[str]] | None = None,
) -> tuple[list[Subject], list[str]]:
    """Measure tables of scores on labelled videos; writes predictions.csv, metrics.json and figures of each.

    Args:
        scores: tables of scores by the detectors' names.
        labelled: from :mod:`dfd.evaluation.labelled.videos`.
        folder: output folder; each detector has a folder of its own in it, unless it is ``alone``.
        options: what is measured.
        alone: whether no other detector is evaluated.
        methods: methods of fakes that each detector was trained on, by its name; missing: nobody knows.

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
        chosen = replace(options, methods=(methods or {}).get(name), is_frame=True)
        facts = {"scores": str(path), "model": name, "num_unknown_names": len(matched.unknown)}
        facts["num_ambiguous_names"] = len(matched.ambiguous)
        place = folder if alone and len(scores) == 1 else folder / slug(name)
        title = f"{name} ({matched.num_scored} videos)"
        metrics = write_results(table, place, threshold=options.threshold, facts=facts, title=title, options=chosen)
        subjects.append(Subject(name, table, metrics, options.threshold, path.name))
    return subjects, notes
