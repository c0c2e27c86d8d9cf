"""Checkpoints: weights together with everything that is needed to use them.

Two forms hold the same: the ``.ckpt`` that training writes (it can also be resumed) and ``.safetensors`` (smaller, and
no pickle at all). Neither can run code when it is opened.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from dfd.errors import CheckpointError, ConfigError
from dfd.models.classifier import ClipClassifier, architecture, build_model
from dfd.tensor_files import is_state_dict, load_exactly, read_tensor_file
from dfd.types import CARD_KEY, LABEL_NAMES

FORMAT_VERSION = 1

_MODULE_PREFIX = "model."  # the classifier within DetectorModule
_REMEDY = "give a .ckpt or .safetensors that train.py or dfd.export wrote"


def library_versions() -> dict[str, str]:
    """Of dfd and of the libraries that decide what a network computes."""
    return {name: version(name) for name in ("dfd", "torch", "torchvision", "timm", "lightning")}


@dataclass(frozen=True)
class DetectorCard:
    """What a checkpoint says about its weights, in plain values only.

    Attributes:
        model: the config that :func:`~dfd.models.classifier.build_model` takes.
        image_size: side of the crops it was trained on, in pixels.
        clip_len: frames per clip.
        clip_stride: frames from one frame of a clip to the next.
        label_order: names of the logits.
        crop: how the crops were made: extraction settings, the detector's name and options.
        data: what it was trained on: a summary and the manifest's hash.
        metrics: on the validation split, when the weights were saved.
        temperature: divides the logits before the softmax; None if not calibrated.
        threshold: a video is called fake from this probability on.
        calibration: how ``temperature`` and ``threshold`` were found: on how many videos, what it changed. Empty: not.
        versions: of the libraries.
        format_version: of this card.
    """

    model: dict[str, Any]
    image_size: int
    clip_len: int
    clip_stride: int = 1
    label_order: tuple[str, ...] = LABEL_NAMES
    crop: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: float | None = None
    threshold: float = 0.5
    calibration: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=library_versions)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise CheckpointError(
                f"its card has format {self.format_version!r}, this dfd reads {FORMAT_VERSION}; "
                "use the dfd that wrote it, or a newer one"
            )
        problems = [
            f"{name} must be a whole number >= 1, got {value!r}"
            for name, value in self._counts().items()
            if not isinstance(value, int) or isinstance(value, bool) or value < 1
        ]
        problems += [
            f"{name} must be a mapping with names as keys, got {value!r}"
            for name, value in self._mappings().items()
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value)
        ]
        if self.label_order != LABEL_NAMES:
            problems.append(f"label_order must be {LABEL_NAMES}, got {self.label_order!r}")
        if not _is_number(self.threshold) or not 0 <= self.threshold <= 1:
            problems.append(f"threshold must be in 0..1, got {self.threshold!r}")
        if self.temperature is not None and (not _is_number(self.temperature) or self.temperature <= 0):
            problems.append(f"temperature must be above 0 or None, got {self.temperature!r}")
        if isinstance(self.metrics, dict) and not all(_is_number(value) for value in self.metrics.values()):
            problems.append(f"metrics must be finite numbers, got {self.metrics!r}")
        if problems:
            raise CheckpointError(f"its card is wrong: {'; '.join(problems)}")

    @classmethod
    def from_dict(cls, values: object) -> "DetectorCard":
        """The card in ``values``, checked.

        Raises:
            CheckpointError: a value is missing, of a wrong type, or of a newer format.
        """
        if not isinstance(values, Mapping):
            raise CheckpointError(f"its card is not a mapping but {type(values).__name__}")
        known = {f.name for f in fields(cls)}
        version_found = values.get("format_version")
        if version_found == FORMAT_VERSION and not (
            set(values) <= known and {"model", "image_size", "clip_len", "label_order"} <= set(values)
        ):
            odd = ", ".join(sorted(map(str, set(values) ^ known)))
            raise CheckpointError(f"its card is wrong: missing or unknown: {odd}")
        arguments = {name: value for name, value in values.items() if name in known}
        if version_found != FORMAT_VERSION:  # other fields may mean something else; only say which version it is
            arguments = {"model": {}, "image_size": 1, "clip_len": 1, "format_version": version_found}
        order = arguments.get("label_order")
        if isinstance(order, list | tuple):
            arguments["label_order"] = tuple(order)
        return cls(**arguments)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers: fit for JSON and for ``weights_only=True``."""
        return {**asdict(self), "label_order": list(self.label_order)}

    def _counts(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "clip_len": self.clip_len, "clip_stride": self.clip_stride}

    def _mappings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "crop", "data", "metrics", "calibration", "versions")}


