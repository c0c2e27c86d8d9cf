"""Clips for training and evaluation, decoded from a clip store when they are asked for."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, Sampler

from dfd.data.clip_arrays import read_entries
from dfd.data.clip_check import check_clip
from dfd.data.store import INDEX_NAME
from dfd.errors import StoreError, UnreadableVideo, VideoTooLarge
from dfd.types import BatchFacts, ClipBatch, FrameArray, Label
from dfd.video.clip_reader import READERS, read_frames_of
from dfd.video.sampling import clip_frame_indices, random_start, window_starts

TRACK_CHOICES = ("main", "all")

logger = logging.getLogger(__name__)


class TrackFacts(TypedDict):
    """What a clip was cut from."""

    label: int
    video_id: str
    track: int
    dataset: str
    method: str


class CountedFacts(TrackFacts):
    """And whether it only fills up a share (see :class:`Repeat`)."""

    is_repeat: bool


class ClipItem(CountedFacts):
    """One clip: ``frames`` uint8 (T, C, H, W), RGB, and what it was cut from. :func:`collate` makes a batch of them."""

    frames: Tensor


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item that is asked for once more, to make the shares of several processes even; not to be counted."""

    number: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What an item is made of: the clip's path in the store, which of its ``num_frames`` frames, and what it shows.

    ``generator`` goes on with the item's draw; None in evaluation, where nothing is drawn. ``frames_file`` has the
    clip's frames decoded, if they are kept.
    """

    position: int
    """Position of the clip's track among those of the data set."""
    path: str
    indices: list[int]
    num_frames: int
    facts: TrackFacts
    generator: torch.Generator | None
    frames_file: Path | None


class _Tracks:
    """The rows of an index, as far as they are needed to read clips, in arrays.

    Every worker process holds all of them. As Python objects they would take five times the room, and a worker that is
    forked would come to hold a copy: whoever looks at an object writes its count of references.
    """

    def __init__(self, rows: pd.DataFrame, frame_files: Mapping[str, Path]) -> None:
        labels = {name: int(Label.parse(name)) for name in rows["label"].unique()}
        self.label = rows["label"].map(labels).to_numpy(np.int8)
        self.num_frames = rows["num_frames"].to_numpy(np.int32)
        self.track = rows["track"].to_numpy(np.int32)
        self._path, self._video_id = _texts(rows["path"]), _texts(rows["video_id"])
        self._frames_file = _texts(rows["path"].map(lambda path: str(frame_files.get(path, ""))))
        self._dataset, self._datasets = _codes(rows["dataset"])
        self._method, self._methods = _codes(rows["method"])

    def __len__(self) -> int:
        return len(self.label)

    def path(self, position: int) -> str:
        """Of the clip, from the store's folder."""
        return _text(self._path[position])

    def frames_file(self, position: int) -> Path | None:
        """Of the clip's decoded frames, if they are kept."""
        name = _text(self._frames_file[position])
        return Path(name) if name else None

    def video_id(self, position: int) -> str:
        """Of the video."""
        return _text(self._video_id[position])

    def facts(self, position: int) -> TrackFacts:
        """What an item says of its track, beside the frames."""
        return {
            "label": int(self.label[position]),
            "video_id": self.video_id(position),
            "track": int(self.track[position]),
            "dataset": self._datasets[self._dataset[position]],
            "method": self._methods[self._method[position]],
        }


def _texts(column: pd.Series) -> NDArray[np.bytes_]:
    return np.array([text.encode(errors="surrogateescape") for text in column.tolist()], np.bytes_)


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _codes(column: pd.Series) -> tuple[NDArray[np.int32], list[str]]:
    codes, names = pd.factorize(column)
    return codes.astype(np.int32), names.tolist()


