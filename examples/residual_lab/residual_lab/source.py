"""Source of the example: a folder of videos and a table that says who is in them."""

import csv
from pathlib import Path

from dfd.base.types import Label
from dfd.data.sources import Listing
from dfd.data.sources.row import VideoRow


def labels_csv(root: str | Path, *, dataset: str = "lab") -> Listing:
    """List the videos of ``labels.csv`` in ``root``, a table with the columns ``name``, ``label`` and ``people``.

    Args:
        root: folder of the videos and the table.
        dataset: name of the data set in the store.
    """
    root = Path(root).absolute()
    rows = []
    with (root / "labels.csv").open(newline="") as file:
        for line, entry in enumerate(csv.DictReader(file), start=2):
            label = Label.parse(entry["label"])
            people = tuple(f"{dataset}:{person}" for person in entry["people"].split("+"))
            method = "unknown" if label is Label.FAKE else ""
            name = entry["name"]
            rows.append(VideoRow(root / name, name, label, dataset, method, people, line=line))
    return Listing(sorted(rows, key=lambda row: row.name), [])
