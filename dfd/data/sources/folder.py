"""Source ``folder``: videos in ``real/`` and ``fake/`` without further information."""

import os
from collections.abc import Iterator
from pathlib import Path

from dfd.base.errors import ManifestError
from dfd.base.types import LABEL_NAMES, Label
from dfd.data.sources.layout import is_ignored, split_folders
from dfd.data.sources.listing import Draft, Listing, contents
from dfd.data.sources.row import UNKNOWN, VideoRow


def folder(root: str | Path, *, dataset: str | None = None) -> Listing:
    """List every file below ``real/`` and ``fake/`` in ``root``, except hidden files.

    The two may also lie in each of ``train/``, ``val/`` (or ``valid/``) and ``test/``, which then give the split.
    Folder names may be in any case. A folder directly below ``fake/`` names the method: ``fake/FaceSwap/a.mp4``.
    The data set is named ``dataset``, or after ``root``. Files are not opened; those that are not videos get a status
    later. Nothing says which videos share a person, so each is its own source, and a warning states the risk.

    Raises:
        ManifestError: ``root`` has neither folder, both are empty, a file occurs twice (a link), a name is not UTF-8,
            or a folder cannot be read.
    """
    draft = Draft(root, "folder")
    folders, files = contents(draft.root)
    classes = [(child, Label.parse(child.name)) for child in folders if child.name.lower() in LABEL_NAMES]
    parts = [(child, label, "") for child, label in classes]
    splits = [] if classes else split_folders(folders)
    for part, split in splits:
        inner, beside = contents(part)
        named = [(child, Label.parse(child.name)) for child in inner if child.name.lower() in LABEL_NAMES]
        parts += [(child, label, split) for child, label in named]
        draft.leave_out_folders(set(inner) - {base for base, _ in named}, "neither real/ nor fake/")
        draft.leave_out_files(beside, "neither in real/ nor in fake/")
    manifests = [path for path in files if path.suffix.lower() == ".csv"]
    if not parts:
        hint = f" (if {manifests[0].name} lists the videos, give manifest={manifests[0]} instead)" if manifests else ""
        raise draft.not_this(f"it has neither real/ nor fake/{hint}")
    if manifests:
        names = ", ".join(path.name for path in manifests)
        draft.warn(f"it holds {names}, which is not read; if it is a manifest, give manifest={manifests[0]} instead")
    draft.leave_out_folders(
        set(folders) - {base for base, _ in classes} - {part for part, _ in splits}, "neither real/ nor fake/"
    )
    draft.leave_out_files(set(files) - set(manifests), "neither in real/ nor in fake/")
    dataset = dataset or draft.root.resolve().name or UNKNOWN
    for base, label, split in parts:
        for path in files_below(base):
            name = draft.writable_name(path)
            if name is None:
                continue
            within = path.relative_to(base).parts
            method = (within[0] if len(within) > 1 else UNKNOWN) if label is Label.FAKE else ""
            draft.add(VideoRow(path.absolute(), name, label, dataset, method, (f"{dataset}:{name}",), split))
    listing = draft.finish()
    draft.warn(
        f"folders do not say which videos share a person, so each of {len(listing.rows)} videos counts as its own "
        "source. If one person is in several, they may be on both sides of the split, which makes scores too good; a "
        "manifest with source_ids prevents it."
    )
    return listing


def files_below(base: Path) -> Iterator[Path]:
    """Files below ``base``, including links to files. Links to folders are followed once, so cycles end."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise ManifestError(error.filename, [f"cannot be read: {error.strerror}"]) from error

    for folder_name, folders, files in os.walk(base, onerror=refuse, followlinks=True):
        stat = os.stat(folder_name)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        yield from (Path(folder_name, name) for name in sorted(files) if not is_ignored(name))
