"""``source=stills``: photographs of real people, a folder for each, to make fakes of (``data=blend``)."""

from pathlib import Path

from dfd.data.manifest import UNKNOWN, VideoRow
from dfd.data.sources.folder import files_below
from dfd.data.sources.listing import Draft, Listing, contents
from dfd.types import Label

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def stills(root: str | Path, *, dataset: str | None = None) -> Listing:
    """Every picture below ``root``, all of them real. A folder directly below ``root`` is a person.

    Who is in a picture decides its side of the split, so a picture that lies in ``root`` itself, where nothing tells,
    is its own source. The data set is named ``dataset``, or like ``root``. Other files are left out.

    Raises:
        ManifestError: there is no picture, one is there twice (a link), a name is not UTF-8, or a folder cannot be
            read.
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
    draft.warn_of("not in a person's folder, so each is taken for another person", loose)
    return draft.finish(one_label_is_meant=True)
