"""Temporary folders that do not stay behind a process that was killed: the next one removes them."""

import contextlib
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO

from dfd.files import open_lock

PREFIX = "dfd-run-"
LOCK_NAME = "lock"
_NEW_SECONDS = 60.0
"""A folder that is younger need not have its lock yet."""


class ScratchFolder:
    """A new folder, readable for this user alone. It goes with this object, or when the program ends.

    While it is there its owner holds a lock in it, which the system takes back however the owner ends.

    Raises:
        OSError: the folder for temporary files cannot be written to.
    """

    def __init__(self) -> None:
        _remove_ownerless(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = open_lock(self.path / f".{LOCK_NAME}")
        _take(lock)
        (self.path / f".{LOCK_NAME}").rename(self.path / LOCK_NAME)  # so a lock of this name is held, or its owner gone
        self.close = weakref.finalize(self, _remove, self.path, lock)


def _remove(folder: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _remove_ownerless(base: Path) -> None:
    """What killed processes of this user have left in ``base``."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or folder.is_symlink():
                continue
            if not (folder / LOCK_NAME).exists():
                if time.time() - status.st_mtime > _NEW_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with open_lock(folder / LOCK_NAME) as lock:
                if _take(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def _take(lock: IO[bytes]) -> bool:
    """Lock a file for as long as it is open; False if another process has, or the system knows no such locks."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
