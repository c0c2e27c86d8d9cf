"""The tables of the copy of FaceForensics++ (c23) that Kaggle has, as rows of a manifest.

https://www.kaggle.com/datasets/xdxd003/ff-c23: ``csv/FF++_Metadata.csv`` and others, with the columns ``File Path``
(``Deepfakes/000_003.mp4``, from the folder above ``csv/``) and ``Label`` (``FAKE``, ``REAL``), and no column for the
people or sources: the file's name tells them.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

PATH_COLUMN = "file path"


def is_copys_table(header: Sequence[str]) -> bool:
    """True for the columns of these tables, in any case."""
    lower = [name.strip().lower() for name in header]
    return PATH_COLUMN in lower and "label" in lower and "path" not in lower


def as_manifest(cells: Mapping[str, str]) -> dict[str, str]:
    """A row of such a table with a manifest's columns; the others are carried along.

    >>> row = as_manifest({"": "0", "File Path": "Deepfakes/000_003.mp4", "Label": "FAKE", "Width": "640"})
    >>> row["path"], row["label"], row["dataset"], row["method"], row["source_ids"], row["Width"]
    ('Deepfakes/000_003.mp4', 'fake', 'ffpp', 'Deepfakes', 'ffpp:000;ffpp:003', '640')
    """
    from dfd.data.sources.ffpp import facts_of_copy  # not above: sources give rows of manifests

    known = {name.strip().lower(): value for name, value in cells.items()}
    rest = {name: value for name, value in cells.items() if name.strip().lower() not in ("", PATH_COLUMN, "label")}
    path, label = known[PATH_COLUMN].strip(), known["label"].strip().lower()
    facts = facts_of_copy(path)
    if facts is None:
        method = PurePosixPath(path).parent.name if label == "fake" else ""
        return {**rest, "path": path, "label": label, "dataset": "ffpp", "method": method}
    dataset, method, source_ids = facts
    return {
        **rest,
        "path": path,
        "label": label,
        "dataset": dataset,
        "method": method,
        "source_ids": ";".join(source_ids),
    }
