"""Files that are written into folders of others, where a link may lie in wait under a name that is known beforehand."""

import errno
import glob
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO


def partial_of(path: Path) -> Path:
    """The name to write a file under until it is whole, with nothing there: no half of a killed run, no link."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    return partial


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` at the end; after an error there is neither.

    Several processes may do so at once. What one of this machine left that was killed is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"\W", "_", socket.gethostname())
    for left in path.parent.glob(f".{host}-*.{glob.escape(path.name)}"):
        number = left.name.removeprefix(f".{host}-").partition(".")[0]
        if number.isdecimal() and int(number) != os.getpid() and not is_running(int(number)):
            left.unlink(missing_ok=True)
    unfinished = path.with_name(f".{host}-{os.getpid()}.{path.name}")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """True if there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def open_lock(path: Path) -> IO[bytes]:
    """A file to be locked; it is made if it is not there, and what is in it stays.

    Raises:
        OSError: it is a link, or cannot be opened for writing.
    """
    no_link: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666), "r+b")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"{path.name} in it is a link; remove it", os.fspath(path)) from error
        raise


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
