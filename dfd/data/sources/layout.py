"""Recognition of known data set layouts, to suggest the right ``root`` or source for a wrong one."""

import os
from collections.abc import Iterable
from pathlib import Path

from dfd.base.types import LABEL_NAMES

LAYOUTS = {
    "folder": "real/ and fake/, or train/, val/ and test/ with these in each",
    "ffpp": "original_sequences/ (youtube/c23/videos/000.mp4 ...) and manipulated_sequences/ "
    "(Deepfakes/c23/videos/000_003.mp4 ...), or in the copy on Kaggle original/ (000.mp4 ...), Deepfakes/ "
    "(000_003.mp4 ...) and so on",
    "dfdc": "dfdc_train_part_0/ and the like, each with its videos and their metadata.json",
    "dfdcp": "original_videos/, method_A/, method_B/ and dataset.json",
    "celebdf": "Celeb-real/, Celeb-synthesis/, YouTube-real/ and List_of_testing_videos.txt",
    "df40": "DF40/ and DF40_train/, or a folder for each method with ff/ and cdf/ in it",
    "fakeavceleb": "RealVideo-RealAudio/, FakeVideo-RealAudio/, FakeVideo-FakeAudio/ and meta_data.csv",
    "deeperforensics": "manipulated_videos/ (end_to_end/000_M101.mp4 ...) and lists/splits/",
    "ffiw": "source/ and target/, each with train/ and val/",
    "wilddeepfake": "real_train/, fake_train/, real_test/ and fake_test/, unpacked (real_train/1/real/0/*.png ...)",
    "deepspeak": "annotations-real.csv, annotations-fake.csv, annotations-split-def.csv and the unpacked videos",
    "avdeepfake1m": "train/ and val/ with train_metadata.json and val_metadata.json",
    "kodf": "original_videos/ and synthesized_videos/",
    "stills": "a folder of pictures for each person",
}
"""Contents of each source's folder, by the name that ``source=`` takes."""

FFPP_FOLDERS = ("original_sequences", "manipulated_sequences")
FFPP_COPY_ORIGINALS = "original"
FFPP_COPY_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures", "DeepFakeDetection")
"""Folders of videos of the copy on Kaggle (c23), each directly in its root."""
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Splits by common folder names, in lower case."""
CELEBDF_FOLDERS = ("Celeb-real", "Celeb-synthesis", "YouTube-real")
METADATA_NAME = "metadata.json"
SIGNS = {
    "dfdcp": {"method_A", "method_B"},
    "fakeavceleb": {"RealVideo-RealAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio"},
    "deeperforensics": {"manipulated_videos"},
    "kodf": {"synthesized_videos"},
    "wilddeepfake": {"real_train", "fake_train", "real_test", "fake_test"},
    "deepspeak": {"annotations-real.csv", "annotations-fake.csv"},
    "avdeepfake1m": {"train_metadata.json", "val_metadata.json"},
    "df40": {"DF40", "DF40_train", "simswap", "fsgan", "blendface", "inswap", "facedancer", "sadtalker", "heygen"},
}
"""Folders and files directly in a data set's folder, one of which is enough to recognise it."""
FFIW_FOLDERS = ("source", "target")
IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}
"""Files left by zip programs and file browsers, silently skipped like hidden files."""


def is_ignored(name: str) -> bool:
    """Whether a file is hidden or was left by a zip program or file browser.

    >>> [name for name in (".DS_Store", "._000.mp4", "__MACOSX", "000.mp4") if not is_ignored(name)]
    ['000.mp4']
    """
    return name.startswith(".") or name in IGNORED


def resembles(folder: Path) -> str | None:
    """Source whose layout ``folder`` appears to have, or None."""
    children = _subfolders(folder)
    names = {child.name for child in children}
    for source, signs in SIGNS.items():
        if names & signs or any(os.path.isfile(folder / name) for name in signs):
            return source
    if names.issuperset(FFIW_FOLDERS):
        return "ffiw"
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
    """Whether folder names include at least two parts of the copy of FaceForensics++ on Kaggle."""
    parts = {name.lower() for name in (FFPP_COPY_ORIGINALS, *FFPP_COPY_METHODS)}
    return len(parts & {name.lower() for name in names}) > 1


def split_folders(folders: Iterable[Path]) -> list[tuple[Path, str]]:
    """Folders named after a split that hold real/ or fake/, each with its split."""
    named = [(folder, SPLIT_FOLDERS.get(folder.name.lower())) for folder in folders]
    return [
        (folder, split)
        for folder, split in named
        if split and {child.name.lower() for child in _subfolders(folder)} & set(LABEL_NAMES)
    ]


def where_instead(root: Path, source: str) -> str:
    """Clause that names the source or folder that was probably meant; empty if nothing nearby looks like one."""
    here = resembles(root)
    if here not in (None, source):
        return f"; it looks like source={here}"
    # Archives often unpack to an extra folder, and shell completion easily goes one level too deep.
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
    except OSError:  # an unreadable folder gives no suggestion
        return []
