"""The demonstration set as a data module: drawn on first use, prepared like any other, then kept."""

import logging
from pathlib import Path
from typing import Any

from dfd.base.errors import StoreError
from dfd.data.clips.module import ClipDataModule
from dfd.data.demo.videos import DATASET, drawn_seed, make_demo_videos
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.data.store.folders import read_records

NOTICE = (
    "training on the demonstration set: people drawn by dfd itself, which say nothing about real deepfakes. "
    "For real data: python -m dfd.preprocess manifest=my.csv store=DIR, then python train.py data=clips data.store=DIR"
)

logger = logging.getLogger(__name__)


class DemoDataModule(ClipDataModule):
    """Clips of drawn people; ``store`` is made from the videos beside it if it is not complete.

    The videos are drawn if they are missing. Those of another seed, made by ``python -m dfd.data.demo``, are used.

    Everything else is as in :class:`~dfd.data.clips.module.ClipDataModule`.
    """

    _is_prepared = False

    def prepare_data(self) -> None:
        """Draw the videos and prepare them, or find that this was done.

        Raises:
            StoreError: the store holds other videos; nothing is written to it.
        """
        if self._is_prepared:
            return  # Lightning asks once for every stage
        others = [record.name for record in read_records(self.store) if record.dataset != DATASET]
        if others:
            raise StoreError(
                f"{self.store}: this is not the demonstration store, it holds {others[0]!r}; "
                f"to train on it: data=clips data.store={self.store}"
            )
        logger.warning(NOTICE)
        videos = Path(self.store).with_name("videos")
        manifest = make_demo_videos(videos, seed=drawn_seed(videos))
        prepare_store(read_manifest(manifest), self.store, PreparationSettings())
        self._is_prepared = True

    def summary(self) -> dict[str, Any]:
        """Return the summary of any store, and that this one is the demonstration."""
        return {**super().summary(), "is_demo": True}
