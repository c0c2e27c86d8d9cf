"""Data sets that have no manifest: each function here lists a layout's videos as a manifest's rows."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dfd.data.manifest import UNKNOWN, VideoRow
from dfd.errors import ManifestError
from dfd.types import LABEL_NAMES, Label

logger = logging.getLogger(__name__)


def folder(root: str | Path) -> list[VideoRow]:
    """Every file below ``real/`` and ``fake/`` in ``root``, sorted by name; hidden files are left out.

    The folder names may be in any case. A folder directly below ``fake/`` names the method: ``fake/FaceSwap/a.mp4``.
    The data set is named like ``root``. Files are not opened: one that is no video gets its status when it is read.
    Nothing here tells which videos share a person, so each is its own source, and a warning says what that risks.

    Raises:
        ManifestError: ``root`` has neither folder, there is no file in them, a file is there twice (a link), a name is
            not UTF-8, or a folder cannot be read.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ManifestError(root, ["it is not a folder; give the one that holds real/ and fake/"])
    children = sorted(root.iterdir())
    classes = [(child, Label.parse(child.name)) for child in children if _is_class_folder(child)]
    if not classes:
        raise ManifestError(root, [_nothing_found(root, children)])
    manifests = [child.name for child in children if child.suffix.lower() == ".csv"]
    if manifests:
        logger.warning(
            "%s holds %s, which source=folder does not read; if it is a manifest, give manifest=%s instead",
            root,
            ", ".join(manifests),
            root / manifests[0],
        )
    dataset = root.resolve().name or UNKNOWN
    rows, problems = [], []
    first: dict[tuple[int, int], str] = {}
    for base, label in classes:
        for path in _files(base):
            name = path.relative_to(root).as_posix()
            stat = path.stat()
            if first.setdefault((stat.st_dev, stat.st_ino), name) != name:
                problems.append(f"{name!r} is the same file as {first[stat.st_dev, stat.st_ino]!r}; keep one")
                continue
            try:
                name.encode("utf-8")
            except UnicodeEncodeError:
                problems.append(f"{name!r}: the file's name is not UTF-8; rename it")
                continue
            inner = path.relative_to(base).parts
            method = (inner[0] if len(inner) > 1 else UNKNOWN) if label is Label.FAKE else ""
            rows.append(VideoRow(path.absolute(), name, label, dataset, method))
    if problems:
        raise ManifestError(root, problems)
    if not rows:
        raise ManifestError(root, [f"no file in {' or '.join(f'{base.name}/' for base, _ in classes)}"])
    present = {row.label for row in rows}
    if len(present) == 1:
        logger.warning("%s holds only %s videos; a detector is trained on both labels", root, next(iter(present)))
    logger.warning(
        "%s: folders do not say which videos share a person, so each of %d videos is taken for its own source. If one "
        "person is in several, they may be on both sides of the split, and the scores are then too good; a manifest "
        "with source_ids prevents it.",
        root,
        len(rows),
    )
    return sorted(rows, key=lambda row: row.name)


SOURCES: dict[str, Callable[[str | Path], list[VideoRow]]] = {"folder": folder}
"""By the name that ``source=`` takes."""


def _is_class_folder(path: Path) -> bool:
    return path.name.lower() in LABEL_NAMES and path.is_dir()


def _files(base: Path) -> Iterator[Path]:
    """Regular files below ``base``, links to files included. A link to a folder is followed once, never in a circle."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise ManifestError(error.filename, [f"cannot be read: {error.strerror}"]) from error

    for folder_name, folders, files in os.walk(base, onerror=refuse, followlinks=True):
        stat = os.stat(folder_name)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder_name, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _nothing_found(root: Path, children: list[Path]) -> str:
    found = ", ".join(f"{child.name}/" if child.is_dir() else child.name for child in children[:8])
    message = f"it has neither real/ nor fake/; found {found or 'nothing'}{', …' if len(children) > 8 else ''}"
    manifests = [child for child in children if child.suffix.lower() == ".csv"]
    if manifests:
        return f"{message}. If {manifests[0].name} lists the videos, give manifest={manifests[0]} instead"
    return f"{message}. Put the videos there, or write a manifest and give manifest=FILE"
