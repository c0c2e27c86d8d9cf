"""Data set of real clips and the fakes made from them."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Sampler

from dfd.base.errors import StoreError
from dfd.base.types import FloatArray, Label
from dfd.data.blend.families import FAMILIES, Blends
from dfd.data.blend.geometry import BlendedPair, moving_still
from dfd.data.clips.batches import ClipItem, as_tensor
from dfd.data.clips.dataset import Choice, ClipDataset
from dfd.data.clips.samplers import Repeat
from dfd.data.store.folders import read_geometry, read_record
from dfd.faces.extract import ExtractionSettings

Number = int | tuple[int, int]


def read_landmarks(clip: Path, indices: Sequence[int]) -> FloatArray:
    """Landmarks of the face in frames of a store's clip, (T, 5, 2), as fractions of the crop's side.

    Raises:
        StoreError: the clip's geometry or the record of its video is missing or damaged.
    """
    record = read_record(clip.parent)
    faces = record.settings.get("faces") if record else None
    if record is None or not isinstance(faces, dict) or not record.width or not record.height:
        raise StoreError(
            f"{clip.parent}: its record does not say how the faces were cropped, which blending needs; delete it and "
            "run the preprocessing again"
        )
    crop = ExtractionSettings.from_dict(faces).crop
    geometry = read_geometry(clip)
    if len(geometry.landmarks) <= max(indices):
        raise StoreError(
            f"{clip.with_suffix('.npy')}: it is shorter than the clip; delete {clip.parent} and run the preprocessing "
            "again"
        )
    points = np.empty((len(indices), 5, 2), np.float32)
    for i, index in enumerate(indices):
        box, landmarks = geometry.boxes_xyxy[index], geometry.landmarks[index]
        matrix = crop.matrix(box, landmarks, width=record.width, height=record.height)
        points[i] = (landmarks @ matrix[:, :2].T + matrix[:, 2]) / crop.size
    return points


class BlendDataset(ClipDataset):
    """Two items per real clip: item ``2 k`` is the real clip, item ``2 k + 1`` the fake made from it.

    Both get the same augmentation draw. If they are requested together, as :class:`PairSampler` arranges, they are read
    and blended once. In evaluation a blend depends only on the video's name and the track's number, so every run and
    every detector is measured on the same fakes, and all windows of a video are blended in the same way.

    A fake's ``video_id`` is that of the real video followed by ``+`` and the fake's method. A photograph becomes a clip
    by :func:`dfd.data.blend.geometry.moving_still`.

    Args:
        store: folder of the clip store.
        index: rows of real clips.
        blend: families of the fakes and how they are made.
        options: further arguments of :class:`~dfd.data.clips.dataset.ClipDataset`.
    """

    SHORT_TRACKS = "photographs are moved about, others repeat their last frame"

    def __init__(self, store: str | Path, index: pd.DataFrame, *, blend: Blends, **options: Any) -> None:
        super().__init__(store, index, **options)
        self.blend = blend

    @property
    def num_pairs(self) -> int:
        """Number of pairs: half the number of items."""
        return super().__len__()

    def __len__(self) -> int:
        return 2 * self.num_pairs

    @property
    def labels(self) -> list[int]:
        """Label of each item, in order."""
        return [int(Label.REAL), int(Label.FAKE)] * self.num_pairs

    @property
    def video_ids(self) -> list[str]:
        """Video id of each item, in order; in training, where families are drawn anew, as in evaluation."""
        tracks = self._tracks.track[self._position].tolist()
        ids = zip(super().video_ids, tracks, strict=True)
        return [
            name for video_id, track in ids for name in (video_id, fake_id(video_id, self._method(video_id, track)))
        ]

    def _method(self, video_id: str, track: int) -> str:
        """Method of the fake of a track in evaluation."""
        return FAMILIES[self.blend.draw(_eval_seed(video_id, track))].method

    def __getitem__(self, item: Number | Repeat) -> ClipItem:
        """Read one item.

        Raises:
            StoreError: the clip's files cannot be read.
        """
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[Number | Repeat]) -> list[ClipItem]:
        """Read the items of one batch; each pair is made once.

        Raises:
            StoreError: a clip's files cannot be read.
        """
        pairs: dict[Number, tuple[tuple[Tensor, Tensor], str, Choice]] = {}
        found: list[ClipItem] = []
        for item in items:
            is_repeat = isinstance(item, Repeat)
            number = item.number if isinstance(item, Repeat) else item
            place, label = divmod(number[0] if isinstance(number, tuple) else number, 2)
            key: Number = (place, number[1]) if isinstance(number, tuple) else place
            # Without a seed, each access to a training item makes a new draw.
            if key not in pairs or (self.training and not isinstance(key, tuple)):
                pairs[key] = self._pair(key)
            clips, method, choice = pairs[key]
            facts = choice.facts
            if label == Label.FAKE:
                video_id = fake_id(facts["video_id"], method)
                facts = {**facts, "label": int(Label.FAKE), "video_id": video_id, "method": method}
            found.append({"frames": clips[label], "is_repeat": is_repeat, **facts})  # type: ignore[typeddict-item]
        return found

    def blended(self, item: Number) -> tuple[BlendedPair, Choice]:
        """Pair number ``item``, below ``num_pairs``, before augmentation.

        Raises:
            StoreError: the clip's files cannot be read.
        """
        choice = self.choose(item)
        if choice.generator is None:
            seed = _eval_seed(choice.facts["video_id"], choice.facts["track"])
        else:
            seed = int(torch.randint(2**62, (), generator=choice.generator))
        rng = np.random.default_rng(seed)
        fractions = read_landmarks(self.store / choice.path, choice.indices)
        frames = self.read(choice)
        landmarks = fractions * frames.shape[1]
        if choice.num_frames == 1:
            frames, landmarks = moving_still(frames[0], landmarks[0], self.clip_len, rng)
        else:
            # Repeated last frames of a short track must not jitter, or motion alone would reveal the fake.
            num_read = len(set(choice.indices))
            frames, landmarks = frames[:num_read], landmarks[:num_read]
        return _held(self.blend.make(self.blend.draw(seed), frames, landmarks, rng), self.clip_len), choice

    def _pair(self, item: Number) -> tuple[tuple[Tensor, Tensor], str, Choice]:
        pair, choice = self.blended(item)
        state = None if choice.generator is None else choice.generator.get_state()
        real = self.finish(as_tensor(pair.real), choice)
        if choice.generator is not None and state is not None:
            choice.generator.set_state(state)
        return (real, self.finish(as_tensor(pair.fake), choice)), pair.method, choice


def _held(pair: BlendedPair, num_frames: int) -> BlendedPair:
    """Repeat the pair's last frames until there are ``num_frames``."""
    missing = num_frames - len(pair.real)
    if not missing:
        return pair
    real, fake, target = (np.pad(a, ((0, missing), *[(0, 0)] * 3), "edge") for a in (pair.real, pair.fake, pair.target))
    mask = np.pad(pair.mask, ((0, missing), (0, 0), (0, 0)), "edge")
    return replace(pair, real=real, fake=fake, target=target, mask=mask)


def _eval_seed(video_id: str, track: int) -> int:
    """Seed of a track's fakes in evaluation.

    All windows share the draw of the one at frame 0: a video has one forger, and a mean over several forgeries of it
    would be easier to detect.
    """
    return zlib.crc32(f"{video_id}/{track}/0".encode())  # not hash(), which differs between processes


def fake_id(video_id: str, method: str) -> str:
    """``video_id`` of the fake made from a real video.

    >>> fake_id("a-1234", "self_blend")
    'a-1234+self_blend'
    """
    return f"{video_id}+{method}"


class PairSampler(Sampler[tuple[int, int]]):
    """Sampler that yields the real and the fake item of each pair that another sampler draws, with the same seed."""

    def __init__(self, pairs: Sampler[tuple[int, int]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return 2 * len(self.pairs)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.pairs.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number, seed in self.pairs:
            yield 2 * number, seed
            yield 2 * number + 1, seed
