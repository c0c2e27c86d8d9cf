"""Room that uploads and results take on the disk."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from dfd.web.models import UPLOAD_NAME, incoming_folder, jobs_folder, options
from dfd.web.options import MIB

LOOK_AGAIN_SECONDS = 30.0
"""Time for which a measurement is taken as true: anyone may ask for it, and thousands of files take a while."""

_lock = Lock()
_last: tuple[Path, float, "Stored"] | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes of uploads, also of those that are still arriving, and of results; and those that are free on the disk."""

    uploads: int
    results: int
    free: int

    def in_mib(self) -> dict[str, int]:
        """Numbers for ``/health``, in whole MiB."""
        return {f"{name}_mb": getattr(self, name) // MIB for name in ("uploads", "results", "free")}


def stored() -> Stored:
    """Room that is taken, measured at most every :data:`LOOK_AGAIN_SECONDS`."""
    global _last
    folder = options().data
    with _lock:
        if _last is None or _last[0] != folder or time.monotonic() - _last[1] > LOOK_AGAIN_SECONDS:
            _last = folder, time.monotonic(), _measured(folder)
        return _last[2]


def _measured(folder: Path) -> Stored:
    uploads = results = 0
    for parent, _, names in os.walk(jobs_folder()):
        for name in names:
            if name == UPLOAD_NAME and Path(parent).parent == jobs_folder():
                uploads += _size(Path(parent, name))
            else:
                results += _size(Path(parent, name))
    if incoming_folder().is_dir():
        uploads += sum(_size(path) for path in incoming_folder().iterdir())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Stored(uploads, results, shutil.disk_usage(folder).free)


def _size(path: Path) -> int:
    """Size of a file, or its share of one that several jobs have; 0 if it was deleted meanwhile."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size // max(1, found.st_nlink)
