"""What is computed once from each clip of a store and kept on disk beside it, as an array with an entry per frame.

A clip's file is named by a hash of the clip's own file and by what decoded it. A file that exists is complete and
valid, whichever process wrote it, so that a computation that was stopped goes on, and clips that were made anew, or are
read by another decoder, are computed anew.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfd.errors import StoreError
from dfd.weights import file_sha256


class ClipArrays:
    """The arrays of the clips in an index.

    Args:
        store: folder of the clip store.
        index: rows of its index.
        folder: of the arrays.
        made_by: what decodes the clips, with its version: arrays of another one are not used.

    Raises:
        StoreError: a clip's file cannot be read.
    """

    def __init__(self, store: Path, index: pd.DataFrame, folder: Path, *, made_by: str) -> None:
        self.store = store
        self.folder = folder
        self.num_frames = dict(zip(index["path"], index["num_frames"].astype(int), strict=True))
        self.files = {path: folder / f"{_sha256(store / path)}.{made_by}.npy" for path in self.num_frames}

    def missing(self) -> list[str]:
        """Paths of the clips whose arrays are not there yet; of equal clips one."""
        waiting = {file: path for path, file in self.files.items() if not file.is_file()}
        return sorted(waiting.values())

    def make_folder(self) -> None:
        """Raises:
        StoreError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: nothing can be kept there: {error}") from error


def beside(store: Path, what: str) -> Path:
    """The folder beside a store for what is computed from its clips; the store may be given as ``.``, too.

    >>> beside(Path("/data/store"), "frames")
    PosixPath('/data/store.frames')
    """
    absolute = Path(os.path.abspath(store))  # and not resolved, which would go where a link to the store leads
    return absolute.with_name(f"{absolute.name}.{what}")


def read_entries(file: Path, indices: Sequence[int]) -> NDArray[Any]:
    """Those of a clip's frames, without reading the others.

    Raises:
        StoreError: the file is not there, or damaged.
    """
    try:
        entries: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)[list(indices)]
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise StoreError(
            f"{file}: what was kept of a clip cannot be read ({error}); delete it, and the next run makes it anew"
        ) from error
    return entries


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Whole or not at all, also if the machine stops.

    Raises:
        StoreError: it cannot be written.
    """
    unfinished = file.with_suffix(f".{uuid4().hex}.partial")
    try:
        with unfinished.open("wb") as out:
            np.save(out, array)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise StoreError(f"{file}: it cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # what kept it from being written may keep it from being removed
            unfinished.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)[:32]
    except OSError as error:
        raise StoreError(f"{file}: clip cannot be read: {error}; run the preprocessing again") from error
