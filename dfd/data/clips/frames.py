"""Decoded frames of a store's clips, kept uncompressed on disk, for GPUs that are faster than the CPU cores decode."""

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader

from dfd.base.errors import StoreError
from dfd.base.progress import progress_bar
from dfd.data.clips.arrays import ClipArrays, beside, write_array
from dfd.data.clips.dataset import read_whole
from dfd.data.clips.reader import READER, reader_version

logger = logging.getLogger(__name__)


class FrameCache(ClipArrays):
    """Every frame of the clips in an index, uint8 (T, H, W, 3), kept in ``STORE.frames/``.

    Args:
        store: folder of the clip store.
        index: rows of its index.
        reader: decoder of the clips, one of :data:`dfd.data.clips.reader.READERS`.

    Raises:
        StoreError: a clip's file cannot be read.
    """

    def __init__(self, store: Path, index: pd.DataFrame, *, reader: str = READER) -> None:
        super().__init__(store, index, beside(store, "frames"), made_by=reader_version(reader))
        self._reader = reader
        self._side = dict(zip(index["path"], index["size"].astype(int), strict=True))

    def fill(self, *, num_workers: int = 0) -> None:
        """Decode the missing frames; an interrupted run resumes.

        Raises:
            StoreError: a clip cannot be read, or the frames do not fit on the disk.
        """
        missing = self.missing()
        if not missing:
            return
        self.make_folder()
        needed = sum(self.num_frames[path] * self._side[path] ** 2 * 3 for path in missing)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise StoreError(
                f"{self.folder}: the frames of {len(missing)} clips need {needed / 1e9:.1f} GB, and its disk has "
                f"{free / 1e9:.1f} GB left; make room, make it a link to a folder on a larger disk, or train with "
                "data.cache_frames=false"
            )
        logger.info(
            f"decoding {len(missing)} clips once; their frames will take {needed / 1e9:.1f} of the {free / 1e9:.1f} GB "
            f"that are left on the disk of {self.folder}"
        )
        files: Any = [(self.store / path, self.num_frames[path], self.files[path]) for path in missing]
        clips: DataLoader[Any] = DataLoader(
            files, batch_size=None, num_workers=num_workers, collate_fn=partial(_decode, reader=self._reader)
        )
        with progress_bar() as bar:
            task = bar.add_task("frames", total=len(missing), note="")
            for _ in clips:
                bar.advance(task)


def _decode(job: tuple[Path, int, Path], *, reader: str) -> None:
    """Decode a clip and write its frames to a file, in a worker process."""
    clip, num_frames, file = job
    write_array(file, read_whole(clip, num_frames, reader=reader))
