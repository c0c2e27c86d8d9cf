"""Batches of clips."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor

from dfd.base.types import BatchFacts, ClipBatch, FrameArray


class TrackFacts(TypedDict):
    """Facts about the track and video that a clip was cut from."""

    label: int
    video_id: str
    track: int
    dataset: str
    method: str


class CountedFacts(TrackFacts):
    """Track facts, and whether the item only pads a share (see :class:`~dfd.data.clips.samplers.Repeat`)."""

    is_repeat: bool


class ClipParts(TypedDict):
    """Frames of one clip, uint8 (T, C, H, W), RGB, and on demand what lies on them.

    ``landmarks`` (T, 5, 2) are float32, in pixels; ``masks`` (T, H, W) are float32, 0..1.
    """

    frames: Tensor
    landmarks: NotRequired[Tensor]
    masks: NotRequired[Tensor]


class ClipItem(CountedFacts, ClipParts):
    """One clip and its facts; :func:`collate` makes a batch."""

    seconds: NotRequired[Tensor]
    """Time of each frame in its track, float64 (T,); that of a repeated frame repeats too."""


def as_tensor(frames: FrameArray) -> Tensor:
    """Convert frames (T, H, W, 3) to the layout that networks take, uint8 (T, C, H, W)."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def collate(items: Sequence[ClipItem]) -> ClipBatch:
    """Batch of items: ``frames`` (B, T, C, H, W), ``label`` (B,) int64, ``is_repeat`` (B,), the rest as lists.

    ``landmarks`` (B, T, 5, 2) and ``masks`` (B, T, H, W) are there if the items have them, ``seconds`` (B, T) if all
    have them: pictures have no time.
    """
    facts = collate_facts(items)
    batch = cast(ClipBatch, {**facts, "frames": torch.stack([item["frames"] for item in items])})
    if "landmarks" in items[0]:
        batch["landmarks"] = torch.stack([item["landmarks"] for item in items])
    if "masks" in items[0]:
        batch["masks"] = torch.stack([item["masks"] for item in items])
    if all("seconds" in item for item in items):
        batch["seconds"] = torch.stack([item["seconds"] for item in items])
    return batch


def collate_facts(items: Sequence[CountedFacts]) -> BatchFacts:
    """Batch of the items' facts, without frames or features."""
    return {
        "label": torch.tensor([item["label"] for item in items], dtype=torch.int64),
        "video_id": [item["video_id"] for item in items],
        "track": [item["track"] for item in items],
        "dataset": [item["dataset"] for item in items],
        "method": [item["method"] for item in items],
        "is_repeat": torch.tensor([item["is_repeat"] for item in items]),
    }
