"""The demonstration set as a data module: drawn on first use, prepared like any other, then kept."""

import logging
from pathlib import Path
from typing import Any

from dfd.data.demo import DATASET, make_demo_videos
from dfd.data.manifest import read_manifest
from dfd.data.module import ClipDataModule
from dfd.data.preparation import PreparationSettings, prepare_store
from dfd.data.store import read_records
from dfd.errors import StoreError

NOTICE = (
    "training on the demonstration set: people drawn by dfd itself, which say nothing about real deepfakes. "
    "For real data: python -m dfd.preprocess manifest=my.csv store=DIR, then python train.py data=clips data.store=DIR"
)

FRACTIONS = (0.58, 0.28, 0.14)
"""Of seven groups of people: four to train on, two for val (8 real and 8 fake videos: enough to calibrate on), one."""

logger = logging.getLogger(__name__)


class DemoDataModule(ClipDataModule):
    """Clips of drawn people; ``store`` is made from videos beside it if it is not complete.

    Everything else is as in :class:`~dfd.data.module.ClipDataModule`.
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
        manifest = make_demo_videos(Path(self.store).with_name("videos"))
        prepare_store(read_manifest(manifest), self.store, PreparationSettings(), fractions=FRACTIONS)
        self._is_prepared = True

    def summary(self) -> dict[str, Any]:
        """As of any store, and that it is the demonstration."""
        return {**super().summary(), "is_demo": True}
