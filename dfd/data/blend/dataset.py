"""Data set of real clips and the fakes made from them."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dfd.base.types import FloatArray, FrameArray, Label
from dfd.data.blend.families import FAMILIES, Blends
from dfd.data.blend.geometry import BlendedPair, moving_still
from dfd.data.clips.batches import ClipItem, ClipParts, as_tensor
from dfd.data.clips.dataset import Choice, ClipDataset
from dfd.data.clips.samplers import Repeat
from dfd.data.clips.tracks import read_landmarks

Number = int | tuple[int, int]


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
        masks: give each item the mask of its blend, which is 0 for a real clip.
        options: further arguments of :class:`~dfd.data.clips.dataset.ClipDataset`.
    """

    SHORT_TRACKS = "photographs are moved about, others repeat their last frame"

    def __init__(
        self, store: str | Path, index: pd.DataFrame, *, blend: Blends, masks: bool = False, **options: Any
    ) -> None:
        super().__init__(store, index, **options)
        self.blend = blend
        self.masks = masks

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
        pairs: dict[Number, tuple[tuple[ClipParts, ClipParts], str, Choice]] = {}
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
            found.append({"is_repeat": is_repeat, **clips[label], **facts})  # type: ignore[typeddict-item]
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

    def _pair(self, item: Number) -> tuple[tuple[ClipParts, ClipParts], str, Choice]:
        pair, choice = self.blended(item)
        state = None if choice.generator is None else choice.generator.get_state()
        real, fake = (self._parts(frames, pair.landmarks) for frames in (pair.real, pair.fake))
        if self.masks:
            fake["masks"] = torch.from_numpy(pair.mask)
            real["masks"] = torch.zeros_like(fake["masks"])
        real = self.finish(real, choice)
        if choice.generator is not None and state is not None:
            choice.generator.set_state(state)
        return (real, self.finish(fake, choice)), pair.method, choice

    def _parts(self, frames: FrameArray, landmarks: FloatArray | None) -> ClipParts:
        parts: ClipParts = {"frames": as_tensor(frames)}
        if self.landmarks and landmarks is not None:
            parts["landmarks"] = torch.from_numpy(landmarks.astype(np.float32))
        return parts


def _held(pair: BlendedPair, num_frames: int) -> BlendedPair:
    """Repeat the pair's last frames until there are ``num_frames``."""
    if num_frames == len(pair.real):
        return pair
    arrays = {name: getattr(pair, name) for name in ("real", "fake", "target", "mask", "landmarks")}
    held: dict[str, Any] = {
        name: _last_repeated(array, num_frames) for name, array in arrays.items() if array is not None
    }
    return replace(pair, **held)


def _last_repeated(array: NDArray[Any], num_entries: int) -> NDArray[Any]:
    """Repeat the last entry until there are ``num_entries``."""
    return np.pad(array, ((0, num_entries - len(array)), *[(0, 0)] * (array.ndim - 1)), "edge")


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