def load_checkpoint(path: str | Path) -> tuple[DetectorCard, dict[str, Tensor]]:
    """The card and the classifier's state dict of a ``.ckpt`` or ``.safetensors``, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, of another program, or would run code.
    """
    path = Path(path)
    try:
        content, metadata = read_tensor_file(path)
        if path.suffix == ".safetensors":
            card_values, tensors = json.loads(metadata.get(CARD_KEY, "null")), content
        else:
            content = content if isinstance(content, dict) else {}
            card_values = content.get(CARD_KEY)
            state = content.get("state_dict")
            state = state if is_state_dict(state) else {}
            tensors = {name.removeprefix(_MODULE_PREFIX): tensor for name, tensor in state.items()}
        if card_values is None or not is_state_dict(tensors):
            raise ValueError("not a checkpoint of dfd: it has no card (the settings that the weights belong to)")
        return DetectorCard.from_dict(card_values), dict(tensors)
    except (ValueError, RecursionError, CheckpointError) as error:  # the first two: JSON's, and the reader's own
        raise CheckpointError(f"{path}: {error}; {_REMEDY}") from error


def save_safetensors(path: str | Path, model: ClipClassifier, card: DetectorCard, *, half: bool = False) -> None:
    """Write the model's weights and the card; whole or, if interrupted, not at all.

    With ``half`` floats are kept in 16 bits, half the size; whoever loads them computes in 32 again.

    Raises:
        CheckpointError: the model's score of a clip depends on the rest of the batch; it is not to be handed on.
    """
    path = Path(path)
    refuse_mixed_clips(model, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Not save_file, whose files only their owner can read.
        metadata = {"format": "pt", CARD_KEY: json.dumps(card.to_dict(), allow_nan=False)}
        unfinished.write_bytes(save(tensors, metadata=metadata))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_mixed_clips(model: ClipClassifier, what: str) -> None:
    """Raises:
    CheckpointError: the model is one that only a comparison may use.
    """
    if model.mixes_clips:
        raise CheckpointError(
            f"{what}: this model's score of a video depends on the other videos of its batch, an error of published "
            "code that is kept for comparison; it is neither exported nor used to predict. Train with temporal=lstm"
        )


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[ClipClassifier, DetectorCard]:
    """The detector of a checkpoint, in evaluation mode. No other file is needed, and nothing is downloaded.

    Raises:
        CheckpointError: as :func:`load_checkpoint`, or the weights do not fit the model that the card describes.
    """
    card, tensors = load_checkpoint(path)
    try:
        model = build_model(architecture(card.model))
        load_exactly(model, tensors)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its weights and its card do not belong together, or this version of dfd or timm differs from "
            f"the one that wrote it ({card.versions}): {error}"
        ) from error
    return model.to(device).eval(), card


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and values: equal for equal weights, in whatever file, layout or order they are.

    >>> import torch
    >>> a = {"x": torch.eye(2), "y": torch.zeros(3)}
    >>> weights_sha256(a) == weights_sha256(dict(reversed(a.items())))
    True
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _halved(tensor: Tensor) -> Tensor:
    """In 16 bits, unless a value is too large for them (above 65504)."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(half.isfinite().all()) else tensor


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
