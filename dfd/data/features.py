"""The backbone's features of a store's clips, computed once and kept on disk: for training a head on a frozen backbone.

The folder is named by a hash of all that features depend on beside the clip: see :mod:`dfd.data.clip_arrays`.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfd.checkpoint import weights_sha256
from dfd.data.clip_arrays import ClipArrays, beside, read_entries, write_array
from dfd.data.clip_check import check_clip
from dfd.data.clips import ClipDataset, CountedFacts, Repeat, as_tensor, collate_facts, read_frames
from dfd.errors import ConfigError
from dfd.models.classifier import ClipClassifier
from dfd.progress import progress_bar
from dfd.types import BatchFacts, ClipBatch, FrameArray
from dfd.video.clip_reader import reader_version

FORMAT_VERSION = 1
FRAMES_AT_ONCE = 32

logger = logging.getLogger(__name__)


class FeatureItem(CountedFacts):
    """One clip: ``features`` float32 (T, D), and what it was cut from."""

    features: Tensor


class FeatureCache(ClipArrays):
    """The features of every frame of the clips in an index, in ``STORE.features/``.

    Args:
        store: folder of the clip store.
        index: rows of its index.
        model: its backbone and normalisation give the features.
        reader: of the clips, one of :data:`dfd.video.clip_reader.READERS`.

    Raises:
        ConfigError: the backbone is not frozen: its features would change with every step.
        StoreError: a clip's file cannot be read.
    """

    def __init__(self, store: Path, index: pd.DataFrame, model: ClipClassifier, *, reader: str = "decord") -> None:
        if not model.backbone.frozen:
            raise ConfigError(
                "data.cache_features=true needs backbone.freeze=true: the features of a backbone that learns change "
                "with every step"
            )
        super().__init__(store, index, beside(store, "features") / _key(model), made_by=reader_version(reader))
        self._reader = reader
        self.model = model

    def fill(self, *, device: torch.device | str = "cpu", num_workers: int = 0) -> None:
        """Compute what is missing. Stopped and called again, it goes on.

        Raises:
            StoreError: a clip cannot be read, or the features cannot be written.
        """
        missing = self.missing()
        if not missing:
            return
        logger.info("computing the features of %d clips, kept in %s", len(missing), self.folder)
        self.make_folder()
        whole = _WholeClips(self.store, [(path, self.num_frames[path]) for path in missing], self._reader)
        frames = DataLoader(whole, batch_size=None, num_workers=num_workers)
        before = next(self.model.parameters()).device
        self.model.to(device)
        with progress_bar() as bar:
            task = bar.add_task("features", total=len(missing), note="")
            for path, features in zip(missing, self._computed(frames, device), strict=True):
                write_array(self.files[path], features)
                bar.advance(task)
        self.model.to(before)

    def _computed(self, clips: DataLoader[Tensor], device: torch.device | str) -> Iterator[FrameArray]:
        for frames_TCHW in clips:
            with torch.inference_mode():
                features_BTD = self.model.features(frames_TCHW[None].to(device), at_once=FRAMES_AT_ONCE)
            yield features_BTD[0].float().cpu().numpy()


class FeatureDataset(Dataset[FeatureItem]):
    """The items of a :class:`ClipDataset` as features: the same clips by the same draws, without augmentation."""

    def __init__(self, clips: ClipDataset, cache: FeatureCache) -> None:
        self.clips = clips
        self.files = cache.files  # and not the cache: worker processes have no use for its network

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | tuple[int, int] | Repeat) -> FeatureItem:
        is_repeat = isinstance(item, Repeat)
        chosen = self.clips.choose(item.number if isinstance(item, Repeat) else item)
        features_TD = torch.from_numpy(read_entries(self.files[chosen.path], chosen.indices))
        return {"features": features_TD, "is_repeat": is_repeat, **chosen.facts}


class FeatureBatch(BatchFacts):
    """As :class:`dfd.types.ClipBatch`, with ``features`` (B, T, D) in place of the frames."""

    features: Tensor


def collate_features(items: Sequence[FeatureItem]) -> FeatureBatch:
    """Items as a batch."""
    return {"features": torch.stack([item["features"] for item in items]), **collate_facts(items)}


def logits_of(model: ClipClassifier, batch: ClipBatch | FeatureBatch) -> Tensor:
    """Of a batch of frames or of features, ``(B, 2)``."""
    given: Mapping[str, Any] = dict(batch)
    logits_BK: Tensor = model.head(given["features"]) if "features" in given else model(given["frames"])
    return logits_BK


class _WholeClips(Dataset[Tensor]):
    """All frames of each clip, uint8 (T, C, H, W)."""

    def __init__(self, store: Path, clips: Sequence[tuple[str, int]], reader: str) -> None:
        self.store, self.clips, self.reader = store, clips, reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> Tensor:
        path, num_frames = self.clips[number]
        check_clip(self.store / path)
        return as_tensor(read_frames(self.store / path, range(num_frames), reader=self.reader))


def _key(model: ClipClassifier) -> str:
    """Of the weights and of how frames are brought before them; the clip's size is in its own hash."""
    backbone = model.backbone
    facts = {
        "format": FORMAT_VERSION,
        "weights": weights_sha256(backbone.state_dict()),
        "config": {k: v for k, v in model.config.get("backbone", {}).items() if k in ("_target_", "name")},
        "normalisation": [backbone.mean, backbone.std, backbone.input_size],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
