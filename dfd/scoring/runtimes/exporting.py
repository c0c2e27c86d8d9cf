"""Export to ONNX beside the scoring, and the exported files that are kept."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from dfd.base.errors import CheckpointError
from dfd.base.fetch import cache_folder
from dfd.base.files import write_bytes
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard, library_versions
from dfd.models.files.checkpoint import load_model, weights_sha256
from dfd.models.files.onnx import OPSET
from dfd.scoring.runtimes.parity import checked_onnx
from dfd.scoring.runtimes.runtime import OnnxRuntime, logger


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
        raise CheckpointError(
            f"the export cannot be kept as {path}; set XDG_CACHE_HOME to a folder that can be written"
        )


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
