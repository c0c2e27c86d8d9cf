"""Checkpoints: weights together with everything needed to use them.

Two formats hold the same content: the ``.ckpt`` written by training, which can also be resumed, and ``.safetensors``,
which is smaller and holds no pickle. Opening either cannot run code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.files import write_bytes
from dfd.base.types import CARD_KEY
from dfd.base.untrusted import shown
from dfd.models.classifier import ClipClassifier, architecture, build_model
from dfd.models.files.card import DetectorCard, parse_card, refuse_without_plugins
from dfd.models.tensor_files import (
    fitting,
    is_state_dict,
    put_exactly,
    read_tensor_file,
    refuse_hollow,
    without_first_weights,
)

_MODULE_PREFIX = "model."  # the classifier within DetectorModule
_LOSS_PREFIX = "loss."  # parameters of losses, which only training has
MAX_MESSAGE = 1000
"""Maximum length in characters of an error message that quotes names from the file."""
_REMEDY = "give a .ckpt or .safetensors that train.py or dfd.export wrote"


def load_checkpoint(path: str | Path) -> tuple[DetectorCard, dict[str, Tensor]]:
    """Load the card and the classifier's state dict from a ``.ckpt`` or ``.safetensors``, on the CPU.

    Raises:
        CheckpointError: when the file is missing, damaged, from another program, or would run code.
    """
    path = Path(path)
    try:
        content, metadata = read_tensor_file(path)
        if path.suffix == ".safetensors":
            text = metadata.get(CARD_KEY)
            card, tensors = None if text is None else parse_card(text), content
        else:
            content = content if isinstance(content, dict) else {}
            values = content.get(CARD_KEY)
            card = None if values is None else DetectorCard.from_dict(values)
            state = content.get("state_dict")
            state = state if is_state_dict(state) else {}
            state = {name: tensor for name, tensor in state.items() if not name.startswith(_LOSS_PREFIX)}
            tensors = {name.removeprefix(_MODULE_PREFIX): tensor for name, tensor in state.items()}
        if card is None or not is_state_dict(tensors):
            raise ValueError("not a checkpoint of dfd: it has no card (the settings that the weights belong to)")
        refuse_hollow(tensors, path)
        return card, dict(tensors)
    except (ValueError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {str(error)[:MAX_MESSAGE]}; {_REMEDY}") from error


def save_safetensors(path: str | Path, model: ClipClassifier, card: DetectorCard, *, half: bool = False) -> None:
    """Write the model's weights and the card; an interrupted write leaves no file.

    With ``half``, floats are stored in 16 bits, which halves the size; they are loaded as 32 bits again.

    Raises:
        CheckpointError: when the model's score of a clip depends on the rest of the batch.
    """
    path = Path(path)
    refuse_mixed_clips(model, str(path))
    if not card.model:
        raise CheckpointError(
            f"{path}: nothing could load this network, since its card does not say how it is built: register its parts "
            "in a plug-in (dfd.register) and build it with build_model, or keep its state_dict with torch.save"
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
    metadata = {"format": "pt", CARD_KEY: json.dumps(card.to_dict(), allow_nan=False)}
    write_bytes(path, save(tensors, metadata=metadata))  # not save_file, whose files only their owner can read


def replace_card(path: str | Path, card: DetectorCard) -> None:
    """Write another card into a ``.safetensors``, whose weights stay as they are, bit for bit.

    Raises:
        CheckpointError: when the file is missing, damaged or from another program.
    """
    path = Path(path)
    load_checkpoint(path)
    tensors, metadata = read_tensor_file(path)
    assert is_state_dict(tensors), "load_checkpoint refuses others"
    write_bytes(path, save(dict(tensors), metadata={**metadata, CARD_KEY: json.dumps(card.to_dict(), allow_nan=False)}))


def refuse_mixed_clips(model: ClipClassifier, what: str) -> None:
    """Refuse a model that may only be used for comparison.

    Raises:
        CheckpointError: when the model's score of a clip depends on the rest of the batch.
    """
    if model.mixes_clips:
        raise CheckpointError(
            f"{what}: this model's score of a video depends on the other videos of its batch, an error of published "
            "code that is kept for comparison; it is neither exported nor used to predict. Train with temporal=lstm"
        )


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[ClipClassifier, DetectorCard]:
    """Load the detector of a checkpoint, in evaluation mode; needs no other file and downloads nothing.

    Raises:
        CheckpointError: when :func:`load_checkpoint` raises it, or the weights do not fit the card's model.
    """
    card, tensors = load_checkpoint(path)
    try:
        refuse_without_plugins(card)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    try:
        config = architecture(card.model)
        with torch.device("meta"), without_first_weights():  # a network of any size takes no memory there
            fitting(build_model(config), tensors)
        with without_first_weights():
            model = build_model(config)
        put_exactly(model, tensors)
        model.backbone.to(memory_format=torch.channels_last)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its card describes a network that this dfd does not build ({shown(card.versions)} wrote it): "
            f"{str(error)[:MAX_MESSAGE]}"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights and its card do not belong together, or this version of dfd or timm differs from "
            f"the one that wrote it ({shown(card.versions)}): {str(error)[:MAX_MESSAGE]}"
        ) from error
    return model.to(device).eval(), card


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, types, shapes and values: equal for equal weights in any file, memory layout or order.

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
    """Convert to 16 bits, unless a value is too large for them (above 65504), or has 64: fitted heads need those."""
    half = tensor.half() if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
    return half if bool(half.isfinite().all()) else tensor
