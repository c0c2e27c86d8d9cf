"""Source ``stills``: photographs of real people, a folder for each, to make fakes from (``data=blend``)."""

from pathlib import Path

from dfd.base.types import Label
from dfd.data.sources.folder import files_below
from dfd.data.sources.listing import Draft, Listing, contents
from dfd.data.sources.row import UNKNOWN, VideoRow

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def stills(root: str | Path, *, dataset: str | None = None) -> Listing:
    """List every picture below ``root``, all of them real; each folder directly below ``root`` is a person.

    The person decides the side of the split, so a picture directly in ``root``, without a person, is its own source.
    The data set is named ``dataset``, or after ``root``. Other files are left out.

    Raises:
        ManifestError: there is no picture, one occurs twice (a link), a name is not UTF-8, or a folder cannot be read.
    """
    draft = Draft(root, "stills")
    folders, files = contents(draft.root)
    dataset = dataset or draft.root.resolve().name or UNKNOWN
    loose = []
    for person, paths in [*((folder.name, [*files_below(folder)]) for folder in folders), (None, files)]:
        draft.leave_out_files((path for path in paths if path.suffix.lower() not in SUFFIXES), "not a picture")
        for path in paths:
            if path.suffix.lower() not in SUFFIXES:
                continue
            name = draft.writable_name(path)
            if name is None:
                continue
            source_id = f"{dataset}:{person or name}"
            if draft.add(VideoRow(path.absolute(), name, Label.REAL, dataset, "", (source_id,))) and person is None:
                loose.append(name)
    draft.warn_of("not in a person's folder, so each counts as a different person", loose)
    return draft.finish(one_label_is_meant=True)
