"""The LightningDataModule: a clip store as loaders of clips for train, val and test."""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from dfd.data.clips import (
    ClipDataset,
    ClipSampler,
    EvalShare,
    TrainingShare,
    balanced_weights,
    collate,
    eval_stride,
    stride_range,
)
from dfd.data.features import FeatureCache, FeatureDataset, collate_features
from dfd.data.frames import FrameCache
from dfd.data.leaks import find_leaks
from dfd.data.placing import shuffle_key
from dfd.data.selection import draw_balanced
from dfd.data.splits import RANDOM_VIDEO, SPLITS, assign_splits, audit, check_fractions, describe_overlap, overlap
from dfd.data.store import (
    INDEX_NAME,
    PLAN_NAME,
    SPLITS_NAME,
    IndexVideo,
    SplitPlan,
    index_videos,
    manifest_sha256,
    missing_clips,
    read_index,
    read_record,
    read_split_plan,
    unindexed_videos,
)
from dfd.errors import StoreError
from dfd.models.classifier import ClipClassifier
from dfd.types import LABEL_NAMES, Label
from dfd.video.clip_reader import READERS
from dfd.workers import num_cores

MAX_NAMED = 10
LOOK_SECONDS = 3.0
"""The most that looking for the clips of the index may take, and so for videos that are not in it. A local disk needs
less for 100,000; on a network file system it would be minutes."""

logger = logging.getLogger(__name__)


