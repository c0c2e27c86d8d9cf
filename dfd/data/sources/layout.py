"""What the known layouts look like, so that a wrong ``root`` is answered with the right one."""

import os
from collections.abc import Iterable
from pathlib import Path

from dfd.types import LABEL_NAMES

LAYOUTS = {
    "folder": "real/ and fake/, or train/, val/ and test/ with these in each",
    "ffpp": "original_sequences/ (youtube/c23/videos/000.mp4 ...) and manipulated_sequences/ "
    "(Deepfakes/c23/videos/000_003.mp4 ...), or of the copy on Kaggle original/ (000.mp4 ...), Deepfakes/ "
    "(000_003.mp4 ...) and so on",
    "dfdc": "dfdc_train_part_0/ and the like, each with its videos and their metadata.json",
    "celebdf": "Celeb-real/, Celeb-synthesis/, YouTube-real/ and List_of_testing_videos.txt",
    "stills": "a folder of pictures for each person",
}
"""What the folder of each source holds, by the name that ``source=`` takes."""

FFPP_FOLDERS = ("original_sequences", "manipulated_sequences")
FFPP_COPY_ORIGINALS = "original"
FFPP_COPY_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures", "DeepFakeDetection")
"""What the copy on Kaggle (c23) holds, each directly in its root and full of videos."""
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""How people call the folders of a split, in small letters."""
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
    if names & set(FFPP_FOLDERS) or is_ffpp_copy(names):
        return "ffpp"
    if names & set(CELEBDF_FOLDERS):
        return "celebdf"
    if {name.lower() for name in names} & set(LABEL_NAMES) or split_folders(children):
        return "folder"
    if any(os.path.isfile(each / METADATA_NAME) for each in [folder, *children]):
        return "dfdc"
    return None


def is_ffpp_copy(names: Iterable[str]) -> bool:
    """True for the folders of the copy of FaceForensics++ on Kaggle: two of its parts at least."""
    parts = {name.lower() for name in (FFPP_COPY_ORIGINALS, *FFPP_COPY_METHODS)}
    return len(parts & {name.lower() for name in names}) > 1


def split_folders(folders: Iterable[Path]) -> list[tuple[Path, str]]:
    """Folders that are of one split and hold real/ or fake/, each with the split's name."""
    named = [(folder, SPLIT_FOLDERS.get(folder.name.lower())) for folder in folders]
    return [
        (folder, split)
        for folder, split in named
        if split and {child.name.lower() for child in _subfolders(folder)} & set(LABEL_NAMES)
    ]


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
