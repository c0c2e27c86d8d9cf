"""Checks that an exported network computes the same as the original."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dfd.base.errors import CheckpointError
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.onnx import to_onnx
from dfd.scoring.runtimes.runtime import MAX_DIFFERENCE, OnnxRuntime, Runtime, TorchRuntime


def checked_onnx(model: ClipClassifier, card: DetectorCard) -> tuple[bytes, float]:
    """The content of a ``.onnx`` file that gives the network's probabilities, and by how much it differs at most.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or differs by more than ``MAX_DIFFERENCE``.
        ConfigError: the extra ``onnx`` is not installed.
    """
    content = to_onnx(model, card)
    difference = largest_difference(TorchRuntime(model, card, "cpu"), OnnxRuntime(content, card), card)
    refuse_difference(difference, "ONNX")
    return content, difference


def largest_difference(reference: Runtime, other: Runtime, card: DetectorCard) -> float:
    """Between the two's probabilities on random clips: one frame and more than ``clip_len``, one clip and several."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch, time in _shapes(card):
        frames_BTCHW = _random_clips(batch, time, card.image_size, generator)
        probs = [torch.tensor(runtime.prob_fake(frames_BTCHW)) for runtime in (reference, other)]
        differences.append((probs[0] - probs[1]).abs().max())
    return float(torch.stack(differences).max())  # nan if one is: that is no agreement


def refuse_difference(difference: float, form: str) -> None:
    """Refuse an export that computes something else.

    Raises:
        CheckpointError: the difference is above ``MAX_DIFFERENCE``, or not a number.
    """
    if not difference <= MAX_DIFFERENCE:
        raise CheckpointError(
            f"the detector's probabilities as {form} differ from torch's by up to {difference:.3g}, more than "
            f"{MAX_DIFFERENCE:g}; nothing was written. Use format=safetensors"
        )


def _shapes(card: DetectorCard) -> list[tuple[int, int]]:
    """Clips and frames to compare on; a transformer's positions end at its ``max_len``."""
    longest = card.model.get("temporal", {}).get("max_len") or card.clip_len + 3
    times = {1: 1, 2: card.clip_len, 3: 2}  # by the number of clips
    shapes = [*times.items(), (1, card.clip_len + 3)]
    return sorted({(batch, min(time, longest)) for batch, time in shapes})


def _random_clips(batch: int, time: int, side: int, generator: torch.Generator) -> Tensor:
    """Coarse patches under noise, each clip with a contrast of its own: noise alone looks alike to a network."""
    patches = F.interpolate(torch.rand(batch * time, 3, 7, 7, generator=generator), (side, side))
    pictures = patches.reshape(batch, time, 3, side, side)
    noise = torch.rand(pictures.shape, generator=generator)
    contrast = torch.rand(batch, 1, 1, 1, 1, generator=generator)
    clips: Tensor = 255 * (contrast * pictures + (1 - contrast) * noise)
    return clips.to(torch.uint8)