class ClipDataModule(LightningDataModule):
    """Clips of a store, decoded as they are needed.

    The split is the one that was frozen when the store was made. ``setup`` refuses a store in which a person or source
    video is on two sides of it (unless that was asked for), clips are missing, or clips were made in different ways.

    Args:
        store: folder that ``python -m dfd.preprocess`` made.
        clip_len: frames per clip (the ``sequence_length`` of the original study).
        clip_stride: from one frame of a clip to the next; a range ``[low, high]`` is drawn from in training, and
            evaluation takes its middle.
        batch_size: clips per batch, in each process.
        tracks: ``main``, the face that stands for the video, or ``all``. A person who stands beside a faked face is
            labelled fake with it, so ``all`` suits videos with one face each.
        num_eval_clips: clips per face track in val and test, evenly spaced.
        augmentation: from uint8 (T, C, H, W) to the same, for training; see :mod:`dfd.data.transforms`.
        balanced_sampling: draw both labels equally often in training, with replacement.
        seed: of the training's order and draws, which depend on it and the epoch alone; None: another in each run.
        num_workers: processes that decode; None: one per core, at most 4.
        pin_memory: None: if there is a GPU.
        multiprocessing_context: ``fork`` or ``spawn``; None: the system's.
        split: None: the store's. ``random_video``: the same videos, in the same numbers of each data set and label per
            split, dealt out anew without regard to who they show. It exists to show how much that flatters a score.
        per_label: use so many real and as many fake videos, of each data set or by its name; None: all. See
            :func:`dfd.data.selection.draw_balanced`.
        fractions: of train, val and test in what ``per_label`` draws.
        split_seed: of that draw, and of ``random_video``.
        allow_fewer: let ``per_label`` take what there is.
        cache_features: train and validate on the features of a frozen backbone, computed once per clip and kept on
            disk; see :meth:`use_features`.
        cache_frames: train and validate on frames that are decoded once and kept on disk; see :meth:`use_frames`.
        reader: what decodes the clips, one of :data:`dfd.video.clip_reader.READERS`.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        clip_len: int = 10,
        clip_stride: int | Sequence[int] = 1,
        batch_size: int = 4,
        tracks: str = "main",
        num_eval_clips: int = 1,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        balanced_sampling: bool = False,
        seed: int | None = 0,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
        split: str | None = None,
        per_label: int | Mapping[str, int] | None = None,
        fractions: Sequence[float] = (0.6, 0.1, 0.3),
        split_seed: int = 0,
        allow_fewer: bool = False,
        cache_features: bool = False,
        cache_frames: bool = False,
        reader: str = "decord",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if split not in (None, RANDOM_VIDEO):
            raise ValueError(
                f"split must be {RANDOM_VIDEO}, or null for the split that the store was made with, got {split!r}; to "
                f"divide a store anew, delete its {SPLITS_NAME} and {PLAN_NAME} and run python -m dfd.preprocess again "
                "with split=source or split=official (the clips stay)"
            )
        if reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")
        if cache_features and cache_frames:
            raise ValueError("cache_frames=true speeds up nothing with cache_features=true, which reads no frames")
        check_fractions(fractions)
        self.store = Path(store).expanduser()
        self.clip_len = clip_len
        self.clip_stride = eval_stride(clip_stride)
        """Of evaluation and prediction; training draws from ``train_strides``."""
        self.train_strides = stride_range(clip_stride)
        self.batch_size = batch_size
        self.tracks = tracks
        self.num_eval_clips = num_eval_clips
        self.augmentation = augmentation
        self.balanced_sampling = balanced_sampling
        self.seed = seed
        self.num_workers = min(4, num_cores()) if num_workers is None else num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.multiprocessing_context = multiprocessing_context
        self.split = split
        self.per_label = per_label
        self.fractions = fractions
        self.split_seed = split_seed
        self.allow_fewer = allow_fewer
        self.disturb: Callable[[Tensor, str], Tensor] | None = None
        """What is done to the clips of val and test, if anything: see :class:`dfd.data.clips.ClipDataset`."""
        self.cache_features = cache_features
        self.cache_frames = cache_frames
        self.reader = reader
        self._features: FeatureCache | None = None
        self._frame_files: Mapping[str, Path] = {}
        self._index: pd.DataFrame | None = None
        self._overlap: dict[str, dict[str, int]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and check the index. ``stage`` is Lightning's (fit, validate, test) or the name of one split.

        Raises:
            StoreError: the store is missing, damaged or mixed, a split that ``stage`` needs is empty, or the training
                split has one label only.
            SplitLeak: the splits overlap, and are not meant to.
            SplitError: there are fewer videos than ``per_label`` asks for.
        """
        index = self.index
        counts = index.groupby("split")["video_id"].nunique()
        sizes = ", ".join(f"{split} {int(counts.get(split, 0))}" for split in SPLITS)
        stage = str(getattr(stage, "value", stage or ""))
        needed = {"fit": ("train", "val"), "validate": ("val",)}.get(stage, (stage,) if stage in SPLITS else ())
        for split in needed:
            if not counts.get(split, 0):
                raise StoreError(
                    f"{self.store}: no video with a face in split {split!r} (videos: {sizes}); "
                    "make the store with more videos or other split_fractions"
                    + (", or train with test=false" if split == "test" else "")
                )
        if stage == "fit":
            self._check_labels()

    def _check_labels(self) -> None:
        """Raises:
        StoreError: the training split has one label only.
        """
        labels = set(self.index.loc[self.index["split"] == "train", "label"])
        if len(labels) < len(LABEL_NAMES):
            only = labels.pop()
            hint = "; data=blend makes the fakes itself" if only == str(Label.REAL) else ""
            raise StoreError(
                f"{self.store}: the training split has only {only} videos; a detector needs both labels{hint}"
            )

    @property
    def index(self) -> pd.DataFrame:
        """The rows of the store's index that are used, checked, each with its split.

        Raises:
            StoreError, SplitLeak, SplitError: as for ``setup``.
        """
        if self._index is None:
            index = read_index(self.store)
            _check_alike(self.store, index)
            if new := unindexed_videos(self.store, seconds=LOOK_SECONDS):
                logger.warning(
                    "%s: %s is older than the records of %d videos, such as %s, and they are not used; run the "
                    "preprocessing again, which makes it anew",
                    self.store,
                    INDEX_NAME,
                    len(new),
                    new[0],
                )
            missing = missing_clips(self.store, index, seconds=LOOK_SECONDS)
            if missing:
                more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
                raise StoreError(
                    f"{self.store}: {len(missing)} of {len(index)} clips in {INDEX_NAME} are missing: "
                    f"{', '.join(missing[:MAX_NAMED])}{more}; run the preprocessing again"
                )
            self._index = self._chosen(_with_splits(self.store, index, self._store_mode))
        return self._index

    @property
    def split_mode(self) -> str:
        """How the videos are divided: one of ``SPLIT_MODES``."""
        return self.split or self._store_mode

    @property
    def _store_mode(self) -> str:
        return (read_split_plan(self.store) or SplitPlan()).mode

    def _chosen(self, index: pd.DataFrame) -> pd.DataFrame:
        """The rows of the videos that are drawn and in a split, dealt out anew if that is asked for.

        Raises:
            SplitError: there are fewer videos than ``per_label`` asks for.
        """
        videos = [video for video in index_videos(index) if video.split in SPLITS]
        if self.per_label is not None:
            drawn = draw_balanced(
                videos,
                {video.video_id: video.split for video in videos},
                per_label=self.per_label,
                fractions=self.fractions,
                seed=self.split_seed,
                allow_fewer=self.allow_fewer,
            )
            videos = [video for video in videos if video.video_id in drawn]
        if self.split == RANDOM_VIDEO:
            videos = _dealt_out(videos, self.split_seed)
        self._overlap = overlap(videos)
        if words := describe_overlap(self._overlap):
            logger.warning(
                "%s: split=%s, so train, val and test are NOT apart: %s. The scores will be better than on new people; "
                "use them only to show by how much",
                self.store,
                self.split_mode,
                words,
            )
        splits = index["video_id"].map({video.video_id: video.split for video in videos})
        return index.assign(split=splits)[splits.notna()].reset_index(drop=True)

    @property
    def is_whole(self) -> bool:
        """True if the videos are all that the store's own splits hold."""
        return self.per_label is None and self.split is None

    @property
    def image_size(self) -> int:
        """Side of the store's crops, in pixels."""
        return int(self.index["size"].iloc[0])

    def use_features(self, model: ClipClassifier) -> FeatureCache:
        """From now on the trainer's loaders give features of this frozen backbone; the caller fills the cache.

        :meth:`dataset` and :meth:`eval_dataloader`, which score videos, go on giving frames.

        Raises:
            ConfigError: the backbone is not frozen.
        """
        self._features = FeatureCache(self.store, self._read_in(SPLITS), model, reader=self.reader)
        if self.augmentation is not None:
            logger.warning(
                "data.cache_features=true: the augmentation is OFF, since the features of each clip are computed once"
            )
        return self._features

    def use_frames(self) -> FrameCache:
        """From now on clips of train and val come from decoded frames, the same ones; the caller fills the cache.

        Those of test, which are read once, are decoded as ever.

        Raises:
            StoreError: a clip's file cannot be read.
        """
        cache = FrameCache(self.store, self._read_in(("train", "val")), reader=self.reader)
        self._frame_files = cache.files
        return cache

    def _read_in(self, splits: Sequence[str]) -> pd.DataFrame:
        """The index's rows whose clips are read for these splits."""
        used = self.index if self.tracks == "all" else self.index[self.index["is_main"]]
        return used[used["split"].isin(splits)]

    def dataset(self, split: str, *, training: bool = False) -> ClipDataset:
        """The clips of one split.

        Raises:
            ValueError: there is no such split.
        """
        return ClipDataset(self.store, self._rows(split), **self._clip_options(training))

    def _rows(self, split: str) -> pd.DataFrame:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        return self.index[self.index["split"] == split]

    def _clip_options(self, training: bool) -> dict[str, Any]:
        return {
            "clip_len": self.clip_len,
            "clip_stride": self.train_strides if training else self.clip_stride,
            "training": training,
            "tracks": self.tracks,
            "num_eval_clips": self.num_eval_clips,
            "transform": self.augmentation if training else None,
            "disturb": None if training else self.disturb,
            "frame_files": self._frame_files,
            "reader": self.reader,
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented clips of ``train``."""
        dataset = self.dataset("train", training=True)
        trainer = self.trainer
        epoch = trainer.current_epoch if trainer else 0
        rank, world_size = self._process
        seed = int(torch.randint(2**31, ())) if self.seed is None else self.seed
        if trainer:  # every process must draw the same order, of which each takes its share
            seed = trainer.strategy.broadcast(seed)
        sampler = self._sampler(dataset, seed=seed, epoch=epoch)
        share = TrainingShare(sampler, num_replicas=world_size, rank=rank) if world_size > 1 else sampler
        items = self._in_batches(share)
        # A last batch of one clip would give batch normalisation the statistics of a single face.
        per_process = len(items)  # type: ignore[arg-type]
        drop_last = self.batch_size > 1 and per_process > self.batch_size and per_process % self.batch_size == 1
        if drop_last:
            logger.info("each epoch leaves out 1 of %d training clips, another each time", per_process)
        return self._loader(dataset, sampler=items, drop_last=drop_last, features=self._features)

    def _sampler(self, dataset: ClipDataset, *, seed: int, epoch: int) -> ClipSampler:
        """What draws an epoch, the same in every process."""
        weights = balanced_weights(dataset.labels) if self.balanced_sampling else None
        return ClipSampler(len(dataset), seed=seed, epoch=epoch, weights=weights)

    def _in_batches(self, share: Sampler[Any]) -> Sampler[Any]:
        """One process's draws as items."""
        return share

    def val_dataloader(self) -> DataLoader[Any]:
        """The fixed clips of ``val``; in a run of several processes, this one's share of them."""
        return self._eval_loader("val", *self._process, features=self._features)

    def test_dataloader(self) -> DataLoader[Any]:
        """The fixed clips of ``test``; in a run of several processes, this one's share of them."""
        return self._eval_loader("test", *self._process, features=self._features)

    def eval_dataloader(self, split: str, rank: int = 0, world_size: int = 1) -> DataLoader[Any]:
        """The fixed clips of any split, in the order of the index; all, or one process's :class:`EvalShare`.

        Raises:
            StoreError: the split is empty.
        """
        return self._eval_loader(split, rank, world_size)

    def _eval_loader(
        self, split: str, rank: int, world_size: int, features: FeatureCache | None = None
    ) -> DataLoader[Any]:
        dataset = self.dataset(split)
        if not len(dataset):
            raise StoreError(f"{self.store}: no video with a face in split {split!r}")
        share = EvalShare(len(dataset), num_replicas=world_size, rank=rank) if world_size > 1 else None
        return self._loader(dataset, sampler=share, features=features)

    @property
    def _process(self) -> tuple[int, int]:
        """Which one this is of how many that train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def class_weights(self) -> list[float]:
        """Weights of (real, fake) for the loss that make both labels of ``train`` weigh the same; their mean is 1 over
        the clips.
        """
        counts = Counter(self.dataset("train", training=True).labels)
        total = counts.total()
        return [total / (len(Label) * counts[label]) for label in Label]

    def used_videos(self) -> pd.DataFrame:
        """The videos that are used, sorted: ``video_id``, ``dataset``, ``method``, ``label``, ``source_ids`` (separated
        by ;), ``split`` and ``num_frames`` (of the main face's clip).
        """
        columns = ["video_id", "dataset", "method", "label", "source_ids", "split", "num_frames"]
        main = self.index[self.index["is_main"]]
        return main[columns].sort_values(["dataset", "video_id"], ignore_index=True)

    def summary(self) -> dict[str, Any]:
        """What a checkpoint and a log should say about the data, as plain values."""
        index = self.index
        record = read_record((self.store / index["path"].iloc[0]).parent)
        settings = dict(record.settings) if record else {}
        used = index if self.tracks == "all" else index[index["is_main"]]
        return {
            "store": self.store.resolve().name,
            **self._hashes,
            "clip_len": self.clip_len,
            "clip_stride": list(self.train_strides),
            "tracks": self.tracks,
            "image_size": self.image_size,
            # Names as in a detector's card: what prediction must do alike.
            "crop": {"extraction": settings.get("faces", {}), "face_detector": settings.get("face_detector", {})},
            "preprocessing": settings,
            "split": {
                "mode": self.split_mode,
                "overlap": self._overlap,
                # Videos that share a source with another. If there is none, the overlap is empty for any split.
                "num_shared_sources": self._num_sharing,
            },
            # What chose these videos and their splits; given again with the same index, it chooses the same.
            "selection": {
                "split": self.split,
                "per_label": dict(self.per_label) if isinstance(self.per_label, Mapping) else self.per_label,
                "fractions": [float(fraction) for fraction in self.fractions],
                "split_seed": self.split_seed,
                "allow_fewer": self.allow_fewer,
            },
            "splits": {split: _counts(used[used["split"] == split]) for split in SPLITS},
        }

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Of what was read when the first summary was asked for: the preprocessing may go on while a run trains."""
        return {
            "index_sha256": hashlib.sha256((self.store / INDEX_NAME).read_bytes()).hexdigest(),
            "manifest_sha256": manifest_sha256(self.store),
            "videos_sha256": _videos_sha256(self.index),
        }

    @cached_property
    def _num_sharing(self) -> int:
        return _num_sharing(self.index)

    def _loader(
        self,
        dataset: ClipDataset,
        *,
        sampler: Sampler[Any] | None = None,
        drop_last: bool = False,
        features: FeatureCache | None = None,
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset if features is None else FeatureDataset(dataset, features),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=collate if features is None else collate_features,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context=self.multiprocessing_context if self.num_workers else None,
        )


def _check_alike(store: Path, index: pd.DataFrame) -> None:
    """Clips made in two ways would let a model tell the way and not the fake.

    Raises:
        StoreError: they are, or differ in size.
    """
    for column, what in {"size": "crop sizes", "settings_hash": "preprocessing settings"}.items():
        counts = Counter(str(value) for value in index[column])
        if len(counts) > 1:
            found = ", ".join(f"{value} ({count} clips)" for value, count in counts.most_common(5))
            raise StoreError(
                f"{store}: its clips were made with different {what}: {found}; run the preprocessing with one set of "
                "settings for all its videos, or use a store for each"
            )


def _with_splits(store: Path, index: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Complete the splits, and audit them if they are by source.

    Raises:
        SplitLeak: they overlap.
        StoreError: they are not by source, and videos have none.
    """
    videos = index_videos(index)
    if mode == "source":
        audit(videos)
    _audit_copies(store, videos, mode)
    lacking = {video.video_id for video in videos if not video.split}
    if not lacking:
        return index
    lack = f"{store}: {len(lacking)} of {len(videos)} videos have no split in {SPLITS_NAME}"
    if mode != "source":
        raise StoreError(f"{lack}; run the preprocessing again, with split={mode} as before")
    logger.warning("%s; they are divided now, for this run", lack)
    splits = assign_splits(videos)
    videos = [replace(video, split=splits[video.video_id]) for video in videos]
    audit(videos)
    _audit_copies(store, videos, mode)
    return index.assign(split=index["video_id"].map(splits))


def _audit_copies(store: Path, videos: Sequence[IndexVideo], mode: str) -> None:
    """Refuse copies of one video in two splits as far as ``mode`` promises that there are none; say what is unknown.

    Raises:
        SplitLeak: there are such copies, or equal videos have two labels.
    """
    findings = find_leaks(store, videos)
    findings.check(store, mode)
    if findings.caveat:
        logger.warning("%s: %s", store, findings.caveat)


def _dealt_out(videos: Sequence[IndexVideo], seed: int) -> list[IndexVideo]:
    """The videos with the splits of each (data set, label) permuted among them: every number stays."""
    strata: dict[tuple[str, Label], list[IndexVideo]] = defaultdict(list)
    for video in videos:
        strata[video.dataset, video.label].append(video)
    dealt = []
    for members in strata.values():
        # Another order than the draw's: by that, the first drawn of each split would always be the first dealt.
        shuffled = sorted(members, key=lambda video: shuffle_key(seed, f"{RANDOM_VIDEO}:{video.video_id}"))
        splits = sorted(video.split for video in members)
        dealt += [replace(video, split=split) for video, split in zip(shuffled, splits, strict=True)]
    return dealt


def _videos_sha256(index: pd.DataFrame) -> str:
    """Of which videos are used, and in which split."""
    videos = sorted(set(zip(index["video_id"], index["split"], strict=True)))
    return hashlib.sha256(json.dumps(videos).encode()).hexdigest()


def _num_sharing(index: pd.DataFrame) -> int:
    """How many videos have a source id that another has, too."""
    sources = {video.video_id: video.source_ids for video in index_videos(index)}
    holders = Counter(source_id for source_ids in sources.values() for source_id in source_ids)
    return sum(any(holders[source_id] > 1 for source_id in source_ids) for source_ids in sources.values())


def _counts(rows: pd.DataFrame) -> dict[str, Any]:
    """Of videos, by what they are."""
    videos = rows.drop_duplicates("video_id")
    return {
        "num_videos": len(videos),
        "num_tracks": len(rows),
        "labels": {name: int((videos["label"] == name).sum()) for name in LABEL_NAMES},
        "datasets": dict(sorted(Counter(videos["dataset"].tolist()).items())),
        "methods": dict(sorted(Counter(method for method in videos["method"].tolist() if method).items())),
    }
