"""Clips for training and evaluation, decoded on demand from a clip store."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dfd.base.errors import StoreError, UnreadableVideo, VideoTooLarge
from dfd.base.types import FrameArray
from dfd.data.clips.arrays import read_entries
from dfd.data.clips.batches import ClipItem, ClipParts, TrackFacts, as_tensor
from dfd.data.clips.reader import READER, READERS, check_clip, read_frames_of
from dfd.data.clips.samplers import Repeat
from dfd.data.clips.tracks import _Tracks, read_landmarks
from dfd.data.store.records import INDEX_NAME
from dfd.video.sampling import clip_frame_indices, random_start, window_starts

CLIP_LEN, TRACKS = 10, "main"
"""Unless told otherwise."""
TRACK_CHOICES = (TRACKS, "all")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """Selection of an item's frames: the clip's path in the store and indices among its ``num_frames`` frames.

    ``generator`` continues the item's draw; None in evaluation, where nothing is drawn. ``frames_file`` holds the
    clip's decoded frames, if they are kept.
    """

    position: int
    """Position of the clip's track in the data set."""
    path: str
    indices: list[int]
    num_frames: int
    facts: TrackFacts
    generator: torch.Generator | None
    frames_file: Path | None


class ClipDataset(Dataset[ClipItem]):
    """Clips of the rows of an index.

    In training there is one item per face track; each access draws a new start (and stride, if ``clip_stride`` is a
    range) and applies ``transform``. Otherwise there are up to ``num_eval_clips`` fixed items per track, evenly spaced
    over it, with the middle of a stride range.

    An item is requested by its number or by ``(number, seed)``, as :class:`~dfd.data.clips.samplers.ClipSampler` does.
    With a seed the draw depends on nothing else and is the same with any number of workers; without one it comes from
    torch's generator. An item requested as a :class:`~dfd.data.clips.samplers.Repeat` has ``is_repeat`` set.

    A track with too few frames repeats its last one; the number of such tracks is logged once.

    Args:
        store: folder of the clip store.
        index: rows of its index, from :func:`dfd.data.store.tables.read_index`.
        clip_len: frames per clip.
        clip_stride: distance between consecutive frames, or a range ``(low, high)`` to draw from in training.
        training: True for random clips and augmentation, False for fixed clips.
        tracks: ``"main"``, the face that represents the video, or ``"all"``.
        num_eval_clips: maximum number of clips per track when not training.
        transform: function of uint8 (T, C, H, W) that keeps shape and type; used in training.
        disturb: function of a clip, uint8 (T, C, H, W), and its name (video, track and first frame) that keeps shape
            and type; used when not training. See :class:`dfd.data.augment.disturbances.Disturb`.
        frame_files: files of decoded frames, by the clip's path in the store; other clips are decoded. See
            :class:`dfd.data.clips.frames.FrameCache`.
        reader: decoder of the clips, one of :data:`dfd.data.clips.reader.READERS`.
        landmarks: give each item the landmarks of its frames. ``transform`` then needs a method ``together``; see
            :class:`dfd.data.augment.transforms.Augmentation`.

    Raises:
        ValueError: an argument is out of range.
    """

    SHORT_TRACKS = "they repeat their last frame"

    def __init__(
        self,
        store: str | Path,
        index: pd.DataFrame,
        *,
        clip_len: int = CLIP_LEN,
        clip_stride: int | Sequence[int] = 1,
        training: bool = False,
        tracks: str = TRACKS,
        num_eval_clips: int = 1,
        transform: Callable[[Tensor], Tensor] | None = None,
        disturb: Callable[[Tensor, str], Tensor] | None = None,
        frame_files: Mapping[str, Path] | None = None,
        reader: str = READER,
        landmarks: bool = False,
    ) -> None:
        if reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")
        if tracks not in TRACK_CHOICES:
            raise ValueError(f"tracks must be one of {', '.join(TRACK_CHOICES)}, got {tracks!r}")
        for name, value in {"clip_len": clip_len, "num_eval_clips": num_eval_clips}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.store = Path(store)
        self.clip_len = clip_len
        self.strides = stride_range(clip_stride)
        self.training = training
        self.transform = transform
        self.disturb = disturb
        self.landmarks = landmarks
        chosen = index if tracks == "all" else index[index["is_main"]]
        self.reader = reader
        self._tracks = _Tracks(chosen, frame_files or {})
        # Shared by the worker processes, so that each clip is checked once per run, not by every worker in every epoch.
        self._is_checked = torch.zeros(len(self._tracks), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
        lengths, length_of = np.unique(self._tracks.num_frames, return_inverse=True)
        stride = self.strides[0] if training else eval_stride(clip_stride)
        self._position = np.arange(len(self._tracks), dtype=np.int32)
        """Position of each item's track in ``_tracks``."""
        self._start = np.zeros(len(self._tracks), np.int32)
        """First frame of each item; drawn at each access in training."""
        if not training:
            starts = [
                window_starts(n, clip_len=clip_len, stride=stride, num_windows=num_eval_clips) for n in lengths.tolist()
            ]
            self._position = self._position.repeat([len(starts[length]) for length in length_of])
            self._start = np.array([start for length in length_of for start in starts[length]], np.int32)
        self._eval_stride = stride
        span = (clip_len - 1) * stride + 1
        num_short = int((self._tracks.num_frames < span).sum())
        if num_short:
            logger.info(
                f"{num_short} of {len(self._tracks)} face tracks have fewer than the {span} frames that a clip spans; "
                f"{self.SHORT_TRACKS}"
            )

    def __len__(self) -> int:
        return len(self._position)

    @property
    def labels(self) -> list[int]:
        """Label of each item, in order."""
        labels: list[int] = self._tracks.label[self._position].tolist()
        return labels

    @property
    def video_ids(self) -> list[str]:
        """Video id of each item, in order."""
        return [self._tracks.video_id(position) for position in self._position.tolist()]

    @property
    def groups(self) -> tuple[list[str], list[int], list[str]]:
        """Data set, label and method of each item, as :func:`~dfd.data.clips.samplers.drawing_weights` takes them."""
        facts = [self._tracks.facts(position) for position in self._position.tolist()]
        return [one["dataset"] for one in facts], [one["label"] for one in facts], [one["method"] for one in facts]

    def __getitem__(self, item: int | tuple[int, int] | Repeat) -> ClipItem:
        """Read one item.

        Raises:
            StoreError: the clip's file cannot be read; it is never replaced by another.
        """
        is_repeat = isinstance(item, Repeat)
        choice = self.choose(item.number if isinstance(item, Repeat) else item)
        clip: ClipParts = {"frames": as_tensor(self.read(choice))}
        if self.landmarks:
            fractions = read_landmarks(self.store / choice.path, choice.indices)
            clip["landmarks"] = torch.from_numpy(fractions * clip["frames"].shape[-1])
        seconds = torch.tensor(choice.indices, dtype=torch.float64) / float(self._tracks.fps[choice.position])
        return {"seconds": seconds, "is_repeat": is_repeat, **self.finish(clip, choice), **choice.facts}

    def read(self, choice: Choice) -> FrameArray:
        """Read the chosen frames, (T, H, W, 3).

        Raises:
            StoreError: the clip's file, or the file of its decoded frames, cannot be read.
        """
        if choice.frames_file is not None:
            return read_entries(choice.frames_file, choice.indices)
        clip = self.store / choice.path
        if not self._is_checked[choice.position]:
            check_clip(clip)
            self._is_checked[choice.position] = True
        return read_frames(clip, choice.indices, reader=self.reader)

    def choose(self, item: int | tuple[int, int]) -> Choice:
        """Choose the frames of an item, at random in training, without reading them."""
        number, seed = item if isinstance(item, tuple) else (item, None)
        position, start = int(self._position[number]), int(self._start[number])
        num_frames = int(self._tracks.num_frames[position])
        stride = self._eval_stride
        generator = None
        if self.training:
            generator = torch.Generator()
            generator.manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
            stride = self._draw_stride(num_frames, generator)
            draw = partial(_draw, generator)
            start = random_start(num_frames, clip_len=self.clip_len, stride=stride, draw=draw)
        indices = clip_frame_indices(num_frames, clip_len=self.clip_len, stride=stride, start=start)
        return Choice(
            position,
            self._tracks.path(position),
            indices,
            num_frames,
            self._tracks.facts(position),
            generator,
            self._tracks.frames_file(position),
        )

    def _draw_stride(self, num_frames: int, generator: torch.Generator) -> int:
        """Stride from the range, limited so that a clip repeats frames only if the smallest stride does, too."""
        low, high = self.strides
        fitting = (num_frames - 1) // (self.clip_len - 1) if self.clip_len > 1 else low
        high = max(low, min(high, fitting))
        return int(torch.randint(low, high + 1, (), generator=generator))

    def finish(self, clip: ClipParts, choice: Choice) -> ClipParts:
        """Apply ``transform`` with the item's draw in training, else ``disturb``, which moves no pixels.

        Raises:
            ValueError: the transform changes the clip's shape or type.
        """
        if choice.generator is not None:
            return clip if self.transform is None else self._augment(clip, self.transform, choice.generator)
        if self.disturb is not None:
            name = f"{choice.facts['video_id']}/{choice.facts['track']}/{choice.indices[0]}"
            return {**clip, "frames": self.disturb(clip["frames"], name)}
        return clip

    @staticmethod
    def _augment(clip: ClipParts, transform: Callable[[Tensor], Tensor], generator: torch.Generator) -> ClipParts:
        # torchvision draws from the global generator. Only the CPU's is seeded: torch.manual_seed would also reseed the
        # GPU's, and with it the model's dropout.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            together: Any = getattr(transform, "together", None)
            augmented: ClipParts = together(clip) if len(clip) > 1 else {"frames": transform(clip["frames"])}
        before, after = clip["frames"], augmented["frames"]
        if after.shape != before.shape or after.dtype != before.dtype:
            raise ValueError(
                f"the augmentation turned {before.dtype} {tuple(before.shape)} into {after.dtype} "
                f"{tuple(after.shape)}; it must keep both"
            )
        return augmented


def _draw(generator: torch.Generator, most: int) -> int:
    return int(torch.randint(most, (), generator=generator))


def read_frames(clip: Path, indices: Sequence[int], *, reader: str = READER) -> FrameArray:
    """Read frames of a store's clip, (T, H, W, 3), with one of :data:`dfd.data.clips.reader.READERS`.

    Raises:
        StoreError: the clip is missing, damaged or shorter than the index says.
    """
    remedy = f"delete {clip.parent} and run the preprocessing again"
    try:
        return read_frames_of(clip, indices, reader=reader)
    except IndexError as error:
        raise StoreError(f"{clip}: it is shorter than {INDEX_NAME} says ({error}); {remedy}") from error
    except (UnreadableVideo, VideoTooLarge) as error:
        raise StoreError(f"clip cannot be read: {error}; {remedy}") from error


def read_whole(clip: Path, num_frames: int, *, reader: str = READER) -> FrameArray:
    """Check a clip of a store and read all its frames, (T, H, W, 3); errors as for :func:`check_clip`."""
    check_clip(clip)
    return read_frames(clip, range(num_frames), reader=reader)


def stride_range(clip_stride: int | Sequence[int]) -> tuple[int, int]:
    """Range ``(low, high)`` of a stride.

    >>> stride_range(2), stride_range([1, 3])
    ((2, 2), (1, 3))

    Raises:
        ValueError: ``clip_stride`` is neither a whole number from 1 nor a range of such numbers.
    """
    values = (clip_stride, clip_stride) if isinstance(clip_stride, int) else tuple(clip_stride)
    if len(values) != 2 or not all(isinstance(value, int) for value in values) or not 1 <= values[0] <= values[1]:
        raise ValueError(f"clip_stride must be a number from 1 or a range [low, high], got {clip_stride!r}")
    return values[0], values[1]


def eval_stride(clip_stride: int | Sequence[int]) -> int:
    """Stride of evaluation and prediction: the middle of the range, rounded down.

    >>> eval_stride(2), eval_stride((1, 4))
    (2, 2)
    """
    return sum(stride_range(clip_stride)) // 2
