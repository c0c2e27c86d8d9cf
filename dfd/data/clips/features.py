"""Backbone features of a store's clips, computed once and kept on disk, for training a head on a frozen backbone.

The folder is named after a hash of everything that features depend on besides the clip; see
:mod:`dfd.data.clips.arrays`.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfd.base.errors import ConfigError
from dfd.base.progress import progress_bar
from dfd.base.types import FrameArray
from dfd.data.clips.arrays import ClipArrays, beside, read_entries, write_array
from dfd.data.clips.batches import CountedFacts, as_tensor, collate_facts
from dfd.data.clips.dataset import ClipDataset, read_whole
from dfd.data.clips.reader import READER, reader_version
from dfd.data.clips.samplers import Repeat
from dfd.models.classifier import ClipClassifier
from dfd.models.files.checkpoint import weights_sha256
from dfd.models.networks.batch import FeatureBatch

FORMAT_VERSION = 1
FRAMES_AT_ONCE = 32

logger = logging.getLogger(__name__)


class FeatureItem(CountedFacts):
    """One clip: ``features`` float32 (T, D), and its facts."""

    features: Tensor


class FeatureCache(ClipArrays):
    """Features of every frame of the clips in an index, kept in ``STORE.features/``.

    Args:
        store: folder of the clip store.
        index: rows of its index.
        model: classifier whose backbone and normalisation give the features.
        reader: decoder of the clips, one of :data:`dfd.data.clips.reader.READERS`.

    Raises:
        ConfigError: the backbone is not frozen, so its features would change with every step, or it sees clips.
        StoreError: a clip's file cannot be read.
    """

    def __init__(self, store: Path, index: pd.DataFrame, model: ClipClassifier, *, reader: str = READER) -> None:
        if model.backbone.sees_clips:
            raise ConfigError("data.cache_features=true needs a backbone of frames; this one sees whole clips")
        if not model.backbone.frozen:
            raise ConfigError(
                "data.cache_features=true needs backbone.freeze=true: the features of a trained backbone change with "
                "every step"
            )
        super().__init__(store, index, beside(store, "features") / _key(model), made_by=reader_version(reader))
        self._reader = reader
        self.model = model

    def fill(self, *, device: torch.device | str = "cpu", num_workers: int = 0) -> None:
        """Compute the missing features; an interrupted computation resumes.

        Raises:
            StoreError: a clip cannot be read, or the features cannot be written.
        """
        missing = self.missing()
        if not missing:
            return
        logger.info("computing the features of %d clips, kept in %s", len(missing), self.folder)
        self.make_folder()
        whole: Any = [(self.store / path, self.num_frames[path]) for path in missing]
        read = partial(_read, reader=self._reader)
        frames: DataLoader[Any] = DataLoader(whole, batch_size=None, num_workers=num_workers, collate_fn=read)
        before = next(self.model.parameters()).device
        self.model.to(device)
        with progress_bar() as bar:
            task = bar.add_task("features", total=len(missing), note="")
            for path, features in zip(missing, self._computed(frames, device), strict=True):
                write_array(self.files[path], features)
                bar.advance(task)
        self.model.to(before)

    def _computed(self, clips: DataLoader[Any], device: torch.device | str) -> Iterator[FrameArray]:
        for frames_TCHW in clips:
            with torch.inference_mode():
                features_BTD = self.model.features(frames_TCHW[None].to(device), at_once=FRAMES_AT_ONCE)
            yield features_BTD[0].float().cpu().numpy()


class FeatureDataset(Dataset[FeatureItem]):
    """Items of a :class:`~dfd.data.clips.dataset.ClipDataset` as features: same clips and draws, no augmentation."""

    def __init__(self, clips: ClipDataset, cache: FeatureCache) -> None:
        self.clips = clips
        self.files = cache.files  # not the cache itself, whose network the worker processes do not need

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | tuple[int, int] | Repeat) -> FeatureItem:
        is_repeat = isinstance(item, Repeat)
        chosen = self.clips.choose(item.number if isinstance(item, Repeat) else item)
        features_TD = torch.from_numpy(read_entries(self.files[chosen.path], chosen.indices))
        return {"features": features_TD, "is_repeat": is_repeat, **chosen.facts}


def collate_features(items: Sequence[FeatureItem]) -> FeatureBatch:
    """Batch of items: ``features`` (B, T, D), and their facts as lists."""
    return {"features": torch.stack([item["features"] for item in items]), **collate_facts(items)}


def _read(clip: tuple[Path, int], *, reader: str) -> Tensor:
    """Read all frames of a clip, uint8 (T, C, H, W), in a worker process."""
    return as_tensor(read_whole(*clip, reader=reader))


def _decides(option: str, value: object) -> bool:
    """Whether an option of a backbone changes features and is neither in its weights nor in ``normalisation``."""
    return option not in ("pretrained", "weights", "freeze", "input_size") and value not in (None, False)


def _key(model: ClipClassifier) -> str:
    """Hash of the backbone's weights and of how frames are prepared for it; the clip's size is in its own hash."""
    backbone = model.backbone
    facts = {
        "format": FORMAT_VERSION,
        "weights": weights_sha256(backbone.state_dict()),
        "config": {
            k: v for k, v in model.config.get("backbone", {}).items() if k in ("_target_", "name") or _decides(k, v)
        },
        "normalisation": [backbone.mean, backbone.std, backbone.input_size],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
