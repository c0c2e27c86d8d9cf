"""Export to ONNX beside the scoring, checks that an export computes the same, and the exported files that are kept."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dfd.base.errors import CheckpointError
from dfd.base.fetch import cache_folder
from dfd.base.files import write_bytes
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard, library_versions
from dfd.models.files.checkpoint import load_model, weights_sha256
from dfd.models.files.onnx import OPSET, to_onnx
from dfd.scoring.runtimes.runtime import MAX_DIFFERENCE, OnnxRuntime, Runtime, TorchRuntime, logger


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


def keep_export(checkpoint: str) -> None:
    """Export a checkpoint to dfd's cache, as a process of its own.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or kept.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that no half of a file is left
    model, card = load_model(checkpoint)
    digest = weights_sha256(model.state_dict())
    kept_onnx(model, card, digest, device="cpu")
    if not os.path.isfile(path := _kept_path(card, digest)):
        raise CheckpointError(f"the export cannot be kept as {path}; set XDG_CACHE_HOME to a writable folder")


def kept_onnx(model: ClipClassifier, card: DetectorCard, digest: str, *, device: str) -> OnnxRuntime:
    """The detector in onnxruntime, from dfd's cache; exported, checked and put there if it is not in it.

    ``digest`` is :func:`dfd.models.files.checkpoint.weights_sha256` of the model.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or differs by more than ``MAX_DIFFERENCE``.
        ConfigError: the extra ``onnx`` is not installed.
    """
    path = _kept_path(card, digest)
    if os.path.isfile(path):
        try:
            return _load_kept(path, card, digest, device=device)
        except CheckpointError as error:
            logger.info("%s is made anew: %s", path, error)
    logger.info("exporting the detector for onnxruntime, once: about 15 seconds; kept as %s", path)
    content, _ = checked_onnx(model, card)
    try:
        write_bytes(path, content)
    except OSError as error:
        logger.warning("the export cannot be kept, and the next run makes it again: %s", error)
    return OnnxRuntime(content, card, device=device)


def _load_kept(path: Path, card: DetectorCard, digest: str, *, device: str) -> OnnxRuntime:
    session = OnnxRuntime(path, card, device=device)
    if session.weights_sha256 != digest:
        raise CheckpointError(f"{path}: is the export of other weights")
    return session


def _kept_path(card: DetectorCard, digest: str) -> Path:
    """By all that the export depends on."""
    facts = [digest, card.to_dict(), library_versions(), OPSET]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "onnx" / f"{key[:32]}.onnx"
