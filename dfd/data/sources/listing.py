"""Listings, the results of source functions, and the helpers that build them."""

import json
import logging
import os
import re
import stat
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.base.untrusted import refuse_large
from dfd.data.sources.layout import LAYOUTS, is_ignored, where_instead
from dfd.data.sources.row import VideoRow

NUM_EXAMPLES = 5
"""Number of names given in a warning; the rest are counted."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is left out, or an expected video that is missing.

    ``name`` is relative to the data set's folder and ends with ``/`` for a folder. ``reason`` is a key for counting,
    such as ``unknown_file``, ``unknown_folder``, ``missing_file`` or ``duplicate``; ``detail`` explains it.
    """

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Videos of a data set, and files and folders left out, both sorted by name. No file has been opened."""

    rows: list[VideoRow]
    left_out: list[LeftOut]


class Draft:
    """Builder of a listing: collects rows, left-out files, and all problems, to report them together."""

    def __init__(self, root: str | Path, source: str) -> None:
        self.root = Path(root).expanduser()
        self.source = source
        self.rows: list[VideoRow] = []
        self.left_out: list[LeftOut] = []
        self.problems: list[str] = []
        self._first: dict[tuple[int, int], str] = {}
        self._originals: dict[Hashable, str] = {}
        self._orphans: list[str] = []
        if not os.path.isdir(self.root):
            raise ManifestError(self.root, [f"it is not a folder; give the one that holds {LAYOUTS[source]}"])

    def name(self, path: Path) -> str:
        """Name of ``path``, relative to the root, with ``/`` between folders."""
        return path.relative_to(self.root).as_posix()

    def writable_name(self, path: Path) -> str | None:
        """Name as by :meth:`name`; None, with a problem recorded, if a manifest cannot hold it."""
        name = self.name(path)
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            self.problems.append(f"{name!r}: the file's name is not UTF-8; rename it")
            return None
        return name

    def original(self, fake: str, key: Hashable) -> dict[str, str]:
        """Extra column ``original`` of a fake: the name of the real video taken under ``key``; empty without one."""
        if key in self._originals:
            return {"original": self._originals[key]}
        self._orphans.append(fake)
        return {}

    def add(self, row: VideoRow, key: Hashable = None) -> bool:
        """Take ``row``; returns False if its file cannot be reached or was taken under another name (a link).

        A real video with a ``key`` is the :meth:`original` of later fakes.
        """
        try:
            status = row.path.stat()
        except OSError as error:
            self.leave_out(row.name, "missing_file", f"a link that leads nowhere: {error.strerror}")
            return False
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a folder of its frames
            self.leave_out(row.name, "unknown_file", "neither a file nor a folder")
            return False
        first = self._first.setdefault((status.st_dev, status.st_ino), row.name)
        if first != row.name:
            self.problems.append(f"{row.name!r} is the same file as {first!r}; keep one")
            return False
        self.rows.append(row)
        if key is not None and row.label is Label.REAL:
            self._originals[key] = row.name
        return True

    def leave_out(self, name: str, reason: str, detail: str) -> None:
        """Record that ``name`` is left out. Names that are not UTF-8 are escaped."""
        self.left_out.append(LeftOut(_printable(name), reason, detail))

    def leave_out_files(self, files: Iterable[Path], detail: str) -> None:
        """Record files that do not belong to this data set."""
        for path in files:
            archive = path.suffix.lower() in {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}
            self.leave_out(
                self.name(path), "unknown_file", "an archive; unpack it, or remove it" if archive else detail
            )

    def leave_out_folders(self, folders: Iterable[Path], detail: str) -> None:
        """Record folders that do not belong to this data set; their contents are not read."""
        for path in folders:
            self.leave_out(f"{self.name(path)}/", "unknown_folder", f"{detail}; not looked into")

    def videos(self, folder: Path, pattern: re.Pattern[str], example: str) -> Iterator[tuple[Path, re.Match[str]]]:
        """Yield the files of ``folder`` whose names match ``pattern``; everything else is left out.

        Of names that differ only in case (``000.mp4``, ``000.MP4``), the first is taken.
        """
        folders, files = contents(folder)
        self.leave_out_folders(folders, f"{self.name(folder)}/ holds videos, not folders")
        first: dict[str, str] = {}
        for path in files:
            match = pattern.fullmatch(path.name)
            if match is None:
                self.leave_out_files([path], f"not named like {example}")
            elif (other := first.setdefault(path.name.lower(), path.name)) != path.name:
                self.leave_out(self.name(path), "duplicate", f"{other} is present as well")
            else:
                yield path, match

    def warn(self, text: str) -> None:
        """Log one line about this data set."""
        logger.warning("%s: %s", self.root, text)

    def warn_of(self, what: str, names: Iterable[str]) -> None:
        """Log ``what``, the number of ``names`` and the first few of them; nothing without names."""
        names = sorted(names)
        if names:
            more = ", ..." if len(names) > NUM_EXAMPLES else ""
            self.warn(f"{what}: {len(names)} ({', '.join(names[:NUM_EXAMPLES])}{more})")

    def not_this(self, complaint: str) -> ManifestError:
        """Error for a root without this layout: what was found, what is expected, and where it may be."""
        folders, files = contents(self.root)
        found = [*(f"{path.name}/" for path in folders), *(path.name for path in files)]
        more = ", ..." if len(found) > 8 else ""
        there = _printable(", ".join(found[:8]) or "nothing")
        return ManifestError(
            self.root,
            [
                f"{complaint}; found {there}{more}. source={self.source} wants the folder that holds "
                f"{LAYOUTS[self.source]}{where_instead(self.root, self.source)}"
            ],
        )

    def finish(self, *, one_label_is_meant: bool = False) -> Listing:
        """Finish the listing; logs a warning if there is only one label, unless that is intended.

        Raises:
            ManifestError: problems were recorded (the message names all), or there is no video.
        """
        self.warn_of("fakes made from videos that are not here", self._orphans)
        if self.problems:
            raise ManifestError(self.root, self.problems)
        if not self.rows:
            raise self.not_this("there is no video")
        labels = {row.label for row in self.rows}
        if len(labels) == 1 and not one_label_is_meant:
            self.warn(f"it holds only {next(iter(labels))} videos; a detector is trained on both labels")
        by_name = sorted(self.rows, key=lambda row: row.name)
        return Listing(by_name, sorted(self.left_out, key=lambda item: (item.name, item.reason)))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sorted folders and files (including dangling links) in ``folder``, without hidden ones.

    Raises:
        ManifestError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry.name, entry.is_dir()) for entry in entries if not is_ignored(entry.name))
    except OSError as error:
        raise ManifestError(folder, [f"cannot be read: {error.strerror}"]) from error
    return [folder / name for name, is_dir in visible if is_dir], [
        folder / name for name, is_dir in visible if not is_dir
    ]


def read_text(path: Path) -> str:
    """Text of a list that came with a data set, without a byte order mark.

    Raises:
        ManifestError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ManifestError(path, ["it is not UTF-8 text; get it from the data set's owners again"]) from error


def read_json(path: Path) -> Any:
    """Value of a JSON file that came with a data set.

    Raises:
        ManifestError: the file cannot be read, is not JSON, or gives one key two values.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if values.setdefault(key, value) != value:
                raise ValueError(f"{key!r} is there twice, with different values")
        return values

    try:
        value = json.loads(read_text(path), object_pairs_hook=once)
        refuse_large(value)
        return value
    except RecursionError as error:
        raise ManifestError(path, ["it is nested too deeply; get it from the data set's owners again"]) from error
    except ValueError as error:
        raise ManifestError(path, [f"it is damaged ({error}); get it from the data set's owners again"]) from error
