"""Decoded frames of a store's clips, kept uncompressed on disk, for GPUs that are faster than the CPU cores decode."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch.utils.data import DataLoader, Dataset

from dfd.base.errors import StoreError
from dfd.base.progress import progress_bar
from dfd.data.clips.arrays import ClipArrays, beside, write_array
from dfd.data.clips.dataset import read_frames
from dfd.data.clips.reader import READER, check_clip, reader_version

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
        files = [(self.store / path, self.num_frames[path], self.files[path]) for path in missing]
        clips = _Decoding(files, self._reader)
        with progress_bar() as bar:
            task = bar.add_task("frames", total=len(missing), note="")
            for _ in DataLoader(clips, batch_size=None, num_workers=num_workers):
                bar.advance(task)


class _Decoding(Dataset[None]):
    """Data set whose items are jobs: a worker decodes the clip and writes its frames to the file."""

    def __init__(self, clips: Sequence[tuple[Path, int, Path]], reader: str) -> None:
        self.clips = clips
        self.reader = reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> None:
        clip, num_frames, file = self.clips[number]
        check_clip(clip)
        write_array(file, read_frames(clip, range(num_frames), reader=self.reader))
