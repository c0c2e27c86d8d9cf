"""Files by the names that people write down, and files written whole, in folders that others may write to, too."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import socket
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import IO, Any

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def partial_of(path: Path) -> Path:
    """The name that this thread writes a file under until it is complete, with no file or link of that name there.

    The suffix stays, by which libraries choose a format. The rest is a hash, since the name of the file itself may
    already be as long as names can be.
    """
    _remove_unfinished(path.parent)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    name = f".{_host()}-{os.getpid()}-{threading.get_native_id()}.{digest}.partial{path.suffix}"
    partial = path.with_name(name)
    partial.unlink(missing_ok=True)
    return partial


def commit(partial: Path, path: Path) -> None:
    """Give a complete file its name, after it has reached the disk: a machine that stops leaves no half of it."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, which replaces ``path`` at the end; after an error ``path`` is as it was.

    Several processes and threads may write the same file at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        commit(partial, path)
    finally:
        with contextlib.suppress(OSError):  # what prevented writing may prevent removal
            partial.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())[:40]


@lru_cache(maxsize=4096)
def _remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files of processes of this machine that were killed, once for each folder."""
    for left in folder.glob(f".{_host()}-*.partial*"):
        number = left.name.removeprefix(f".{_host()}-").partition("-")[0]
        if number.isdecimal() and not is_running(int(number)):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file completely or not at all; its path."""
    with written_whole(path) as partial:
        partial.write_bytes(content)
    return path


def write_text(path: Path, text: str, *, errors: str = "strict") -> Path:
    """Write a text file in UTF-8, completely or not at all; its path."""
    return write_bytes(path, text.encode("utf-8", errors))


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file completely or not at all; its path.

    Raises:
        ValueError: a number in it is not finite.
    """
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_table(
    path: Path,
    rows: Iterable[Mapping[str, Any] | Sequence[Any]],
    columns: Iterable[str],
    *,
    line_end: str = "\r\n",
    errors: str = "surrogateescape",
) -> Path:
    """Write a CSV completely or not at all; its path. A row is a mapping by column, or the cells in their order."""
    columns = list(columns)
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8", errors=errors) as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(columns)
        writer.writerows([row.get(name, "") for name in columns] if isinstance(row, Mapping) else row for row in rows)
    return path


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, or of the names and bytes of a folder's files, as 64 hex digits.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if each.is_file())
        listed = "".join(f"{name}\0{file_sha256(path / name)}\n" for name in names)
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_running(pid: int) -> bool:
    """True if there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def take_lock(path: Path, *, wait: bool = False, strict: bool = False) -> IO[bytes] | None:
    """The file at ``path``, locked until it is closed or this process ends; None if another process holds it.

    The file is made if it is not there, and its content stays. Where there are no locks (Windows, some file systems)
    everybody gets the file; with ``strict`` nobody does.

    Args:
        path: file of the lock.
        wait: wait for the process that holds it.
        strict: see above.

    Raises:
        OSError: the file is a link, or cannot be opened for writing.
    """
    no_link: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666), "r+b")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"{path.name} in it is a link; remove it", os.fspath(path)) from error
        raise
    try:
        if fcntl is None:
            raise OSError("this system has no locks")
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if strict or isinstance(error, BlockingIOError):
            file.close()
            return None
    return file


def inside(folder: Path, path: Path) -> Path:
    """``path``, unless it leads out of ``folder``, by a link or otherwise.

    Raises:
        ValueError: it does.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("it is a link that leads out of its folder")
    return path


def leading_out(folder: Path, names: Iterable[str]) -> list[str]:
    """Names of files in ``folder`` that lie elsewhere: absolute, by ``..``, or by a link.

    >>> leading_out(Path("."), ["a/0.mp4", "a/../../0.mp4", "/etc/passwd"])
    ['a/../../0.mp4', '/etc/passwd']
    """
    root = os.path.realpath(folder)
    known: dict[str, bool] = {}

    def leads_out(place: str) -> bool:
        real = os.path.realpath(os.path.join(root, place))
        return real != root and not real.startswith(os.path.join(root, ""))

    found = []
    for name in names:
        parts = PurePath(name)
        parent = os.path.dirname(name)
        if parent not in known:
            known[parent] = parts.is_absolute() or ".." in parts.parts or leads_out(parent)
        if known[parent] or ".." in parts.parts or (os.path.islink(os.path.join(root, name)) and leads_out(name)):
            found.append(name)
    return found


NOTHING_KNOWN = frozenset(("", "nan", "none", "null", "unknown"))
"""Placeholders for unknown values in cells of tables, in small letters."""


def is_known(cell: str) -> bool:
    """Whether a cell of a table says something.

    >>> is_known("p7"), is_known(" NaN "), is_known("None")
    (True, False, False)
    """
    return cell.strip().lower() not in NOTHING_KNOWN


def file_named(text: str, folder: Path) -> Path | None:
    """The file that ``text`` means, relative to ``folder``; None if there is none of that name.

    A name is first taken as it stands, for a file's name may hold any sign; then without blanks around it, without
    quotes, without a comment, and with ``/`` for back-slashes. Accents may be composed otherwise than on the disk.
    """
    for spelling in spellings(text):
        path = folder / os.path.expanduser(spelling)
        try:
            if path.is_file():
                return path
            if not spelling.isascii() and (path := _composed_otherwise(path)).is_file():
                return path
        except (OSError, ValueError):  # too long a name, a zero byte
            continue
    return None


def spellings(text: str) -> Iterator[str]:
    r"""Spellings of a file's name that ``text`` may stand for, likeliest last.

    >>> list(spellings('"clips\\a.mp4"  # Anna'))[-1]
    'clips/a.mp4'
    """
    found = [text, text.strip()]
    plain = re.sub(r"(?<=\S)\s+#.*", "", text.strip())
    found += [plain, _unquoted(plain), _unquoted(plain).replace("\\", "/")]
    yield from (spelling for spelling in dict.fromkeys(found) if spelling)


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _composed_otherwise(path: Path) -> Path:
    """``path`` with each part as its folder spells it: an accent is one sign or two, by the system."""
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not os.path.lexists(found / part) and not part.isascii():
            alike = unicodedata.normalize("NFC", part)
            try:
                names = os.listdir(found)
            except OSError:
                return path
            part = next((name for name in names if unicodedata.normalize("NFC", name) == alike), part)
        found /= part
    return found
