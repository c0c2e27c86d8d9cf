"""Arrays computed once from each clip of a store, with an entry per frame, and kept on disk beside the store.

An array's file is named after the hash of the clip's file and the decoder. A file that exists is complete and valid,
whichever process wrote it, so an interrupted computation can be resumed; clips that were replaced or are read by
another decoder are computed again.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfd.base.errors import StoreError
from dfd.base.files import file_sha256, written_whole


class ClipArrays:
    """Arrays of the clips in an index.

    Args:
        store: folder of the clip store.
        index: rows of its index.
        folder: folder of the arrays.
        made_by: decoder of the clips and its version; arrays made by another one are not used.

    Raises:
        StoreError: a clip's file cannot be read.
    """

    def __init__(self, store: Path, index: pd.DataFrame, folder: Path, *, made_by: str) -> None:
        self.store = store
        self.folder = folder
        self.num_frames = dict(zip(index["path"], index["num_frames"].astype(int), strict=True))
        self.files = {path: folder / f"{_sha256(store / path)}.{made_by}.npy" for path in self.num_frames}

    def missing(self) -> list[str]:
        """Paths of the clips that have no array yet, one per set of equal clips."""
        waiting = {file: path for path, file in self.files.items() if not file.is_file()}
        return sorted(waiting.values())

    def make_folder(self) -> None:
        """Create the folder of the arrays.

        Raises:
            StoreError: it cannot be created.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: nothing can be kept there: {error}") from error


def beside(store: Path, what: str) -> Path:
    """Folder beside a store for arrays computed from its clips; ``store`` may be ``.``.

    >>> beside(Path("/data/store"), "frames")
    PosixPath('/data/store.frames')
    """
    absolute = Path(os.path.abspath(store))  # not resolve(), which would follow a link to the store
    return absolute.with_name(f"{absolute.name}.{what}")


def read_entries(file: Path, indices: Sequence[int]) -> NDArray[Any]:
    """Entries of a clip's array at ``indices``, without reading the others.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        entries: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)[list(indices)]
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise StoreError(
            f"{file}: the cached array of a clip cannot be read ({error}); delete it, and the next run makes it again"
        ) from error
    return entries


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Write an array completely or not at all, even if the machine stops.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        with written_whole(file) as unfinished:
            np.save(unfinished, array)
    except OSError as error:
        raise StoreError(f"{file}: it cannot be written: {error}") from error


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)[:32]
    except OSError as error:
        raise StoreError(f"{file}: clip cannot be read: {error}; run the preprocessing again") from error
