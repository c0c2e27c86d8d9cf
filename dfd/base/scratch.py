"""Temporary folders that do not outlive a killed process for long: the next process removes them."""

import contextlib
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO

from dfd.base.files import take_lock

PREFIX = "dfd-run-"
LOCK_NAME = "lock"
_NEW_SECONDS = 60.0
"""Age in seconds below which a folder may not have its lock yet."""


class ScratchFolder:
    """New temporary folder, readable by this user only; removed with this object, or when the program ends.

    Its owner holds a lock in it, which the system releases however the owner ends.

    Raises:
        OSError: when the folder for temporary files cannot be written to.
    """

    def __init__(self) -> None:
        _remove_ownerless(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = take_lock(self.path / f".{LOCK_NAME}")
        (self.path / f".{LOCK_NAME}").rename(self.path / LOCK_NAME)  # so a lock of this name is held, or its owner gone
        self.close = weakref.finalize(self, _remove, self.path, lock)


def _remove(folder: Path, lock: IO[bytes] | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        lock.close()


def _remove_ownerless(base: Path) -> None:
    """Remove folders that killed processes of this user have left in ``base``."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or folder.is_symlink():
                continue
            if not (folder / LOCK_NAME).exists():
                if time.time() - status.st_mtime > _NEW_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            if lock := take_lock(folder / LOCK_NAME, strict=True):
                _remove(folder, lock)
