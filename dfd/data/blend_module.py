"""``data=blend``: real clips of a store and the fakes made of them, side by side in every batch."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Sampler

from dfd.data.blend import BlendedPair, BlendSettings, is_weights, moving_still, self_blend
from dfd.data.clips import Choice, ClipDataset, ClipItem, ClipSampler, Repeat, as_tensor
from dfd.data.module import ClipDataModule
from dfd.data.store import read_geometry, read_record
from dfd.errors import StoreError
from dfd.faces.crop import square_crop
from dfd.types import FloatArray, Label

METHOD = "self_blend"

Number = int | tuple[int, int]


def read_landmarks(clip: Path, indices: Sequence[int]) -> FloatArray:
    """The face's points in frames of a store's clip, (T, 5, 2), as fractions of the crop's side.

    Raises:
        StoreError: the clip's geometry or its video's record is missing or damaged.
    """
    record = read_record(clip.parent)
    margin = (record.settings.get("faces") or {}).get("margin_fraction") if record else None
    if record is None or margin is None or not record.width or not record.height:
        raise StoreError(
            f"{clip.parent}: its record does not say how the faces were cropped, which blending needs; delete it and "
            "run the preprocessing again"
        )
    geometry = read_geometry(clip)
    if len(geometry.landmarks) <= max(indices):
        raise StoreError(
            f"{clip.with_suffix('.npy')}: it is shorter than the clip; delete {clip.parent} and run the preprocessing "
            "again"
        )
    points = np.empty((len(indices), 5, 2), np.float32)
    for i, index in enumerate(indices):
        left, top, side = square_crop(
            geometry.boxes_xyxy[index],
            margin_fraction=margin,
            frame_width=record.width,
            frame_height=record.height,
        )
        points[i] = (geometry.landmarks[index] - (left, top)) / side
    return points


class BlendDataset(ClipDataset):
    """Two items for each of a clip data set's: number ``2 k`` is a real clip, ``2 k + 1`` the fake made of it.

    Both get the same draw of the augmentation. Asked for together, as :class:`PairSampler` makes a loader do, they are
    read and blended once. In evaluation a blend depends on nothing but the name of the video and the face's number, so
    that every run and every detector is measured on the same ones, and all windows of a video are made in one way.

    A fake's ``video_id`` is the real one's and ``+self_blend``. A photograph becomes a clip by
    :func:`dfd.data.blend.moving_still`.

    Args:
        store: as for :class:`ClipDataset`, and so are the others.
        index: rows of real clips.
        blend: how fakes are made.
    """

    SHORT_TRACKS = "photographs are moved about, others repeat their last frame"

    def __init__(self, store: str | Path, index: pd.DataFrame, *, blend: BlendSettings, **options: Any) -> None:
        super().__init__(store, index, **options)
        self.blend = blend

    @property
    def num_pairs(self) -> int:
        """Half of the items."""
        return super().__len__()

    def __len__(self) -> int:
        return 2 * self.num_pairs

    @property
    def labels(self) -> list[int]:
        """Of each item, in order."""
        return [int(Label.REAL), int(Label.FAKE)] * self.num_pairs

    @property
    def video_ids(self) -> list[str]:
        """Of each item, in order."""
        return [name for video_id in super().video_ids for name in (video_id, fake_id(video_id))]

    def __getitem__(self, item: Number | Repeat) -> ClipItem:
        """Raises:
        StoreError: the clip's files cannot be read.
        """
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[Number | Repeat]) -> list[ClipItem]:
        """Items of one batch; the pair of each is made once.

        Raises:
            StoreError: a clip's files cannot be read.
        """
        pairs: dict[Number, tuple[tuple[Tensor, Tensor], Choice]] = {}
        found: list[ClipItem] = []
        for item in items:
            is_repeat = isinstance(item, Repeat)
            number = item.number if isinstance(item, Repeat) else item
            place, label = divmod(number[0] if isinstance(number, tuple) else number, 2)
            key: Number = (place, number[1]) if isinstance(number, tuple) else place
            # Without a seed each access of a training item is another draw.
            if key not in pairs or (self.training and not isinstance(key, tuple)):
                pairs[key] = self._pair(key)
            clips, choice = pairs[key]
            facts = choice.facts
            if label == Label.FAKE:
                facts = {
                    **facts,
                    "label": int(Label.FAKE),
                    "video_id": fake_id(facts["video_id"]),
                    "method": METHOD,
                }
            found.append({"frames": clips[label], "is_repeat": is_repeat, **facts})
        return found

    def blended(self, item: Number) -> tuple[BlendedPair, Choice]:
        """The pair of a number below ``num_pairs``, before any augmentation.

        Raises:
            StoreError: the clip's files cannot be read.
        """
        choice = self.choose(item)
        if choice.generator is None:
            # Not hash(), which differs from process to process. Each window has the draw of one that begins at frame 0:
            # a video is one forger's, and a mean over several forgeries of it would be easier to tell.
            seed = zlib.crc32(f"{choice.facts['video_id']}/{choice.facts['track']}/0".encode())
        else:
            seed = int(torch.randint(2**62, (), generator=choice.generator))
        rng = np.random.default_rng(seed)
        fractions = read_landmarks(self.store / choice.path, choice.indices)
        frames = self.read(choice)
        landmarks = fractions * frames.shape[1]
        if choice.num_frames == 1:
            frames, landmarks = moving_still(frames[0], landmarks[0], self.clip_len, rng)
        else:
            # Where a short track repeats its last frame, nothing trembles in the fake: motion alone would tell it.
            num_read = len(set(choice.indices))
            frames, landmarks = frames[:num_read], landmarks[:num_read]
        return _held(self_blend(frames, landmarks, rng, self.blend), self.clip_len), choice

    def _pair(self, item: Number) -> tuple[tuple[Tensor, Tensor], Choice]:
        pair, choice = self.blended(item)
        state = None if choice.generator is None else choice.generator.get_state()
        real = self.finish(as_tensor(pair.real), choice)
        if choice.generator is not None and state is not None:
            choice.generator.set_state(state)
        return (real, self.finish(as_tensor(pair.fake), choice)), choice


def _held(pair: BlendedPair, num_frames: int) -> BlendedPair:
    """The pair with its last frames held until there are ``num_frames``."""
    missing = num_frames - len(pair.real)
    if not missing:
        return pair
    real, fake, target = (np.pad(a, ((0, missing), *[(0, 0)] * 3), "edge") for a in (pair.real, pair.fake, pair.target))
    mask = np.pad(pair.mask, ((0, missing), (0, 0), (0, 0)), "edge")
    return BlendedPair(real=real, fake=fake, target=target, mask=mask, region=pair.region)


def fake_id(video_id: str) -> str:
    """The ``video_id`` of the fake made of a real video.

    >>> fake_id("a-1234")
    'a-1234+self_blend'
    """
    return f"{video_id}+{METHOD}"


class PairSampler(Sampler[tuple[int, int]]):
    """For each pair that another sampler draws, its real item and its fake one, with the same seed."""

    def __init__(self, pairs: Sampler[tuple[int, int]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return 2 * len(self.pairs)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        self.pairs.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number, seed in self.pairs:
            yield 2 * number, seed
            yield 2 * number + 1, seed


class BlendDataModule(ClipDataModule):
    """Real clips of a store, and fakes made of them while they are read. Fakes of the store are not used.

    Args:
        store: folder that ``python -m dfd.preprocess`` made, of videos (``source=...``), photographs
            (``source=stills``) or both.
        blend: how fakes are made: arguments of :class:`dfd.data.blend.BlendSettings`; None, as nothing, stands for its
            default.
        proportions: how often each data set of the store is drawn in training, by its name; weights, of any sum. None:
            each as often as it has faces.
        batch_size: clips per batch in each process, half of them real: an even number.
        options: as for :class:`~dfd.data.module.ClipDataModule`.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        blend: Mapping[str, Any] | None = None,
        proportions: Mapping[str, float] | None = None,
        clip_len: int = 10,
        clip_stride: int | Sequence[int] = 1,
        batch_size: int = 8,
        tracks: str = "main",
        num_eval_clips: int = 1,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        seed: int | None = 0,
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        multiprocessing_context: str | None = None,
        cache_frames: bool = False,
        reader: str = "decord",
    ) -> None:
        super().__init__(
            store,
            clip_len=clip_len,
            clip_stride=clip_stride,
            batch_size=batch_size,
            tracks=tracks,
            num_eval_clips=num_eval_clips,
            augmentation=augmentation,
            seed=seed,
            num_workers=num_workers,
            pin_memory=pin_memory,
            multiprocessing_context=multiprocessing_context,
            cache_frames=cache_frames,
            reader=reader,
        )
        if batch_size % 2:
            raise ValueError(f"batch_size must be even, a fake for each real clip, got {batch_size}")
        self.blend = BlendSettings(**{name: value for name, value in (blend or {}).items() if value is not None})
        if proportions is not None and not is_weights(proportions):
            raise ValueError(f"proportions must be a weight for each data set, {{name: number}}, got {proportions!r}")
        self.proportions = None if proportions is None else dict(proportions)
        if self.proportions is not None and not (
            all(weight >= 0 for weight in self.proportions.values()) and sum(self.proportions.values()) > 0
        ):
            raise ValueError(f"proportions must be weights from 0, some above it, got {self.proportions}")

    @property
    def is_whole(self) -> bool:
        """False: there are rows of the store without a face that would have to be called fake, too."""
        return False

    def dataset(self, split: str, *, training: bool = False) -> BlendDataset:
        """The pairs of one split.

        Raises:
            ValueError: there is no such split.
        """
        return BlendDataset(self.store, self._rows(split), blend=self.blend, **self._clip_options(training))

    def summary(self) -> dict[str, Any]:
        """As of any store, and how the fakes were made."""
        return {**super().summary(), "blend": {**asdict(self.blend), "proportions": self.proportions}}

    def _chosen(self, index: pd.DataFrame) -> pd.DataFrame:
        real = index[index["label"] == str(Label.REAL)]
        if not len(real):
            raise StoreError(f"{self.store}: it holds no real video, of which fakes could be made")
        return super()._chosen(real)

    def _check_labels(self) -> None:
        if self.proportions is None:
            return
        there = set(self.index.loc[self.index["split"] == "train", "dataset"])
        if unknown := sorted(set(self.proportions) - there):
            raise StoreError(
                f"{self.store}: data.proportions names {unknown[0]!r}, but the training split has real videos of "
                f"{', '.join(sorted(there))}"
            )

    def _sampler(self, dataset: ClipDataset, *, seed: int, epoch: int) -> ClipSampler:
        weights = None
        if self.proportions is not None:
            counts = Counter(dataset.dataset_names)
            weights = torch.tensor(
                [self.proportions.get(name, 0.0) / counts[name] for name in dataset.dataset_names], dtype=torch.float64
            )
        return ClipSampler(len(dataset) // 2, seed=seed, epoch=epoch, weights=weights)

    def _in_batches(self, share: Sampler[Any]) -> Sampler[Any]:
        return PairSampler(share)
