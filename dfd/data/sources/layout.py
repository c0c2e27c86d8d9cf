"""What the known layouts look like, so that a wrong ``root`` is answered with the right one."""

import os
from pathlib import Path

from dfd.types import LABEL_NAMES

LAYOUTS = {
    "folder": "real/ and fake/",
    "ffpp": "original_sequences/ (youtube/c23/videos/000.mp4 ...) and manipulated_sequences/ "
    "(Deepfakes/c23/videos/000_003.mp4 ...)",
    "dfdc": "dfdc_train_part_0/ and the like, each with its videos and their metadata.json",
    "celebdf": "Celeb-real/, Celeb-synthesis/, YouTube-real/ and List_of_testing_videos.txt",
    "stills": "a folder of pictures for each person",
}
"""What the folder of each source holds, by the name that ``source=`` takes."""

FFPP_FOLDERS = ("original_sequences", "manipulated_sequences")
CELEBDF_FOLDERS = ("Celeb-real", "Celeb-synthesis", "YouTube-real")
METADATA_NAME = "metadata.json"
IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}
"""Left by zip programs and file browsers; like hidden files, no word is said about them."""


def is_ignored(name: str) -> bool:
    """True for hidden files and what zip programs and file browsers leave.

    >>> [name for name in (".DS_Store", "._000.mp4", "__MACOSX", "000.mp4") if not is_ignored(name)]
    ['000.mp4']
    """
    return name.startswith(".") or name in IGNORED


def resembles(folder: Path) -> str | None:
    """The source whose layout ``folder`` has, if it is one of the known. Nothing is refused here, only looked at."""
    children = _subfolders(folder)
    names = {child.name for child in children}
    if names & set(FFPP_FOLDERS):
        return "ffpp"
    if names & set(CELEBDF_FOLDERS):
        return "celebdf"
    if {name.lower() for name in names} & set(LABEL_NAMES):
        return "folder"
    if any(os.path.isfile(each / METADATA_NAME) for each in [folder, *children]):
        return "dfdc"
    return None


def where_instead(root: Path, source: str) -> str:
    """A clause that names the source or the folder that was probably meant, empty if nothing near looks like one."""
    here = resembles(root)
    if here not in (None, source):
        return f"; it looks like source={here}"
    # An archive mostly unpacks to one more folder, and completing a path in a shell easily goes one too deep.
    for near in [*_subfolders(root), *root.absolute().parents[:2]]:
        if resembles(near) == source:
            return f"; {near} looks like it, give root={near}"
    for near in _subfolders(root):
        other = resembles(near)
        if other is not None:
            return f"; {near} looks like source={other}"
    return ""


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not is_ignored(entry.name))
    except OSError:  # a neighbour that may not be read is no answer
        return []
