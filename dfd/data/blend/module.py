"""Data module ``data=blend``: real clips of a store and fakes made from them, paired in every batch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor
from torch.utils.data import Sampler

from dfd.base.errors import StoreError
from dfd.base.types import Label
from dfd.data.blend.dataset import BlendDataset, PairSampler
from dfd.data.blend.families import Blends
from dfd.data.clips import index as indexes
from dfd.data.clips.dataset import CLIP_LEN, TRACKS, ClipDataset
from dfd.data.clips.module import ClipDataModule
from dfd.data.clips.reader import READER
from dfd.data.clips.samplers import ClipSampler


class BlendDataModule(ClipDataModule):
    """Real clips of a store and fakes made from them while reading; the store's own fakes are not used.

    The other arguments are those of :class:`~dfd.data.clips.module.ClipDataModule`.

    Args:
        store: folder made by ``python -m dfd.preprocess`` from videos (``source=...``), photographs
            (``source=stills``) or both.
        blend: how fakes are made: ``kind``, a name in :data:`dfd.data.blend.families.FAMILIES` or weights of several;
            arguments of :class:`dfd.data.blend.settings.BlendSettings`; and those of the other families under their
            names. None stands for the default, for all of them or for a single one.
        proportions: sampling weight of each data set in training, by name, with any sum. None draws each in proportion
            to its number of faces.
        batch_size: clips per batch in each process, half of them real; must be even.
        masks: give batches ``masks``, where the blend changed each fake; 0 for real clips.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        blend: Mapping[str, Any] | None = None,
        proportions: Mapping[str, float] | None = None,
        clip_len: int = CLIP_LEN,
        clip_stride: int | Sequence[int] = 1,
        batch_size: int = 8,
        tracks: str = TRACKS,
        num_eval_clips: int = 1,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        own_augmentation: Callable[[Tensor], Tensor] | None = None,
        seed: int | None = 0,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
        cache_frames: bool = False,
        reader: str = READER,
        landmarks: bool = False,
        masks: bool = False,
    ) -> None:
        super().__init__(
            store,
            clip_len=clip_len,
            clip_stride=clip_stride,
            batch_size=batch_size,
            tracks=tracks,
            num_eval_clips=num_eval_clips,
            augmentation=augmentation,
            own_augmentation=own_augmentation,
            proportions=proportions,
            seed=seed,
            num_workers=num_workers,
            pin_memory=pin_memory,
            multiprocessing_context=multiprocessing_context,
            cache_frames=cache_frames,
            reader=reader,
            landmarks=landmarks,
        )
        if batch_size % 2:
            raise ValueError(f"batch_size must be even, for pairs of a real and a fake clip, got {batch_size}")
        self.blend = Blends.of(blend)
        self.masks = masks
        indexes.check_moves_along(self.augmentation, masks=masks)

    @property
    def is_whole(self) -> bool:
        """Always False: videos without a face would need a prediction as fake, too."""
        return False

    def dataset(self, split: str, *, training: bool = False) -> BlendDataset:
        """Pairs of one split.

        Raises:
            ValueError: the split is unknown.
        """
        return BlendDataset(
            self.store, self._rows(split), blend=self.blend, masks=self.masks, **self._clip_options(training)
        )

    def summary(self) -> dict[str, Any]:
        """Summary of the store, with the settings of the fakes."""
        return {
            **super().summary(),
            "blend": {**self.blend.facts(), "proportions": self.drawing.facts().get("proportions")},
        }

    def _chosen(self, index: pd.DataFrame) -> pd.DataFrame:
        real = index[index["label"] == str(Label.REAL)]
        if not len(real):
            raise StoreError(f"{self.store}: it holds no real video to make fakes from")
        return super()._chosen(real)

    def _check_labels(self) -> None:
        """Accept real videos alone."""

    def _sampler(self, dataset: ClipDataset, *, seed: int, epoch: int) -> ClipSampler:
        weights = self.drawing.weights(*dataset.groups)
        return ClipSampler(len(dataset) // 2, seed=seed, epoch=epoch, weights=weights)

    def _in_batches(self, share: Sampler[Any]) -> Sampler[Any]:
        return PairSampler(share)
