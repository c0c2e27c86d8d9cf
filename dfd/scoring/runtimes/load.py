"""The choice of a runtime for a checkpoint."""

import os
from importlib.util import find_spec
from pathlib import Path

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.machine import num_cores
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model, weights_sha256
from dfd.models.files.onnx import optional_module, read_onnx
from dfd.models.files.onnx_trial import seconds_for_one_clip
from dfd.scoring.runtimes.exporting import _kept_path, _load_kept, kept_onnx
from dfd.scoring.runtimes.packing import is_mostly_linear
from dfd.scoring.runtimes.runtime import Export, OnnxRuntime, Runtime, TorchRuntime, logger, pick_device

RUNTIMES = ("auto", "torch", "onnx")
REDUCED = ("bf16", "int8")
"""Precisions that only torch computes in."""
WORTH_EXPORTING = 32
"""Videos from which ``runtime=auto`` exports on a CPU; an export pays after some ten (ResNeXt50) to fifty of them."""
WORTH_WAITING = 200
"""Number of videos from which on ``runtime=auto`` waits for the export; with fewer, another process makes it beside."""


def load_runtime(
    checkpoint: Path,
    *,
    runtime: str = "auto",
    device: str = "auto",
    num_videos: int | None = None,
    precision: str = "auto",
) -> tuple[Runtime, DetectorCard, str, ClipClassifier | None]:
    """What scores with a checkpoint, its card, its name (``stem@hash``, of the weights) and its network.

    A ``.onnx`` has no network to look into: None. ``runtime=onnx`` with another checkpoint exports it, which takes some
    15 seconds, and keeps the export in dfd's cache. ``auto`` is onnx for a ``.onnx``; for others, on a CPU, where
    ``num_videos`` are to be scored, it is onnx if the export is there or they are worth waiting for it; else torch,
    as for vision transformers, which torch computes sooner. It is one of the two for the whole run, so that copies of a
    file get one score. ``precision``: see :func:`dfd.scoring.runtimes.runtime.pick_precision`.

    Raises:
        CheckpointError: the file is missing, damaged, of another program, or cannot be exported.
        ConfigError: there is no such runtime or device, or it does not run such files.
    """
    checkpoint = Path(checkpoint)
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime={runtime} is not one of {', '.join(RUNTIMES)}")
    if precision in REDUCED and "onnx" in (runtime, checkpoint.suffix.removeprefix(".")):
        raise ConfigError(f"precision={precision} is for runtime=torch; onnxruntime computes in float32")
    if checkpoint.suffix == ".onnx":
        if runtime == "torch":
            raise ConfigError(
                f"{checkpoint}: torch does not run ONNX files; use runtime=onnx, or the .safetensors it was made from"
            )
        file = read_onnx(checkpoint)
        optional_module("onnxruntime")
        clip = {"num_frames": file.card.clip_len, "side": file.card.image_size}
        seconds = seconds_for_one_clip(file.content, name=str(checkpoint), **clip, num_threads=num_cores())
        session = OnnxRuntime(file, device=device, seconds_per_clip=seconds)
        return session, session.card, _name(checkpoint, session.weights_sha256), None
    if checkpoint.suffix == ".pt2":
        raise CheckpointError(
            f"{checkpoint}: a program of torch.export is for use without dfd; give the .safetensors it was made from"
        )
    model, card = load_model(checkpoint)
    digest = weights_sha256(model.state_dict())
    name = _name(checkpoint, digest)
    if runtime == "onnx":
        return kept_onnx(model, card, digest, device=device), card, name, model
    may_use_onnx = num_videos is not None and not model.mixes_clips and precision not in REDUCED
    may_use_onnx &= model.backbone.is_differentiable
    if runtime == "auto" and may_use_onnx and _onnx_is_faster(model, device):
        # Not Path.is_file, which raises where a folder on the way may not be entered.
        if os.path.isfile(_kept_path(card, digest)):
            try:
                return kept_onnx(model, card, digest, device="cpu"), card, name, model
            except CheckpointError as error:
                logger.info("scoring with torch: %s", error)
        elif num_videos is not None and num_videos >= WORTH_EXPORTING:
            export = Export(checkpoint)
            if num_videos >= WORTH_WAITING:
                logger.info("exporting the detector for onnxruntime, once: about 15 seconds, then scoring begins")
                if exported := _exported(export, card, digest):
                    return exported, card, name, model
            else:
                logger.info("torch scores these videos; for the next run the detector is exported for onnxruntime")
                torch_runtime = TorchRuntime(model, card, device, precision=precision)
                torch_runtime.export = export
                return torch_runtime, card, name, model
    return TorchRuntime(model, card, device, precision=precision), card, name, model


def _exported(export: Export, card: DetectorCard, digest: str) -> OnnxRuntime | None:
    """What an export has kept, when it has; None, and a line in the log, if it failed."""
    failure = export.wait()
    try:
        if failure is None:
            return _load_kept(_kept_path(card, digest), card, digest, device="cpu")
    except CheckpointError as error:
        failure = str(error)
    logger.info("scoring with torch, as the export for onnxruntime failed: %s", failure)
    return None


def _onnx_is_faster(model: ClipClassifier, device: str) -> bool:
    if pick_device(device).type != "cpu" or is_mostly_linear(model.backbone):
        return False
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


def _name(checkpoint: Path, digest: str) -> str:
    return f"{checkpoint.stem}@{digest[:12]}"
