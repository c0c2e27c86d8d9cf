"""Files that a user means by a video, a list or a folder of videos."""

import codecs
import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from dfd.base.errors import DfdError
from dfd.base.files import file_named, spellings
from dfd.base.types import Status, VideoScore
from dfd.predictions.layout import JSONL_NAME, OWN_FILES, OWN_FOLDERS
from dfd.video.file.formats import CONVERT_IT, ENCRYPTED, VIDEO_SUFFIXES
from dfd.video.still import STILL_SUFFIXES

_SOUND_SUFFIXES = frozenset({".wma", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".mka", ".mp3"})


logger = logging.getLogger(__name__)


class NothingToScore(DfdError):
    """The input holds no video."""


def find_inputs(given: str | Sequence[str]) -> list[Path]:
    """Files to look at: the file itself, those that a list names, or every file below a folder, hidden ones apart.

    Of several inputs, the files of each, without those that an earlier one has brought. A list is a ``.txt`` with a
    name per line, or a ``.csv`` with a column ``path``. A name that leads to no file is among them: it gets a row, too.

    Raises:
        NothingToScore: there is no such path, or nothing in it.
    """
    if not isinstance(given, str):
        return list(dict.fromkeys(path for item in given for path in find_inputs(item)))
    path = _without_tilde(given)
    if path.is_dir():
        found = sorted(_files(path))
        remedy = "give a folder with videos"
    elif path.is_file() and path.suffix.lower() in (".txt", ".csv"):
        texts = _lines(path) if path.suffix.lower() == ".txt" else _cells(path)
        found = list(dict.fromkeys(_listed(text, path.parent) for text in texts))
        remedy = "write one path per line; relative paths start at the list's folder"
    elif path.is_file():
        return [path]
    else:
        raise NothingToScore(f"{path}: no such file or folder")
    if not found:
        raise NothingToScore(f"{path}: there is nothing in it to score; {remedy}")
    return found


def _lines(path: Path) -> list[str]:
    """The names in a list, without comments and empty lines. A line ends with a line feed: a name may hold the rest."""
    text = _text(path)
    lines = text.split("\n") if "\n" in text else text.split("\r")
    found = [line.removesuffix("\r") for line in lines if line.strip()]
    return [line for line in found if not line.lstrip().startswith("#") or file_named(line, path.parent) is not None]


def _cells(path: Path) -> list[str]:
    """The column ``path`` of a table, or of the copy of FaceForensics++ on Kaggle ``File Path``.

    Raises:
        NothingToScore: there is no such column, or it is no table.
    """
    text = _text(path)
    head = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise NothingToScore(f"{path}: not CSV ({error}); is a quote never closed?") from error
    names = {name.strip().lower(): name for name in (rows[0] if rows else {}) if isinstance(name, str)}
    column = names.get("path") or names.get("file path")
    if rows and column is None:
        raise NothingToScore(f"{path}: has no column 'path' (found: {', '.join(names)}); a list of videos needs one")
    return [cell for row in rows if (cell := row.get(column or "") or "").strip()]


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes lists
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="surrogateescape")


def _as_windows_writes(text: str) -> str | None:
    """A name that is not in UTF-8, as Windows's "ANSI" lists have it; None if it cannot be."""
    try:
        return os.fsencode(text).decode("cp1252") if any("\udc80" <= sign <= "\udcff" for sign in text) else None
    except UnicodeError:
        return None


def _listed(text: str, folder: Path) -> Path:
    """The file that is meant; what leads to none as it was likely meant, to be called missing by that name."""
    if (found := file_named(text, folder)) is not None:
        return found
    other = _as_windows_writes(text)
    if other is not None and (found := file_named(other, folder)) is not None:
        return found
    return folder / _without_tilde(list(spellings(text))[-1])


def _without_tilde(text: str) -> Path:
    """``~`` and ``~name`` as the home folder; as they stand where nobody has that name: files may begin so, too."""
    return Path(os.path.expanduser(text))


def _files(root: Path) -> Iterator[Path]:
    """Every file below ``root`` that is not hidden, through linked folders too.

    What predict.py wrote is left out, and said to be: its pictures and drawn videos would else be scored as new ones.

    Raises:
        NothingToScore: a folder cannot be read.
    """
    entered: set[str] = set()
    waiting = [os.fspath(root)]
    while waiting:
        links: list[str] = []
        yield from _files_below(waiting.pop(0), root, entered, links)
        waiting += sorted(links)


def _files_below(base: str, root: Path, entered: set[str], links: list[str]) -> Iterator[Path]:
    """The files below ``base`` in folders that were not entered yet; linked folders are put off, into ``links``.

    So a folder is entered by its own name, and once, however many links lead to it.
    """
    for folder, folders, names in os.walk(base, onerror=_unreadable_folder):
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        if JSONL_NAME in names:
            logger.warning("%s: holds scores of an earlier run; what that run wrote is left out", folder)
            folders[:] = [name for name in folders if name not in OWN_FOLDERS] if folder == os.fspath(root) else []
            names = [name for name in names if name not in OWN_FILES] if folder == os.fspath(root) else []
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [place for name in folders if os.path.islink(place := os.path.join(folder, name))]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _unreadable_folder(error: OSError) -> NoReturn:
    raise NothingToScore(f"{error.filename}: the folder cannot be read ({error.strerror}); make it readable") from error


def is_no_video(score: VideoScore, asked: str | Sequence[str]) -> bool:
    """True for a file that merely lay in a folder: unreadable or gone, named like no video, not asked for by name.

    Pictures that are there and cannot be looked at, since nobody here knows their format or their key, are a video.
    """
    suffix = Path(score.path).suffix.lower()
    given = [_without_tilde(item) for item in ([asked] if isinstance(asked, str) else asked)]
    lay_there = any(path in given for path in Path(score.path).parents if path.is_dir())
    named = suffix in VIDEO_SUFFIXES | STILL_SUFFIXES or not lay_there or Path(score.path) in given
    recognised = suffix not in _SOUND_SUFFIXES and (CONVERT_IT in score.message or ENCRYPTED in score.message)
    return score.status in (Status.UNREADABLE, Status.MISSING) and not named and not recognised
