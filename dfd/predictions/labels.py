"""Labels of the videos that are scored, where a manifest knows them: a report draws them beside the scores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.data.splits.people import ALL
from dfd.evaluation.labelled.measured import SEGMENTS, segments_of
from dfd.evaluation.labelled.scores import places_of
from dfd.evaluation.labelled.videos import labels_of_manifest

LABELS_KEY = "labels"
"""In run.json: the labels by the paths of the videos, each as :func:`labels_beside` gives it."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of scored videos, by path, and the sentence that says of how many."""

    labels: dict[str, dict[str, Any]]
    sentence: str


def labels_beside(manifest: Path, paths: Sequence[Path]) -> Labelled:
    """Labels of videos, fit for run.json: ``{path: {"label", "method", "segments": [[start, end], ...]}}``.

    A path that the manifest leads to is meant by it; of others, names fit as in
    :func:`~dfd.evaluation.labelled.scores.places_of`. ``segments`` (seconds) is empty where none is labelled. Splits do
    not matter, and the files of the manifest need not exist.

    Args:
        manifest: table with the columns ``path`` and ``label``, and perhaps ``fake_segments``.
        paths: videos to be scored.

    Raises:
        ManifestError: the manifest cannot be read.
        ConfigError: a segment cannot be read, or none of the videos is in the manifest.
    """
    manifest = manifest.expanduser()
    table = labels_of_manifest(manifest, ALL)
    leads_to = {os.path.abspath(manifest.parent / name): place for place, name in enumerate(table["name"])}
    where = {str(path): os.path.abspath(path) for path in paths}
    fitting = places_of([name for name, absolute in where.items() if absolute not in leads_to], table)
    cells = table[SEGMENTS] if SEGMENTS in table else pd.Series("", index=table.index)
    labels: dict[str, dict[str, Any]] = {}
    for path, absolute in where.items():
        places = [leads_to[absolute]] if absolute in leads_to else fitting[path]
        if len(places) == 1:
            row = table.iloc[places[0]]
            segments = segments_of(str(row["name"]), int(row["label"]), str(cells.iloc[places[0]]))
            times = [[segment.start, segment.end] for segment in segments]
            labels[path] = {"label": str(Label(row["label"])), "method": str(row["method"]), "segments": times}
    if not labels:
        raise ConfigError(
            f"manifest={manifest}: it names none of the videos to score, such as {paths[0]}; its first is "
            f"{table['name'].iloc[0]}, and relative paths start at its folder"
        )
    timed = sum(bool(one["segments"]) for one in labels.values())
    return Labelled(labels, f"{len(labels)} of {len(paths)} videos are labelled, {timed} with {SEGMENTS}")
