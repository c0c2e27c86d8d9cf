"""LightningDataModule that loads the clips of a store for train, val and test."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from dfd.base.errors import StoreError
from dfd.base.files import file_sha256
from dfd.base.machine import num_cores
from dfd.base.types import Label
from dfd.data.clips import index as indexes
from dfd.data.clips.batches import collate
from dfd.data.clips.dataset import CLIP_LEN, TRACKS, ClipDataset, eval_stride, stride_range
from dfd.data.clips.features import FeatureCache, FeatureDataset, collate_features
from dfd.data.clips.frames import FrameCache
from dfd.data.clips.index import LOOK_SECONDS, MAX_NAMED, logger
from dfd.data.clips.reader import READER
from dfd.data.clips.samplers import ClipSampler, Drawing, EvalShare, FakeAndReal, TrainingShare, relatives_of
from dfd.data.splits.domains import Domains, DomainSampler
from dfd.data.splits.draw import draw_balanced
from dfd.data.splits.people import ALL, SPLITS, check_fractions, describe_overlap, overlap
from dfd.data.store.anew import divided_anew
from dfd.data.store.missing import missing_clips, unindexed_videos
from dfd.data.store.plan import SplitPlan, read_split_plan
from dfd.data.store.records import INDEX_NAME
from dfd.data.store.tables import index_videos, manifest_sha256, read_index
from dfd.models.classifier import ClipClassifier


class ClipDataModule(LightningDataModule):
    """Clips of a store, decoded on demand.

    The split is the one that was frozen when the store was made. ``setup`` refuses a store with missing clips, clips
    made in different ways, or a person or source video on two sides of the split (unless the split allows that).

    Args:
        store: folder made by ``python -m dfd.preprocess``.
        clip_len: frames per clip (the ``sequence_length`` of the original study).
        clip_stride: distance between consecutive frames of a clip; training draws from a range ``[low, high]``, and
            evaluation takes its middle.
        batch_size: clips per batch in each process.
        tracks: ``main``, the face that represents the video, or ``all``. A person beside a faked face is labelled fake
            as well, so ``all`` suits videos with one face each.
        num_eval_clips: clips per face track in val and test, evenly spaced.
        augmentation: function of uint8 (T, C, H, W) that keeps shape and type, for training; see
            :mod:`dfd.data.augment.transforms`.
        own_augmentation: one that replaces it.
        balanced_sampling: draw both labels equally often in training, with replacement.
        balanced_methods: draw the methods of fakes equally often in training, with replacement.
        proportions: weight of each data set in training, by name, with any sum; clips are drawn with replacement. None
            draws each in proportion to its number of faces.
        paired_sampling: draw each fake together with a real clip that shares a source with it, in one batch.
        seed: seed of the training's order and draws, with the epoch; None takes a new one in each run.
        num_workers: number of decoding processes; None for one per core, at most 4.
        pin_memory: whether to pin memory; None does so if there is a GPU.
        multiprocessing_context: ``fork`` or ``spawn``; None for the system's default.
        split: None for the store's split. ``random_video`` redistributes the same videos at random, with the same
            numbers per split, data set and label, whoever they show; it exists to show how much that inflates scores.
            ``0/5`` to ``4/5`` are the folds of a cross-validation by source (:mod:`dfd.data.splits.folds`).
        per_label: number of real and of fake videos to use, for all data sets or by their names; None uses all. See
            :func:`dfd.data.splits.draw.draw_balanced`.
        fractions: shares of train, val and test in the draw of ``per_label``.
        split_seed: seed of that draw, and of ``random_video``.
        allow_fewer: let ``per_label`` accept fewer videos.
        methods: methods whose fakes are in train and val; the fakes of others are left out there. None uses all.
        datasets: data sets whose videos are in train and val; those of others are left out there. None uses all.
        min_frames: leave out face tracks with fewer frames.
        cache_features: train and validate on the features of a frozen backbone, computed once per clip and kept on
            disk; see :meth:`use_features`.
        cache_frames: train and validate on frames that are decoded once and kept on disk; see :meth:`use_frames`.
        reader: decoder of the clips, one of :data:`dfd.data.clips.reader.READERS`.
        landmarks: give batches the five points of the face in each frame; see
            :class:`dfd.models.networks.batch.ClipBatch`.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        clip_len: int = CLIP_LEN,
        clip_stride: int | Sequence[int] = 1,
        batch_size: int = 4,
        tracks: str = TRACKS,
        num_eval_clips: int = 1,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        own_augmentation: Callable[[Tensor], Tensor] | None = None,
        balanced_sampling: bool = False,
        balanced_methods: bool = False,
        proportions: Mapping[str, float] | None = None,
        paired_sampling: bool = False,
        seed: int | None = 0,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
        split: str | None = None,
        per_label: int | Mapping[str, int] | None = None,
        fractions: Sequence[float] = (0.6, 0.1, 0.3),
        split_seed: int = 0,
        allow_fewer: bool = False,
        methods: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        min_frames: int = 1,
        cache_features: bool = False,
        cache_frames: bool = False,
        reader: str = READER,
        landmarks: bool = False,
    ) -> None:
        super().__init__()
        indexes.check_options(batch_size=batch_size, split=split, reader=reader)
        indexes.check_caches(cache_features=cache_features, cache_frames=cache_frames, landmarks=landmarks)
        if paired_sampling and (batch_size % 2 or balanced_sampling):
            raise ValueError(
                f"paired_sampling=true needs an even batch_size, got {batch_size}, and no balanced_sampling: each "
                "batch is half real and half fake already"
            )
        check_fractions(fractions)
        self.store = Path(store).expanduser()
        self.clip_len = clip_len
        self.clip_stride = eval_stride(clip_stride)
        """Stride of evaluation and prediction; training draws from ``train_strides``."""
        self.train_strides = stride_range(clip_stride)
        self.batch_size = batch_size
        self.tracks = tracks
        self.num_eval_clips = num_eval_clips
        self.augmentation = own_augmentation or augmentation
        self.paired_sampling = paired_sampling
        self.drawing = Drawing(proportions, balanced_sampling, balanced_methods)
        self.seed = seed
        self.num_workers = min(4, num_cores()) if num_workers is None else num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.multiprocessing_context = multiprocessing_context
        self.split = split
        self.per_label = per_label
        self.fractions = fractions
        self.split_seed, self.allow_fewer, self.min_frames = split_seed, allow_fewer, min_frames
        asked: dict[Literal["methods", "datasets"], Sequence[str] | None] = {"methods": methods, "datasets": datasets}
        self.kept = {by: names for by, names in asked.items() if names is not None}
        self.domains: Domains | None = None  # one of which each batch of training holds out
        self.disturb: Callable[[Tensor, str], Tensor] | None = None
        """Disturbance of the clips of val and test: see :class:`dfd.data.clips.dataset.ClipDataset`."""
        self.cache_features, self.cache_frames, self.reader = cache_features, cache_frames, reader
        self.landmarks = landmarks
        indexes.check_moves_along(self.augmentation, landmarks=landmarks)
        self._features: FeatureCache | None = None
        self._frame_files: Mapping[str, Path] = {}
        self._index: pd.DataFrame | None = None
        self._overlap: dict[str, dict[str, int]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and check the index. ``stage`` is Lightning's (fit, validate, test) or the name of one split.

        Raises:
            StoreError: the store is missing, damaged or mixed, a split that ``stage`` needs is empty, or the training
                split has one label only.
            SplitLeak: the splits overlap although their mode rules that out.
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
            indexes.check_proportions(self.store, index, self.drawing.proportions)

    def _check_labels(self) -> None:
        """Check that the training split has both labels."""
        indexes.check_labels(self.store, self.index)

    @property
    def index(self) -> pd.DataFrame:
        """Used rows of the store's index, checked, each with its split.

        Raises:
            StoreError, SplitLeak, SplitError: as for ``setup``.
        """
        if self._index is None:
            index = read_index(self.store)
            indexes.check_alike(self.store, index)
            if new := unindexed_videos(self.store, seconds=LOOK_SECONDS):
                logger.warning(
                    f"{self.store}: {INDEX_NAME} is older than the records of {len(new)} videos, such as {new[0]}, "
                    "which are not used; run the preprocessing again to update it"
                )
            missing = missing_clips(self.store, index, seconds=LOOK_SECONDS)
            if missing:
                more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
                raise StoreError(
                    f"{self.store}: {len(missing)} of {len(index)} clips in {INDEX_NAME} are missing: "
                    f"{', '.join(missing[:MAX_NAMED])}{more}; run the preprocessing again"
                )
            index = indexes.long_enough(self.store, index, self.min_frames)
            self._index = self._chosen(indexes.with_splits(self.store, index, self._store_mode))
        return self._index

    @property
    def split_mode(self) -> str:
        """Mode of the split: one of ``SPLIT_MODES``."""
        return self.split or self._store_mode

    @property
    def _store_mode(self) -> str:
        return (read_split_plan(self.store) or SplitPlan()).mode

    def _chosen(self, index: pd.DataFrame) -> pd.DataFrame:
        """Rows of the drawn videos that are in a split, redistributed at random if requested.

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
        if self.split is not None:
            videos = divided_anew(self.store, videos, self.split, self.split_seed)
        for by, names in self.kept.items():  # after the division, which would deal out again what is left in test
            videos = indexes.kept(self.store, videos, by, names)
        self._overlap = overlap(videos)
        if words := describe_overlap(self._overlap):
            logger.warning(
                f"{self.store}: split={self.split_mode}, so train, val and test are NOT separate: {words}. Scores will "
                "be better than on new people; use them only to show by how much"
            )
        splits = index["video_id"].map({video.video_id: video.split for video in videos})
        return index.assign(split=splits)[splits.notna()].reset_index(drop=True)

    @property
    def is_whole(self) -> bool:
        """Whether all videos of the store's own splits are used."""
        return self.per_label is None and self.split is None and not self.kept

    @property
    def image_size(self) -> int:
        """Side of the store's crops, in pixels."""
        return int(self.index["size"].iloc[0])

    def use_features(self, model: ClipClassifier) -> FeatureCache:
        """Switch the trainer's loaders to features of this frozen backbone; the caller fills the returned cache.

        :meth:`dataset` and :meth:`eval_dataloader`, which score videos, still give frames.

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
        """Switch train and val to cached frames, which equal the decoded ones; the caller fills the returned cache.

        Clips of test, which are read once, are still decoded.

        Raises:
            StoreError: a clip's file cannot be read.
        """
        cache = FrameCache(self.store, self._read_in(("train", "val")), reader=self.reader)
        self._frame_files = cache.files
        return cache

    def _read_in(self, splits: Sequence[str]) -> pd.DataFrame:
        """Rows of the index whose clips are read for these splits."""
        used = self.index if self.tracks == "all" else self.index[self.index["is_main"]]
        return used[used["split"].isin(splits)]

    def dataset(self, split: str, *, training: bool = False) -> ClipDataset:
        """Clips of one split.

        Raises:
            ValueError: the split is unknown.
        """
        return ClipDataset(self.store, self._rows(split), **self._clip_options(training))

    def _rows(self, split: str) -> pd.DataFrame:
        if split not in (*SPLITS, ALL):
            raise ValueError(f"split must be one of {', '.join((*SPLITS, ALL))}, got {split!r}")
        return self.index if split == ALL else self.index[self.index["split"] == split]

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
            "landmarks": self.landmarks,
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Loader of shuffled, augmented clips of ``train``."""
        dataset = self.dataset("train", training=True)
        trainer = self.trainer
        epoch = trainer.current_epoch if trainer else 0
        rank, world_size = self._process
        seed = int(torch.randint(2**31, ())) if self.seed is None else self.seed
        if trainer:  # every process must draw the same order, and takes its share of it
            seed = trainer.strategy.broadcast(seed)
        if self.domains is not None:
            steps = {"seed": seed, "epoch": epoch, "rank": rank, "num_processes": world_size}
            draws = DomainSampler(self._read_in(("train",)), self.domains, batch_size=self.batch_size, **steps)
            return self._loader(dataset, sampler=draws, features=self._features)
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
        """Sampler of an epoch, the same in every process."""
        weights = self.drawing.weights(*dataset.groups)
        numbers = self._pairs[0] if self.paired_sampling else list(range(len(dataset)))
        weights = None if weights is None else weights[numbers]
        return ClipSampler(len(numbers), seed=seed, epoch=epoch, weights=weights)

    @cached_property
    def _pairs(self) -> tuple[list[int], list[list[int]]]:
        """Numbers of the fakes of ``train``, and for each those of its real relatives."""
        rows = self._read_in(("train",))
        return relatives_of([int(Label.parse(name)) for name in rows["label"]], rows["source_ids"].tolist())

    def _in_batches(self, share: Sampler[Any]) -> Sampler[Any]:
        """Sampler of items from one process's draws."""
        return FakeAndReal(share, *self._pairs) if self.paired_sampling else share

    def val_dataloader(self) -> DataLoader[Any]:
        """Loader of the fixed clips of ``val``, or of this process's share of them."""
        return self.eval_dataloader("val", *self._process, features=self._features)

    def test_dataloader(self) -> DataLoader[Any]:
        """Loader of the fixed clips of ``test``, or of this process's share of them."""
        return self.eval_dataloader("test", *self._process, features=self._features)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Loader of the clips of ``test``, for ``trainer.predict(module, data)``."""
        return self.test_dataloader()

    def eval_dataloader(
        self, split: str, rank: int = 0, world_size: int = 1, *, features: FeatureCache | None = None
    ) -> DataLoader[Any]:
        """Loader of the fixed clips of any split, in the order of the index: all, or one process's share.

        See :class:`~dfd.data.clips.samplers.EvalShare`. With ``features``, these are given in place of frames.

        Raises:
            StoreError: the split is empty.
        """
        dataset = self.dataset(split)
        if not len(dataset):
            raise StoreError(f"{self.store}: no video with a face in split {split!r}")
        share = EvalShare(len(dataset), num_replicas=world_size, rank=rank) if world_size > 1 else None
        return self._loader(dataset, sampler=share, features=features)

    @property
    def _process(self) -> tuple[int, int]:  # rank of this one, and number of them
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def class_weights(self) -> list[float]:
        """Loss weights of (real, fake) that balance the labels of ``train``; their mean over the clips is 1."""
        counts = Counter(self.dataset("train", training=True).labels)
        return [counts.total() / (len(Label) * counts[label]) for label in Label]

    def used_videos(self) -> pd.DataFrame:
        """Sorted table of the used videos; see :func:`dfd.data.clips.index.used_videos`."""
        return indexes.used_videos(self.index)

    def summary(self) -> dict[str, Any]:
        """Description of the data for checkpoints and logs, as plain values."""
        return indexes.summary_of(self, self.index, self._overlap, self._num_sharing, self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Hashes of the data as first read, since preprocessing may continue while a run trains."""
        return {
            "index_sha256": file_sha256(self.store / INDEX_NAME),
            "manifest_sha256": manifest_sha256(self.store),
            "videos_sha256": indexes.videos_sha256(self.index),
        }

    @cached_property
    def _num_sharing(self) -> int:
        return indexes.num_sharing(self.index)

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
