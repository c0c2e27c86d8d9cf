"""Batches of clips, as they are passed to a network."""

from typing import Any, NotRequired, TypedDict

from torch import Tensor


class BatchFacts(TypedDict):
    """Facts about the B clips of a batch.

    ``label`` is an int64 tensor (B,) of values of :class:`dfd.base.types.Label`; ``is_repeat`` a bool tensor (B,), of
    clips that another process counts, added only to make all processes' shares equally long.
    """

    label: Any
    video_id: list[str]
    track: list[int]
    dataset: list[str]
    method: list[str]
    is_repeat: NotRequired[Any]


class ClipBatch(BatchFacts):
    """Batch that the data module passes to the model, B clips of T frames.

    ``frames`` is a uint8 tensor (B, T, C, H, W), RGB. ``landmarks``, with ``data.landmarks=true``, are float32 (B, T,
    5, 2): the points of :class:`dfd.base.types.FaceBox` in pixels from the frames' upper left corner. ``masks``, with
    ``data.masks=true``, are float32 (B, T, H, W), 0..1: where a clip was made into a fake. ``seconds`` is float64
    (B, T).
    """

    frames: Any
    landmarks: NotRequired[Any]
    masks: NotRequired[Any]
    seconds: NotRequired[Any]


class FeatureBatch(BatchFacts):
    """Batch like :class:`ClipBatch`, with ``features`` (B, T, D) instead of frames."""

    features: Tensor