class ClipDataset(Dataset[ClipItem]):
    """The clips of an index's rows.

    In training there is one item per face track, and each access draws its start (and its stride, if ``clip_stride`` is
    a range) anew and applies ``transform``. Otherwise there are up to ``num_eval_clips`` items per track, evenly spaced
    over it and always the same; of a stride's range they take the middle.

    An item is asked for by its number or by ``(number, seed)``, as :class:`ClipSampler` does. With a seed the draw
    depends on nothing else, so it is the same with any number of workers; without, it comes from torch's generator.
    Asked for as a :class:`Repeat`, it says ``is_repeat``.

    A track with too few frames repeats its last one. How many do so is logged, once.

    Args:
        store: folder of the clip store.
        index: rows of its index, as :func:`dfd.data.store.read_index` gives them.
        clip_len: frames per clip.
        clip_stride: from one frame to the next, or a range ``(low, high)`` to draw from in training.
        training: random clips and augmentation, or fixed ones.
        tracks: ``"main"``, the face that stands for the video, or ``"all"``.
        num_eval_clips: at most so many per track when not training.
        transform: from uint8 (T, C, H, W) to the same shape and type; used in training.
        disturb: of a clip, uint8 (T, C, H, W), and its name, which says the video, track and first frame; gives the
            same shape and type. Used when not training: see :class:`dfd.data.disturbances.Disturb`.
        frame_files: where the frames of clips are kept decoded, by the clip's path in the store: see
            :class:`dfd.data.frames.FrameCache`. Other clips are decoded.
        reader: of clips that are decoded, one of :data:`dfd.video.clip_reader.READERS`.

    Raises:
        ValueError: an argument is out of range.
    """

    SHORT_TRACKS = "they repeat their last frame"

    def __init__(
        self,
        store: str | Path,
        index: pd.DataFrame,
        *,
        clip_len: int = 10,
        clip_stride: int | Sequence[int] = 1,
        training: bool = False,
        tracks: str = "main",
        num_eval_clips: int = 1,
        transform: Callable[[Tensor], Tensor] | None = None,
        disturb: Callable[[Tensor, str], Tensor] | None = None,
        frame_files: Mapping[str, Path] | None = None,
        reader: str = "decord",
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
        chosen = index if tracks == "all" else index[index["is_main"]]
        self.reader = reader
        self._tracks = _Tracks(chosen, frame_files or {})
        # Worker processes share it, so that each clip is checked once in a run and not by every worker in every epoch.
        self._is_checked = torch.zeros(len(self._tracks), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
        lengths, length_of = np.unique(self._tracks.num_frames, return_inverse=True)
        stride = self.strides[0] if training else eval_stride(clip_stride)
        self._position = np.arange(len(self._tracks), dtype=np.int32)
        """Of each item, in ``_tracks``."""
        self._start = np.zeros(len(self._tracks), np.int32)
        """Of each item, its first frame; drawn anew when training."""
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
                "%d of %d face tracks have fewer than the %d frames that a clip spans; %s",
                num_short,
                len(self._tracks),
                span,
                self.SHORT_TRACKS,
            )

    def __len__(self) -> int:
        return len(self._position)

    @property
    def labels(self) -> list[int]:
        """Of each item, in order."""
        labels: list[int] = self._tracks.label[self._position].tolist()
        return labels

    @property
    def video_ids(self) -> list[str]:
        """Of each item, in order."""
        return [self._tracks.video_id(position) for position in self._position.tolist()]

    @property
    def dataset_names(self) -> list[str]:
        """Of each clip, in order."""
        return [self._tracks.facts(position)["dataset"] for position in self._position.tolist()]

    def __getitem__(self, item: int | tuple[int, int] | Repeat) -> ClipItem:
        """Raises:
        StoreError: the clip's file cannot be read; it is never replaced by another.
        """
        is_repeat = isinstance(item, Repeat)
        choice = self.choose(item.number if isinstance(item, Repeat) else item)
        frames = self.finish(as_tensor(self.read(choice)), choice)
        return {"frames": frames, "is_repeat": is_repeat, **choice.facts}

    def read(self, choice: Choice) -> FrameArray:
        """The frames that were chosen, (T, H, W, 3).

        Raises:
            StoreError: the clip's file, or that of its decoded frames, cannot be read.
        """
        if choice.frames_file is not None:
            return read_entries(choice.frames_file, choice.indices)
        clip = self.store / choice.path
        if not self._is_checked[choice.position]:
            check_clip(clip)
            self._is_checked[choice.position] = True
        return read_frames(clip, choice.indices, reader=self.reader)

    def choose(self, item: int | tuple[int, int]) -> Choice:
        """Which frames of which clip an item has, drawn if this is for training; nothing is read."""
        number, seed = item if isinstance(item, tuple) else (item, None)
        position, start = int(self._position[number]), int(self._start[number])
        num_frames = int(self._tracks.num_frames[position])
        stride = self._eval_stride
        generator = None
        if self.training:
            generator = torch.Generator()
            generator.manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
            stride = self._draw_stride(num_frames, generator)
            start = random_start(num_frames, clip_len=self.clip_len, stride=stride, generator=generator)
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
        """From the range, but none that would make a clip repeat frames if a smaller one does not."""
        low, high = self.strides
        fitting = (num_frames - 1) // (self.clip_len - 1) if self.clip_len > 1 else low
        high = max(low, min(high, fitting))
        return int(torch.randint(low, high + 1, (), generator=generator))

    def finish(self, frames_TCHW: Tensor, choice: Choice) -> Tensor:
        """The clip of an item: through ``transform`` by the item's draw in training, else through ``disturb``.

        Raises:
            ValueError: the transform changes the clip's shape or type.
        """
        if choice.generator is not None:
            return (
                frames_TCHW if self.transform is None else self._augment(frames_TCHW, self.transform, choice.generator)
            )
        if self.disturb is not None:
            return self.disturb(frames_TCHW, f"{choice.facts['video_id']}/{choice.facts['track']}/{choice.indices[0]}")
        return frames_TCHW

    @staticmethod
    def _augment(frames_TCHW: Tensor, transform: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
        # torchvision draws from the global generator. Only the CPU's is lent: torch.manual_seed would reseed the GPU's,
        # too, and with it the model's dropout.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            augmented = transform(frames_TCHW)
        if augmented.shape != frames_TCHW.shape or augmented.dtype != frames_TCHW.dtype:
            raise ValueError(
                f"the augmentation turned {frames_TCHW.dtype} {tuple(frames_TCHW.shape)} into {augmented.dtype} "
                f"{tuple(augmented.shape)}; it must keep both"
            )
        return augmented


def as_tensor(frames: FrameArray) -> Tensor:
    """Frames (T, H, W, 3) as the clip that networks take, uint8 (T, C, H, W)."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


class ClipSampler(Sampler[tuple[int, int]]):
    """Every item once per epoch, shuffled, each with the seed of its draw.

    The order and the seeds depend on ``seed`` and the epoch alone: the same in every process of a distributed run and
    after a resume. Lightning sets the epoch; without it, it advances by itself. With ``weights``, one per item, as many
    items are drawn with replacement, in proportion to them.
    """

    def __init__(self, num_items: int, *, seed: int = 0, epoch: int = 0, weights: Tensor | None = None) -> None:
        self.num_items = num_items
        self.seed = seed
        self.epoch = epoch
        self.weights = weights

    def __len__(self) -> int:
        return self.num_items

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Seeds that differ in few bits make alike generators start alike; hashing spreads them.
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        self.epoch += 1
        if self.weights is None:
            order = torch.randperm(self.num_items, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.num_items, replacement=True, generator=generator)
        seeds = torch.randint(2**62, (self.num_items,), generator=generator)
        return iter(list(zip(order.tolist(), seeds.tolist(), strict=True)))


class TrainingShare(DistributedSampler[Any]):
    """One process's items of an epoch: every ``num_replicas``-th of the sampler's, from the ``rank``-th on.

    The processes' shares are of one size, since they take their steps together; items from the epoch's beginning fill
    up the last ones. A step's batches are, together, what one process would take with a batch of their summed size.

    Args:
        sampler: draws the same order in every process.
        num_replicas: how many processes there are.
        rank: of this one.
    """

    def __init__(self, sampler: ClipSampler, *, num_replicas: int, rank: int) -> None:
        super().__init__(sampler, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.sampler = sampler

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        whole = islice(cycle(list(self.sampler)), self.total_size)
        return islice(whole, self.rank, None, self.num_replicas)


class EvalShare(DistributedSampler[Any]):
    """One process's items of a split: every ``num_replicas``-th from the ``rank``-th on, each counted exactly once.

    Lightning's loop needs as many batches in each process (one without any would leave it, and the others would wait).
    What fills up the shares comes as a :class:`Repeat`, which the metrics leave out.

    Args:
        num_items: of the split; there may be fewer than processes.
        num_replicas: how many processes there are.
        rank: of this one.
    """

    def __init__(self, num_items: int, *, num_replicas: int, rank: int) -> None:
        super().__init__(range(num_items), num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.num_items = num_items

    def __iter__(self) -> Iterator[Any]:
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield position if position < self.num_items else Repeat(position % self.num_items)


def balanced_weights(labels: Sequence[int]) -> Tensor:
    """Weights with which both labels are drawn equally often, float64 (N,).

    >>> balanced_weights([0, 0, 0, 1]).tolist()[-2:]
    [0.3333333333333333, 1.0]
    """
    values = torch.tensor(labels)
    return 1.0 / torch.bincount(values)[values].double()


def collate(items: Sequence[ClipItem]) -> ClipBatch:
    """Items as a batch: ``frames`` (B, T, C, H, W), ``label`` (B,) int64, ``is_repeat`` (B,), the rest as lists."""
    return {"frames": torch.stack([item["frames"] for item in items]), **collate_facts(items)}


def collate_facts(items: Sequence[CountedFacts]) -> BatchFacts:
    """What items say beside their frames, or what stands for these."""
    return {
        "label": torch.tensor([item["label"] for item in items], dtype=torch.int64),
        "video_id": [item["video_id"] for item in items],
        "track": [item["track"] for item in items],
        "dataset": [item["dataset"] for item in items],
        "method": [item["method"] for item in items],
        "is_repeat": torch.tensor([item["is_repeat"] for item in items]),
    }


def read_frames(clip: Path, indices: Sequence[int], *, reader: str = "decord") -> FrameArray:
    """Frames of a store's clip, (T, H, W, 3), by one of :data:`dfd.video.clip_reader.READERS`.

    Raises:
        StoreError: it is missing, damaged or shorter than the index says.
    """
    remedy = f"delete {clip.parent} and run the preprocessing again"
    try:
        return read_frames_of(clip, indices, reader=reader)
    except IndexError as error:
        raise StoreError(f"{clip}: it is shorter than {INDEX_NAME} says ({error}); {remedy}") from error
    except (UnreadableVideo, VideoTooLarge) as error:
        raise StoreError(f"clip cannot be read: {error}; {remedy}") from error


def stride_range(clip_stride: int | Sequence[int]) -> tuple[int, int]:
    """``(low, high)``.

    >>> stride_range(2), stride_range([1, 3])
    ((2, 2), (1, 3))

    Raises:
        ValueError: it is neither a whole number from 1 nor a range of such.
    """
    values = (clip_stride, clip_stride) if isinstance(clip_stride, int) else tuple(clip_stride)
    if len(values) != 2 or not all(isinstance(value, int) for value in values) or not 1 <= values[0] <= values[1]:
        raise ValueError(f"clip_stride must be a number from 1 or a range [low, high], got {clip_stride!r}")
    return values[0], values[1]


def eval_stride(clip_stride: int | Sequence[int]) -> int:
    """The stride of evaluation and prediction: of a range the middle, rounded down.

    >>> eval_stride(2), eval_stride((1, 4))
    (2, 2)
    """
    return sum(stride_range(clip_stride)) // 2
