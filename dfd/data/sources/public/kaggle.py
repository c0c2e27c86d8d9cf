"""Conversion of the tables in Kaggle's copy of FaceForensics++ (c23) to rows of a manifest.

https://www.kaggle.com/datasets/xdxd003/ff-c23: ``csv/FF++_Metadata.csv`` and others have the columns ``File Path``
(``Deepfakes/000_003.mp4``, relative to the folder above ``csv/``) and ``Label`` (``FAKE``, ``REAL``). There is no
column for people or sources, which are derived from file names.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from dfd.data.sources.public.ffpp import facts_of_copy

PATH_COLUMN = "file path"


def is_copys_table(header: Sequence[str]) -> bool:
    """Whether a header has the columns of these tables, in any case."""
    lower = [name.strip().lower() for name in header]
    return PATH_COLUMN in lower and "label" in lower and "path" not in lower


def as_manifest(cells: Mapping[str, str]) -> dict[str, str]:
    """Convert a row of such a table to a manifest's columns; other columns are kept.

    >>> row = as_manifest({"": "0", "File Path": "Deepfakes/000_003.mp4", "Label": "FAKE", "Width": "640"})
    >>> row["path"], row["label"], row["dataset"], row["method"], row["source_ids"], row["Width"]
    ('Deepfakes/000_003.mp4', 'fake', 'ffpp', 'Deepfakes', 'ffpp:000;ffpp:003', '640')
    """
    known = {name.strip().lower(): value for name, value in cells.items()}
    rest = {name: value for name, value in cells.items() if name.strip().lower() not in ("", PATH_COLUMN, "label")}
    path, label = known[PATH_COLUMN].strip(), known["label"].strip().lower()
    row = {**rest, "path": path, "label": label}
    facts = facts_of_copy(path)
    if facts is None:
        return row | {"dataset": "ffpp", "method": PurePosixPath(path).parent.name if label == "fake" else ""}
    dataset, method, source_ids = facts
    return row | {"dataset": dataset, "method": method, "source_ids": ";".join(source_ids)}
