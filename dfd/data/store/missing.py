"""Clips that a store should have and has not."""

import itertools
import math
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.data.sources.row import slug
from dfd.data.store.records import INDEX_NAME, RECORD_NAME, logger
from dfd.data.store.tables import _read_videos

if TYPE_CHECKING:
    import pandas as pd


def missing_clips(store: str | Path, index: "pd.DataFrame", *, seconds: float = math.inf) -> list[str]:
    """The paths in the index that are not there.

    They are looked for one by one, which may take minutes on a network file system. After ``seconds`` the rest is left;
    which ones that are is drawn, so clips that are missing in large numbers are found, and the log says how many.
    """
    paths: list[str] = index["path"].tolist()
    end = time.monotonic() + seconds
    missing: list[int] = []
    order = random.Random(0).sample(range(len(paths)), len(paths))
    for number, position in enumerate(order):
        if time.monotonic() > end:
            logger.info(
                f"{store}: {len(paths) - number} of {len(paths)} clips were not looked for, for lack of time; one that "
                "is missing is an error once it is read"
            )
            break
        if not os.path.isfile(os.path.join(store, paths[position])):
            missing.append(position)
    return [paths[position] for position in sorted(missing)]


def unindexed_videos(store: str | Path, *, seconds: float = math.inf) -> list[str]:
    """The folders of videos that have a record and are not in the tables: these are older than the records.

    A data set's folder is listed only if it has changed since the index was made, and for ``seconds`` at most.

    Raises:
        StoreError: ``videos.csv`` is missing or damaged.
    """
    store = Path(store)
    end = time.monotonic() + seconds
    made = (store / INDEX_NAME).stat().st_mtime_ns
    changed = [entry for entry in os.scandir(store) if entry.is_dir() and entry.stat().st_mtime_ns > made]
    if not changed:
        return []
    videos = _read_videos(store, ["dataset", "video_id"])
    slugs = {dataset: slug(dataset) for dataset in {dataset for dataset, _ in videos}}
    known = {f"{slugs[dataset]}/{video_id}" for dataset, video_id in videos}
    return sorted(
        folder
        for entry in changed
        for video in itertools.takewhile(lambda _: time.monotonic() < end, os.scandir(entry))
        if (folder := f"{entry.name}/{video.name}") not in known and (store / folder / RECORD_NAME).is_file()
    )
